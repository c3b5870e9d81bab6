//! A YARN as a [`ClusterManager`]: submissions, what becomes of them, and requests that are passed on to application
//! masters.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::model::{
    AppId, ApplicationSpec, Cause, DriverStatus, Event, ExecutorId, ExecutorTarget, ExternalDriver,
    Filter, Payload, State, Status, Subject, SubmissionId,
};
use anymaster_core::{
    Administration, Backoff, Capabilities, ClusterManager, Error, ErrorKind, EventStream, Finding,
    Launched, LogOptions, LogStream, MemoryLimit, Observer, Result, WatchOptions,
};
use async_trait::async_trait;
use futures::stream::StreamExt as _;
use tokio::task::AbortHandle;

use crate::backend::NAME;
use crate::cluster::{Cluster, PAUSE, age};
use crate::control::Request;
use crate::external::Externals;
use crate::native::{Native, driver_resource};
use crate::proto::{ApplicationId, ApplicationState};
use crate::staging::remove_staging;
use crate::submit::Submission;
use crate::tags::OwnTags;
use crate::{diagnosis, output, status, watch};

/// How long a request for executors waits for the application master; it is passed on later then.
const MASTER_PATIENCE: Duration = Duration::from_secs(10);
/// The pauses before a target is told again to a master that was out of reach.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A [`ClusterManager`] for YARN.
#[derive(Debug)]
pub(crate) struct Yarn {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) externals: Externals,
    /// Targets that wait for their application masters.
    pub(crate) requests: Mutex<HashMap<AppId, AbortHandle>>,
    /// The program `anymaster`, of this machine.
    pub(crate) program: Option<PathBuf>,
    pub(crate) kill_timeout: Duration,
    pub(crate) observer: Observer,
}

impl Drop for Yarn {
    fn drop(&mut self) {
        let requests = self.requests.get_mut().unwrap_or_else(PoisonError::into_inner);
        requests.values().for_each(AbortHandle::abort);
    }
}

impl Yarn {
    /// Submits an application of Spark's; returns its id.
    async fn submit_spark(&self, own: &OwnTags, app: &ApplicationSpec) -> Result<ApplicationId> {
        let Cluster { submitter, configuration, manager, .. } = &*self.cluster;
        let submission = Submission::new(own, app, submitter, configuration).await?;
        submission.warnings().iter().for_each(|warning| self.observer.tell(warning.clone()));
        let (application, maximum) = manager.new_application().await?;
        let resources = submission.resources(&maximum)?;
        if !resources.others.is_empty() {
            // What the cluster does not know, it would leave out in silence.
            let known = manager.resource_types().await?;
            if let Some(other) = resources.others.iter().find(|other| !known.contains(other)) {
                return Err(Error::invalid(format!("the cluster has no resource {other}"))
                    .with_hint(format!("it has {}", known.join(", "))));
            }
        }
        let context = submission.stage(application, &resources, &self.observer).await?;
        if let Err(error) = manager.submit(context).await {
            submission.remove(&submission.staging_dir(application)).await;
            return Err(error.context("YARN refused the application"));
        }
        Ok(application)
    }

    /// Submits a program as a driver.
    async fn submit_program(
        &self,
        id: &SubmissionId,
        own: &OwnTags,
        app: &ApplicationSpec,
    ) -> Result<ApplicationId> {
        app.templates.refuse()?;
        if app.driver.supervise {
            return Err(Error::unsupported("YARN does not start a program again (--supervise)")
                .with_hint("submit it again when it has ended"));
        }
        let Cluster { submitter, configuration, manager, .. } = &*self.cluster;
        let native = Native::new(id, own, &app.conf, submitter, configuration).await?;
        let (application, maximum) = manager.new_application().await?;
        let resource = driver_resource(app, &maximum)?;
        let program = self.program.as_deref();
        let context = native.stage(application, app, resource, program, &self.observer).await?;
        if let Err(error) = manager.submit(context).await {
            native.remove(application).await;
            return Err(error.context("YARN refused the application"));
        }
        Ok(application)
    }

    async fn remove_files(&self, app: &ApplicationSpec, application: ApplicationId) {
        let Cluster { submitter, configuration, .. } = &*self.cluster;
        if let Err(error) = remove_staging(submitter, configuration, &app.conf, application).await {
            tracing::warn!(%application, %error, "the files of a submission cannot be removed");
        }
    }

