//! SASL with DIGEST-MD5 (RFC 2831), as Java's `javax.security.sasl` speaks it with `qop=auth`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use super::{SASL, USER, random};
use crate::cursor::Cursor;
use crate::error::{Result, WireError};

const REALM: &str = "default";

/// The user and the token inside a message.
pub(super) fn parts(body: &[u8]) -> Result<(&[u8], &[u8])> {
    let mut cursor = Cursor::new(body);
    if cursor.u8()? != SASL {
        return Err(WireError::malformed("no message of SASL"));
    }
    let user = cursor.length()?;
    let user = cursor.take(user)?;
    let length = cursor.length()?;
    Ok((user, cursor.take(length)?))
}

/// A nonce, and the challenge with it.
pub(super) fn challenge() -> Result<(String, Vec<u8>)> {
    let nonce = BASE64_STANDARD.encode(random::<30>()?);
    let challenge = format!(
        "realm=\"{REALM}\",qop=\"auth\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess"
    );
    Ok((nonce, challenge.into_bytes()))
}

/// What the caller has to hear if it knows the secret, or why it is refused.
pub(super) fn verify(
    token: &[u8],
    nonce: &str,
    secret: &str,
) -> Result<std::result::Result<Vec<u8>, String>> {
    let text = std::str::from_utf8(token)
        .map_err(|_| WireError::malformed("a token of SASL that is no text"))?;
    let directives = directives(text);
    let value = |name: &str| {
        let found = directives.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| WireError::malformed(format!("a token of SASL without {name}")))
    };
    if value("qop").is_ok_and(|qop| qop != "auth") {
        return Err(WireError::unsupported(
            "encryption by SASL (spark.authenticate.enableSaslEncryption): use \
             spark.network.crypto.enabled instead",
        ));
    }
    let digest = |prefix: &str| -> Result<String> {
        let user = BASE64_STANDARD.encode(USER);
        let password = BASE64_STANDARD.encode(secret);
        let (client_nonce, count) = (value("cnonce")?, value("nc")?);
        let mut a1 = md5(format!("{user}:{REALM}:{password}").as_bytes()).to_vec();
        a1.extend(format!(":{nonce}:{client_nonce}").bytes());
        let a2 = format!("{prefix}:{}", value("digest-uri")?);
        let (a1, a2) = (hex(&md5(&a1)), hex(&md5(a2.as_bytes())));
        Ok(hex(&md5(format!("{a1}:{nonce}:{count}:{client_nonce}:auth:{a2}").as_bytes())))
    };
    let expected = digest("AUTHENTICATE")?;
    let is_right = bool::from(value("response")?.as_bytes().ct_eq(expected.as_bytes()));
    if !is_right || value("nonce")? != nonce {
        return Ok(Err("javax.security.sasl.SaslException: DIGEST-MD5: digest response format \
                       violation. Mismatched response."
            .to_owned()));
    }
    Ok(Ok(format!("rspauth={}", digest("")?).into_bytes()))
}

/// `name=value` and `name="value"`, with commas between them.
fn directives(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"').and_then(|quoted| quoted.split_once('"'))
        {
            Some((value, after)) => (value, after),
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        found.push((name.trim(), value));
        rest = after.trim_start_matches(',');
    }
    found
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between a driver and a master of Spark 3.5.9, with the secret `s3cret`.
    const NONCE: &str = "gmzMPUFMIPacZau/kk3xV7d/NwlDKsqCM7IkY2tl";
    const RESPONSE: &str = "charset=utf-8,username=\"c3BhcmtTYXNsVXNlcg==\",realm=\"default\",\
        nonce=\"gmzMPUFMIPacZau/kk3xV7d/NwlDKsqCM7IkY2tl\",nc=00000001,\
        cnonce=\"yQgwGC8R/prYerxo9km/Wi2KgZll9SzEc/1vcub9\",digest-uri=\"null/default\",\
        maxbuf=65536,response=0f33fa57a355a912cad374e76cba1b2b,qop=auth";

    #[test]
    fn a_captured_exchange_is_verified() {
        let answer = verify(RESPONSE.as_bytes(), NONCE, "s3cret").unwrap().unwrap();
        assert_eq!(answer, b"rspauth=a15de9a36bd1660e2501cfe87984e3e3");
    }

    #[test]
    fn a_wrong_secret_another_nonce_and_other_protection_are_refused() {
        assert!(verify(RESPONSE.as_bytes(), NONCE, "other").unwrap().is_err());
        assert!(verify(RESPONSE.as_bytes(), "another", "s3cret").unwrap().is_err());
        let other = RESPONSE.replace("qop=auth", "qop=auth-conf");
        let error = verify(other.as_bytes(), NONCE, "s3cret").unwrap_err();
        assert!(error.to_string().contains("spark.network.crypto.enabled"));
        for odd in ["", "=", "response", "nonce=\"", "a=b,,c=\"d\"e"] {
            assert!(verify(odd.as_bytes(), NONCE, "s3cret").is_err(), "{odd}");
        }
    }
}
