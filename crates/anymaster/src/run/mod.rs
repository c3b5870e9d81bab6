//! One application, from its submission to its end.

mod follow;
mod output;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::dynamic_allocation::DynamicAllocationPolicy;
use anymaster_core::model::{
    AllocationStatus, ApplicationSpec, DriverStatus, ExecutorId, ExecutorStatus, ExecutorTarget,
    Subject, SubmissionId,
};
use anymaster_core::{ClusterManager, Error, Finding, LogChunk, Result};
use tokio::sync::watch;

use self::follow::Follow;
use crate::WorkSource;

/// How long a driver has to end by itself when a run is cancelled, unless
/// [`with_grace`](Run::with_grace) says otherwise.
const GRACE: Duration = Duration::from_secs(10);

/// One application, from its submission to its end: its driver, and the executors that it is given.
///
/// [`submit`](Self::submit) launches the driver, or finds the one that the same submission launched
/// before; [`wait`](Self::wait) requests the executors, follows what happens, and returns when all has
/// ended and nothing is left on the cluster.
///
/// ```
/// use std::sync::Arc;
///
/// use anymaster::model::{ApplicationSpec, CommandLine, SubmissionId};
/// use anymaster::{Cancellation, ConnectOptions, Run, RunEnd, RunEvent};
///
/// # async fn example(directory: &std::path::Path) -> anymaster::Result<()> {
/// let registry = anymaster::registry();
/// let options = ConnectOptions::new(registry.parse("local[2]")?).with_state_dir(directory);
/// let cluster = registry.connect(options).await?;
/// let command = CommandLine::new("sh").args(["-c", "exit 3"]);
/// let app = ApplicationSpec::new("an example", command);
/// let run = Run::submit(cluster, &SubmissionId::new("example-1")?, &app).await?;
/// // Whoever has a clone of it may call `cancel`.
/// let cancellation = Cancellation::new();
/// let outcome = run
///     .with_cancellation(&cancellation)
///     .with_observer(Arc::new(|event: RunEvent<'_>| println!("{event:?}")))
///     .wait()
///     .await?;
/// assert!(matches!(outcome.end, RunEnd::DriverEnded));
/// assert_eq!(outcome.exit_code(), 3);
/// # Ok(())
/// # }
/// # let directory = tempfile::tempdir().unwrap();
/// # tokio::runtime::Runtime::new().unwrap().block_on(example(directory.path())).unwrap();
/// ```
///
/// A run of which the future is dropped is no longer followed; its application goes on where the cluster
/// keeps it, and a later run of the same submission, or [`attach`](Self::attach), finds it.
pub struct Run {
    cluster: Arc<dyn ClusterManager>,
    driver: DriverStatus,
    existed: bool,
    target: Option<ExecutorTarget>,
    dynamic: Option<(DynamicAllocationPolicy, Arc<dyn WorkSource>)>,
    detached: bool,
    grace: Duration,
    output: RunOutput,
    observer: Arc<dyn RunObserver>,
    cancellation: Cancellation,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("driver", &self.driver)
            .field("target", &self.target)
            .field("detached", &self.detached)
            .finish_non_exhaustive()
    }
}

impl Run {
    /// Launches an application's driver, or finds the one that the same submission launched before.
    ///
    /// A future that is dropped may or may not have launched it: the cluster knows.
    ///
    /// # Errors
    /// As [`ClusterManager::launch_driver`].
    pub async fn submit(
        cluster: Arc<dyn ClusterManager>,
        id: &SubmissionId,
        app: &ApplicationSpec,
    ) -> Result<Self> {
        let launched = cluster.launch_driver(id, app).await?;
        Ok(Self { existed: launched.existed, ..Self::attach(cluster, launched.driver) })
    }

    /// Of a driver that exists.
    pub fn attach(cluster: Arc<dyn ClusterManager>, driver: DriverStatus) -> Self {
        Self {
            cluster,
            driver,
            existed: true,
            target: None,
            dynamic: None,
            detached: false,
            grace: GRACE,
            output: RunOutput::Nothing,
            observer: Arc::new(|_: RunEvent<'_>| {}),
            cancellation: Cancellation::new(),
        }
    }

    /// Where it runs.
    pub fn cluster(&self) -> &Arc<dyn ClusterManager> {
        &self.cluster
    }

    /// The driver, as it was when it was launched or found.
    pub fn driver(&self) -> &DriverStatus {
        &self.driver
    }

    /// Whether the driver was there before.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Requests these executors for a driver that does not do it itself. When the cluster gives them up,
    /// because too many failed, the driver is ended: it could not react.
    #[must_use]
    pub fn with_executors(mut self, target: ExecutorTarget) -> Self {
        self.target = Some(target);
        self
    }

    /// As many executors as there is work for, instead of the numbers of
    /// [`with_executors`](Self::with_executors), which says how they are started.
    #[must_use]
    pub fn with_dynamic_allocation(
        mut self,
        policy: DynamicAllocationPolicy,
        source: Arc<dyn WorkSource>,
    ) -> Self {
        self.dynamic = Some((policy, source));
        self
    }

    /// Only follows the driver: it goes on when the run is cancelled, and its executors are its own
    /// business.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// How long the driver has to end by itself when the run is cancelled; otherwise ten seconds.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Whose output is reported; otherwise nobody's.
    #[must_use]
    pub fn with_output(mut self, output: RunOutput) -> Self {
        self.output = output;
        self
    }

    /// Who is told what happens.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn RunObserver>) -> Self {
        self.observer = observer;
        self
    }

