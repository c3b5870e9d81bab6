//! Text from others: how long it may be, and how it is shown on terminals and in logs.
//!
//! Names, arguments and messages come from users, networks and clusters. What they contain is kept as
//! it is, within [bounds](crate::model::ApplicationSpec::check); where people see it, [`printable`]
//! writes out what a terminal would act on.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest name of an application, in bytes.
pub const MAX_NAME: usize = 4096;

/// Longest message that is kept of a cluster's, in bytes: why something waits or ended.
pub const MAX_MESSAGE: usize = 16 << 10;

/// Whether a terminal acts on a character instead of showing it, or shows nothing or others in another
/// order: control characters (C0, DEL, C1), line and paragraph separators, bidirectional controls, and
/// characters without a width. Joiners (U+200C, U+200D) are part of words and of emoji, and stay.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, with escapes as in Rust (`\n`, `\u{1b}`) for what a terminal would
/// [act on](is_control).
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_control)
}

/// As [`printable`], but line ends and tabs stay: for text of several lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && is_control(c))
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&is_meant) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        match c {
            c if !is_meant(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(out)
}

/// The beginning of a text, at most so many bytes of it with the `…` that stands for the rest.
pub fn clipped(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
    Cow::Owned(format!("{}…", &text[..end]))
}

/// A text in quotes for an error: its beginning, with escapes.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", clipped(text, 80))
}

/// Bytes in hexadecimal digits, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_written_out() {
        let cases = [
            ("pi", "pi"),
            ("数値 é 👩\u{200d}🔬", "数値 é 👩\u{200d}🔬"),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", "\\u{1b}[2J\\u{1b}]0;x\\u{7}"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\u{0}"),
            ("\u{7f}\u{9b}31m", "\\u{7f}\\u{9b}31m"),
            ("\u{202e}exe.cod\u{2066}\u{200f}", "\\u{202e}exe.cod\\u{2066}\\u{200f}"),
            ("\u{200b}\u{feff}\u{e0041}\u{2028}", "\\u{200b}\\u{feff}\\u{e0041}\\u{2028}"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_lines("a\n\t\u{1b}b"), "a\n\t\\u{1b}b");
        assert!(matches!(printable("pi"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clipped("abc", 3), "abc");
        assert_eq!(clipped("abcdef", 5), "ab…");
        assert_eq!(clipped("ééé", 5), "é…");
        assert_eq!(clipped(&"é".repeat(1000), 100).len(), 99);
    }
}
