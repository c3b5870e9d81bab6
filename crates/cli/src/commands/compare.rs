//! `anymaster compare`: the same job on several clusters, side by side; or what becomes of spark-submit lines
//! on them.

mod line;
mod lines;

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anymaster_compare::{
    Candidate, CompareOptions, Comparison, Limits, Obstacle, Prices, Progress as Step, Stop,
    compare, page, seconds,
};
use anymaster_core::{Error, MasterUrl, Result};
use clap::{Args, ValueEnum};

use self::line::Line;
use crate::commands::report::PageFile;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::printer::{Format, Printer};
use crate::progress::Progress;
use crate::signals::Interrupts;
use crate::table::{Cell, Table};
use crate::text::duration;

#[derive(Debug, Args)]
#[command(
    override_usage = "anymaster compare --master <URL> --master <URL> [OPTIONS] -- run|submit <LINE>...\n       \
                      anymaster compare --master <URL> --master <URL> --from <FILE> [OPTIONS]",
    after_help = "Exits with 1 unless every cluster has run the job as often as it should.",
    after_long_help = "\
The job is a line of `anymaster run` or `anymaster submit`, without --master; Spark's drivers, and programs
whose line says nothing else, run in the cluster (--deploy-mode cluster). Clusters run it in turn, never two at
once. One that is down, does not answer or refuses it is left out, its column says why, and the others go on.

Ctrl-C ends the run that is under way, waits until nothing of it is left, and prints what is known so far; a
second one ends it at once.

Times are as this client saw them. Figures in the table are medians of the runs that ended with 0, or of
all if none did; -o json and -o csv have each run. CPU and memory of the client are those of this process.

A list of prices, in TOML:
  currency = \"EUR\"
  core-hour = 0.033          # for every cluster without a price of its own
  gib-hour = 0.0044
  [[cluster]]
  master = \"k8s://*\"         # * stands for any text
  core-hour = 0.048
  gib-hour = 0.0053

Example:
  anymaster compare --master 'local[4]' --master k8s://https://10.0.0.1:6443 --runs 5 --report report.html \\
    -- run --executors 4 --driver 'scheduler {{driver.port}}' --executor 'worker {{driver.host}}:{{driver.port}}'

With --from, nothing is started and no cluster reached: each spark-submit line of the file is translated to
each master, with what becomes of its options and properties there."
)]
pub(crate) struct Arguments {
    /// A cluster; given once for each
    #[arg(long = "master", value_name = "URL", required = true)]
    masters: Vec<String>,
    /// How often each cluster runs the job
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "from")]
    runs: u32,
    /// Only look at what each cluster can do, and whether it would run the job
    #[arg(long, conflicts_with_all = ["from", "runs"])]
    dry_run: bool,
    /// What a core and a GiB of memory cost for an hour: a list in TOML
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    prices: Option<PathBuf>,
    /// Write a web page with the timelines there: one file, which needs no other
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    report: Option<PathBuf>,
    /// How long a cluster may take to answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    answer_timeout: Duration,
    /// How long a run may take
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    run_timeout: Duration,
    /// Translate the spark-submit lines of this file to each master, and run nothing
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// How to show it
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<CompareFormat>,
    /// The job: run or submit, and its line
    #[arg(
        last = true,
        value_name = "LINE",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    line: Vec<OsString>,
}

/// How a comparison is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompareFormat {
    /// A table, for people
    Text,
    /// As `text`, and no cell is cut
    Wide,
    /// One JSON document, with every run and its timeline
    Json,
    /// The same in YAML
    Yaml,
    /// A line for each run
    Csv,
    /// The table in Markdown
    Markdown,
}

impl From<Format> for CompareFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Wide => Self::Wide,
            Format::Json => Self::Json,
            Format::Yaml => Self::Yaml,
        }
    }
}

