//! Java properties text, as `java.util.Properties` reads and writes it, with Spark's trimming.

use crate::{Error, Result};

/// Reads Java properties: comments (`#`, `!`), separators (`=`, `:`, white space), continued lines,
/// escapes (`\n`, `\u00e9` …). A key that stands twice has its last value. As in Spark, white space
/// and control characters at both ends of a value are cut, but for line ends.
///
/// # Errors
/// [`InvalidSpec`](crate::ErrorKind::InvalidSpec) with the line of a malformed `\u` escape.
pub fn read_properties(text: &str) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    let mut lines = Lines { rest: text, number: 0 };
    while let Some((line, number)) = lines.logical() {
        let (key, value) = split(&line);
        let at = |error: Error| error.context(format!("line {number}"));
        let value = unescape(value).map_err(at)?;
        let cut = |c: char| c <= ' ' && c != '\r' && c != '\n';
        entries.push((unescape(key).map_err(at)?, value.trim_matches(cut).to_owned()));
    }
    Ok(entries)
}

struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    /// A natural line, without its end (`\n`, `\r` or `\r\n`).
    fn natural(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix("\r\n").or(rest.get(1..)).unwrap_or("");
        Some(line)
    }

    /// The next line that is neither blank nor a comment, with those that continue it; its number.
    fn logical(&mut self) -> Option<(String, usize)> {
        loop {
            let line = self.natural()?.trim_start_matches(BLANK);
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let number = self.number;
            let mut logical = line.to_owned();
            while is_continued(&logical) {
                logical.pop();
                match self.natural() {
                    Some(more) => logical.push_str(more.trim_start_matches(BLANK)),
                    None => break,
                }
            }
            if logical.is_empty() {
                continue;
            }
            return Some((logical, number));
        }
    }
}

/// White space within a line, for Java: space, tab and form feed.
const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

/// An odd number of backslashes at the end: the last one escapes the line end.
fn is_continued(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// At the first separator that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '=' || c == ':' {
            return (&line[..at], line[at + 1..].trim_start_matches(BLANK));
        } else if BLANK.contains(&c) {
            let rest = line[at..].trim_start_matches(BLANK);
            let rest =
                rest.strip_prefix(['=', ':']).map_or(rest, |rest| rest.trim_start_matches(BLANK));
            return (&line[..at], rest);
        }
    }
    (line, "")
}

fn unescape(text: &str) -> Result<String> {
    let mut units: Vec<u16> = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    // `\u` escapes are UTF-16 units: a pair of them may make one character.
    let flush = |units: &mut Vec<u16>, out: &mut String| {
        out.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or('\u{fffd}')));
    };
    while let Some(c) = chars.next() {
        if c != '\\' {
            flush(&mut units, &mut out);
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = (digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
                    .then(|| u16::from_str_radix(&digits, 16).ok())
                    .flatten()
                    .ok_or_else(|| {
                        Error::invalid(format!(
                            "\\u{digits} is not an escape of four hexadecimal digits"
                        ))
                    })?;
                units.push(unit);
            }
            escaped => {
                flush(&mut units, &mut out);
                out.extend(escaped.map(|c| match c {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    'f' => '\u{c}',
                    other => other,
                }));
            }
        }
    }
    flush(&mut units, &mut out);
    Ok(out)
}

/// Writes properties so that Java, and [`read_properties`] but for its trimming, read the same back:
/// `Properties.store` without its date.
pub fn write_properties<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        escape(key, true, &mut text);
        text.push('=');
        escape(value, false, &mut text);
        text.push('\n');
    }
    text
}

fn escape(text: &str, is_key: bool, out: &mut String) {
    for (at, c) in text.char_indices() {
        match c {
            ' ' if is_key || at == 0 => out.push_str("\\ "),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            '=' | ':' | '#' | '!' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read_properties(text).unwrap()
    }

    #[test]
    fn it_reads_what_java_reads() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\t=\tb", "a", "b"),
            ("a  :=b", "a", "=b"),
            ("a", "a", ""),
            ("  a = b c ", "a", "b c"),
            ("a\\ b=c", "a b", "c"),
            ("a\\=b=c", "a=b", "c"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\\\nc=d", "a", "b\\"),
            ("a=\\u00e9\\ud83d\\ude00", "a", "é😀"),
            ("a=\\q\\t.", "a", "q\t."),
            ("a=b\r\n# c", "a", "b"),
            ("!x\n\n \t\na=b", "a", "b"),
            ("a=b\\", "a", "b"),
            ("=b", "", "b"),
            ("a=x\\n", "a", "x\n"),
        ] {
            let first = pairs(text).swap_remove(0);
            assert_eq!(first, (key.to_owned(), value.to_owned()), "{text:?}");
        }
        assert!(pairs("# only\n! comments\n").is_empty());
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        let error = read_properties("a=b\n\nc=\\u12g4").unwrap_err();
        assert_eq!(error.message(), "line 3: \\u12g4 is not an escape of four hexadecimal digits");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(key in ".+", value in ".*") {
            let text = write_properties([(key.as_str(), value.as_str())]);
            prop_assert!(text.is_ascii());
            let trimmed = value.trim_matches(|c: char| c <= ' ' && c != '\r' && c != '\n');
            prop_assert_eq!(pairs(&text), vec![(key, trimmed.to_owned())]);
        }

        #[test]
        fn no_text_panics(text in "(.|\n|\\\\|\\\\u|=)*") {
            let _ = read_properties(&text);
        }
    }
}
