//! What happens to drivers and executors, in a form that a program can match on.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, Cursor, ExecutorId, ProfileId, SubmissionId};
use crate::text::{MAX_MESSAGE, clipped};

/// What a call or a status is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The driver of a submission, and with it the whole application.
    Driver(SubmissionId),
    /// One executor.
    Executor(AppId, ExecutorId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(id) => write!(f, "driver of {id}"),
            Self::Executor(app, id) => write!(f, "executor {id} of {app}"),
        }
    }
}

/// Where a driver or an executor is in its life. It only moves forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Accepted, not running yet.
    Pending {
        /// Why not, in words, where the cluster says.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        why: Option<Box<str>>,
    },
    /// Its process runs.
    Running,
    /// Asked to end; its process may still run.
    Ending,
    /// It ended; nothing follows.
    Ended(Box<End>),
}

impl State {
    /// Ended for this reason, at this time.
    pub fn ended(cause: Cause, at: Timestamp) -> Self {
        Self::Ended(Box::new(End::new(cause, at)))
    }

    /// Whether nothing follows.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// Its end, when it ended.
    pub fn end(&self) -> Option<&End> {
        match self {
            Self::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// How far it is: 0 pending to 3 ended. A change to a lower rank is stale.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Pending { .. } => 0,
            Self::Running => 1,
            Self::Ending => 2,
            Self::Ended(_) => 3,
        }
    }

    /// The state as it is kept of what a cluster says: texts longer than
    /// [`MAX_MESSAGE`](crate::text::MAX_MESSAGE) are cut.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let cut = |text: &mut Box<str>| {
            if let Cow::Owned(shorter) = clipped(text, MAX_MESSAGE) {
                *text = shorter.into();
            }
        };
        match &mut self {
            Self::Pending { why: Some(why) } => cut(why),
            Self::Pending { why: None } | Self::Running | Self::Ending => {}
            Self::Ended(end) => {
                end.last_lines.iter_mut().for_each(cut);
                match &mut end.cause {
                    Cause::Evicted { why }
                    | Cause::Preempted { why }
                    | Cause::Lost { why }
                    | Cause::CouldNotStart { why, .. } => cut(why),
                    Cause::Finished
                    | Cause::Exited { .. }
                    | Cause::Signaled { .. }
                    | Cause::Killed { .. }
                    | Cause::OutOfMemory { .. } => {}
                }
            }
        }
        self
    }

    /// The state of a driver as a standalone master names it (Spark 3.5, `DriverState`).
    pub fn driver_word(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "SUBMITTED",
            Self::Running | Self::Ending => "RUNNING",
            Self::Ended(end) => match end.cause {
                Cause::Finished => "FINISHED",
                Cause::Killed { .. } => "KILLED",
                Cause::CouldNotStart { .. } | Cause::Lost { .. } => "ERROR",
                _ => "FAILED",
            },
        }
    }

    /// The word for tables: `Pending`, `Running`, `Ending`, `Finished`, `Failed` or `Killed`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "Pending",
            Self::Running => "Running",
            Self::Ending => "Ending",
            Self::Ended(end) => match end.cause {
                Cause::Finished => "Finished",
                Cause::Killed { .. } => "Killed",
                Cause::Lost { .. } => "Lost",
                _ => "Failed",
            },
        }
    }
}

/// How and when something ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct End {
    /// Why.
    pub cause: Cause,
    /// When the backend noticed.
    pub at: Timestamp,
    /// The last lines of its log, where the backend keeps them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_lines: Option<Box<str>>,
}

impl End {
    /// An end for this reason, at this time, of which no output is kept.
    pub fn new(cause: Cause, at: Timestamp) -> Self {
        Self { cause, at, last_lines: None }
    }

    /// With the last lines of its log.
    #[must_use]
    pub fn with_last_lines(mut self, lines: impl Into<Box<str>>) -> Self {
        self.last_lines = Some(lines.into());
        self
    }
}

