//! The same job on several clusters, in turn and repeated.

use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{AllocationStatus, SubmissionId};
use anymaster_core::{Capabilities, Check, ClusterManager, Error, ErrorKind, Health, Result};
use futures::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;

use crate::candidate::{Candidate, Job};
use crate::measure::{Limits, MeasuredOutcome, Measurement, measure};
use crate::preflight::preflight;
use crate::stop::Stop;
use crate::timeline::Phase;

/// What is compared, and how.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// The job's name.
    pub name: String,
    /// How often each cluster runs it; 0: it is only looked at whether they would.
    pub runs: u32,
    /// How long anything may take.
    pub limits: Limits,
    /// The currency of the prices.
    pub currency: String,
}

/// A comparison, as far as it has come.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The job's name.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// How many runs of each cluster were asked for.
    pub runs: u32,
    /// It was stopped before its end.
    pub interrupted: bool,
    /// The currency of the costs.
    pub currency: String,
    /// The clusters, in the order in which they were given.
    pub clusters: Vec<Column>,
}

/// What is known of one cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// Its master URL.
    pub master: String,
    /// What people call such a cluster.
    pub title: String,
    /// What it can do; unset if it could not be reached.
    pub capabilities: Option<Capabilities>,
    /// What a submission needs of it.
    pub preflight: Vec<Check>,
    /// Why the job would not run there, or not any more.
    pub obstacle: Option<Obstacle>,
    /// Its runs.
    pub runs: Vec<Measurement>,
}

/// Why a job does not run on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The reason.
    pub why: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for Obstacle {
    fn from(error: &Error) -> Self {
        Self { why: error.to_string(), hint: error.hint().map(str::to_owned) }
    }
}

/// The progress of a comparison. Each variant begins with the master URL of the cluster.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// It was looked at whether the job would run there.
    Checked(&'a Column),
    /// A run begins: its number, and its submission.
    Begins(&'a str, u32, &'a SubmissionId),
    /// How far its executors are.
    Allocation(&'a str, u32, &'a AllocationStatus),
    /// A run is over.
    Ended(&'a str, &'a Measurement),
}

/// Receives the progress of a comparison.
pub type ProgressObserver = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// Looks at what each cluster can do, all at once, and then runs the job on each that can run it: in turn,
/// so that no two runs are at the same time, and again until all have run as often as they should. One that
/// fails is left out from then on, and the others go on.
///
/// When it is stopped, the run that is under way is ended first.
pub async fn compare(
    candidates: Vec<Candidate>,
    options: &CompareOptions,
    observer: ProgressObserver,
    stop: &Stop,
) -> Comparison {
    let began = Timestamp::now();
    let looking = candidates.into_iter().map(|candidate| {
        let observer = Arc::clone(&observer);
        async move {
            let lane = Lane::open(candidate, options.limits.answer, stop).await;
            observer(Progress::Checked(&lane.column));
            lane
        }
    });
    let mut lanes: Vec<Lane> = join_all(looking).await;
    for number in 1..=options.runs {
        for lane in &mut lanes {
            if !stop.is_called() {
                lane.run(number, options.limits, &observer, stop).await;
            }
        }
    }
    Comparison {
        name: options.name.clone(),
        began,
        runs: options.runs,
        interrupted: stop.is_called(),
        currency: options.currency.clone(),
        clusters: lanes.into_iter().map(|lane| lane.column).collect(),
    }
}

/// A cluster while it is compared.
struct Lane {
    candidate: Candidate,
    cluster: Option<Arc<dyn ClusterManager>>,
    column: Column,
}

