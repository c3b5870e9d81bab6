//! Standard output is data, standard error has messages.
//!
//! Data goes through [`Printer::data`] and its kin and fails when it cannot be written; a message is
//! written as far as that is possible. Colours are for terminals only, and never with `NO_COLOR`. In
//! messages and in JSON, what a terminal would act on is written out; other data is printed as it is.

use std::io::{self, IsTerminal, Write};

use anymaster_core::Error;
use anymaster_core::model::State;
use anymaster_core::text::{clipped, is_control, printable, printable_lines};
use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::table::Fit;

/// How much of an error's message is shown, in bytes.
const MAX_ERROR: usize = 16 << 10;

/// How data is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Tables and sentences, for people
    #[default]
    Text,
    /// As `text`, with more columns
    Wide,
    /// One JSON document; streams are one document a line
    Json,
    /// One YAML document; streams are one document after another
    Yaml,
}

impl Format {
    /// For what has no table: JSON if that was asked for, else YAML, which people can read.
    pub(crate) fn document(self) -> Self {
        match self {
            Self::Json => Self::Json,
            Self::Text | Self::Wide | Self::Yaml => Self::Yaml,
        }
    }
}

/// Writes to the standard streams in one house style.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    data_colors: bool,
    stderr_colors: bool,
    stderr_terminal: bool,
}

