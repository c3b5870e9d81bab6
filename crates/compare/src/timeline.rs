//! When what happened to an application: its driver, its executors, and the phases of its run.

use anymaster_core::model::{Application, Cause, DriverStatus, ExecutorStatus, State};
use jiff::Timestamp;
use serde::Serialize;

/// An application from its submission to its end. All times are seconds since `began`.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// When it was submitted.
    pub began: Timestamp,
    /// How long the timeline is.
    pub length: f64,
    /// The times at which it went from one phase to the next.
    pub marks: Marks,
    /// The driver.
    pub driver: Bar,
    /// The executors, by id.
    pub executors: Vec<Bar>,
    /// How many executors were lost before the driver ended: they failed, or the cluster took them.
    pub lost: u64,
    /// How many executors came in the place of lost ones.
    pub replaced: u64,
}

/// The times at which a run went from one phase to the next, as its client saw them. What did not happen,
/// or was not seen, is unset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Marks {
    /// The cluster had accepted the driver.
    pub submitted: Option<f64>,
    /// The driver had a place, and did not run yet.
    pub placed: Option<f64>,
    /// The driver ran.
    pub driver: Option<f64>,
    /// The first executor ran.
    pub first_executor: Option<f64>,
    /// As many executors ran as at any time of the run.
    pub last_executor: Option<f64>,
    /// The driver had ended.
    pub driver_ended: Option<f64>,
    /// The driver and all executors had ended.
    pub all_ended: Option<f64>,
    /// Nothing of the application was left on the cluster.
    pub cleaned_up: Option<f64>,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Until the cluster has accepted the driver.
    Submission,
    /// Until the driver has a place; until it runs, where the cluster does not tell that.
    Queue,
    /// From there until the driver runs.
    DriverStart,
    /// From there until the first executor runs.
    FirstExecutor,
    /// From there until all of them run.
    LastExecutor,
    /// From there until the driver has ended.
    Work,
    /// From there until the executors have ended, too.
    End,
    /// From there until nothing is left on the cluster.
    CleanUp,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Submission,
        Self::Queue,
        Self::DriverStart,
        Self::FirstExecutor,
        Self::LastExecutor,
        Self::Work,
        Self::End,
        Self::CleanUp,
    ];

    /// Its name, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Queue => "queue",
            Self::DriverStart => "driver start",
            Self::FirstExecutor => "first executor",
            Self::LastExecutor => "last executor",
            Self::Work => "work",
            Self::End => "end",
            Self::CleanUp => "clean-up",
        }
    }
}

impl Marks {
    /// How many seconds a phase took; `None` if it did not happen, or its end was not seen. What happened
    /// within an earlier phase took no time of its own, so that phases add up to the whole.
    pub fn phase(&self, phase: Phase) -> Option<f64> {
        let mut at = 0.0_f64;
        for known in Phase::ALL {
            let ended = self.end_of(known);
            if known == phase {
                return ended.map(|ended| (ended - at).max(0.0));
            }
            // The driver has ended whether or not anybody saw it work.
            let over = if known == Phase::Work { self.driver_ended } else { ended };
            at = over.map_or(at, |over| at.max(over));
        }
        None
    }

    /// When a phase ended.
    fn end_of(&self, phase: Phase) -> Option<f64> {
        match phase {
            Phase::Submission => self.submitted,
            Phase::Queue => self.placed.or(self.driver),
            Phase::DriverStart => self.placed.and(self.driver),
            Phase::FirstExecutor => self.first_executor,
            Phase::LastExecutor => self.last_executor,
            // Of a driver that was never seen as it ran, nobody knows how long it did.
            Phase::Work => self.driver.or(self.first_executor).and(self.driver_ended),
            Phase::End => self.driver_ended.and(self.all_ended),
            Phase::CleanUp => self.cleaned_up,
        }
    }
}

/// The life of a driver or an executor.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bar {
    /// The executor's id; none for the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Where it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When it was first heard of.
    pub seen: f64,
    /// When it ran; unset if it never did, or that was not seen.
    pub started: Option<f64>,
    /// When it ended; unset if it has not, or that was not seen.
    pub ended: Option<f64>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Which profile it is of.
    #[serde(skip)]
    pub(crate) profile: anymaster_core::model::ProfileId,
}

impl Bar {
    /// How long it ran, in seconds, if it has ended.
    pub fn ran(&self) -> Option<f64> {
        self.started.zip(self.ended).map(|(from, to)| to - from)
    }
}