impl Lane {
    /// Connects and looks at it.
    async fn open(candidate: Candidate, patience: Duration, stop: &Stop) -> Self {
        let mut column = Column {
            master: candidate.master.to_string(),
            title: candidate.title.clone(),
            capabilities: None,
            preflight: Vec::new(),
            obstacle: candidate.job.as_ref().err().map(Obstacle::from),
            runs: Vec::new(),
        };
        let within = |what: &str| {
            Error::new(ErrorKind::Timeout, format!("no {what} within {patience:?}")).with_hint(
                "is it up, and reached from here? --answer-timeout says how long to wait",
            )
        };
        let (no_connection, no_checks) = (within("connection"), within("answer"));
        let connected = tokio::select! {
            connected = timeout(patience, candidate.connect()) => connected.unwrap_or(Err(no_connection)),
            _ = stop.after(0) => Err(stopped()),
        };
        let cluster = match connected {
            Ok(cluster) => cluster,
            Err(error) => {
                // That it cannot be reached is said before what else would be in the way.
                column.obstacle = Some(Obstacle::from(&error));
                return Self { candidate, cluster: None, column };
            }
        };
        column.capabilities = Some(cluster.capabilities());
        let checked: Result<Vec<Check>> = tokio::select! {
            checks = timeout(patience, preflight(&*cluster, &candidate.master)) => {
                checks.map_err(|_| no_checks)
            }
            _ = stop.after(0) => Err(stopped()),
        };
        match checked {
            Err(error) => column.obstacle = Some(Obstacle::from(&error)),
            Ok(checks) => {
                if let Some(check) = checks.iter().find(|check| check.health == Health::Missing) {
                    let why = format!("{}: {}", check.name, check.detail);
                    column.obstacle = Some(Obstacle { why, hint: check.remedy.clone() });
                }
                column.preflight = checks;
            }
        }
        Self { candidate, cluster: Some(cluster), column }
    }

    /// Runs the job once, unless something is in the way.
    async fn run(&mut self, number: u32, limits: Limits, observer: &ProgressObserver, stop: &Stop) {
        let (Some(cluster), Ok(job)) = (&self.cluster, &self.candidate.job) else { return };
        if self.column.obstacle.is_some() {
            return;
        }
        let id = match job.ids.generate(Timestamp::now()) {
            Ok(id) => id,
            Err(error) => {
                self.column.obstacle = Some(Obstacle::from(&error));
                return;
            }
        };
        let master: Arc<str> = self.column.master.as_str().into();
        observer(Progress::Begins(&master, number, &id));
        let on_allocation = {
            let (observer, master) = (Arc::clone(observer), Arc::clone(&master));
            Box::new(move |allocation: &AllocationStatus| {
                observer(Progress::Allocation(&master, number, allocation));
            })
        };
        let measured = measure(cluster, job, &id, limits, on_allocation, stop).await;
        let run = self.evaluated(job, id, number, measured);
        observer(Progress::Ended(&master, &run));
        if let MeasuredOutcome::ClusterFailed | MeasuredOutcome::TimedOut = run.end.outcome {
            let (why, hint) = (run.end.words.clone(), run.end.hint.clone());
            self.column.obstacle = Some(Obstacle { why, hint });
        }
        self.column.runs.push(run);
    }

    fn evaluated(
        &self,
        job: &Job,
        id: SubmissionId,
        number: u32,
        (end, client, timeline): (
            crate::measure::MeasuredEnd,
            crate::usage::ClientUsage,
            crate::timeline::Timeline,
        ),
    ) -> Measurement {
        let price = self.candidate.price;
        let cost = price.map(|price| price.of_run(&timeline, &job.shapes, job.target.as_ref()));
        Measurement {
            id,
            number,
            total: timeline.marks.cleaned_up,
            client,
            requests: None,
            cost: cost.filter(|_| timeline.marks.submitted.is_some()),
            timeline,
            end,
        }
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "stopped before it was looked at")
}

/// A figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least one.
    pub min: f64,
    /// The greatest one.
    pub max: f64,
}

impl Spread {
    /// Of these figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            1 => figures[middle],
            _ => f64::midpoint(figures[middle - 1], figures[middle]),
        };
        Some(Self { median, min, max })
    }
}

impl Column {
    /// A figure over the runs that ran to a good end; if none did, over all of them.
    pub fn spread(&self, figure: impl Fn(&Measurement) -> Option<f64>) -> Option<Spread> {
        let none = self.finished() == 0;
        let counts = |run: &&Measurement| none || run.end.outcome == MeasuredOutcome::Finished;
        Spread::of(self.runs.iter().filter(counts).filter_map(figure))
    }

    /// How long a phase took.
    pub fn phase(&self, phase: Phase) -> Option<Spread> {
        self.spread(|run| run.timeline.marks.phase(phase))
    }

    /// How many of the runs ran to a good end.
    pub fn finished(&self) -> usize {
        let good = |run: &&Measurement| run.end.outcome == MeasuredOutcome::Finished;
        self.runs.iter().filter(good).count()
    }
}

impl Comparison {
    /// Whether all that was asked for was run, and ran to a good end on every cluster.
    pub fn is_complete(&self) -> bool {
        let wanted = self.runs as usize;
        let complete = |column: &Column| column.obstacle.is_none() && column.finished() == wanted;
        !self.interrupted && self.clusters.iter().all(complete)
    }
}
