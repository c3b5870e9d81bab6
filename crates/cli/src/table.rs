//! Tables for people: columns that line up, in the width that there is.

use anymaster_core::text::printable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Widest cell of a table that does not go to a terminal.
const MAX_CELL: usize = 128;

/// Narrowest column to which a column is cut.
const MIN_CELL: usize = 8;

/// Between two columns.
const GAP: usize = 2;

/// How much room a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// As much as it takes: nothing is cut.
    Whole,
    /// A terminal of so many columns.
    Columns(usize),
    /// No terminal: cells within a bound, so that one does not make the table unreadable.
    Cells,
}

/// A table without lines: columns as wide as their widest cell, two blanks apart. The first column says
/// what a line is about, and is never cut.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
    least: Vec<usize>,
    fit: Fit,
}

/// A cell: words of ours, with colours perhaps, and a text from anywhere. What a terminal would act on
/// in the text is written out.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    head: String,
    head_width: usize,
    text: String,
}

impl Cell {
    /// Words of ours that print as `printed`, which is as wide. They are never cut.
    pub(crate) fn painted(words: &str, printed: String) -> Self {
        Self { head: printed, head_width: words.width(), text: String::new() }
    }

    /// Adds a text.
    pub(crate) fn followed_by(mut self, text: &str) -> Self {
        self.text.push_str(&printable(text));
        self
    }

    fn width(&self) -> usize {
        self.head_width + self.text.width()
    }

    /// Prints it in at most so many columns, if its head fits.
    fn print(&self, columns: usize, to: &mut String) -> usize {
        to.push_str(&self.head);
        let text = cut(&self.text, columns.saturating_sub(self.head_width));
        to.push_str(&text);
        self.head_width + text.width()
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        let text = printable(text.as_ref()).into_owned();
        Self { head: String::new(), head_width: 0, text }
    }
}

/// As much of a text as fits, with `…` for the rest. Characters without a width count as well, so that
/// nobody piles up thousands of accents in one place.
fn cut(text: &str, columns: usize) -> std::borrow::Cow<'_, str> {
    if text.width() <= columns && text.chars().count() <= 4 * columns {
        return text.into();
    }
    let (mut width, mut end) = (0, 0);
    for (number, (at, c)) in text.char_indices().enumerate() {
        width += c.width().unwrap_or(0);
        if width >= columns || number >= 4 * columns {
            break;
        }
        end = at + c.len_utf8();
    }
    let more = if columns == 0 { "" } else { "…" };
    format!("{}{more}", &text[..end]).into()
}

impl Table {
    /// A table with a row of headings.
    pub(crate) fn new(headings: &[&str], fit: Fit) -> Self {
        let row = headings.iter().map(|heading| Cell::from(*heading)).collect();
        Self { rows: vec![row], least: Vec::new(), fit }
    }

    /// A table without headings whose columns are at least as wide as these.
    pub(crate) fn continuing(widths: Vec<usize>, fit: Fit) -> Self {
        Self { rows: Vec::new(), least: widths, fit }
    }

    /// Names and what belongs to each, whole.
    pub(crate) fn of_facts() -> Self {
        Self::continuing(Vec::new(), Fit::Whole)
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
                *width = (*width).max(cell.width());
            }
        }
        match self.fit {
            Fit::Whole => {}
            Fit::Columns(columns) => narrow(&mut widths, columns),
            Fit::Cells => {
                widths.iter_mut().skip(1).for_each(|width| *width = (*width).min(MAX_CELL))
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
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                text.extend(std::iter::repeat_n(' ', blanks));
                let room = if number == 0 { usize::MAX / 4 } else { *width };
                let printed = cell.print(room, &mut text);
                blanks = width.saturating_sub(printed) + GAP;
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

/// Takes from the widest columns until all fit, or none can give more.
fn narrow(widths: &mut [usize], columns: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut surplus = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
    while surplus > 0 {
        let others = widths.iter_mut().skip(1);
        let Some(widest) = others.max_by_key(|width| **width).filter(|width| **width > MIN_CELL)
        else {
            return;
        };
        *widest -= 1;
        surplus -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fit: Fit, rows: &[[&str; 3]]) -> String {
        let mut table = Table::new(&["ID", "NAME", "MASTER"], fit);
        for row in rows {
            table.row(row.map(Cell::from));
        }
        table.render()
    }

    #[test]
    fn columns_line_up_whatever_their_letters() {
        let mut table = Table::new(&["NAME", "STATE"], Fit::Whole);
        table.row(["数値".into(), Cell::painted("Running", "<b>Running</b>".into())]);
        table.row(["a".into(), "".into()]);
        assert_eq!(table.render(), "NAME  STATE\n数値  <b>Running</b>\na\n");
        let mut next = Table::continuing(table.widths(), Fit::Whole);
        next.row(["b".into(), "Ending".into()]);
        assert_eq!(next.render(), "b     Ending\n");
    }

    #[test]
    fn a_name_of_70_000_letters_does_not_panic() {
        let long = "x".repeat(70_000);
        let rows = [["a", &long, "local"], ["b", "pi", "local"]];
        let whole = table(Fit::Whole, &rows);
        assert!(whole.contains(&long) && whole.lines().count() == 3);
        let lines = table(Fit::Cells, &rows);
        assert!(lines.lines().all(|line| line.width() < 150), "{lines}");
        for columns in [0, 1, 20, 80] {
            assert!(table(Fit::Columns(columns), &rows).len() < 300);
        }
    }

    #[test]
    fn a_table_is_as_wide_as_its_terminal() {
        let name = "a name that is longer than others";
        let rows = [["app-20260101-aaaa", name, "spark://master.example.com:7077"]];
        assert_eq!(
            table(Fit::Columns(50), &rows),
            "ID                 NAME             MASTER\n\
             app-20260101-aaaa  a name that is…  spark://maste…\n"
        );
        // The id is what people copy: it stays whole.
        assert!(table(Fit::Columns(10), &rows).contains("app-20260101-aaaa  a name …  spark:/…"));
    }

    #[test]
    fn a_cell_has_one_line_and_moves_no_cursor() {
        let text = table(Fit::Cells, &[["a", "x\u{1b}[2J\ny\u{202e}", "local"]]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(r"x\u{1b}[2J\ny\u{202e}"), "{text}");
        let cell = Cell::painted("Failed", "<b>Failed</b>".into()).followed_by(": \u{1b}c");
        let mut facts = Table::of_facts();
        facts.row(["state:".into(), cell]);
        assert_eq!(facts.render(), "state:  <b>Failed</b>: \\u{1b}c\n");
    }

    #[test]
    fn accents_without_end_are_cut() {
        let text = table(Fit::Columns(80), &[["a", &format!("e{}", "\u{301}".repeat(5000)), "x"]]);
        assert!(text.len() < 300, "{} bytes", text.len());
        let wide = table(Fit::Columns(20), &[["a", "数値計算数値計算", "local"]]);
        assert!(wide.contains("数値計…"), "{wide}");
    }
}
