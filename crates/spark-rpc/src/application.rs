//! One application: from the registration of its driver to its end.
//!
//! What a driver asks for is taken in at once, and repeats are cheap; the cluster is told when something
//! changes. Events of the cluster become messages to the driver.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anymaster_core::model::{
    AllocationPhase, AppId, Cause, Cursor, DriverStatus, Event, ExecutorId, ExecutorStatus,
    ExecutorTarget, ExecutorTemplate, ProfileId, StartFailure, State, Status, SubmissionId,
};
use anymaster_core::reconcile::ExecutorStore;
use anymaster_core::{Backoff, ClusterManager, Error, Result, WatchOptions};
use anymaster_spark_wire::RpcAddress;
use anymaster_spark_wire::messages::{ResourceProfile, ToDriver};
use futures::StreamExt as _;
use tokio::sync::{Notify, watch};

use crate::demand::Demand;
use crate::link::DriverLink;
use crate::master::DriverRecords;
use crate::plan::{Plan, Shapes};
use crate::record::{Record, Restored};
use crate::report;

/// The first pause before a call to the cluster is repeated.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The longest one.
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How often the cluster is told that an application has ended, if it does not answer.
const LAST_WORDS: u32 = 10;

/// An application, for its connection.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) id: AppId,
    shapes: Shapes,
    demand: Mutex<Demand>,
    /// What is stored of it, without the executors that were given up.
    record: Mutex<Option<Record>>,
    /// The demand is to be told to the cluster.
    changed: Notify,
    ended: watch::Sender<Option<Cause>>,
}

impl Application {
    pub(crate) fn new(id: AppId, demand: Demand, shapes: Shapes) -> Self {
        let (changed, ended) = (Notify::new(), watch::Sender::new(None));
        let (demand, record) = (Mutex::new(demand), Mutex::default());
        Self { id, shapes, demand, record, changed, ended }
    }

    fn demand(&self) -> MutexGuard<'_, Demand> {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> MutexGuard<'_, Option<Record>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be stored now.
    fn to_store(&self) -> Option<Record> {
        let given_up = self.demand().given_up().clone();
        self.record().as_ref().map(|record| record.with_given_up(given_up))
    }

    /// The driver declares its totals, by this message.
    ///
    /// # Errors
    /// For a profile that cannot be.
    pub(crate) fn request(&self, totals: &[(ResourceProfile, u32)], message: &[u8]) -> Result<()> {
        if self.demand().request(self.shaped(totals)?) {
            if let Some(record) = &mut *self.record() {
                record.set_totals(message);
            }
            self.changed.notify_one();
        }
        Ok(())
    }

    fn shaped(
        &self,
        totals: &[(ResourceProfile, u32)],
    ) -> Result<Vec<(ProfileId, anymaster_core::model::ResourceProfile, u32)>> {
        let shape = |(profile, total): &(ResourceProfile, u32)| {
            Ok((ProfileId(profile.id), self.shapes.of(profile)?, *total))
        };
        totals.iter().map(shape).collect()
    }

    /// The driver gives executors up. What is no number is no executor.
    pub(crate) fn kill(&self, executors: &[String]) {
        let ids = executors.iter().filter_map(|id| id.parse().ok()).map(ExecutorId);
        if self.demand().give_up(ids) {
            self.changed.notify_one();
        }
    }

    /// The driver has ended, or is to be taken for that. The first cause counts.
    pub(crate) fn end(&self, cause: Cause) {
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(cause);
            is_first
        });
    }
}

/// What an application needs to run.
pub(crate) struct Runner {
    pub(crate) application: Arc<Application>,
    pub(crate) cluster: Arc<dyn ClusterManager>,
    pub(crate) template: ExecutorTemplate,
    pub(crate) driver: anymaster_core::model::ExternalDriver,
    pub(crate) link: DriverLink,
    /// The address by which the driver called us.
    pub(crate) master: RpcAddress,
    /// The address of all executors, if they share one.
    pub(crate) executor_host: Option<String>,
    /// The page of the master, if it takes the application over from another one.
    web_url: Option<String>,
}

impl Runner {
    pub(crate) fn new(
        plan: Plan,
        id: AppId,
        cluster: Arc<dyn ClusterManager>,
        link: DriverLink,
        master: RpcAddress,
        executor_host: Option<String>,
    ) -> Self {
        let Plan { driver, template, demand, shapes } = plan;
        let application = Arc::new(Application::new(id, demand, shapes));
        let web_url = None;
        Self { application, cluster, template, driver, link, master, executor_host, web_url }
    }

    /// What is stored of it, where applications survive the master.
    pub(crate) fn recorded(self, record: Record) -> Self {
        *self.application.record() = Some(record);
        self
    }

    /// It goes on with another master, whose page is there.
    ///
    /// # Errors
    /// For a profile that cannot be.
    pub(crate) fn resumed(
        self,
        record: Record,
        restored: &Restored,
        web_url: &str,
    ) -> Result<Self> {
        let application = &self.application;
        if let Some(totals) = &restored.totals {
            let totals = application.shaped(totals)?;
            application.demand().request(totals);
        }
        application.demand().restore_given_up(restored.given_up.clone());
        Ok(Self { web_url: Some(web_url.to_owned()), ..self.recorded(record) })
    }

