//! The contract of a backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::Serialize;

use crate::administration::Administration;
use crate::model::{
    AppId, Application, ApplicationSpec, Applications, Cause, Cursor, DriverStatus, Event,
    ExecutorTarget, ExternalDriver, Filter, Status, Subject, SubmissionId,
};
use crate::{Error, ErrorKind, Result};

/// A stream of [`Event`]s. An error ends it; what can be mended is mended inside the backend.
pub type EventStream = BoxStream<'static, Result<Event>>;

/// A stream of log output.
pub type LogStream = BoxStream<'static, Result<LogChunk>>;

/// A cluster that runs drivers and executors.
///
/// Every call may run twice: the second one changes nothing and tells the truth. A future may be
/// dropped at any time; what it began is either done or undone, and the next call says which.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait ClusterManager: fmt::Debug + Send + Sync + 'static {
    /// The backend's name: `local`, `kubernetes`, `mesos` …
    fn name(&self) -> &'static str;

    /// What this backend can do. Anything else is refused with
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    fn capabilities(&self) -> Capabilities;

    /// Starts the application's driver.
    ///
    /// With the id and specification of an earlier call it returns the driver that exists; with the
    /// same id and another specification it fails with [`Conflict`](crate::ErrorKind::Conflict).
    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched>;

    /// Makes an application known whose driver somebody else runs, outside of the cluster. Its executors are
    /// requested as those of any other.
    ///
    /// It lasts until [`unregister_application`](Self::unregister_application), until its driver is
    /// [killed](Self::kill), or until this process ends: then its executors end, too. With the id and driver of an
    /// earlier call it returns what exists; with the same id and another driver it fails with
    /// [`Conflict`](crate::ErrorKind::Conflict).
    async fn register_application(
        &self,
        _id: &SubmissionId,
        _driver: &ExternalDriver,
    ) -> Result<Launched> {
        Err(Error::unsupported(format!("{} has no drivers outside of the cluster", self.name())))
    }

    /// Says how the driver of a [registered](Self::register_application) application ended; its executors
    /// end with it. Ended already is success.
    async fn unregister_application(&self, app: &AppId, _cause: &Cause) -> Result<()> {
        Err(Error::not_found(format!("no application {app} was registered here")))
    }

    /// Declares how many executors of each profile the application wants in total.
    ///
    /// Returns when the target is accepted, not when it is reached: [`watch`](Self::watch) tells.
    /// Asking twice for 5 gives 5. A target that was given up is taken up again.
    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()>;

    /// Ends a driver with its executors, or one executor. Gone already is success; never known is
    /// [`NotFound`](crate::ErrorKind::NotFound).
    ///
    /// The process is asked first, and has `grace` before it is made to. Returns when the request is
    /// on its way, not when the process is gone. An executor that is killed while the target stands
    /// is replaced.
    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()>;

    /// Reports what happens to one application, or to all.
    ///
    /// The stream begins with [`Event::Restarted`], the state as [`Event::Changed`] lines, and
    /// [`Event::Synced`]; then every change, in order for each subject. From a cursor it goes on
    /// where that was taken, or with `Restarted` if the backend no longer knows the place.
    async fn watch(&self, options: &WatchOptions) -> Result<EventStream>;

    /// What is known now: the snapshot of a watch.
    async fn list(&self, filter: &Filter) -> Result<Vec<Status>>;

    /// The driver of a submission, by the id that its submitter chose or by the cluster's own.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none.
    async fn get(&self, id: &SubmissionId) -> Result<DriverStatus> {
        let is_meant = |it: &DriverStatus| it.submission == *id || it.chosen.as_ref() == Some(id);
        // Most clusters name an application by its submission: others need not be looked at then.
        let named = AppId::new(id.as_str()).ok().map(|app| Filter::of(&app).drivers_only());
        for filter in named.into_iter().chain([Filter::drivers()]) {
            let found = match self.list(&filter).await {
                Ok(statuses) => statuses.into_iter().filter_map(Status::into_driver).find(is_meant),
                Err(error) => match error.kind() {
                    ErrorKind::NotFound | ErrorKind::Unsupported => None,
                    _ => return Err(error),
                },
            };
            if let Some(driver) = found {
                return Ok(driver);
            }
        }
        Err(Error::not_found(format!("there is no driver of {id}")))
    }

    /// Whether the cluster answers, as a health check asks it.
    ///
    /// # Errors
    /// Why not.
    async fn ping(&self) -> Result<()> {
        self.list(&Filter::drivers().live()).await.map(drop)
    }

    /// Removes what an application that has ended has left on the cluster, and returns when that is
    /// done: executors, and the driver itself if its time to live is over. The process that requested its
    /// executors calls it before it ends. Backends that leave nothing behind have nothing to do, and so
    /// has one whose application has not ended.
    async fn cleanup(&self, _app: &AppId) -> Result<()> {
        Ok(())
    }

    /// What only some clusters can do for those who look after them.
    #[allow(clippy::needless_lifetimes, reason = "mockall does not read elided ones")]
    fn administration<'a>(&'a self) -> Option<&'a dyn Administration> {
        None
    }

    /// The output of a driver or an executor. A followed stream ends when its process has ended and
    /// all of it was read.
    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream>;

    /// What the cluster knows of why an application does not run, or ended as it did, beyond what its
    /// statuses say: the most important first. Asks the cluster several questions; not for loops.
    async fn diagnose(&self, _app: &AppId) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }
}

