//! Times and tables for people.

use std::fmt::Write as _;
use std::time::Duration;

use anymaster_core::conf::{TimeUnit, parse_time};
use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

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

/// A table without lines: columns as wide as their widest cell, two blanks apart.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
    least: Vec<usize>,
}

/// A cell: its text, and how the text looks when it is printed (with colours, perhaps).
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    width: usize,
    printed: String,
}

impl Cell {
    /// A text that prints as `printed`, which is as wide.
    pub(crate) fn painted(text: &str, printed: String) -> Self {
        Self { width: text.width(), printed }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        let printed = text.into();
        Self { width: printed.width(), printed }
    }
}

impl Table {
    /// A table with a row of headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let row = headings.iter().map(|heading| Cell::from(*heading)).collect();
        Self { rows: vec![row], least: Vec::new() }
    }

    /// A table without headings whose columns are at least as wide as these.
    pub(crate) fn continuing(widths: Vec<usize>) -> Self {
        Self { rows: Vec::new(), least: widths }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// How wide each column is.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let mut widths = self.least.clone();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width);
            }
        }
        widths
    }

    /// The lines, each with a line end.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut blanks = 0;
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{:blanks$}{}", "", cell.printed);
                blanks = width - cell.width + 2;
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
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

    #[test]
    fn columns_line_up_whatever_their_letters() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["数値".into(), Cell::painted("Running", "<b>Running</b>".into())]);
        table.row(["a".into(), "".into()]);
        assert_eq!(table.render(), "NAME  STATE\n数値  <b>Running</b>\na\n");
        let mut next = Table::continuing(table.widths());
        next.row(["b".into(), "Ending".into()]);
        assert_eq!(next.render(), "b     Ending\n");
    }
}