    /// Runs the application to its end; executors have been told to end then. `records`: where it is stored.
    pub(crate) async fn run(self, records: Option<&dyn DriverRecords>) {
        let id = &self.application.id;
        let submission = match SubmissionId::new(id.as_str()) {
            Ok(submission) => submission,
            Err(error) => return self.refuse(&error).await,
        };
        let mut ended = self.application.ended.subscribe();
        let registered = tokio::select! {
            registered = self.register(&submission, records) => registered,
            // What was begun is undone below.
            _ = ended.wait_for(Option::is_some) => Ok(()),
        };
        match registered {
            Ok(()) => {
                let cause = tokio::select! {
                    cause = self.serve(records) => cause,
                    ended = ended.wait_for(Option::is_some) => {
                        let cause = ended.ok().and_then(|cause| cause.clone());
                        cause.unwrap_or(Cause::Lost { why: "nobody follows it any more".into() })
                    }
                };
                tracing::info!(app = %id, "the application has ended: {cause}");
                self.unregister(&cause).await;
            }
            Err(error) => self.refuse(&error).await,
        }
        if let Some(records) = records
            && let Err(error) = retrying(|| records.set(id, None)).await
        {
            tracing::warn!(app = %id, %error, "what was stored of the application is left over");
        }
    }

    async fn refuse(&self, error: &Error) {
        tracing::warn!(app = %self.application.id, %error, "an application was refused");
        self.link.remove_application(error).await;
    }

    async fn register(
        &self,
        submission: &SubmissionId,
        records: Option<&dyn DriverRecords>,
    ) -> Result<()> {
        let registering = || self.cluster.register_application(submission, &self.driver);
        let launched = retrying(registering).await?;
        if self.web_url.is_some() && (!launched.existed || launched.driver.state.is_ended()) {
            self.application.end(Cause::Finished);
            return Ok(());
        }
        self.store(records, &mut None).await
    }

    /// Stores what has to survive the master, if that is not what was stored last.
    async fn store(
        &self,
        records: Option<&dyn DriverRecords>,
        last: &mut Option<Record>,
    ) -> Result<()> {
        let (Some(records), Some(record)) = (records, self.application.to_store()) else {
            return Ok(());
        };
        if last.as_ref() != Some(&record) {
            let bytes = record.encode()?;
            retrying(|| records.set(&self.application.id, Some(bytes.clone()))).await?;
            *last = Some(record);
        }
        Ok(())
    }

    /// Serves the driver as long as the cluster does.
    async fn serve(&self, records: Option<&dyn DriverRecords>) -> Cause {
        let (app_id, master) = (self.application.id.to_string(), self.master.clone());
        match &self.web_url {
            None => {
                tracing::info!(
                    app = app_id,
                    name = self.driver.name,
                    "an application is registered"
                );
                self.link.send(ToDriver::RegisteredApplication { app_id, master }).await;
            }
            Some(web_ui_url) => {
                let web_ui_url = web_ui_url.clone();
                self.link.send(ToDriver::MasterChanged { master, web_ui_url }).await;
            }
        }
        // Some clusters have nothing to watch before they are asked for something.
        let first = self.application.demand().target(&self.template);
        if let Err(cause) = self.declare(&first).await {
            return cause;
        }
        tokio::select! {
            cause = self.keep_target(first, records) => cause,
            cause = self.follow() => cause,
        }
    }

