//! Encryption of the messages of a connection: one key for each direction, and a number for each message, so that
//! none can be read, changed, left out or repeated on the way.

use anymaster_core::{Error, Result};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes by which a sealed message is longer.
const TAG: usize = 16;

/// Seals or opens the messages of one direction.
pub struct Seal {
    key: LessSafeKey,
    /// How many messages there were: the nonce of the next one.
    count: u64,
}

impl Seal {
    /// With a key of 32 bytes that is used for nothing else.
    pub(super) fn new(key: &[u8; 32]) -> Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key)
            .map_err(|_| Error::protocol("the key of a connection cannot be used"))?;
        Ok(Self { key: LessSafeKey::new(key), count: 0 })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.count.to_be_bytes());
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals the next message in its place.
    ///
    /// # Errors
    /// If it is longer than a message can be.
    pub fn seal(&mut self, message: &mut Vec<u8>) -> Result<()> {
        message.reserve_exact(TAG);
        let nonce = self.nonce();
        self.key
            .seal_in_place_append_tag(nonce, Aad::empty(), message)
            .map_err(|_| Error::protocol("a message is too long to be sealed"))
    }

    /// Opens the next message in its place.
    ///
    /// # Errors
    /// If it is not the one that the other side sent as its next.
    pub fn open<'a>(&mut self, message: &'a mut [u8]) -> Result<&'a [u8]> {
        let nonce = self.nonce();
        match self.key.open_in_place(nonce, Aad::empty(), message) {
            Ok(message) => Ok(message),
            Err(_) => Err(Error::protocol("a message with a wrong seal")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_changed_repeated_left_out_or_out_of_order_is_refused() {
        let both = || [(); 2].map(|()| Seal::new(&[7; 32]).unwrap());
        let sealed = || {
            let [mut sender, receiver] = both();
            let messages = ["one", "two"].map(|text| {
                let mut message = text.as_bytes().to_vec();
                sender.seal(&mut message).unwrap();
                assert_eq!(message.len(), text.len() + TAG);
                message
            });
            (messages, receiver)
        };
        let ([mut one, mut two], mut receiver) = sealed();
        assert_eq!(receiver.open(&mut one).unwrap(), b"one");
        assert_eq!(receiver.open(&mut two).unwrap(), b"two");

        let ([one, mut two], mut receiver) = sealed();
        assert!(receiver.open(&mut two).is_err(), "the first one is missing");
        let (_, mut receiver) = (two, sealed().1);
        receiver.open(&mut one.clone()).unwrap();
        assert!(receiver.open(&mut one.clone()).is_err(), "it was there already");
        for at in 0..one.len() {
            let mut changed = one.clone();
            changed[at] ^= 1;
            assert!(sealed().1.open(&mut changed).is_err(), "byte {at}");
            assert!(sealed().1.open(&mut one[..at].to_vec()).is_err(), "only {at} bytes");
        }
    }
}