/// Conveniences for those who call a [`ClusterManager`].
#[async_trait]
pub trait ClusterManagerExt: ClusterManager {
    /// As [`launch_driver`](ClusterManager::launch_driver), but the same id gives the driver that exists,
    /// whatever its specification.
    ///
    /// # Errors
    /// As [`launch_driver`](ClusterManager::launch_driver); a [`Conflict`](ErrorKind::Conflict) is with
    /// something else than this submission.
    async fn launch_once(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        let error = match self.launch_driver(id, app).await {
            Err(error) if error.kind() == ErrorKind::Conflict => error,
            launched => return launched,
        };
        match self.get(error.existing().unwrap_or(id)).await {
            Ok(driver) => Ok(Launched::existing(driver)),
            Err(missing) if missing.kind() == ErrorKind::NotFound => Err(error),
            Err(other) => Err(other),
        }
    }

    /// All that is known of one application now.
    ///
    /// # Errors
    /// As [`list`](ClusterManager::list); [`NotFound`](ErrorKind::NotFound) if there is no such application.
    async fn application(&self, app: &AppId) -> Result<Application> {
        let known: Applications = self.list(&Filter::of(app)).await?.into_iter().collect();
        let application = known.get(app).cloned();
        application.ok_or_else(|| Error::not_found(format!("there is no application {app}")))
    }
}

impl<T: ClusterManager + ?Sized> ClusterManagerExt for T {}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Launched {
    /// The driver.
    pub driver: DriverStatus,
    /// An earlier call with the same id and specification started it.
    pub existed: bool,
}

impl Launched {
    /// A driver that this call started.
    pub fn new(driver: DriverStatus) -> Self {
        Self { driver, existed: false }
    }

    /// The driver that an earlier call started.
    pub fn existing(driver: DriverStatus) -> Self {
        Self { driver, existed: true }
    }
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchOptions {
    /// Of this application only.
    pub app: Option<AppId>,
    /// What happened after this.
    pub from: Option<Cursor>,
    /// Without executors and allocations, where the cluster can leave them out.
    pub drivers_only: bool,
}

impl WatchOptions {
    /// Of all applications.
    pub fn all() -> Self {
        Self::default()
    }

    /// Of one application.
    pub fn of(app: &AppId) -> Self {
        Self { app: Some(app.clone()), ..Self::default() }
    }

    /// Goes on where an earlier stream was.
    #[must_use]
    pub fn from(mut self, cursor: Cursor) -> Self {
        self.from = Some(cursor);
        self
    }

