//! A comparison as a table: for a terminal, Markdown, and the page. And its runs as CSV.

use crate::comparison::{Column, Comparison, Spread};
use crate::measure::Measurement;
use crate::timeline::Phase;

/// What stands where nothing is known.
const NOTHING: &str = "–";

/// A row: what it is about, and what is known of each cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub title: &'static str,
    /// One for each cluster.
    pub cells: Vec<String>,
}

/// A number of seconds with so many digits as are worth reading.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.3} s"),
        10.0..100.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

fn money(amount: f64, currency: &str) -> String {
    let digits = if amount < 0.01 { 6 } else { 4 };
    format!("{amount:.digits$} {currency}").trim_end().to_owned()
}

fn spread(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    match spread {
        None => NOTHING.to_owned(),
        Some(Spread { median, min, max }) => {
            let (shown, least, most) = (show(median), show(min), show(max));
            if least == most { shown } else { format!("{shown} ({least} … {most})") }
        }
    }
}

impl Comparison {
    /// The rows of the table. Figures are the medians of the runs that ran to a good end, or of all
    /// if none did, with the least and the greatest where they differ.
    pub fn rows(&self) -> Vec<Row> {
        let row = |title, cell: &dyn Fn(&Column) -> String| Row {
            title,
            cells: self.clusters.iter().map(cell).collect(),
        };
        let would_run = |column: &Column| match &column.obstacle {
            None => "yes".to_owned(),
            Some(obstacle) => format!("no: {}", obstacle.why),
        };
        let mut rows = vec![
            row("kind of cluster", &|column| column.title.clone()),
            row("runs there", &would_run),
        ];
        if self.runs == 0 {
            return rows;
        }
        rows.push(row("finished", &|column| format!("{} of {}", column.finished(), self.runs)));
        for phase in Phase::ALL {
            rows.push(row(phase.title(), &|column| spread(column.phase(phase), seconds)));
        }
        let number = |show: f64| format!("{show:.0}");
        let most = |run: &Measurement| Some(run.timeline.executors.len() as f64);
        rows.extend([
            row("total", &|column| spread(column.spread(|run| run.total), seconds)),
            row("executors", &|column| spread(column.spread(most), number)),
            row("executors lost", &|column| {
                spread(column.spread(|run| Some(run.timeline.lost as f64)), number)
            }),
            row("executors replaced", &|column| {
                spread(column.spread(|run| Some(run.timeline.replaced as f64)), number)
            }),
            row("client: CPU", &|column| {
                spread(column.spread(|run| Some(run.client.cpu_seconds)), seconds)
            }),
            row("client: memory", &|column| {
                spread(column.spread(|run| run.client.peak_mib), |mib| format!("{mib:.1} MiB"))
            }),
            row("client: requests", &|column| match column
                .spread(|run| run.requests.map(|requests| requests as f64))
            {
                None if !column.runs.is_empty() => "not counted".to_owned(),
                known => spread(known, number),
            }),
        ]);
        if self.clusters.iter().flat_map(|column| &column.runs).any(|run| run.cost.is_some()) {
            let show = |amount| money(amount, &self.currency);
            rows.push(row("cost", &|column| spread(column.spread(|run| run.cost), show)));
        }
        rows
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let line =
            |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
        let masters = self.clusters.iter().map(|column| format!("`{}`", column.master));
        let mut text = line(&in_markdown(&self.name), masters.collect());
        text.push_str(&line("---", self.clusters.iter().map(|_| "---".to_owned()).collect()));
        for row in self.rows() {
            text.push_str(&line(
                row.title,
                row.cells.iter().map(|cell| in_markdown(cell)).collect(),
            ));
        }
        text
    }

    /// The runs as CSV (RFC 4180), a line each; a cluster that ran nothing has a line with the reason. Times
    /// are in seconds; a field is empty where nothing is known.
    pub fn csv(&self) -> String {
        let mut names = vec!["master", "run", "submission", "outcome", "reason", "exit_code"];
        let phases: Vec<String> = Phase::ALL
            .iter()
            .map(|phase| format!("{}_s", phase.title().replace([' ', '-'], "_")))
            .collect();
        names.extend(phases.iter().map(String::as_str));
        names.extend([
            "total_s",
            "executors",
            "executors_lost",
            "executors_replaced",
            "client_cpu_s",
            "client_peak_mib",
            "client_requests",
            "cost",
        ]);
        let mut text = csv_line(names);
        for column in &self.clusters {
            for run in &column.runs {
                text.push_str(&csv_line(csv_fields(column, run)));
            }
            if column.runs.is_empty() {
                let why = column.obstacle.as_ref().map_or("", |obstacle| obstacle.why.as_str());
                let outcome = if why.is_empty() { "" } else { "not-run" };
                let empty = [""; 19];
                let known = [column.master.as_str(), "", "", outcome, why];
                text.push_str(&csv_line(known.into_iter().chain(empty).take(22)));
            }
        }
        text
    }
}

fn csv_fields(column: &Column, run: &Measurement) -> Vec<String> {
    fn known<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let outcome = serde_json::to_value(run.end.outcome).ok();
    let outcome = outcome.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
    let mut fields = vec![
        column.master.clone(),
        run.number.to_string(),
        run.id.to_string(),
        outcome.to_owned(),
        run.end.words.clone(),
        known(run.end.exit_code),
    ];
    fields.extend(Phase::ALL.map(|phase| known(run.timeline.marks.phase(phase))));
    fields.extend([
        known(run.total),
        run.timeline.executors.len().to_string(),
        run.timeline.lost.to_string(),
        run.timeline.replaced.to_string(),
        run.client.cpu_seconds.to_string(),
        known(run.client.peak_mib),
        known(run.requests),
        known(run.cost),
    ]);
    fields
}

fn csv_line<T: AsRef<str>>(fields: impl IntoIterator<Item = T>) -> String {
    let quoted = fields.into_iter().map(|field| {
        let field = field.as_ref();
        // What a spreadsheet would take for a formula is no text of ours alone.
        let field = match field.starts_with(['=', '+', '-', '@']) {
            true => format!("'{field}"),
            false => field.to_owned(),
        };
        match field.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field,
        }
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

fn in_markdown(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_csv_hold_any_text() {
        assert_eq!(
            csv_line(["a", "b,c", "say \"x\"\n", "=1+1"]),
            "a,\"b,c\",\"say \"\"x\"\"\n\",'=1+1\r\n"
        );
    }

    #[test]
    fn cells_of_markdown_hold_any_text() {
        assert_eq!(in_markdown("a|b\n<script>"), "a\\|b &lt;script>");
    }

    #[test]
    fn a_spread_is_shown_where_there_is_one() {
        assert_eq!(spread(Spread::of([]), seconds), "–");
        assert_eq!(spread(Spread::of([1.0, 1.0]), seconds), "1.000 s");
        assert_eq!(spread(Spread::of([1.0, 3.0, 20.0]), seconds), "3.000 s (1.000 s … 20.0 s)");
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
    }
}
