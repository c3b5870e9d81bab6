//! A driver from its start to its end: signals become cancellations, output is relayed, progress is shown,
//! and the driver's exit code is ours.

use std::pin::pin;
use std::sync::Arc;

use anymaster::{Cancellation, Run, RunEnd, RunEvent, RunObserver, RunOutcome};
use anymaster_core::model::{ApplicationSpec, ExecutorStatus, State, SubmissionId};
use anymaster_core::{Error, MasterUrl, Result};

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::printer::Printer;
use crate::progress::Progress;
use crate::relay::Relay;
use crate::signals::Interrupts;

/// Connects to a cluster and launches a driver on it, unless a signal comes before.
pub(crate) async fn launch(
    context: &Context,
    master: &MasterUrl,
    id: &SubmissionId,
    app: &ApplicationSpec,
    interrupts: &mut Interrupts,
) -> Result<Result<Run, Exit>> {
    let launching = async {
        let cluster = context.connect(master, app.conf.clone()).await?;
        Run::submit(cluster, id, app).await
    };
    let printer = context.printer;
    Ok(match interrupts.or(launching).await {
        Ok(run) => {
            let run = run?;
            printer.message(format!("submission id: {}", run.driver().submission));
            Ok(run)
        }
        Err(signal) => {
            printer.message(format!(
                "{id}: not waited for until it was launched; anymaster status {id} says whether it was"
            ));
            Err(Exit::Interrupted(signal))
        }
    })
}

/// Waits for the end of a run, which each signal cancels. Returns the first of these as well.
pub(crate) async fn to_end(
    run: Run,
    interrupts: &mut Interrupts,
) -> Result<(RunOutcome, Option<i32>)> {
    let cancellation = Cancellation::new();
    let mut waiting = pin!(run.with_cancellation(&cancellation).wait());
    let mut first = None;
    loop {
        match interrupts.or(&mut waiting).await {
            Ok(outcome) => return Ok((outcome?, first)),
            Err(signal) => {
                first.get_or_insert(signal);
                cancellation.cancel();
            }
        }
    }
}

/// Waits until a driver that ends with us, and its executors, have ended.
pub(crate) async fn wait(run: Run, printer: Printer, interrupts: &mut Interrupts) -> Outcome {
    let session = Arc::new(Session::new(&run, printer));
    let run = run.with_observer(Arc::clone(&session) as _);
    let waited = to_end(run, interrupts).await;
    session.progress.finish();
    let (outcome, signal) = waited?;
    session.verdict(outcome, signal)
}

/// What is shown of a run.
struct Session {
    id: SubmissionId,
    /// What is known of a driver that was ended is kept.
    is_kept: bool,
    printer: Printer,
    progress: Progress,
    relay: Relay,
}

impl Session {
    fn new(run: &Run, printer: Printer) -> Self {
        let progress = Progress::new(printer);
        Self {
            id: run.driver().submission.clone(),
            is_kept: !run.cluster().capabilities().detached_drivers,
            printer,
            relay: Relay::new(progress.clone()),
            progress,
        }
    }

    fn show_executor(&self, executor: &ExecutorStatus) {
        let State::Ended(end) = &executor.state else { return };
        if end.cause.is_failure() {
            self.progress.message(format!("executor {}: {}", executor.id, end.cause));
            for line in end.last_lines.iter().flat_map(|lines| lines.lines()) {
                self.progress.message(format!("  | {line}"));
            }
        }
    }

    fn verdict(&self, outcome: RunOutcome, signal: Option<i32>) -> Outcome {
        let id = &self.id;
        let code = outcome.exit_code();
        match outcome.end {
            RunEnd::GivenUp { why } => {
                let error = Error::unavailable(format!("{id}: {why}"));
                self.printer.error(&match self.is_kept {
                    true => error.with_hint(format!("anymaster explain {id}")),
                    false => error,
                });
                return Ok(Exit::ExecutorFailures);
            }
            RunEnd::WatchLost(error) => return Err(error.into()),
            RunEnd::Deleted => return Err(deleted(id).into()),
            _ => {}
        }
        if let Some(signal) = signal {
            return Ok(Exit::Interrupted(signal));
        }
        if let Some(end) = outcome.driver.state.end().filter(|_| code != 0) {
            self.printer.message(format!("{id}: {}", end.cause));
            self.printer.message(format!("  anymaster explain {id} says more"));
        }
        if code == 0 && self.relay.is_lost() {
            return Ok(Exit::Failure);
        }
        Ok(Exit::Driver(code))
    }
}

/// An error for a driver that is gone before its end was seen.
pub(crate) fn deleted(id: &SubmissionId) -> Error {
    Error::not_found(format!("the driver of {id} was deleted"))
        .with_hint("someone, or something, deleted it before its end was seen")
}

impl RunObserver for Session {
    fn observe(&self, event: RunEvent<'_>) {
        let (id, progress) = (&self.id, &self.progress);
        match event {
            RunEvent::Output(subject, chunk) => self.relay.chunk(subject, chunk),
            RunEvent::OutputEnded(subject) => self.relay.end(subject),
            RunEvent::OutputLost(_, error) => {
                progress.message(format!("warning: output is missing: {error}"));
            }
            RunEvent::OutputSkipped(executor) => progress.message(format!(
                "executor {executor}: its output is not shown, as that of many others is; \
                 anymaster logs {id} {executor} prints it"
            )),
            RunEvent::Executor(executor) => self.show_executor(executor),
            RunEvent::Allocation(allocation) => progress.show(allocation),
            RunEvent::Diagnosis(findings) => progress.show_findings(id, findings),
            RunEvent::Ending { at_once } => progress.message(match at_once {
                false => format!("{id}: ending; once more ends it at once"),
                true => format!("{id}: ending at once"),
            }),
            RunEvent::Leftover { executors } => progress.message(format!(
                "warning: the driver of {id} ended, but {executors} of its executors have not"
            )),
            RunEvent::CleanupFailed(error) => {
                progress.message(format!("warning: something of {id} may be left: {error}"));
            }
            _ => {}
        }
    }
}