impl Printer {
    /// For the standard streams of this process.
    pub(crate) fn from_streams() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let colors = variable("NO_COLOR").is_none()
            && variable("TERM").is_none_or(|terminal| terminal != "dumb");
        let stderr_terminal = io::stderr().is_terminal();
        Self {
            data_colors: colors && io::stdout().is_terminal(),
            stderr_colors: colors && stderr_terminal,
            stderr_terminal,
        }
    }

    /// Whether standard error is a terminal, so that progress can be drawn on it.
    pub(crate) fn is_stderr_terminal(self) -> bool {
        self.stderr_terminal
    }

    /// Whether messages are coloured.
    pub(crate) fn is_stderr_colored(self) -> bool {
        self.stderr_colors
    }

    /// Whether data is coloured.
    pub(crate) fn colors(self) -> Colors {
        Colors(self.data_colors)
    }

    /// How much room tables have.
    pub(crate) fn fit(self, format: Format) -> Fit {
        match (format, terminal_size::terminal_size_of(io::stdout())) {
            (Format::Wide, _) => Fit::Whole,
            (_, Some((columns, _))) if columns.0 > 0 => Fit::Columns(columns.0.into()),
            _ => Fit::Cells,
        }
    }

    /// Writes data as it is.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Writes a value as one JSON or YAML document.
    pub(crate) fn value(self, format: Format, value: &impl Serialize) -> Result<(), Failure> {
        self.data(&document(format, value)?)
    }

    /// Writes one item of a stream of values.
    pub(crate) fn item(self, format: Format, value: &impl Serialize) -> Result<(), Failure> {
        let text = match format {
            Format::Yaml => format!("---\n{}", document(format, value)?),
            _ => json(serde_json::to_string(value))?,
        };
        self.data(&text)
    }

    /// Tells something that is not data, on one line.
    pub(crate) fn message(self, line: impl AsRef<str>) {
        self.write_message(&format!("{}\n", printable(line.as_ref())));
    }

    /// Tells something of several lines.
    pub(crate) fn message_lines(self, lines: impl AsRef<str>) {
        self.write_message(&format!("{}\n", printable_lines(lines.as_ref())));
    }

    /// Passes on a line that a program of the user's wrote, as it is.
    pub(crate) fn relay(self, line: &str) {
        self.write_message(&format!("{line}\n"));
    }

    /// Warns.
    pub(crate) fn warn(self, message: impl AsRef<str>) {
        let word = self.paint(AnsiColor::Yellow.on_default().bold(), "warning:");
        self.write_message(&format!("{word} {}\n", printable(message.as_ref())));
    }

    /// Shows an error and what to do about it.
    pub(crate) fn error(self, error: &Error) {
        self.error_as("error:", error);
    }

    /// As [`error`](Self::error), with another word before it.
    pub(crate) fn error_as(self, word: &str, error: &Error) {
        self.write_message(&self.render_error(word, error));
    }

    fn render_error(self, word: &str, error: &Error) -> String {
        let word = self.paint(AnsiColor::Red.on_default().bold(), word);
        // What others wrote may have lines of its own; they stay within the error.
        let message = error.to_string();
        let message = printable_lines(&clipped(&message, MAX_ERROR)).replace('\n', "\n  ");
        let mut text = format!("{word} {message}\n");
        if let Some(hint) = error.hint() {
            let word = self.paint(AnsiColor::Cyan.on_default().bold(), "hint:");
            for (index, line) in hint.lines().enumerate() {
                let lead = if index == 0 { word.as_str() } else { "     " };
                text.push_str(&format!("  {lead} {}\n", printable(line)));
            }
        }
        text
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.stderr_colors { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Talk has nowhere to complain to when standard error is closed.
    fn write_message(self, text: &str) {
        let mut stream = io::stderr().lock();
        let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    }
}

/// Paints words in tables, or leaves them alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Colors(bool);

impl Colors {
    /// No colours at all.
    #[cfg(test)]
    pub(crate) const OFF: Self = Self(false);

    /// A state's word: green while it is well, yellow on the way, red after a failure.
    pub(crate) fn state(self, state: &State, text: &str) -> String {
        let color = match state.word() {
            "Running" | "Finished" => AnsiColor::Green,
            "Pending" | "Ending" => AnsiColor::Yellow,
            "Killed" => return text.to_owned(),
            _ => AnsiColor::Red,
        };
        self.paint(color.on_default(), text)
    }

    /// A heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// Something that is well, doubtful or missing.
    pub(crate) fn verdict(self, verdict: Verdict, text: &str) -> String {
        let color = match verdict {
            Verdict::Good => AnsiColor::Green,
            Verdict::Doubtful => AnsiColor::Yellow,
            Verdict::Bad => AnsiColor::Red,
        };
        self.paint(color.on_default(), text)
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Good,
    /// It works, with a limit.
    Doubtful,
    /// It does not work.
    Bad,
}

fn document(format: Format, value: &impl Serialize) -> Result<String, Failure> {
    if format == Format::Yaml {
        let text = serde_saphyr::to_string(value).map_err(unprintable)?;
        return Ok(text.trim_end().to_owned() + "\n");
    }
    json(serde_json::to_string_pretty(value))
}

/// A JSON document with its line end. Control characters are in strings only, where they may be escaped.
fn json(text: serde_json::Result<String>) -> Result<String, Failure> {
    let text = text.map_err(unprintable)?;
    let is_meant = |c: char| c != '\n' && is_control(c);
    let mut out = String::with_capacity(text.len() + 1);
    let mut rest = text.as_str();
    while let Some(at) = rest.find(is_meant) {
        out.push_str(&rest[..at]);
        let mut chars = rest[at..].chars();
        for unit in chars.next().iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('\n');
    Ok(out)
}

fn unprintable(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Error::protocol("this cannot be written in the format asked for").with_source(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Printer =
        Printer { data_colors: false, stderr_colors: false, stderr_terminal: false };

    #[test]
    fn an_error_shows_its_hint_below_it() {
        let error = Error::not_found("no application \"x\"").with_hint("one line\nand another");
        insta::assert_snapshot!(PLAIN.render_error("error:", &error), @r#"
        error: no application "x"
          hint: one line
                and another
        "#);
    }

    #[test]
    fn an_error_that_quotes_input_moves_no_cursor_and_forges_no_line() {
        let error = Error::not_found("no \u{1b}[2J\nerror: x").with_hint("\u{9b}1m\ny");
        assert_eq!(
            PLAIN.render_error("error:", &error),
            "error: no \\u{1b}[2J\n  error: x\n  hint: \\u{9b}1m\n        y\n"
        );
        let error = Error::not_found("x".repeat(16 << 20));
        assert!(PLAIN.render_error("error:", &error).len() < 20_000);
    }

    #[test]
    fn json_is_the_same_json_without_control_characters() {
        let value = serde_json::json!(["\u{1b}\u{9b}\u{7f}\u{202e}\u{e0041}é\n"]);
        let text = document(Format::Json, &value).unwrap();
        assert_eq!(text, "[\n  \"\\u001b\\u009b\\u007f\\u202e\\udb40\\udc41é\\n\"\n]\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn colours_are_for_terminals() {
        let error = Error::not_found("x").with_hint("y");
        let colored = Printer { stderr_colors: true, ..PLAIN }.render_error("error:", &error);
        assert!(colored.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m x"), "{colored:?}");
        assert!(!PLAIN.render_error("error:", &error).contains('\u{1b}'));
    }

    #[test]
    fn documents_are_json_or_yaml() {
        let value = serde_json::json!({"a": [1, 2], "b": "x: y"});
        assert_eq!(
            document(Format::Json, &value).unwrap(),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": \"x: y\"\n}\n"
        );
        insta::assert_snapshot!(document(Format::Yaml, &value).unwrap());
    }
}