impl From<End> for State {
    fn from(end: End) -> Self {
        Self::Ended(Box::new(end))
    }
}

/// Why a driver or an executor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
#[non_exhaustive]
pub enum Cause {
    /// Its program exited with 0.
    Finished,
    /// Its program exited with another code.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it that nobody here sent.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It was ended on request.
    Killed {
        /// Whose request.
        by: KilledBy,
    },
    /// It used more memory than it was given.
    OutOfMemory {
        /// The limit in MiB.
        limit_mib: Option<u64>,
    },
    /// The cluster took its place back, for lack of resources or for maintenance.
    Evicted {
        /// What the cluster said.
        why: Box<str>,
    },
    /// Something of higher priority took its place.
    Preempted {
        /// What the cluster said.
        why: Box<str>,
    },
    /// The node, agent or worker it ran on is gone; so, for all that is known, is it.
    Lost {
        /// Which, and how that was noticed.
        why: Box<str>,
    },
    /// It never ran.
    CouldNotStart {
        /// What kind of obstacle.
        failure: StartFailure,
        /// What exactly.
        why: Box<str>,
    },
}

/// Who asked for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KilledBy {
    /// Someone called `kill`.
    Request,
    /// The application lowered its target.
    ScaleDown,
    /// Its driver ended.
    DriverEnd,
}

/// What kept a process from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StartFailure {
    /// The image could not be pulled or does not exist.
    Image,
    /// A quota refused it for good.
    Quota,
    /// No node will ever fit it.
    Unschedulable,
    /// The program does not exist or cannot be executed.
    BadCommand,
    /// Something else; the words say what.
    Other,
}

impl Cause {
    /// Whether an executor that ended so counts as a failure of the application's own
    /// (`spark.executor.maxNumFailures`). Ends that the cluster or the user brought about do not.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Exited { .. }
                | Self::Signaled { .. }
                | Self::OutOfMemory { .. }
                | Self::CouldNotStart { .. }
        )
    }

    /// The exit code a shell would report: the program's own, 128 + signal, or 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Finished => 0,
            Self::Exited { code } => *code,
            Self::Signaled { signal } => 128 + signal,
            Self::OutOfMemory { .. } => 137,
            Self::Killed { .. } => 143,
            Self::CouldNotStart { failure: StartFailure::BadCommand, .. } => 127,
            _ => 1,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signaled { signal } => match signal_name(*signal) {
                Some(name) => write!(f, "ended by {name}"),
                None => write!(f, "ended by signal {signal}"),
            },
            Self::Killed { by: KilledBy::Request } => f.write_str("killed on request"),
            Self::Killed { by: KilledBy::ScaleDown } => {
                f.write_str("stopped because the target was lowered")
            }
            Self::Killed { by: KilledBy::DriverEnd } => {
                f.write_str("stopped because the driver ended")
            }
            Self::OutOfMemory { limit_mib: Some(limit) } => {
                write!(f, "out of memory: used more than its {limit} MiB")
            }
            Self::OutOfMemory { limit_mib: None } => f.write_str("out of memory"),
            Self::Evicted { why } => write!(f, "evicted: {why}"),
            Self::Preempted { why } => write!(f, "preempted: {why}"),
            Self::Lost { why } => write!(f, "lost: {why}"),
            Self::CouldNotStart { why, .. } => write!(f, "could not start: {why}"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// What is known of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DriverStatus {
    /// The submission that started it.
    pub submission: SubmissionId,
    /// Its application.
    pub app: AppId,
    /// `spark.app.name`.
    pub name: Arc<str>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: State,
    /// When the cluster accepted it.
    pub submitted: Timestamp,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<Arc<str>>,
    /// The id that the submitter chose, where the cluster has one of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chosen: Option<SubmissionId>,
    /// What tells it from another one of the same id, where the cluster has such a thing: the pod's uid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<Arc<str>>,
    /// What the cluster itself says of it, where it says more than this.
    #[serde(skip)]
    pub report: Option<Arc<Report>>,
}