    /// Without executors and allocations.
    #[must_use]
    pub fn drivers_only(mut self) -> Self {
        self.drivers_only = true;
        self
    }
}

/// A pointer to a cluster manager is one.
macro_rules! pointer {
    ($pointer:ident) => {
        #[async_trait]
        impl<T: ClusterManager + ?Sized> ClusterManager for $pointer<T> {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            async fn launch_driver(
                &self,
                id: &SubmissionId,
                app: &ApplicationSpec,
            ) -> Result<Launched> {
                (**self).launch_driver(id, app).await
            }

            async fn register_application(
                &self,
                id: &SubmissionId,
                driver: &ExternalDriver,
            ) -> Result<Launched> {
                (**self).register_application(id, driver).await
            }

            async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
                (**self).unregister_application(app, cause).await
            }

            async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
                (**self).request_executors(app, target).await
            }

            async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
                (**self).kill(subject, grace).await
            }

            async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
                (**self).watch(options).await
            }

            async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
                (**self).list(filter).await
            }

            async fn get(&self, id: &SubmissionId) -> Result<DriverStatus> {
                (**self).get(id).await
            }

            async fn ping(&self) -> Result<()> {
                (**self).ping().await
            }

            async fn cleanup(&self, app: &AppId) -> Result<()> {
                (**self).cleanup(app).await
            }

            fn administration(&self) -> Option<&dyn Administration> {
                (**self).administration()
            }

            async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
                (**self).logs(subject, options).await
            }

            async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
                (**self).diagnose(app).await
            }
        }
    };
}

pointer!(Arc);
pointer!(Box);

/// Something that bears on an application, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was found: a sentence.
    pub what: String,
    /// What to do about it: sentences or commands, a line each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// This was found: a sentence.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None }
    }

    /// And this can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What a backend can do. Each field is read by a group of the conformance suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Capabilities {
    /// A driver goes on when the process that launched it ends.
    pub detached_drivers: bool,
    /// A submission is known by the id that its submitter chose, so that the same one twice is one driver.
    pub chosen_ids: bool,
    /// Executors can be requested.
    pub executors: bool,
    /// Executors of several profiles at once.
    pub profiles: bool,
    /// Applications whose driver runs outside of the cluster can be
    /// [registered](ClusterManager::register_application), and choose which executors they
    /// [give up](crate::model::ExecutorTarget::unwanted).
    pub external_drivers: bool,
    /// The cluster keeps the target itself; else core's reconciler does.
    pub native_target: bool,
    /// Output can be read after the fact and followed.
    pub logs: bool,
    /// What happens to a process that uses more memory than it was given.
    pub memory: MemoryLimit,
    /// Executors run on machines or workers that can be lost while others go on.
    pub nodes: bool,
    /// Driver and executors are objects of the cluster's, of which a specification may have
    /// [templates](crate::model::Templates).
    pub templates: bool,
}

impl Capabilities {
    /// Drivers that end with the process that launched them, and nothing else. The fields can be set one by
    /// one.
    pub const fn new() -> Self {
        Self {
            detached_drivers: false,
            chosen_ids: false,
            executors: false,
            profiles: false,
            external_drivers: false,
            native_target: false,
            logs: false,
            memory: MemoryLimit::None,
            nodes: false,
            templates: false,
        }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens to a process that uses more memory than it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryLimit {
    /// It is ended, and its end says so ([`Cause::OutOfMemory`](crate::model::Cause::OutOfMemory)).
    Enforced,
    /// Its allocations fail; how it ends is up to it.
    AllocationFails,
    /// As each node is configured: it may be ended, or not.
    ByNode,
    /// Nothing.
    None,
}

/// What part of the output is wanted; what was written so far, unless something else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// Go on with what is written later, until the process ends.
    pub follow: bool,
    /// Only this many lines from the end of each stream, and what follows.
    pub tail: Option<u64>,
    /// Only this stream.
    pub source: Option<LogSource>,
}

impl LogOptions {
    /// With what is written later.
    #[must_use]
    pub fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Only this many lines from the end of each stream, and what follows.
    #[must_use]
    pub fn tail(mut self, lines: u64) -> Self {
        self.tail = Some(lines);
        self
    }

    /// Only this stream.
    #[must_use]
    pub fn source(mut self, source: LogSource) -> Self {
        self.source = Some(source);
        self
    }
}

/// Where output was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogSource {
    /// `stdout` or `stderr`: also the name of the log file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of output, not cut at line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it was written.
    pub source: LogSource,
    /// As it was written.
    pub bytes: Bytes,
}
