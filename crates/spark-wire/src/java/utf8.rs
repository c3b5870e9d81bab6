//! Java's modified UTF-8: NUL is two bytes, and characters beyond U+FFFF are two surrogates of three bytes
//! each.

/// What is not valid becomes U+FFFD: texts are names and paths, and never decide anything by such a part.
pub(crate) fn decode(bytes: &[u8]) -> String {
    if bytes.is_ascii() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let continued = |byte: &u8| byte & 0xC0 == 0x80;
        (rest, _) = match (*first, after) {
            (0..=0x7F, _) => (after, units.push(u16::from(*first))),
            (0xC0..=0xDF, [second, after @ ..]) if continued(second) => {
                let unit = u16::from(first & 0x1F) << 6 | u16::from(second & 0x3F);
                (after, units.push(unit))
            }
            (0xE0..=0xEF, [second, third, after @ ..]) if continued(second) && continued(third) => {
                let unit = u16::from(first & 0x0F) << 12
                    | u16::from(second & 0x3F) << 6
                    | u16::from(third & 0x3F);
                (after, units.push(unit))
            }
            _ => (after, units.push(0xFFFD)),
        };
    }
    String::from_utf16_lossy(&units)
}

pub(crate) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match unit {
            0x01..=0x7F => bytes.push(unit as u8),
            0 | 0x80..=0x7FF => {
                bytes.extend([0xC0 | (unit >> 6) as u8, 0x80 | (unit & 0x3F) as u8])
            }
            _ => bytes.extend([
                0xE0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3F) as u8,
                0x80 | (unit & 0x3F) as u8,
            ]),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_they_are_written() {
        for text in ["", "plain", "nul \0 in it", "äöü €", "😀 beyond", "\u{FFFD}"] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(encode("\0"), [0xC0, 0x80]);
        assert_eq!(encode("😀").len(), 6);
    }

    #[test]
    fn what_is_not_valid_is_replaced() {
        assert_eq!(decode(b"a\xFFb\xC3"), "a\u{FFFD}b\u{FFFD}");
        // Half of a surrogate pair.
        assert_eq!(decode(&[0xED, 0xA0, 0xBD, b'x']), "\u{FFFD}x");
    }
}
