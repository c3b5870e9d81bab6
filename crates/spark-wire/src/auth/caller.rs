//! The side of the one who calls: a master that takes over a driver (Spark 3.5, `AuthClientBootstrap` and
//! `SaslClientBootstrap`).

use super::cipher::Ciphers;
use super::engine::Agreement;
use super::{Authentication, sasl};
use crate::error::{Result, WireError};

/// A caller on the way to prove itself.
#[derive(Debug)]
pub struct Caller {
    authentication: Authentication,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A challenge of the key agreement was sent.
    Agreeing(Box<Agreement>),
    /// SASL has begun.
    Begun,
    /// The response to the challenge of SASL was sent; the answer proves that the other side knows the secret, too.
    Responded { expected: Vec<u8> },
}

/// What follows from an answer.
#[derive(Debug)]
pub enum Call {
    /// This is asked next.
    Ask(Vec<u8>),
    /// Both have proved themselves. From then on all bytes are encrypted, if there are ciphers.
    Proved(Option<Box<Ciphers>>),
}

impl Caller {
    /// A caller, and the body of its first request.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new(authentication: Authentication) -> Result<(Self, Vec<u8>)> {
        let (state, first) = match authentication.encryption {
            Some(encryption) => {
                let agreement = Agreement::begin(&authentication.secret, encryption)?;
                let challenge = agreement.challenge().to_vec();
                (State::Agreeing(Box::new(agreement)), challenge)
            }
            None => (State::Begun, sasl::message(&[])),
        };
        Ok((Self { authentication, state }, first))
    }

    /// Takes in the answer to the last request: the body of a response, or the text of a failure.
    ///
    /// # Errors
    /// If the other side does not know the secret, or speaks otherwise.
    pub fn answered(&mut self, answer: std::result::Result<&[u8], &str>) -> Result<Call> {
        let secret = &self.authentication.secret;
        match (&self.state, answer) {
            (State::Agreeing(agreement), Ok(answer)) => agreement
                .finish(secret, answer)
                .map(|ciphers| Call::Proved(Some(Box::new(ciphers)))),
            // One without encryption may be spoken to as well, if that is allowed.
            (State::Agreeing(_), Err(_))
                if self.authentication.encryption.is_some_and(|it| it.sasl_fallback) =>
            {
                self.state = State::Begun;
                Ok(Call::Ask(sasl::message(&[])))
            }
            (State::Begun, Ok(challenge)) => {
                let (response, expected) = sasl::respond(challenge, secret)?;
                self.state = State::Responded { expected };
                Ok(Call::Ask(sasl::message(&response)))
            }
            (State::Responded { expected }, Ok(answer)) if answer == expected => {
                Ok(Call::Proved(None))
            }
            (State::Responded { .. }, Ok(_)) => {
                Err(WireError::malformed("the other side does not know the secret"))
            }
            (_, Err(text)) => {
                Err(WireError::malformed(format!("the other side refuses the secret: {text}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cipher, Encryption, Proof, Step};
    use super::*;

    fn known(secret: &str, encryption: Option<Encryption>) -> Authentication {
        Authentication { secret: secret.to_owned(), encryption }
    }

    fn encryption(cipher: Cipher, engine_version: u8) -> Option<Encryption> {
        Some(Encryption { cipher, engine_version, sasl_fallback: true })
    }

    /// What both sides come to.
    fn meet(
        caller: Authentication,
        called: Authentication,
    ) -> Result<(Call, Option<Box<Ciphers>>)> {
        let mut proof = Proof::new(called);
        let (mut caller, mut request) = Caller::new(caller)?;
        loop {
            let (answer, proved) = match proof.step(&request)? {
                Step::Continue(body) => (Ok(body), None),
                Step::Proved(body, ciphers) => (Ok(body), Some(ciphers)),
                Step::Refused(text) | Step::Wrong(text) => (Err(text), None),
            };
            match caller.answered(answer.as_deref().map_err(|text| &**text))? {
                Call::Ask(next) => request = next,
                call => return Ok((call, proved.unwrap())),
            }
        }
    }

    #[test]
    fn both_sides_come_to_the_same_ciphers() {
        let all =
            [(Cipher::AesCtr, 1), (Cipher::AesCtr, 2), (Cipher::AesGcm, 1), (Cipher::AesGcm, 2)];
        for (cipher, version) in all {
            let known = || known("s3cret", encryption(cipher, version));
            let (call, called) = meet(known(), known()).unwrap();
            let (Call::Proved(Some(mut caller)), Some(mut called)) = (call, called) else {
                panic!("{cipher:?} {version}: not encrypted")
            };
            let sealed = caller.sealer.seal(b"to the called").unwrap();
            assert_eq!(called.opener.open(&sealed).unwrap(), b"to the called");
            let sealed = called.sealer.seal(b"to the caller").unwrap();
            assert_eq!(caller.opener.open(&sealed).unwrap(), b"to the caller");
        }
    }

    #[test]
    fn without_encryption_it_is_sasl_and_a_driver_without_it_is_spoken_to_by_sasl() {
        let plain = || known("s3cret", None);
        for caller in [plain(), known("s3cret", encryption(Cipher::AesCtr, 1))] {
            let (call, called) = meet(caller, plain()).unwrap();
            assert!(matches!((call, called), (Call::Proved(None), None)));
        }
        let mut strict = encryption(Cipher::AesCtr, 1).unwrap();
        strict.sasl_fallback = false;
        assert!(meet(known("s3cret", Some(strict)), plain()).is_err());
    }

    #[test]
    fn another_secret_is_noticed_by_both() {
        for encryption in [None, encryption(Cipher::AesGcm, 2)] {
            assert!(meet(known("s3cret", encryption), known("other", encryption)).is_err());
        }
        let (mut caller, _) = Caller::new(known("s3cret", None)).unwrap();
        let challenge = b"realm=\"default\",nonce=\"N\",qop=\"auth-conf,auth\",algorithm=md5-sess";
        assert!(matches!(caller.answered(Ok(challenge)), Ok(Call::Ask(_))));
        let error = caller.answered(Ok(b"rspauth=00112233445566778899aabbccddeeff")).unwrap_err();
        assert!(error.to_string().contains("does not know the secret"), "{error}");
        for odd in
            ["", "nonce", "realm=\"default\"", "nonce=\"N\",qop=\"auth-conf\"", "nonce=\"a\\\"b\""]
        {
            let (mut caller, _) = Caller::new(known("s3cret", None)).unwrap();
            assert!(caller.answered(Ok(odd.as_bytes())).is_err(), "{odd}");
        }
    }
}
