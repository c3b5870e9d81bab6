//! Who is let in, and how connections are encrypted: Spark's own properties, the same as those of drivers.

use anymaster_core::conf::Conf;
use anymaster_core::conf::keys::{AUTHENTICATE, AUTHENTICATE_SECRET};
use anymaster_core::{Error, Result};
use anymaster_net::Tls;
use anymaster_spark_wire::auth::{Authentication, Cipher, Encryption};

use crate::keys::{
    CRYPTO_CIPHER, CRYPTO_ENABLED, CRYPTO_ENGINE_VERSION, CRYPTO_SASL_FALLBACK, SASL_ENCRYPTION,
    SECRET_FILE, TLS_CERTIFICATES, TLS_ENABLED, TLS_KEY,
};

/// What processes of Spark have to know, if `spark.authenticate` is on: drivers of a gateway, and executors of a
/// shuffle service.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if there is no secret, and
/// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for what Spark itself advises against.
pub fn authentication(conf: &Conf) -> Result<Option<Authentication>> {
    if conf.read(&SASL_ENCRYPTION)? {
        return Err(Error::unsupported(format!(
            "{}: the encryption of SASL is not supported",
            SASL_ENCRYPTION.info.name
        ))
        .with_hint(format!("set {} instead, there and in drivers", CRYPTO_ENABLED.info.name)));
    }
    let encrypts = conf.read(&CRYPTO_ENABLED)?;
    if !conf.read(&AUTHENTICATE)? {
        return match encrypts {
            false => Ok(None),
            true => Err(Error::invalid(format!(
                "{} needs {}",
                CRYPTO_ENABLED.info.name, AUTHENTICATE.info.name
            ))),
        };
    }
    // TLS encrypts as well; Spark switches the other one off then.
    let encryption = match encrypts && !conf.read(&TLS_ENABLED)? {
        true => Some(encryption(conf)?),
        false => None,
    };
    Ok(Some(Authentication { secret: secret(conf)?, encryption }))
}

fn encryption(conf: &Conf) -> Result<Encryption> {
    let name = conf.read(&CRYPTO_CIPHER)?;
    let cipher = Cipher::of_name(&name).ok_or_else(|| {
        Error::invalid(format!("{}: there is no cipher {name}", CRYPTO_CIPHER.info.name))
            .with_hint("AES/CTR/NoPadding or AES/GCM/NoPadding")
    })?;
    let engine_version = match conf.read(&CRYPTO_ENGINE_VERSION)? {
        1 => 1,
        2 => 2,
        other => {
            let name = CRYPTO_ENGINE_VERSION.info.name;
            return Err(Error::invalid(format!("{name}: {other} is neither 1 nor 2")));
        }
    };
    Ok(Encryption { cipher, engine_version, sasl_fallback: conf.read(&CRYPTO_SASL_FALLBACK)? })
}

fn secret(conf: &Conf) -> Result<String> {
    let secret = match conf.read_optional(&SECRET_FILE)? {
        Some(path) => std::fs::read_to_string(&path).map_err(|error| {
            Error::invalid(format!("{}: cannot read {path}", SECRET_FILE.info.name))
                .with_source(error)
        })?,
        None => conf.get(AUTHENTICATE_SECRET.info.name).unwrap_or_default().to_owned(),
    };
    match secret.trim() {
        "" => {
            Err(Error::invalid(format!("{} is on, and there is no secret", AUTHENTICATE.info.name))
                .with_hint(format!(
                    "set {}, or {}",
                    SECRET_FILE.info.name, AUTHENTICATE_SECRET.info.name
                )))
        }
        secret => Ok(secret.to_owned()),
    }
}

/// TLS around all connections (`spark.ssl.rpc.*`, Spark 4.0 and later).
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) without a certificate and its key in PEM files.
pub(crate) fn tls(conf: &Conf) -> Result<Tls> {
    if !conf.read(&TLS_ENABLED)? {
        return Ok(Tls::default());
    }
    let (chain, key) = (conf.read_optional(&TLS_CERTIFICATES)?, conf.read_optional(&TLS_KEY)?);
    let (Some(chain), Some(key)) = (chain, key) else {
        return Err(Error::invalid(format!("{} needs a certificate", TLS_ENABLED.info.name))
            .with_hint(format!(
                "set {} and {} to PEM files; a key store of Java's cannot be read",
                TLS_CERTIFICATES.info.name, TLS_KEY.info.name
            )));
    };
    let (chain_name, key_name) = (TLS_CERTIFICATES.info.name, TLS_KEY.info.name);
    Tls::of_files((chain_name, &chain), (key_name, &key), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conf: &[(&str, &str)]) -> Result<Option<Authentication>> {
        authentication(&conf.iter().copied().collect())
    }

    const ON: (&str, &str) = ("spark.authenticate", "true");
    const SECRET: (&str, &str) = ("spark.authenticate.secret", "s3cret");
    const CRYPTO: (&str, &str) = ("spark.network.crypto.enabled", "true");

    #[test]
    fn the_properties_are_those_of_spark() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[SECRET]).unwrap().is_none());
        let plain = read(&[ON, SECRET]).unwrap().unwrap();
        assert_eq!((plain.secret.as_str(), plain.encryption), ("s3cret", None));
        let encryption = |more: &[(&str, &str)]| {
            read(&[&[ON, SECRET, CRYPTO], more].concat()).unwrap().unwrap().encryption
        };
        let default = encryption(&[]).unwrap();
        assert_eq!((default.cipher, default.engine_version), (Cipher::AesCtr, 1));
        let gcm = encryption(&[
            ("spark.network.crypto.cipher", "AES/GCM/NoPadding"),
            ("spark.network.crypto.authEngineVersion", "2"),
            ("spark.network.crypto.saslFallback", "false"),
        ]);
        let wanted = Encryption { cipher: Cipher::AesGcm, engine_version: 2, sasl_fallback: false };
        assert_eq!(gcm, Some(wanted));
        assert_eq!(encryption(&[("spark.ssl.rpc.enabled", "true")]), None);
        assert!(!format!("{plain:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (conf, named) in [
            (&[ON][..], "spark.anymaster.authenticate.secretFile"),
            (
                &[ON, SECRET, ("spark.authenticate.enableSaslEncryption", "true")],
                "spark.network.crypto.enabled",
            ),
            (&[SECRET, CRYPTO], "spark.authenticate"),
            (&[ON, SECRET, CRYPTO, ("spark.network.crypto.cipher", "ROT13")], "ROT13"),
            (
                &[ON, SECRET, CRYPTO, ("spark.network.crypto.authEngineVersion", "3")],
                "neither 1 nor 2",
            ),
        ] {
            let error = read(conf).unwrap_err();
            let said = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(said.contains(named), "{said}");
        }
        assert!(tls(&[("spark.ssl.rpc.enabled", "true")].into_iter().collect()).is_err());
    }
}
