//! `anymaster report ID`: a web page of an application, with the timeline of its driver and executors.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;

use anymaster_compare::{Stop, Timeline, follow, page};
use anymaster_core::model::DriverStatus;
use anymaster_core::{ClusterManager, ClusterManagerExt as _, Error, Result};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::args::Connection;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::lookup;
use crate::printer::{Format, Printer};
use crate::signals::Interrupts;

#[derive(Debug, Args)]
#[command(
    after_help = "The page is one file that needs no other: anymaster report ID > app.html",
    after_long_help = "\
The page is one file that needs no other: anymaster report ID > app.html

It shows what the cluster still knows. Of an executor that has ended, clusters tell when it ended and why, not
when it began: its bar is pale. With --follow, what happens from now on is seen as it happens; Ctrl-C ends that, and
the page shows what was seen until then. What compare runs is measured from its beginning."
)]
pub(crate) struct Arguments {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    /// Write the page there [default: standard output]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Wait until the application has ended, and see when each executor began and ended until then
    #[arg(short, long)]
    follow: bool,
    /// What to print [default: the page]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<ReportFormat>,
    #[command(flatten)]
    connection: Connection,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// The page
    Html,
    /// The timeline as one JSON document
    Json,
    /// The same in YAML
    Yaml,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let file = arguments.report.as_deref().map(PageFile::open).transpose()?;
    let cluster = arguments.connection.open(context, Some(&arguments.id)).await?;
    let driver = lookup::one(&*cluster, &arguments.id).await?;
    let timeline = match arguments.follow {
        true => followed(context, &*cluster, &driver).await?,
        false => {
            let application = cluster.application(&driver.app).await?;
            Timeline::of(&application, &driver, Timestamp::now())
        }
    };
    let state = match &timeline.driver.cause {
        Some(cause) => cause.to_string(),
        None => driver.state.word().to_owned(),
    };
    let pale = timeline.executors.iter().any(|bar| bar.started.is_none() && bar.ended.is_some());
    let notes = pale.then(|| {
        "When executors that have ended began is not known any more: their bars are pale."
            .to_owned()
    });
    let id = driver.submission.as_str();
    let page = || page::of_application(&driver.name, id, &state, notes.as_slice(), &timeline);
    match (arguments.output, &file) {
        (Some(ReportFormat::Json), _) => context.printer.value(Format::Json, &timeline)?,
        (Some(ReportFormat::Yaml), _) => context.printer.value(Format::Yaml, &timeline)?,
        (Some(ReportFormat::Html), _) | (None, None) => context.printer.data(&page())?,
        (None, Some(_)) => {}
    }
    if let Some(file) = file {
        file.write(context.printer, &page())?;
    }
    Ok(Exit::Success)
}

/// Follows an application to its end, or to a signal, which says that it was enough.
async fn followed(
    context: &Context,
    cluster: &dyn ClusterManager,
    driver: &DriverStatus,
) -> Result<Timeline> {
    let mut interrupts = Interrupts::new(context.printer)?;
    let stop = Stop::new();
    let mut following = pin!(follow(cluster, driver, &stop));
    loop {
        match interrupts.or(&mut following).await {
            Ok(timeline) => return timeline,
            Err(_) => stop.call(),
        }
    }
}

/// The file of a page, which can be written: that is found out before there is anything to write.
#[derive(Debug)]
pub(crate) struct PageFile {
    file: File,
    path: PathBuf,
}

impl PageFile {
    /// Opens it; what is in it stays until it is written.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| {
            Error::invalid(format!("cannot write {}", path.display())).with_source(error)
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Writes it, and says where it is.
    ///
    /// # Errors
    /// As the file's.
    pub(crate) fn write(
        mut self,
        printer: Printer,
        page: &str,
    ) -> std::result::Result<(), Failure> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(page.as_bytes()));
        written.map_err(|error| {
            Error::unavailable(format!("cannot write {}", self.path.display())).with_source(error)
        })?;
        printer.message(format!("the report is in {}", self.path.display()));
        Ok(())
    }
}
