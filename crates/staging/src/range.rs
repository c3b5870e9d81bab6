//! The header `Range` of HTTP: one range of bytes.

/// What a `Range` asks of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it: there is no such header, or one that a server may ignore, as several ranges are.
    All,
    /// From the first byte up to the last one, both included.
    Part(u64, u64),
    /// Nothing that is there.
    Unsatisfiable,
}

/// Reads `bytes=FIRST-LAST`, `bytes=FIRST-` and `bytes=-COUNT` for a content of so many bytes (RFC 9110, 14.1.2).
pub fn byte_range(header: Option<&str>, length: u64) -> ByteRange {
    let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return ByteRange::All;
    };
    let Some((first, last)) = range.split_once('-') else { return ByteRange::All };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large for anything is behind all ends.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => ByteRange::All,
        (Some(first), _) if first >= length && (last.is_empty() || number(last).is_some()) => {
            ByteRange::Unsatisfiable
        }
        (Some(first), Some(last)) => ByteRange::Part(first, last.min(length - 1)),
        (Some(first), None) if last.is_empty() => ByteRange::Part(first, length - 1),
        (None, Some(0)) if first.is_empty() => ByteRange::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && length == 0 => ByteRange::Unsatisfiable,
        (None, Some(count)) if first.is_empty() => {
            ByteRange::Part(length.saturating_sub(count), length - 1)
        }
        _ => ByteRange::All,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_those_of_the_standard() {
        use ByteRange::{All, Part, Unsatisfiable};
        for (header, length, want) in [
            ("bytes=0-0", 10, Part(0, 0)),
            ("bytes=2-5", 10, Part(2, 5)),
            ("bytes=2-99", 10, Part(2, 9)),
            ("bytes=9-", 10, Part(9, 9)),
            ("bytes=-3", 10, Part(7, 9)),
            ("bytes=-99", 10, Part(0, 9)),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=5-2", 10, All),
            ("bytes=0-1,3-4", 10, All),
            ("bytes=", 10, All),
            ("bytes=-", 10, All),
            ("bytes=a-b", 10, All),
            ("bytes=+1-2", 10, All),
            ("lines=1-2", 10, All),
        ] {
            assert_eq!(byte_range(Some(header), length), want, "{header} of {length}");
        }
        assert_eq!(byte_range(None, 10), All);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_content(text in "bytes=[-0-9, a]{0,12}", length in 0_u64..100) {
            if let ByteRange::Part(first, last) = byte_range(Some(&text), length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