/// Whether an executor that ended so is missing to the application: it failed, or was taken from it.
pub(crate) fn is_loss(cause: &Cause) -> bool {
    cause.is_failure()
        || matches!(cause, Cause::Evicted { .. } | Cause::Preempted { .. } | Cause::Lost { .. })
}

impl Timeline {
    /// What a cluster still knows of an application. It tells when a process reached its present state:
    /// of executors that have ended, when they began is not known.
    pub fn of(application: &Application, driver: &DriverStatus, now: Timestamp) -> Self {
        let began = driver.submitted;
        let since = |at: Timestamp| (at.duration_since(began).as_secs_f64()).max(0.0);
        let mut marks = Marks { submitted: Some(0.0), ..Marks::default() };
        let end = driver.state.end();
        let driver_ended = end.map(|end| since(end.at));
        let executors: Vec<Bar> = application
            .executors
            .values()
            .map(|executor| known(executor, since(executor.since)))
            .collect();
        let last = executors.iter().filter_map(|bar| bar.ended).fold(0.0, f64::max);
        let lives = executors.iter().any(|bar| bar.ended.is_none());
        marks.driver_ended = driver_ended;
        marks.all_ended = driver_ended.filter(|_| !lives).map(|ended| ended.max(last));
        let bar = Bar {
            host: driver.host.as_deref().map(str::to_owned),
            started: (driver.state.rank() > 0).then_some(0.0),
            ended: driver_ended,
            cause: end.map(|end| end.cause.clone()),
            ..Bar::default()
        };
        let lost = executors.iter().filter(|bar| {
            let before = bar.ended <= driver_ended || driver_ended.is_none();
            before && bar.cause.as_ref().is_some_and(is_loss)
        });
        Self {
            began,
            length: marks.all_ended.unwrap_or_else(|| since(now)).max(last),
            marks,
            driver: bar,
            lost: lost.count() as u64,
            replaced: 0,
            executors,
        }
    }

    /// How many executors ran at a time: the times at which the number changes, and the number from then
    /// on.
    pub fn running(&self) -> Vec<(f64, i64)> {
        let mut changes: Vec<(f64, i64)> = Vec::new();
        for bar in &self.executors {
            let Some(started) = bar.started else { continue };
            changes.push((started, 1));
            changes.extend(bar.ended.map(|ended| (ended, -1)));
        }
        changes.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut number = 0;
        for (_, change) in &mut changes {
            number += *change;
            *change = number;
        }
        changes
    }
}

fn known(executor: &ExecutorStatus, since: f64) -> Bar {
    let (started, ended, cause) = match &executor.state {
        State::Pending { .. } => (None, None, None),
        State::Running | State::Ending => (Some(since), None, None),
        State::Ended(end) => (None, Some(since), Some(end.cause.clone())),
    };
    Bar {
        id: Some(executor.id.0),
        host: executor.host.as_deref().map(str::to_owned),
        seen: if ended.is_some() { 0.0 } else { since },
        started,
        ended,
        cause,
        profile: executor.profile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_add_up() {
        let marks = Marks {
            submitted: Some(0.1),
            placed: Some(0.4),
            driver: Some(0.5),
            first_executor: Some(1.0),
            last_executor: Some(2.0),
            driver_ended: Some(7.0),
            all_ended: Some(7.5),
            cleaned_up: Some(8.0),
        };
        let sum: f64 = Phase::ALL.iter().filter_map(|phase| marks.phase(*phase)).sum();
        assert!((sum - 8.0).abs() < 1e-9, "{sum}");
        assert_eq!(marks.phase(Phase::Work), Some(5.0));
    }

    #[test]
    fn an_executor_that_runs_before_its_driver_is_seen_to_counts_once() {
        let marks = Marks {
            submitted: Some(1.0),
            driver: Some(3.0),
            first_executor: Some(2.0),
            last_executor: Some(4.0),
            driver_ended: Some(9.0),
            ..Marks::default()
        };
        let took = Phase::ALL.map(|phase| marks.phase(phase).unwrap_or_default());
        assert_eq!(took, [1.0, 2.0, 0.0, 0.0, 1.0, 5.0, 0.0, 0.0]);
    }

    #[test]
    fn what_was_not_seen_took_no_known_time() {
        let marks = Marks { submitted: Some(0.2), driver: Some(0.1), ..Marks::default() };
        assert_eq!(marks.phase(Phase::Queue), Some(0.0));
        let missing = [Phase::DriverStart, Phase::FirstExecutor, Phase::Work, Phase::End];
        assert!(missing.iter().all(|phase| marks.phase(*phase).is_none()));
    }
}
