//! SASL with DIGEST-MD5 (RFC 2831, `md5-sess`, `qop=auth`), by which a caller proves that it has a token, and a
//! server that it knows it.

use std::collections::BTreeMap;

use anymaster_core::text::hex;
use anymaster_core::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};

use super::messages::{Sasl, SaslMethod, SaslState};
use crate::Token;

/// The answer to what a server offers, and the proof that it has to give then.
pub(super) fn respond(offer: &Sasl, token: &Token) -> Result<(Sasl, Vec<u8>)> {
    let is_known = |it: &&SaslMethod| it.method == "TOKEN" && it.mechanism == "DIGEST-MD5";
    let method = offer.methods.iter().find(is_known).ok_or_else(|| {
        let methods: Vec<_> = offer.methods.iter().map(|it| it.method.as_str()).collect();
        Error::new(
            ErrorKind::Unauthenticated,
            format!("the server takes no tokens, but {}", methods.join(", ")),
        )
    })?;
    let challenge = String::from_utf8_lossy(method.challenge.as_deref().unwrap_or_default());
    let challenge = parts(&challenge);
    let get = |name: &str| challenge.get(name).copied().unwrap_or_default();
    if !get("qop").is_empty() && !get("qop").split(',').any(|layer| layer.trim() == "auth") {
        return Err(Error::unsupported(format!(
            "the server wants {} for every message (hadoop.rpc.protection)",
            get("qop")
        ))
        .with_hint("hadoop.rpc.protection has to allow authentication"));
    }
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let uri = format!("{}/{}", part(&method.protocol), part(&method.server));
    let cnonce = BASE64_STANDARD.encode(rand::random::<[u8; 18]>());
    let exchange = Exchange {
        user: &BASE64_STANDARD.encode(&token.identifier),
        password: &BASE64_STANDARD.encode(&token.password),
        realm: get("realm"),
        nonce: get("nonce"),
        cnonce: &cnonce,
        uri: &uri,
    };
    let Exchange { user, realm, nonce, .. } = &exchange;
    let response = format!(
        "charset=utf-8,username=\"{user}\",realm=\"{realm}\",nonce=\"{nonce}\",nc=00000001,cnonce=\"{cnonce}\",\
         digest-uri=\"{uri}\",maxbuf=65536,response={},qop=auth",
        exchange.digest("AUTHENTICATE:")
    );
    let chosen = SaslMethod { challenge: None, ..method.clone() };
    let message = Sasl {
        version: Some(0),
        state: SaslState::Initiate as i32,
        token: Some(response.into_bytes()),
        methods: vec![chosen],
    };
    Ok((message, format!("rspauth={}", exchange.digest(":")).into_bytes()))
}

/// What both sides make their digests of.
struct Exchange<'a> {
    user: &'a str,
    password: &'a str,
    realm: &'a str,
    nonce: &'a str,
    cnonce: &'a str,
    uri: &'a str,
}

impl Exchange<'_> {
    /// The digest of a direction: `AUTHENTICATE:` from the client, `:` from the server.
    fn digest(&self, direction: &str) -> String {
        let Self { user, password, realm, nonce, cnonce, uri } = self;
        let mut session = Md5::digest(format!("{user}:{realm}:{password}")).to_vec();
        session.extend_from_slice(format!(":{nonce}:{cnonce}").as_bytes());
        let (first, second) =
            (hex(&Md5::digest(session)), hex(&Md5::digest(format!("{direction}{uri}"))));
        hex(&Md5::digest(format!("{first}:{nonce}:00000001:{cnonce}:auth:{second}")))
    }
}

/// The parts of a challenge: `name="value",name=value`.
fn parts(challenge: &str) -> BTreeMap<&str, &str> {
    let (mut parts, mut rest) = (BTreeMap::new(), challenge);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        parts.insert(name.trim(), value);
        rest = next.trim_start_matches([',', ' ']);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_rfcs_example() {
        let exchange = Exchange {
            user: "chris",
            password: "secret",
            realm: "elwood.innosoft.com",
            nonce: "OA6MG9tEQGm2hh",
            cnonce: "OA6MHXh6VqTrRk",
            uri: "imap/elwood.innosoft.com",
        };
        assert_eq!(exchange.digest("AUTHENTICATE:"), "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(exchange.digest(":"), "ea40f60335c427b5527b84dbabcdfffd");
    }

    #[test]
    fn a_challenge_is_answered_and_layers_are_refused_by_name() {
        let token = Token::new([1, 2], [3], "KIND");
        let offer = |qop: &str| {
            let challenge = format!(
                "realm=\"default\",nonce=\"a=b,c\",qop=\"{qop}\",charset=utf-8,algorithm=md5-sess"
            );
            let method = SaslMethod {
                method: "TOKEN".to_owned(),
                mechanism: "DIGEST-MD5".to_owned(),
                protocol: Some(String::new()),
                server: Some("default".to_owned()),
                challenge: Some(challenge.into_bytes()),
            };
            Sasl { methods: vec![method], ..Sasl::default() }
        };
        let (message, expected) = respond(&offer("auth"), &token).unwrap();
        let text = String::from_utf8(message.token.unwrap()).unwrap();
        assert!(text.contains("username=\"AQI=\"") && text.contains("nonce=\"a=b,c\""), "{text}");
        assert!(text.contains("digest-uri=\"/default\""), "{text}");
        assert!(expected.starts_with(b"rspauth="));
        let error = respond(&offer("auth-conf"), &token).unwrap_err();
        assert!(error.message().contains("hadoop.rpc.protection"), "{error}");
        let error = respond(&Sasl::default(), &token).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
}
