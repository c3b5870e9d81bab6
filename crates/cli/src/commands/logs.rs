//! `anymaster logs ID [EXECUTOR]`: the output of a driver or an executor.
//!
//! Both of its streams are data here and go to our standard output, as `kubectl logs` does it, so
//! that a pipe sees all of it.

use std::io::Write as _;

use anymaster_core::model::{ExecutorId, Subject};
use anymaster_core::{LogOptions, LogSource};
use clap::Args;
use futures::StreamExt as _;

use crate::args::Connection;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::lookup;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The application's id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    /// An executor's number; without it, the driver's output is printed
    #[arg(value_name = "EXECUTOR")]
    executor: Option<u64>,
    /// Go on until the process ends
    #[arg(short, long)]
    follow: bool,
    /// Only so many lines from the end of each stream, and what follows
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u64>,
    /// Only standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only standard error
    #[arg(long)]
    stderr: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let cluster = arguments.connection.open(context, Some(&arguments.id)).await?;
    let driver = lookup::one(&*cluster, &arguments.id).await?;
    let subject = match arguments.executor {
        Some(executor) => Subject::Executor(driver.app, ExecutorId(executor)),
        None => Subject::Driver(driver.submission),
    };
    let source = match (arguments.stdout, arguments.stderr) {
        (true, _) => Some(LogSource::Stdout),
        (_, true) => Some(LogSource::Stderr),
        (false, false) => None,
    };
    let mut options = LogOptions::default();
    (options.follow, options.tail, options.source) = (arguments.follow, arguments.tail, source);
    let mut chunks = cluster.logs(&subject, &options).await?;
    while let Some(chunk) = chunks.next().await {
        let bytes = chunk?.bytes;
        // Whoever reads us may be slow; the other threads go on meanwhile.
        tokio::task::block_in_place(|| {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()
        })?;
    }
    Ok(Exit::Success)
}