    /// Has YARN kill an application, and waits for it.
    async fn kill_application(&self, application: ApplicationId) -> Result<()> {
        let killing = async {
            while !self.cluster.manager.kill(application).await? {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        tokio::time::timeout(self.kill_timeout, killing).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("YARN has not killed {application} yet")))
        })?;
        self.cleanup(&AppId::new(&application.to_string())?).await
    }

    async fn kill_driver(&self, id: &SubmissionId, grace: Duration) -> Result<()> {
        let report = self.cluster.find(id).await?;
        let application = report.application_id.unwrap_or_default();
        if status::driver(&report)?.state.is_ended() {
            return self.cleanup(&AppId::new(&application.to_string())?).await;
        }
        if status::is_native(&report) && report.state() == ApplicationState::Running {
            let request = Request::KillDriver { grace };
            match self.cluster.ask_master(&report, &request).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the application master does not answer: YARN ends it");
                }
            }
        }
        self.kill_application(application).await
    }

    async fn kill_executor(&self, app: &AppId, id: ExecutorId, grace: Duration) -> Result<()> {
        let report = self.cluster.report(app).await?;
        if !status::is_native(&report) {
            return Err(Error::unsupported("executors of Spark are ended by their driver")
                .with_hint("kill the application"));
        }
        if status::driver(&report)?.state.is_ended() {
            let kept = status::epilogue(&report).map(|it| it.executors).unwrap_or_default();
            return match kept.iter().any(|kept| kept.status.id == id) {
                true => Ok(()),
                false => Err(Error::not_found(format!("there is no executor {id} of {app}"))),
            };
        }
        self.cluster.ask_when_running(app, &Request::KillExecutor { id, grace }).await.map(drop)
    }

    /// All that is known of one application now.
    async fn statuses_of(&self, app: &AppId) -> Result<Vec<Status>> {
        let mut events = watch::open(Arc::clone(&self.cluster), Some(app.clone()), false).await?;
        let mut statuses = HashMap::new();
        let mut others = Vec::new();
        while let Some(event) = events.next().await {
            match event? {
                Event::Changed(Status::Executor(executor)) => {
                    statuses.insert(executor.id, executor);
                }
                Event::Changed(status) => others.push(status),
                Event::Synced(_) => break,
                Event::Restarted => {}
            }
        }
        let mut executors: Vec<_> = statuses.into_values().collect();
        executors.sort_by_key(|executor| executor.id);
        others.extend(executors.into_iter().map(Status::Executor));
        Ok(others)
    }
}