    /// What cancels it.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: &Cancellation) -> Self {
        self.cancellation = cancellation.clone();
        self
    }

    /// Follows the application to its end.
    ///
    /// # Errors
    /// If its executors are refused (the driver is ended then), if it cannot be followed from the
    /// beginning, or if a driver that is to be ended cannot be. What goes wrong later is a [`RunEnd`].
    pub async fn wait(mut self) -> Result<RunOutcome> {
        let target = self.target.take();
        Follow::new(self, target.is_some()).run(target).await
    }
}

/// Whose output is reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunOutput {
    /// Nobody's.
    #[default]
    Nothing,
    /// The driver's.
    Driver,
    /// The driver's and the executors': of 64 of these at once.
    All,
}

/// Who is told what happens in a [`Run`]: any `Fn(RunEvent<'_>)` is one.
///
/// Output is reported by tasks of its own, so that an observer that takes its time with output holds
/// nothing else up; it may be called from several threads at once. One that blocks for long says so with
/// `tokio::task::block_in_place`.
pub trait RunObserver: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: RunEvent<'_>);
}

impl<F: Fn(RunEvent<'_>) + Send + Sync + 'static> RunObserver for F {
    fn observe(&self, event: RunEvent<'_>) {
        self(event);
    }
}

/// What happens in a [`Run`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// How the driver is, at the beginning and at each change. May be told again when the watch has begun
    /// anew.
    Driver(&'a DriverStatus),
    /// How an executor is, at each change. Its end is told once.
    Executor(&'a ExecutorStatus),
    /// How far the executors are on the way to the target, until the driver has ended.
    Allocation(&'a AllocationStatus),
    /// What the cluster knows of why the driver still waits to be started.
    Diagnosis(&'a [Finding]),
    /// The driver was asked to end, as the run was cancelled: within its grace, or at once.
    Ending {
        /// It was cancelled more than once.
        at_once: bool,
    },
    /// A piece of output.
    Output(&'a Subject, &'a LogChunk),
    /// All output of this process was reported.
    OutputEnded(&'a Subject),
    /// The rest of a process' output cannot be read.
    OutputLost(&'a Subject, &'a Error),
    /// The output of this executor is not reported, as that of too many others is.
    OutputSkipped(ExecutorId),
    /// The driver has ended, but so many of its executors have not, after a while.
    Leftover {
        /// How many.
        executors: u64,
    },
    /// What the application left on the cluster could not be removed.
    CleanupFailed(&'a Error),
}

/// How a [`Run`] ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOutcome {
    /// The driver, as it was seen last.
    pub driver: DriverStatus,
    /// Why the run is over.
    pub end: RunEnd,
    /// It was cancelled.
    pub cancelled: bool,
}

impl RunOutcome {
    /// The exit code a shell would report for the driver; 1 if it has not ended.
    pub fn exit_code(&self) -> i32 {
        self.driver.state.end().map_or(1, |end| end.cause.exit_code())
    }
}

/// Why a [`Run`] is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RunEnd {
    /// The driver has ended; its state says how.
    DriverEnded,
    /// Too many executors failed, and the driver was ended as it has too few.
    GivenUp {
        /// How many failures, within which time, and the last one's cause.
        why: Box<str>,
    },
    /// A detached run was cancelled: the driver goes on.
    Detached,
    /// The driver was deleted before its end was seen.
    Deleted,
    /// The cluster cannot be watched any more; the driver goes on.
    WatchLost(Error),
}

/// Cancels a [`Run`]. Clones cancel the same one.
///
/// The first call asks the driver to end within its grace, a second one ends it at once; when it has ended,
/// a call ends the waiting for what it leaves behind. A detached run ends with the first one, and the driver
/// goes on.
#[derive(Debug, Clone)]
pub struct Cancellation(watch::Sender<u32>);

impl Cancellation {
    /// One that nobody has called yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Cancels.
    pub fn cancel(&self) {
        self.0.send_modify(|calls| *calls = calls.saturating_add(1));
    }
}

impl Default for Cancellation {
    fn default() -> Self {
        Self::new()
    }
}

/// The calls of a [`Cancellation`], one by one.
struct Calls {
    receiver: watch::Receiver<u32>,
    taken: u32,
}

impl Calls {
    fn of(cancellation: &Cancellation) -> Self {
        Self { receiver: cancellation.0.subscribe(), taken: 0 }
    }

    /// The next call.
    async fn next(&mut self) {
        let taken = self.taken;
        if self.receiver.wait_for(|calls| *calls > taken).await.is_err() {
            // Nobody is left who could call.
            std::future::pending().await
        }
        self.taken += 1;
    }

    /// What `work` comes to; nothing if a call comes before.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.next() => None,
            done = work => Some(done),
        }
    }
}
