//! As many executors as there is work for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::dynamic_allocation::{
    Activity, Decision, DynamicAllocation, DynamicAllocationPolicy, Workload,
};
use anymaster_core::model::{AppId, ExecutorId, ExecutorStatus, ExecutorTarget, ProfileId, State};
use anymaster_core::{ClusterManager, Result};
use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use crate::Executors;

/// How often an engine is asked for its work, unless [`WorkSource::interval`] says otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

/// An engine that reports its work.
#[async_trait]
pub trait WorkSource: fmt::Debug + Send + Sync + 'static {
    /// The work at present.
    ///
    /// # Errors
    /// If it is not known: then what was reported last still counts.
    async fn work(&self) -> Result<Work>;

    /// How often it is asked.
    fn interval(&self) -> Duration {
        INTERVAL
    }
}

/// The work of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Work {
    /// The work for the executors of each profile; none for a profile that is not named.
    pub workloads: BTreeMap<ProfileId, Workload>,
    /// What executors do. Those that are not named are busy while there is work for their profile.
    pub activities: BTreeMap<ExecutorId, Activity>,
}

impl Work {
    /// Work for executors of the default profile (id 0).
    pub fn new(workload: Workload) -> Self {
        let workloads = BTreeMap::from([(ProfileId(0), workload)]);
        Self { workloads, activities: BTreeMap::new() }
    }

    /// Adds what an executor does.
    #[must_use]
    pub fn with_activity(mut self, id: ExecutorId, activity: Activity) -> Self {
        self.activities.insert(id, activity);
        self
    }

    fn activity(&self, id: ExecutorId, profile: ProfileId) -> Activity {
        self.activities.get(&id).copied().unwrap_or_else(|| {
            let workload = self.workloads.get(&profile);
            match workload.is_some_and(|workload| workload.tasks() > 0) {
                true => Activity::Busy,
                false => Activity::IDLE,
            }
        })
    }
}

/// The executors of one application, as many as there is work for.
#[derive(Debug)]
pub(crate) struct DynamicExecutors {
    cluster: Arc<dyn ClusterManager>,
    source: Arc<dyn WorkSource>,
    executors: Executors,
    /// How executors of each profile are started; the numbers are ours.
    target: ExecutorTarget,
    allocation: DynamicAllocation,
    work: Work,
    began: Instant,
    /// What the cluster was asked for last.
    declared: Option<ExecutorTarget>,
    /// Whether the work was not known the last time.
    is_unknown: bool,
}

impl DynamicExecutors {
    /// Of an application whose executors are started as `target` says.
    ///
    /// # Errors
    /// If they cannot be watched.
    pub(crate) async fn new(
        cluster: Arc<dyn ClusterManager>,
        app: &AppId,
        target: ExecutorTarget,
        policy: DynamicAllocationPolicy,
        source: Arc<dyn WorkSource>,
    ) -> Result<Self> {
        Ok(Self {
            executors: Executors::follow(&*cluster, app).await?,
            cluster,
            source,
            target,
            allocation: DynamicAllocation::new(policy),
            work: Work::default(),
            began: Instant::now(),
            declared: None,
            is_unknown: false,
        })
    }

    /// The executors that the application begins with: those that it has stay.
    pub(crate) fn first_target(&mut self) -> ExecutorTarget {
        self.synchronize();
        let decision = self.allocation.decide(Duration::ZERO);
        let target = self.target_of(&decision);
        self.declared = Some(target.clone());
        target
    }

    /// Requests executors and gives them up, until the application is no longer followed.
    pub(crate) async fn run(mut self, app: AppId) {
        let mut changes = self.executors.changes();
        let mut questions = tokio::time::interval(self.source.interval());
        questions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let decision = self.allocation.decide(self.now());
            let target = self.target_of(&decision);
            if self.declared.as_ref() != Some(&target) {
                match self.cluster.request_executors(&app, &target).await {
                    Ok(()) => self.declared = Some(target),
                    // It is tried again when the work is read next.
                    Err(error) => tracing::warn!(%app, %error, "executors cannot be requested"),
                }
            }
            let again = decision.again_at.map(|at| self.began + at);
            tokio::select! {
                _ = questions.tick() => {
                    self.read_work().await;
                    // Executors that disappeared while the watch was interrupted are noticed here.
                    self.synchronize();
                }
                changed = changes.recv() => match changed {
                    Ok(executor) => {
                        self.observe(&executor);
                        // All that is known already, before the next decision.
                        while let Ok(executor) = changes.try_recv() {
                            self.observe(&executor);
                        }
                    }
                    Err(RecvError::Lagged(_)) => self.synchronize(),
                    // They are not followed any more; `Run` reports why.
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(again) => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes in how an executor is. As in Spark, executors count while they run.
    fn observe(&mut self, executor: &ExecutorStatus) {
        let ExecutorStatus { id, profile, .. } = *executor;
        if executor.state == State::Running {
            let now = self.now();
            self.allocation.executor_added(id, profile, now);
            self.allocation.set_activity(id, self.work.activity(id, profile), now);
        } else {
            self.allocation.executor_removed(id);
        }
    }

    /// Takes in how all executors are.
    fn synchronize(&mut self) {
        let alive = self.executors.alive();
        let ids: BTreeSet<_> = alive.iter().map(|executor| executor.id).collect();
        let known = self.allocation.executors().map(|(id, _)| id);
        let gone: Vec<_> = known.filter(|id| !ids.contains(id)).collect();
        gone.into_iter().for_each(|id| self.allocation.executor_removed(id));
        alive.iter().for_each(|executor| self.observe(executor));
    }

    async fn read_work(&mut self) {
        match self.source.work().await {
            Ok(work) => {
                if std::mem::take(&mut self.is_unknown) {
                    tracing::info!("the pending work is known again");
                }
                let now = self.now();
                for profile in self.work.workloads.keys() {
                    if !work.workloads.contains_key(profile) {
                        self.allocation.set_workload(*profile, Workload::new(0, 0), now);
                    }
                }
                for (profile, workload) in &work.workloads {
                    self.allocation.set_workload(*profile, *workload, now);
                }
                self.work = work;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_unknown, true) {
                    tracing::warn!(%error, "the pending work is not known: the number of executors stays");
                }
            }
        }
    }

    /// As many executors as were decided; those that are removed do not count.
    fn target_of(&self, decision: &Decision) -> ExecutorTarget {
        let mut target = self.target.clone();
        for (id, profile) in &mut target.profiles {
            profile.executors = decision.executors.get(id).copied().unwrap_or(0);
        }
        let removing: BTreeSet<_> = self.allocation.removing().collect();
        target.unwanted = removing;
        target
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
