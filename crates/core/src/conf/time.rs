//! Times as Spark writes them (`JavaUtils.timeStringAs`): `100ms`, `30s`, `5min`, `1h`.

use std::time::Duration;

use super::size::{BadQuantity, split};

/// The unit of a time without a suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// 1 ms.
    Millisecond,
    /// 1 s.
    Second,
}

impl TimeUnit {
    /// In words: `ms` or `s`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Millisecond => "ms",
            Self::Second => "s",
        }
    }
}

/// Reads a time; a bare number is in `unit`.
///
/// # Errors
/// Says what is wrong: fractions, negative numbers, unknown suffixes and overflow are refused.
pub fn parse_time(text: &str, unit: TimeUnit) -> Result<Duration, BadQuantity> {
    let (number, suffix) = split(text, "100ms, 30s or 5min")?;
    let too_long = || BadQuantity("it is longer than 292 years".to_owned());
    let seconds = |each: u64| {
        number
            .checked_mul(each)
            .filter(|seconds| *seconds <= i64::MAX as u64 / 1_000_000_000)
            .map(Duration::from_secs)
            .ok_or_else(too_long)
    };
    match (suffix.as_str(), unit) {
        ("us", _) => Ok(Duration::from_micros(number)),
        ("ms", _) | ("", TimeUnit::Millisecond) => Ok(Duration::from_millis(number)),
        ("s", _) | ("", TimeUnit::Second) => seconds(1),
        ("m" | "min", _) => seconds(60),
        ("h", _) => seconds(3_600),
        ("d", _) => seconds(86_400),
        (other, _) => Err(BadQuantity(format!(
            "{other:?} is not a unit of time: use us, ms, s, m, min, h or d"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_spark_reads_them() {
        for (text, unit, millis) in [
            ("30s", TimeUnit::Millisecond, 30_000),
            ("30", TimeUnit::Second, 30_000),
            ("30", TimeUnit::Millisecond, 30),
            ("100MS", TimeUnit::Second, 100),
            ("2m", TimeUnit::Second, 120_000),
            ("2min", TimeUnit::Second, 120_000),
            ("1h", TimeUnit::Second, 3_600_000),
            ("1d", TimeUnit::Second, 86_400_000),
        ] {
            assert_eq!(parse_time(text, unit), Ok(Duration::from_millis(millis)), "{text:?}");
        }
        for (text, why) in [
            ("", "it is empty"),
            ("1.5s", "fractions"),
            ("-1s", "negative"),
            ("5 minutes", "not a unit of time"),
            ("9999999999999d", "longer than"),
        ] {
            let error = parse_time(text, TimeUnit::Second).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_time(&text, TimeUnit::Second);
        }
    }
}