pub(crate) fn run(context: &Context, arguments: Arguments) -> Outcome {
    let format = arguments.output.unwrap_or_else(|| CompareFormat::from(context.format(None)));
    let masters = arguments.masters.iter().map(|url| context.registry.parse(url));
    let masters: Vec<MasterUrl> = masters.collect::<Result<_>>()?;
    if let Some(file) = &arguments.from {
        let text = read(file)?;
        return context.block_on(lines::run(context, &masters, file, &text, format));
    }
    let line = match Line::parse(context, &arguments.line)? {
        Ok(line) => line,
        Err(outcome) => return outcome,
    };
    let prices = match &arguments.prices {
        Some(file) => Some(
            Prices::parse(&read(file)?)
                .map_err(|error| error.context(file.display().to_string()))?,
        ),
        None => None,
    };
    let page = arguments.report.as_deref().map(PageFile::open).transpose()?;
    let candidates: Vec<Candidate> = masters
        .iter()
        .map(|master| line.candidate(context, master, prices.as_ref()))
        .collect::<Result<_>>()?;
    let options = CompareOptions {
        name: line.name(&candidates),
        runs: if arguments.dry_run { 0 } else { arguments.runs },
        limits: Limits { answer: arguments.answer_timeout, run: arguments.run_timeout },
        currency: prices.map(|prices| prices.currency).unwrap_or_default(),
    };
    context.block_on(async {
        let (comparison, signal) = measured(context, candidates, &options).await?;
        show(context.printer, &comparison, format)?;
        if let Some(page) = page {
            page.write(context.printer, &page::of_comparison(&comparison))?;
        }
        Ok(match signal {
            Some(signal) => Exit::Interrupted(signal),
            None if comparison.is_complete() => Exit::Success,
            None => Exit::Failure,
        })
    })
}

fn read(file: &PathBuf) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| {
        Error::invalid(format!("cannot read {}", file.display())).with_source(error)
    })
}

/// Compares, until it is over or a signal ends it. Returns the first one as well.
async fn measured(
    context: &Context,
    candidates: Vec<Candidate>,
    options: &CompareOptions,
) -> Result<(Comparison, Option<i32>)> {
    // From here on Ctrl-C is ours: it must not leave half a run behind.
    let mut interrupts = Interrupts::new(context.printer)?;
    let progress = Progress::new(context.printer);
    let (shown, runs) = (progress.clone(), options.runs);
    let observer = Arc::new(move |step: Step<'_>| tell(&shown, step, runs));
    let stop = Stop::new();
    let mut comparing = pin!(compare(candidates, options, observer, &stop));
    let mut first = None;
    let comparison = loop {
        match interrupts.or(&mut comparing).await {
            Ok(comparison) => break comparison,
            Err(signal) => {
                if first.is_none() {
                    progress.message("ending; once more ends it at once");
                }
                first.get_or_insert(signal);
                stop.call();
            }
        }
    };
    progress.finish();
    Ok((comparison, first))
}

fn tell(progress: &Progress, step: Step<'_>, runs: u32) {
    match step {
        Step::Checked(column) => match &column.obstacle {
            None => progress.message(format!("{}: would run it", column.master)),
            Some(Obstacle { why, hint }) => {
                progress.message(format!("{}: would not run it: {why}", column.master));
                for line in hint.iter().flat_map(|hint| hint.lines()) {
                    progress.message(format!("  hint: {line}"));
                }
            }
        },
        Step::Begins(master, number, id) => {
            progress.message(format!("{master}: run {number} of {runs}: {id}"));
            progress.wait_for(format!("{master}: run {number} of {runs}"));
        }
        Step::Allocation(master, number, allocation) => progress.wait_for(format!(
            "{master}: run {number} of {runs}: {} of {} executors run",
            allocation.running, allocation.target
        )),
        Step::Ended(master, run) => {
            let took = run.total.map(|total| format!(" after {}", seconds(total)));
            let words = &run.end.words;
            progress.finish();
            progress.message(format!(
                "{master}: run {} of {runs}: {words}{}",
                run.number,
                took.unwrap_or_default()
            ));
            for line in run.end.hint.iter().flat_map(|hint| hint.lines()) {
                progress.message(format!("  hint: {line}"));
            }
        }
        _ => {}
    }
}

fn show(
    printer: Printer,
    comparison: &Comparison,
    format: CompareFormat,
) -> std::result::Result<(), Failure> {
    match format {
        CompareFormat::Json => printer.value(Format::Json, comparison),
        CompareFormat::Yaml => printer.value(Format::Yaml, comparison),
        CompareFormat::Csv => printer.data(&comparison.csv()),
        CompareFormat::Markdown => printer.data(&comparison.markdown()),
        CompareFormat::Text => printer.data(&table(comparison, printer, Format::Text)),
        CompareFormat::Wide => printer.data(&table(comparison, printer, Format::Wide)),
    }
}

fn table(comparison: &Comparison, printer: Printer, format: Format) -> String {
    let masters = comparison.clusters.iter().map(|column| column.master.as_str());
    let headings: Vec<&str> = std::iter::once("").chain(masters).collect();
    let mut table = Table::new(&headings, printer.fit(format));
    for row in comparison.rows() {
        let cells = row.cells.iter().map(Cell::from);
        table.row(std::iter::once(Cell::from(row.title)).chain(cells));
    }
    table.render()
}
