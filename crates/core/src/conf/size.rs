//! Sizes as Spark writes them (`JavaUtils.byteStringAs`): `512`, `1g`, `64MB`. Units are of 1024.

use std::fmt;

/// The unit of a size without a suffix, and of the number that comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeUnit {
    /// 1 B.
    Byte,
    /// 1024 B.
    Kibi,
    /// 1024 KiB.
    Mebi,
}

impl SizeUnit {
    const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Kibi => 1 << 10,
            Self::Mebi => 1 << 20,
        }
    }

    /// In words: `bytes`, `KiB` or `MiB`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Byte => "bytes",
            Self::Kibi => "KiB",
            Self::Mebi => "MiB",
        }
    }
}

/// What is wrong with a size or a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadQuantity(pub(crate) String);

impl fmt::Display for BadQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a size; a bare number is in `unit`, and so is the result (rounded down, as in Spark).
///
/// # Errors
/// Says what is wrong: fractions, negative numbers, unknown suffixes and overflow are refused.
pub fn parse_size(text: &str, unit: SizeUnit) -> Result<u64, BadQuantity> {
    let (number, suffix) = split(text, "512m, 2g or 64k")?;
    let factor = match suffix.as_str() {
        "" => unit.bytes(),
        "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        "p" | "pb" => 1 << 50,
        other => {
            return Err(BadQuantity(format!(
                "{other:?} is not a unit of size: use b, k, m, g, t or p (of 1024)"
            )));
        }
    };
    // Spark computes in signed 64 bits.
    number
        .checked_mul(factor)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .map(|bytes| bytes / unit.bytes())
        .ok_or_else(|| BadQuantity("it is larger than 8 EiB".to_owned()))
}

/// Splits `12mb` into its number and its suffix in lower case.
pub(super) fn split(text: &str, example: &str) -> Result<(u64, String), BadQuantity> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() {
        let what = match suffix {
            "" => "it is empty".to_owned(),
            other if other.starts_with('-') => "negative values are not allowed".to_owned(),
            _ => "it does not begin with a number".to_owned(),
        };
        return Err(BadQuantity(format!("{what}: write for example {example}")));
    }
    if suffix.starts_with(['.', ',']) {
        return Err(BadQuantity(format!(
            "fractions are not allowed: write a whole number of a smaller unit, for example {example}"
        )));
    }
    let number = number.parse().map_err(|_| BadQuantity("the number is too large".to_owned()))?;
    Ok((number, suffix.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_spark_reads_them() {
        for (text, unit, want) in [
            ("1g", SizeUnit::Mebi, 1024),
            ("1024", SizeUnit::Mebi, 1024),
            ("1024", SizeUnit::Byte, 1024),
            ("1500k", SizeUnit::Mebi, 1),
            (" 2GB ", SizeUnit::Byte, 2 << 30),
            ("1Tb", SizeUnit::Kibi, 1 << 30),
            ("7p", SizeUnit::Mebi, 7 << 30),
            ("0", SizeUnit::Mebi, 0),
        ] {
            assert_eq!(parse_size(text, unit), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_size_says_why() {
        for (text, why) in [
            ("", "it is empty"),
            ("g", "does not begin with a number"),
            ("-1g", "negative"),
            ("1.5g", "fractions"),
            ("1x", "\"x\" is not a unit"),
            ("1 g", "\" g\" is not a unit"),
            ("99999999999999999999", "too large"),
            ("9000p", "larger than 8 EiB"),
        ] {
            let error = parse_size(text, SizeUnit::Byte).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_size(&text, SizeUnit::Byte);
        }

        #[test]
        fn a_larger_unit_never_makes_less(number in 0_u64..8192) {
            let sizes: Vec<_> = ["b", "k", "m", "g", "t"]
                .iter()
                .map(|unit| parse_size(&format!("{number}{unit}"), SizeUnit::Byte).unwrap())
                .collect();
            prop_assert!(sizes.is_sorted());
        }
    }
}
