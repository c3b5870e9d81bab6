//! Times and numbers for people.

use std::time::Duration;

use anymaster_core::conf::{TimeUnit, parse_time};
use jiff::Timestamp;

/// How long ago something was, as kubectl says it: `5s`, `3m12s`, `47m`, `5h2m`, `3d4h`, `12d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..36_000 => pair(hours, 'h', minutes % 60, 'm'),
        36_000..172_800 => format!("{hours}h"),
        172_800..864_000 => pair(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

/// A number with its noun: `1 executor`, `3 executors`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Reads a time as Spark's properties write it: `10s`, `500ms`, `2min`; without a unit, seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_time(text, TimeUnit::Second).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now = Timestamp::from_second(10_000_000).unwrap();
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (47 * 60 + 3, "47m"),
            (5 * 3600 + 120, "5h2m"),
            (12 * 3600, "12h"),
            (76 * 3600, "3d4h"),
            (12 * 86_400, "12d"),
            (-5, "0s"),
        ];
        for (seconds, expected) in cases {
            let then = Timestamp::from_second(10_000_000 - seconds).unwrap();
            assert_eq!(age(then, now), expected, "{seconds}");
        }
    }
}
