//! Labels as properties write them (Spark 3.5, `MesosProtoUtils.mesosLabels`).

use anymaster_core::{Error, Result};

use crate::model::Label;

/// The labels of `key:value,key:value`. `\,` and `\:` stand for the characters themselves.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) in Spark's words, naming the property, for
/// what does not have exactly one colon.
pub fn labels(property: &str, text: &str) -> Result<Vec<Label>> {
    let one = |pair: &str| match split(pair, ':').as_slice() {
        [key, value] => Ok(Label { key: plain(key), value: Some(plain(value)) }),
        _ => Err(Error::invalid(format!("{property}: Malformed label: {pair}")).with_hint(
            "write key:value,key:value, with \\, and \\: for the characters themselves",
        )),
    };
    split(text, ',').into_iter().map(one).collect()
}

fn plain(part: &str) -> String {
    part.replace("\\,", ",").replace("\\:", ":")
}

/// Splits where the separator has no backslash before it. Nothing has no parts.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    if text.is_empty() {
        return parts;
    }
    let (mut begin, mut before) = (0, None);
    for (at, char) in text.char_indices() {
        if char == separator && before != Some('\\') {
            parts.push(&text[begin..at]);
            begin = at + 1;
        }
        before = Some(char);
    }
    parts.push(&text[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_split_as_spark_does() {
        let pairs = |text| {
            let of = |label: Label| (label.key, label.value.unwrap());
            labels("p", text).map(|all| all.into_iter().map(of).collect::<Vec<_>>())
        };
        let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs("").unwrap(), []);
        assert_eq!(pairs("k:v,k2:v2").unwrap(), [owned("k", "v"), owned("k2", "v2")]);
        assert_eq!(
            pairs(r"key:value,key2:a\:b,key3:a\,b").unwrap(),
            [owned("key", "value"), owned("key2", "a:b"), owned("key3", "a,b")]
        );
        assert_eq!(pairs("k:").unwrap(), [owned("k", "")]);
        for (text, piece) in [("a", "a"), ("a:b:c", "a:b:c"), ("a:b,", ""), ("a:b,,c:d", "")] {
            let error = pairs(text).unwrap_err();
            assert_eq!(error.message(), format!("p: Malformed label: {piece}"));
        }
    }
}
