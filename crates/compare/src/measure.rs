//! One run of a job on a cluster.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anymaster::{Cancellation, Run, RunEnd, RunOutcome};
use anymaster_core::model::{Subject, SubmissionId};
use anymaster_core::{ClusterManager, Error, ErrorKind, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::candidate::Job;
use crate::recorder::{OnAllocation, Recorder};
use crate::stop::Stop;
use crate::timeline::Timeline;
use crate::usage::{ClientUsage, Meter};

/// How long a cluster has to take the request that a driver be ended, beyond that driver's grace.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long anything may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A cluster's answer: to the connection, to the checks, to a submission.
    pub answer: Duration,
    /// A run.
    pub run: Duration,
}

/// One run, as it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Its submission.
    pub id: SubmissionId,
    /// Which run of its cluster it was, from 1.
    pub number: u32,
    /// How it ended.
    #[serde(flatten)]
    pub end: MeasuredEnd,
    /// From its submission until nothing was left, in seconds; unset if it did not come to that.
    pub total: Option<f64>,
    /// What this process used for it.
    pub client: ClientUsage,
    /// How many requests this process sent to the cluster, where its backend counts them.
    pub requests: Option<u64>,
    /// What it cost, by the list of prices.
    pub cost: Option<f64>,
    /// What happened when.
    pub timeline: Timeline,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredEnd {
    /// Whether it ran to a good end.
    pub outcome: MeasuredOutcome,
    /// The same in words.
    pub words: String,
    /// What to do about it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The exit code of the driver, as a shell reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// The kind of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredOutcome {
    /// The driver has ended with 0.
    Finished,
    /// The driver has ended otherwise.
    Failed,
    /// The comparison was stopped.
    Interrupted,
    /// It took longer than it may.
    TimedOut,
    /// The cluster refused it, or could not be asked any more.
    ClusterFailed,
}

impl MeasuredEnd {
    fn new(outcome: MeasuredOutcome, words: impl Into<String>) -> Self {
        Self { outcome, words: words.into(), hint: None, exit_code: None }
    }

    fn of_error(error: &Error) -> Self {
        let end = Self::new(MeasuredOutcome::ClusterFailed, error.to_string());
        Self { hint: error.hint().map(str::to_owned), ..end }
    }

    fn of_driver(outcome: &RunOutcome) -> Self {
        let code = outcome.exit_code();
        let (kind, words) = match &outcome.end {
            RunEnd::GivenUp { why } => (MeasuredOutcome::Failed, why.to_string()),
            RunEnd::DriverEnded => {
                let kind =
                    if code == 0 { MeasuredOutcome::Finished } else { MeasuredOutcome::Failed };
                let cause = outcome.driver.state.end().map(|end| end.cause.to_string());
                (kind, cause.unwrap_or_else(|| "ended".to_owned()))
            }
            RunEnd::WatchLost(error) => return Self::of_error(error),
            _ => (MeasuredOutcome::ClusterFailed, "its driver was deleted".to_owned()),
        };
        Self { exit_code: Some(code), ..Self::new(kind, words) }
    }
}

/// Runs a job once, to its end or until it is stopped. Whatever happens, its driver is asked to end before
/// this returns; what a cluster does not answer is said in the result.
pub(crate) async fn measure(
    cluster: &Arc<dyn ClusterManager>,
    job: &Job,
    id: &SubmissionId,
    limits: Limits,
    on_allocation: OnAllocation,
    stop: &Stop,
) -> (MeasuredEnd, ClientUsage, Timeline) {
    let meter = Meter::start();
    let recorder = Arc::new(Recorder::new(on_allocation));
    let end = match submit(cluster, job, id, limits, stop).await {
        Ok(run) => {
            recorder.submitted(run.driver());
            follow(run, cluster, job, limits, &recorder, stop).await
        }
        Err(end) => end,
    };
    let usage = meter.read();
    let clean = matches!(end.outcome, MeasuredOutcome::Finished | MeasuredOutcome::Failed);
    let timeline = recorder.finish(clean);
    (end, usage, timeline)
}