impl DriverStatus {
    /// A driver that was accepted now, and does not run yet.
    pub fn new(submission: SubmissionId, app: AppId, name: impl Into<Arc<str>>) -> Self {
        Self {
            submission,
            app,
            name: name.into(),
            state: State::Pending { why: None },
            submitted: Timestamp::now(),
            host: None,
            chosen: None,
            uid: None,
            report: None,
        }
    }

    /// In this state.
    #[must_use]
    pub fn with_state(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    /// Accepted at this time.
    #[must_use]
    pub fn with_submitted(mut self, submitted: Timestamp) -> Self {
        self.submitted = submitted;
        self
    }
}

/// What a cluster itself says of a driver, in its own words and order: for layouts that other tools
/// read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// The same of each process (container) that the driver consists of.
    pub processes: Vec<Vec<(&'static str, String)>>,
}

/// What is known of an executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutorStatus {
    /// Its application.
    pub app: AppId,
    /// Its id within the application.
    pub id: ExecutorId,
    /// Its shape.
    pub profile: ProfileId,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: State,
    /// When this state began.
    pub since: Timestamp,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<Arc<str>>,
}

impl ExecutorStatus {
    /// An executor in this state since now, on a host that is not known.
    pub fn new(app: AppId, id: ExecutorId, profile: ProfileId, state: State) -> Self {
        Self { app, id, profile, state, since: Timestamp::now(), host: None }
    }

    /// In its state since then.
    #[must_use]
    pub fn with_since(mut self, since: Timestamp) -> Self {
        self.since = since;
        self
    }

    /// On this host.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<Arc<str>>) -> Self {
        self.host = Some(host.into());
        self
    }
}

/// How far an application is on the way to its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AllocationStatus {
    /// The application.
    pub app: AppId,
    /// How many executors it wants, over all profiles.
    pub target: u64,
    /// How many run.
    pub running: u64,
    /// How many were asked for and do not run yet.
    pub pending: u64,
    /// How many failed so far.
    pub failed: u64,
    /// What is going on.
    #[serde(flatten)]
    pub phase: AllocationPhase,
}

impl AllocationStatus {
    /// No executors, and none wanted. The fields can be set one by one.
    pub fn new(app: AppId) -> Self {
        let phase = AllocationPhase::Reached;
        Self { app, target: 0, running: 0, pending: 0, failed: 0, phase }
    }
}

/// What is going on with an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
#[non_exhaustive]
pub enum AllocationPhase {
    /// As many executors run as are wanted.
    Reached,
    /// Starting or stopping executors.
    Moving,
    /// Cannot go on for now; tries again by itself.
    Blocked {
        /// What stands in the way.
        why: Box<str>,
    },
    /// Too many executors failed (`spark.executor.maxNumFailures`); no more are started until the
    /// application declares a target again.
    GivenUp {
        /// How many failures, within which time, and the last one's cause.
        why: Box<str>,
    },
}

/// An application that is there, and of which nothing else can be told: its record is damaged, or there
/// is no permission to read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unreadable {
    /// The application.
    pub app: AppId,
    /// What cannot be read, and why.
    pub why: Box<str>,
}

impl Unreadable {
    /// An application that cannot be read, for this reason.
    pub fn new(app: AppId, why: impl Into<Box<str>>) -> Self {
        Self { app, why: why.into() }
    }
}

/// One change, or one line of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[non_exhaustive]
pub enum Status {
    /// Of a driver.
    Driver(DriverStatus),
    /// Of an executor.
    Executor(ExecutorStatus),
    /// Of the way to the target.
    Allocation(AllocationStatus),
    /// Of an application that cannot be read, among others that can. A call about that one alone fails
    /// instead.
    Unreadable(Unreadable),
}

impl Status {
    /// The application it is about.
    pub fn app(&self) -> &AppId {
        match self {
            Self::Driver(status) => &status.app,
            Self::Executor(status) => &status.app,
            Self::Allocation(status) => &status.app,
            Self::Unreadable(status) => &status.app,
        }
    }

