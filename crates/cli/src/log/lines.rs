//! How log lines look: on one line each, whatever is in their values.

use std::fmt;

use anymaster_core::text::printable;
use clap::builder::styling::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Log lines that are shown unasked, in the words of the printer's own.
pub(crate) struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (word, style) = match *event.metadata().level() {
            Level::ERROR => ("error:", AnsiColor::Red.on_default().bold()),
            _ => ("warning:", AnsiColor::Yellow.on_default().bold()),
        };
        match writer.has_ansi_escapes() {
            true => write!(writer, "{style}{word}{style:#} ")?,
            false => write!(writer, "{word} ")?,
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The message, and the other fields as `name=value`. Values come from anywhere: what a terminal would
/// act on is written out.
pub(crate) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = self.write(field.name(), &format!("{value:?}"));
        }
    }
}

impl Visitor<'_> {
    fn write(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        let value = printable(value);
        if name == "message" {
            return self.writer.write_str(&value);
        }
        let name = name.trim_start_matches("r#");
        if !self.writer.has_ansi_escapes() {
            return write!(self.writer, "{name}={value}");
        }
        let (italic, dimmed) = (Style::new().italic(), Style::new().dimmed());
        write!(self.writer, "{italic}{name}{italic:#}{dimmed}={dimmed:#}{value}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .fmt_fields(Fields)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_value_moves_no_cursor_and_forges_no_line() {
        let name = "x\u{1b}[2J\nERROR forged\u{9b}1m";
        let log =
            logged(|| tracing::info!(app = %name, quoted = ?name, number = 7, "taken: {name}"));
        assert_eq!(
            log,
            " INFO anymaster_cli::log::lines::tests: taken: x\\u{1b}[2J\\nERROR forged\\u{9b}1m \
             app=x\\u{1b}[2J\\nERROR forged\\u{9b}1m quoted=\"x\\u{1b}[2J\\nERROR forged\\u{9b}1m\" \
             number=7\n"
        );
    }
}
