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
/// Of the only response of a connection.
const COUNT: &str = "00000001";
/// Java's, where there is no name of a server.
const URI: &str = "null/default";
const ENCRYPTION: &str = "encryption by SASL (spark.authenticate.enableSaslEncryption): use \
                          spark.network.crypto.enabled instead";

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

/// A message with this token.
pub(super) fn message(token: &[u8]) -> Vec<u8> {
    let mut message = vec![SASL];
    for part in [USER.as_bytes(), token] {
        message.extend((part.len() as i32).to_be_bytes());
        message.extend(part);
    }
    message
}

/// The response to a challenge, and what proves that the other side knows the secret as well.
pub(super) fn respond(challenge: &[u8], secret: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    respond_with(challenge, secret, &BASE64_STANDARD.encode(random::<30>()?))
}

fn respond_with(challenge: &[u8], secret: &str, client_nonce: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let text = text(challenge)?;
    let directives = directives(text);
    let nonce = value(&directives, "nonce")?;
    if value(&directives, "realm")? != REALM || nonce.contains('\\') {
        return Err(WireError::malformed("a challenge of SASL that is none of Spark's"));
    }
    // One that offers nothing else does not say it.
    let protection = value(&directives, "qop").unwrap_or("auth");
    if !protection.split(',').any(|offered| offered.trim() == "auth") {
        return Err(WireError::unsupported(ENCRYPTION));
    }
    let digest = Digest { nonce, client_nonce, count: COUNT, uri: URI };
    let user = BASE64_STANDARD.encode(USER);
    let response = format!(
        "charset=utf-8,username=\"{user}\",realm=\"{REALM}\",nonce=\"{nonce}\",nc={COUNT},\
         cnonce=\"{client_nonce}\",digest-uri=\"{URI}\",maxbuf=65536,response={},qop=auth",
        digest.of("AUTHENTICATE", secret)
    );
    let expected = format!("rspauth={}", digest.of("", secret));
    Ok((response.into_bytes(), expected.into_bytes()))
}

/// What a digest is made of.
struct Digest<'a> {
    nonce: &'a str,
    client_nonce: &'a str,
    count: &'a str,
    uri: &'a str,
}

impl Digest<'_> {
    /// `prefix`: `AUTHENTICATE` for the caller, nothing for the other side.
    fn of(&self, prefix: &str, secret: &str) -> String {
        let Self { nonce, client_nonce, count, uri } = self;
        let user = BASE64_STANDARD.encode(USER);
        let password = BASE64_STANDARD.encode(secret);
        let mut a1 = md5(format!("{user}:{REALM}:{password}").as_bytes()).to_vec();
        a1.extend(format!(":{nonce}:{client_nonce}").bytes());
        let a2 = format!("{prefix}:{uri}");
        let (a1, a2) = (hex(&md5(&a1)), hex(&md5(a2.as_bytes())));
        hex(&md5(format!("{a1}:{nonce}:{count}:{client_nonce}:auth:{a2}").as_bytes()))
    }
}

fn text(token: &[u8]) -> Result<&str> {
    std::str::from_utf8(token).map_err(|_| WireError::malformed("a token of SASL that is no text"))
}

fn value<'a>(directives: &[(&'a str, &'a str)], name: &str) -> Result<&'a str> {
    let found = directives.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| WireError::malformed(format!("a token of SASL without {name}")))
}

/// What the caller has to hear if it knows the secret, or why it is refused.
pub(super) fn verify(
    token: &[u8],
    nonce: &str,
    secret: &str,
) -> Result<std::result::Result<Vec<u8>, String>> {
    let directives = directives(text(token)?);
    let value = |name: &str| value(&directives, name);
    if value("qop").is_ok_and(|qop| qop != "auth") {
        return Err(WireError::unsupported(ENCRYPTION));
    }
    let (client_nonce, count, uri) = (value("cnonce")?, value("nc")?, value("digest-uri")?);
    let digest = Digest { nonce, client_nonce, count, uri };
    let expected = digest.of("AUTHENTICATE", secret);
    let is_right = bool::from(value("response")?.as_bytes().ct_eq(expected.as_bytes()));
    if !is_right || value("nonce")? != nonce {
        return Ok(Err("javax.security.sasl.SaslException: DIGEST-MD5: digest response format \
                       violation. Mismatched response."
            .to_owned()));
    }
    Ok(Ok(format!("rspauth={}", digest.of("", secret)).into_bytes()))
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
    fn a_captured_exchange_is_spoken_again() {
        let challenge = format!(
            "realm=\"default\",nonce=\"{NONCE}\",qop=\"auth-conf,auth\",charset=utf-8,algorithm=md5-sess"
        );
        let client_nonce = "yQgwGC8R/prYerxo9km/Wi2KgZll9SzEc/1vcub9";
        let (response, expected) =
            respond_with(challenge.as_bytes(), "s3cret", client_nonce).unwrap();
        assert_eq!(String::from_utf8(response).unwrap(), RESPONSE);
        assert_eq!(expected, b"rspauth=a15de9a36bd1660e2501cfe87984e3e3");
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