    /// The driver that it is about, if it is about one.
    pub fn into_driver(self) -> Option<DriverStatus> {
        match self {
            Self::Driver(driver) => Some(driver),
            _ => None,
        }
    }

    /// Its state; an allocation has none, nor has what cannot be read.
    pub fn state(&self) -> Option<&State> {
        match self {
            Self::Driver(status) => Some(&status.state),
            Self::Executor(status) => Some(&status.state),
            Self::Allocation(_) | Self::Unreadable(_) => None,
        }
    }
}

/// An item of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Forget what you know: a snapshot follows.
    Restarted,
    /// A line of the snapshot before [`Event::Synced`], a change after it.
    Changed(Status),
    /// The snapshot is complete, or everything up to here was seen. A watch goes on from the cursor.
    Synced(Cursor),
}

/// Which drivers and executors to list; all of them, unless something is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Of this application only.
    pub app: Option<AppId>,
    /// Without those that ended.
    pub live: bool,
    /// Without executors and allocations.
    pub drivers_only: bool,
    /// Without executors that ended; drivers that ended are listed.
    pub live_executors: bool,
}

impl Filter {
    /// All drivers, without executors and allocations.
    pub fn drivers() -> Self {
        Self::default().drivers_only()
    }

    /// One application, with all that is known of its executors.
    pub fn of(app: &AppId) -> Self {
        Self { app: Some(app.clone()), ..Self::default() }
    }

    /// Without those that ended.
    #[must_use]
    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// Without executors that ended.
    #[must_use]
    pub fn live_executors(mut self) -> Self {
        self.live_executors = true;
        self
    }

    /// Without executors and allocations.
    #[must_use]
    pub fn drivers_only(mut self) -> Self {
        self.drivers_only = true;
        self
    }

    /// Whether a status is wanted. What cannot be read is always told.
    pub fn matches(&self, status: &Status) -> bool {
        let ended = status.state().is_some_and(State::is_ended);
        self.app.as_ref().is_none_or(|app| app == status.app())
            && match status {
                Status::Driver(_) => !(self.live && ended),
                Status::Executor(_) => {
                    !self.drivers_only && !((self.live || self.live_executors) && ended)
                }
                Status::Allocation(_) => !self.drivers_only,
                Status::Unreadable(_) => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_status_is_small_enough_for_hundreds_of_thousands() {
        assert!(size_of::<ExecutorStatus>() <= 112, "{}", size_of::<ExecutorStatus>());
    }

    #[test]
    fn what_a_cluster_says_is_kept_within_bounds() {
        let long: Box<str> = "x".repeat(MAX_MESSAGE + 1).into();
        let bounded = State::Pending { why: Some(long.clone()) }.bounded();
        let State::Pending { why: Some(why) } = bounded else { unreachable!("it is pending") };
        assert_eq!(why.len(), MAX_MESSAGE);
        let end = End {
            cause: Cause::Lost { why: long.clone() },
            at: Timestamp::UNIX_EPOCH,
            last_lines: Some(long),
        };
        let State::Ended(end) = State::Ended(Box::new(end)).bounded() else {
            unreachable!("it has ended")
        };
        assert_eq!(end.last_lines.as_ref().unwrap().len(), MAX_MESSAGE);
        assert!(matches!(&end.cause, Cause::Lost { why } if why.len() == MAX_MESSAGE));
    }

    #[test]
    fn causes_map_to_the_codes_a_shell_would_give() {
        assert_eq!(Cause::Exited { code: 7 }.exit_code(), 7);
        assert_eq!(Cause::Signaled { signal: 9 }.exit_code(), 137);
        assert_eq!(Cause::Signaled { signal: 9 }.to_string(), "ended by SIGKILL");
        assert!(!Cause::Killed { by: KilledBy::Request }.is_failure());
    }
}