/// Submits the job. A stop of the comparison waits for a submission under way: before that it is not known
/// what has to be ended.
async fn submit(
    cluster: &Arc<dyn ClusterManager>,
    job: &Job,
    id: &SubmissionId,
    limits: Limits,
    stop: &Stop,
) -> std::result::Result<Run, MeasuredEnd> {
    let mut submitting = pin!(Run::submit(Arc::clone(cluster), id, &job.app));
    let submitted = tokio::select! {
        biased;
        submitted = timeout(limits.answer, &mut submitting) => submitted,
        // The second call.
        _ = stop.after(1) => timeout(Duration::ZERO, &mut submitting).await,
    };
    match submitted {
        Ok(Ok(run)) => Ok(run),
        Ok(Err(error)) => Err(MeasuredEnd::of_error(&error)),
        Err(_) if stop.is_called() => {
            let killed = kill(cluster, id, Duration::ZERO).await;
            let end = MeasuredEnd::new(MeasuredOutcome::Interrupted, "stopped as it was submitted");
            Err(with_rest(end, id, killed))
        }
        Err(_) => {
            let killed = kill(cluster, id, Duration::ZERO).await;
            let words =
                format!("the cluster did not answer the submission within {:?}", limits.answer);
            Err(with_rest(MeasuredEnd::new(MeasuredOutcome::TimedOut, words), id, killed))
        }
    }
}

/// Why the run was asked to end, if it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Not,
    Stopped,
    TimedOut,
}

/// Follows it to its end, which comes early if it is stopped or takes too long.
async fn follow(
    run: Run,
    cluster: &Arc<dyn ClusterManager>,
    job: &Job,
    limits: Limits,
    recorder: &Arc<Recorder>,
    stop: &Stop,
) -> MeasuredEnd {
    let id = run.driver().submission.clone();
    let cancellation = Cancellation::new();
    let mut run = run
        .with_grace(job.grace)
        .with_observer(Arc::clone(recorder) as _)
        .with_cancellation(&cancellation);
    if let Some(target) = &job.target {
        run = run.with_executors(target.clone());
    }
    if let Some((policy, source)) = &job.dynamic {
        run = run.with_dynamic_allocation(policy.clone(), Arc::clone(source));
    }
    let mut waiting = pin!(run.wait());
    let mut deadline = Instant::now() + limits.run;
    let (mut asked, mut calls) = (Asked::Not, 0);
    let waited = loop {
        tokio::select! {
            biased;
            waited = &mut waiting => break Some(waited),
            known = stop.after(calls) => {
                calls = known;
                if asked == Asked::Not {
                    asked = Asked::Stopped;
                }
                cancellation.cancel();
                deadline = Instant::now() + job.grace + PATIENCE;
            }
            () = sleep_until(deadline) => {
                if asked != Asked::Not {
                    break None;
                }
                asked = Asked::TimedOut;
                cancellation.cancel();
                deadline = Instant::now() + job.grace + PATIENCE;
            }
        }
    };
    let (end, is_over) = match &waited {
        Some(Ok(outcome)) => (
            MeasuredEnd::of_driver(outcome),
            matches!(outcome.end, RunEnd::DriverEnded | RunEnd::GivenUp { .. } | RunEnd::Deleted),
        ),
        Some(Err(error)) => (MeasuredEnd::of_error(error), false),
        None => (MeasuredEnd::new(MeasuredOutcome::TimedOut, "it did not end"), false),
    };
    let end = match asked {
        // It had ended before it was asked to.
        Asked::Not => end,
        Asked::Stopped if waited.is_some() => MeasuredEnd {
            outcome: MeasuredOutcome::Interrupted,
            words: "stopped".to_owned(),
            ..end
        },
        Asked::TimedOut if waited.is_some() => MeasuredEnd {
            outcome: MeasuredOutcome::TimedOut,
            words: format!("it took longer than {:?}, and was ended", limits.run),
            ..end
        },
        _ => end,
    };
    match is_over {
        true => end,
        false => with_rest(end, &id, kill(cluster, &id, job.grace).await),
    }
}

/// Asks for the end of a driver, whether it is known to be there or not.
async fn kill(cluster: &Arc<dyn ClusterManager>, id: &SubmissionId, grace: Duration) -> Result<()> {
    let subject = Subject::Driver(id.clone());
    let late = || Error::new(ErrorKind::Timeout, format!("{subject}: the cluster does not answer"));
    match timeout(PATIENCE, cluster.kill(&subject, grace)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(killed) => killed,
        Err(_) => Err(late()),
    }
}

/// Says what may be left if a driver could not be ended.
fn with_rest(mut end: MeasuredEnd, id: &SubmissionId, killed: Result<()>) -> MeasuredEnd {
    if let Err(error) = killed {
        end.words = format!("{}; {id} may still run: {error}", end.words);
        end.hint = Some(format!("anymaster kill {id}"));
    }
    end
}
