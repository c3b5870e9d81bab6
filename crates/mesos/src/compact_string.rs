//! Short texts, of which masters say millions.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// How many bytes have room in a word itself.
const ROOM: usize = 7;

/// A text that takes no memory of its own if it is short: what is offered, how it is counted, for whom it
/// is set aside.
#[derive(Clone, PartialEq, Eq)]
pub struct CompactString(Text);

#[derive(Clone, PartialEq, Eq)]
enum Text {
    Short(u8, [u8; ROOM]),
    Long(Box<str>),
}

impl CompactString {
    /// As text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Long(text) => text,
            // They were made of text.
            Text::Short(..) => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
        }
    }

    /// As bytes: quicker to compare.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Long(text) => text.as_bytes(),
            Text::Short(length, bytes) => &bytes[..usize::from(*length).min(ROOM)],
        }
    }
}

impl From<&str> for CompactString {
    fn from(text: &str) -> Self {
        let mut bytes = [0; ROOM];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Self(Text::Short(text.len() as u8, bytes))
            }
            None => Self(Text::Long(text.into())),
        }
    }
}

impl fmt::Debug for CompactString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for CompactString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for CompactString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for CompactString {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl Serialize for CompactString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CompactString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = CompactString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CompactString, E> {
                Ok(CompactString::from(text))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_take_no_memory() {
        let texts = ["", "*", "cpus", "DYNAMIC", "übers", "über all", "spark/executors"];
        let words: Vec<CompactString> =
            serde_json::from_str(&serde_json::to_string(&texts).unwrap()).unwrap();
        let are_short: Vec<_> =
            words.iter().map(|word| matches!(word.0, Text::Short(..))).collect();
        assert_eq!(are_short, [true, true, true, true, true, false, false]);
        assert!(words.iter().zip(texts).all(|(word, text)| word == text && word.as_str() == text));
        assert_eq!(serde_json::to_string(&words).unwrap(), serde_json::to_string(&texts).unwrap());
        assert_ne!(CompactString::from("cpus"), "cpu");
        assert_eq!(size_of::<CompactString>(), 16);
    }
}