    /// Tells the cluster a target; the end of the application if it is refused for good.
    async fn declare(&self, target: &ExecutorTarget) -> std::result::Result<(), Cause> {
        let id = &self.application.id;
        match retrying(|| self.cluster.request_executors(id, target)).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.refuse(&error).await;
                let (failure, why) = (StartFailure::Other, error.to_string().into());
                Err(Cause::CouldNotStart { failure, why })
            }
        }
    }

    /// Tells the cluster what the driver wants, whenever that changes. Returns when the cluster refuses it
    /// for good.
    async fn keep_target(
        &self,
        mut last: ExecutorTarget,
        records: Option<&dyn DriverRecords>,
    ) -> Cause {
        let mut stored = self.application.to_store();
        loop {
            self.application.changed.notified().await;
            if let Err(error) = self.store(records, &mut stored).await {
                tracing::warn!(app = %self.application.id, %error, "a demand was not stored");
            }
            let target = self.application.demand().target(&self.template);
            if last == target {
                continue;
            }
            if let Err(cause) = self.declare(&target).await {
                return cause;
            }
            last = target;
        }
    }

    /// Follows the cluster's events. Returns when the driver's end is among them.
    async fn follow(&self) -> Cause {
        let mut seen = Seen::default();
        let mut backoff = backoff();
        loop {
            let options = WatchOptions::of(&self.application.id);
            let options = match seen.cursor.clone() {
                Some(cursor) => options.from(cursor),
                None => options,
            };
            match self.cluster.watch(&options).await {
                Ok(mut events) => {
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => {
                                backoff.reset();
                                if let Some(cause) = self.take(&mut seen, event).await {
                                    return cause;
                                }
                            }
                            Err(error) => {
                                tracing::warn!(app = %self.application.id, %error, "the watch broke off");
                                break;
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(app = %self.application.id, %error, "cannot watch the executors");
                }
            }
            backoff.failed(None);
            backoff.pause().await;
        }
    }

    async fn take(&self, seen: &mut Seen, event: Event) -> Option<Cause> {
        let placed = match &event {
            Event::Synced(cursor) => {
                seen.cursor = Some(cursor.clone());
                None
            }
            Event::Changed(Status::Driver(DriverStatus { state: State::Ended(end), .. })) => {
                return Some(self.driver_killed(end.cause.clone()).await);
            }
            Event::Changed(Status::Allocation(allocation)) => {
                if let AllocationPhase::GivenUp { why } = &allocation.phase {
                    return self.given_up(why).await;
                }
                None
            }
            Event::Changed(Status::Executor(status)) => match status.state {
                State::Pending { .. } if status.host.is_some() => Some(status.clone()),
                State::Running => Some(status.clone()),
                _ => None,
            },
            _ => None,
        };
        let ends = seen.store.apply(event);
        if let Some(status) = placed {
            self.placed(seen, &status).await;
        }
        for ended in ends {
            let was_given_up = {
                let mut demand = self.application.demand();
                demand.ended(ended.id)
            };
            self.application.changed.notify_one();
            // One that never had a place is not known to the driver, but that it could not start is.
            let host = seen.announced.remove(&ended.id);
            let host = host.or_else(|| self.executor_host.clone()).unwrap_or_default();
            let messages =
                report::ended(ended.id, &ended.cause, was_given_up, self.cluster.name(), &host);
            for message in messages {
                self.link.send(message).await;
            }
        }
        None
    }

    /// It has a host, and may run. The executor itself may call its driver before the cluster says that it
    /// runs, so the driver is told of it as soon as it has a place.
    async fn placed(&self, seen: &mut Seen, status: &ExecutorStatus) {
        if seen.store.profile_of(status.id).is_none() {
            return;
        }
        if let Entry::Vacant(place) = seen.announced.entry(status.id) {
            let host = self.executor_host.clone();
            let host = host.or_else(|| status.host.as_deref().map(str::to_owned));
            let host = host.unwrap_or_default();
            let profile = self.application.demand().profile(status.profile).cloned();
            let profile = profile.unwrap_or_default();
            let host = place.insert(host);
            self.link.send(report::added(status.id, &profile, self.cluster.name(), host)).await;
        }
        if status.state == State::Running
            && self.application.demand().started(status.id, status.profile)
        {
            self.link.send(report::running(status.id)).await;
        }
    }

    /// Somebody has ended the application from outside.
    async fn driver_killed(&self, cause: Cause) -> Cause {
        self.link.send(ToDriver::ApplicationRemoved { message: "KILLED".to_owned() }).await;
        cause
    }

    /// Too many executors failed. As with Spark's master that is the end of the application only if none
    /// of them runs.
    async fn given_up(&self, why: &str) -> Option<Cause> {
        if self.application.demand().is_running() {
            let target = self.application.demand().target(&self.template);
            let again = retrying(|| self.cluster.request_executors(&self.application.id, &target));
            if let Err(error) = again.await {
                tracing::warn!(app = %self.application.id, %error, "cannot request executors again");
            }
            return None;
        }
        let message = format!("FAILED: {why}");
        self.link.send(ToDriver::ApplicationRemoved { message }).await;
        Some(Cause::CouldNotStart { failure: StartFailure::Other, why: why.into() })
    }

    async fn unregister(&self, cause: &Cause) {
        let app = &self.application.id;
        let mut backoff = backoff();
        for _ in 0..LAST_WORDS {
            match self.cluster.unregister_application(app, cause).await {
                Ok(()) => break,
                Err(error) if !error.kind().is_retryable() => {
                    tracing::debug!(%app, %error, "the cluster has forgotten the application");
                    break;
                }
                Err(error) => {
                    tracing::warn!(%app, %error, "cannot tell the end of the application");
                    backoff.failed(None);
                    backoff.pause().await;
                }
            }
        }
        if let Err(error) = self.cluster.cleanup(app).await {
            tracing::warn!(%app, %error, "cannot clean up after the application");
        }
    }
}

/// What was seen of the executors.
#[derive(Default)]
struct Seen {
    store: ExecutorStore,
    cursor: Option<Cursor>,
    /// The driver knows them, at these hosts.
    announced: BTreeMap<ExecutorId, String>,
}

/// Repeats a call as long as a repetition may help.
async fn retrying<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    let mut backoff = backoff();
    loop {
        match call().await {
            Err(error) if error.kind().is_retryable() => {
                tracing::warn!(%error, "the cluster did not do it; trying again");
                backoff.failed(None);
                backoff.pause().await;
            }
            answered => return answered,
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(FIRST_RETRY, LAST_RETRY)
}