#[async_trait]
impl ClusterManager for Yarn {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::new();
        (can.detached_drivers, can.chosen_ids, can.logs, can.nodes) = (true, true, true, true);
        (can.executors, can.profiles, can.external_drivers) = (true, true, true);
        can.memory = MemoryLimit::ByNode;
        can
    }

    async fn launch_driver(&self, id: &SubmissionId, app: &ApplicationSpec) -> Result<Launched> {
        app.check()?;
        let own = OwnTags::new(id, app)?;
        if let Some(driver) = self.cluster.existing(id, &own).await? {
            return Ok(Launched::existing(driver));
        }
        let application = match &app.driver.payload {
            Payload::Spark(_) => self.submit_spark(&own, app).await?,
            Payload::Command(_) => self.submit_program(id, &own, app).await?,
        };
        let report = self.cluster.accepted(application).await?;
        // Another call with this id may have been faster: the first application stays.
        let first = self.cluster.find(id).await?;
        if age(&first).1 != application {
            self.cluster.manager.kill(application).await?;
            self.remove_files(app, application).await;
            return match self.cluster.existing(id, &own).await? {
                Some(driver) => Ok(Launched::existing(driver)),
                None => {
                    Err(Error::unavailable(format!("{id} is being submitted by somebody else")))
                }
            };
        }
        let driver = status::driver(&report)?;
        if let State::Ended(end) = &driver.state {
            self.remove_files(app, application).await;
            if let Cause::CouldNotStart { why, .. } = &end.cause
                && !status::is_native(&report)
            {
                return Err(Error::invalid(format!("YARN refused the application: {why}")));
            }
            if status::is_native(&report) && report.state() == ApplicationState::Failed {
                let cause = &end.cause;
                return Err(Error::invalid(format!("YARN refused the application: {cause}")));
            }
        }
        Ok(Launched::new(driver))
    }

    async fn register_application(
        &self,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        self.externals.launched(&self.cluster, id, driver).await
    }

    async fn unregister_application(&self, app: &AppId, cause: &Cause) -> Result<()> {
        if self.externals.unregister(app, cause).await.is_some() {
            return Ok(());
        }
        let report = self.cluster.report(app).await?;
        match status::driver(&report)?.state.is_ended() {
            true => Ok(()),
            false => Err(Error::not_found(format!("no application {app} was registered here"))),
        }
    }

    async fn request_executors(&self, app: &AppId, target: &ExecutorTarget) -> Result<()> {
        target.check()?;
        if let Some(master) = self.externals.master(app) {
            return master.request(target.clone()).await;
        }
        let report = self.cluster.report(app).await?;
        if !status::is_native(&report) {
            return Err(Error::unsupported("executors of Spark are requested by its own driver"));
        }
        let (cluster, owned, request) =
            (Arc::clone(&self.cluster), app.clone(), Request::Target(target.clone()));
        let asking = tokio::spawn(async move {
            let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
            loop {
                match cluster.ask_when_running(&owned, &request).await {
                    Err(error) if error.kind().is_retryable() => {
                        tracing::warn!(app = %owned, %error, "executors are requested again");
                        backoff.failed(None);
                        backoff.pause().await;
                    }
                    Err(error) => {
                        tracing::warn!(app = %owned, %error, "executors are refused");
                        return Err(error);
                    }
                    Ok(_) => return Ok(()),
                }
            }
        });
        let before = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.insert(app.clone(), asking.abort_handle())
        };
        // The last target counts.
        if let Some(before) = before {
            before.abort();
        }
        match tokio::time::timeout(MASTER_PATIENCE, asking).await {
            Ok(Ok(answered)) => answered,
            // A later target took its place.
            Ok(Err(error)) if error.is_cancelled() => Ok(()),
            Ok(Err(error)) => Err(Error::unavailable("the request has failed").with_source(error)),
            // It waits for its driver to start: the target does not get lost meanwhile.
            Err(_) => Ok(()),
        }
    }

    async fn kill(&self, subject: &Subject, grace: Duration) -> Result<()> {
        match subject {
            Subject::Driver(id) => self.kill_driver(id, grace).await,
            Subject::Executor(app, id) => self.kill_executor(app, *id, grace).await,
        }
    }

    async fn watch(&self, options: &WatchOptions) -> Result<EventStream> {
        watch::open(Arc::clone(&self.cluster), options.app.clone(), options.drivers_only).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Status>> {
        let all = match &filter.app {
            Some(app) if !filter.drivers_only => self.statuses_of(app).await?,
            app => {
                let reports = self.cluster.reports(app.as_ref(), filter.live).await?;
                self.cluster.drivers(&reports)?.into_iter().map(Status::Driver).collect()
            }
        };
        // An application has YARN's id as well.
        let mut kinds = filter.clone();
        kinds.app = None;
        Ok(all.into_iter().filter(|status| kinds.matches(status)).collect())
    }

    async fn get(&self, id: &SubmissionId) -> Result<DriverStatus> {
        let report = self.cluster.find(id).await?;
        status::driver(&report)
    }

    async fn ping(&self) -> Result<()> {
        self.cluster.manager.resource_types().await.map(drop)
    }

    /// Removes the files of an application that has ended. Application masters do it where they can.
    async fn cleanup(&self, app: &AppId) -> Result<()> {
        let report = self.cluster.report(app).await?;
        if status::driver(&report)?.state.is_ended() {
            let Cluster { submitter, configuration, conf, .. } = &*self.cluster;
            let id = report.application_id.unwrap_or_default();
            remove_staging(submitter, configuration, conf, id).await?;
        }
        Ok(())
    }

    async fn logs(&self, subject: &Subject, options: &LogOptions) -> Result<LogStream> {
        match subject {
            Subject::Driver(id) => output::of_driver(&self.cluster, id, options).await,
            Subject::Executor(app, id) => {
                output::of_executor(&self.cluster, app, *id, options).await
            }
        }
    }

    fn administration(&self) -> Option<&dyn Administration> {
        Some(self)
    }

    async fn diagnose(&self, app: &AppId) -> Result<Vec<Finding>> {
        diagnosis::diagnose(&self.cluster, app).await
    }
}
