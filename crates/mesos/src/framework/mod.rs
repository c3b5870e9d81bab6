//! The Mesos framework of a dispatcher or driver: passes offers to the scheduling engine, launches tasks on
//! them, and reports status updates back to the engine.

mod config;
mod decline_stats;
mod launch;
mod offer_matcher;
mod queue;
mod recovery;
mod requirements;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{AppId, Cause, KilledBy, Outcome, StartFailure, Stop};
use anymaster_core::{Error, HostPort, Result};
use anymaster_engine::{Application, Demand, Order, Progress, Task, TaskReport};
use anymaster_master::{AgentOrder, Agents};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;

use self::launch::{RefuseDurations, ids};
use self::offer_matcher::OfferMatcher;
use self::tasks::{Agent, TaskBuilder};
use crate::cause::cause;
use crate::model::{
    Call, DurationInfo, FrameworkInfo, Id, Kill, KillPolicy, Reconcile, TaskQuery, TaskState,
    TaskStatus,
};
use crate::sandbox::Sandboxes;
use crate::scheduler::{Event, Options, Scheduler};

pub(crate) use self::config::{Framework, framework};

/// The key under which the framework id is stored.
const FRAMEWORK: &str = "mesos-framework";
/// The interval at which unanswered requests are repeated.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait for the update with the cause of a task's end, after the master has reported the end.
const CAUSE_TIMEOUT: Duration = RETRY_INTERVAL.saturating_mul(3);
/// The largest number of tasks in one `RECONCILE` call.
const QUERIES: usize = 1_000;
/// Acknowledgements: how many are sent concurrently, and the capacity of the queue.
const ACKNOWLEDGEMENTS: (usize, usize) = (16, 4_096);

/// A task that is not known to have ended.
#[derive(Debug)]
struct Live {
    agent: Agent,
    app: AppId,
    task: Task,
    /// The port of a driver.
    port: Option<u16>,
    gpus: u64,
    /// An update about it was received.
    has_update: bool,
    /// It was running at some time.
    has_run: bool,
    launched: Instant,
    /// When the master first reported its end without a cause.
    answered: Option<Instant>,
    stop: Option<Stop>,
}

impl Live {
    /// Whether it has to be reconciled again.
    fn needs_reconciliation(&self) -> bool {
        self.answered.is_some() || !self.has_update && self.launched.elapsed() > RETRY_INTERVAL
    }
}

/// Drives the framework while this daemon is the leader.
struct FrameworkDriver {
    agents: Agents,
    matcher: Arc<OfferMatcher>,
    builder: Arc<TaskBuilder>,
    sandboxes: Sandboxes,
    scheduler: Arc<Scheduler>,
    acknowledgements: mpsc::Sender<TaskStatus>,
    framework: Option<Id>,
    /// The host names of the agents that are registered with the engine.
    hosts: HashMap<Agent, Arc<str>>,
    apps: HashMap<AppId, Arc<Application>>,
    tasks: HashMap<String, Live>,
    /// The last update of each task, to be acknowledged when its content is durable.
    unacked_updates: HashMap<String, TaskStatus>,
    /// The last demand that was handled.
    asked: Demand,
    is_suppressed: bool,
    /// `REVIVE` has to be sent.
    is_revival_due: bool,
    is_restored: bool,
    refuse_durations: RefuseDurations,
}

/// Runs the framework until a final error, which is returned.
async fn keep(
    framework: &Framework,
    agents: Agents,
    mut orders: mpsc::UnboundedReceiver<AgentOrder>,
) -> Result<std::convert::Infallible> {
    let kept = agents.record(FRAMEWORK).filter(|id| !id.is_empty());
    let kept = kept.and_then(|id| String::from_utf8(id).ok()).map(Id::new);
    let info = FrameworkInfo { id: kept, ..framework.options.framework.clone() };
    let options = Options { framework: info, ..framework.options.clone() };
    let (scheduler, mut events) = Scheduler::start(options)?;
    let scheduler = Arc::new(scheduler);
    let (acknowledgements, waiting) = mpsc::channel(ACKNOWLEDGEMENTS.1);
    let acknowledging = tokio::spawn(acknowledge(Arc::clone(&scheduler), waiting));
    let _ends_with_us = tokio_util::task::AbortOnDropHandle::new(acknowledging);
    let mut demand = agents.demand();
    let mut driver = FrameworkDriver::new(framework, agents, scheduler, acknowledgements)?;
    let mut rounds = tokio::time::interval(RETRY_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Orders first, so that the next offers are not used for applications that are to end.
            biased;
            Some((agent, order)) = orders.recv() => driver.order(&agent, order).await,
            event = events.recv() => {
                let over = || Error::unavailable("the scheduler driver has stopped");
                driver.on_event(event.ok_or_else(over)?, &mut orders).await?;
            }
            changed = demand.changed() => {
                changed.map_err(|_| Error::unavailable("the scheduling engine has stopped"))?;
                let now = *demand.borrow_and_update();
                driver.ask(now).await;
            }
            _ = rounds.tick() => driver.retry_unanswered().await?,
        }
    }
}

/// Sends acknowledgements. If one fails, the agent sends the update again.
async fn acknowledge(scheduler: Arc<Scheduler>, waiting: mpsc::Receiver<TaskStatus>) {
    ReceiverStream::new(waiting)
        .for_each_concurrent(ACKNOWLEDGEMENTS.0, |status| {
            let scheduler = Arc::clone(&scheduler);
            async move {
                if let Err(error) = scheduler.acknowledge(&status).await {
                    tracing::info!(task = %status.task_id, "cannot acknowledge an update; it will be sent again: {error}");
                }
            }
        })
        .await;
}

impl FrameworkDriver {
    fn new(
        framework: &Framework,
        agents: Agents,
        scheduler: Arc<Scheduler>,
        acknowledgements: mpsc::Sender<TaskStatus>,
    ) -> Result<Self> {
        Ok(Self {
            refuse_durations: RefuseDurations::of(&framework.builder.conf)?,
            agents,
            matcher: Arc::clone(&framework.matcher),
            builder: Arc::clone(&framework.builder),
            sandboxes: framework.sandboxes.clone(),
            scheduler,
            acknowledgements,
            framework: None,
            hosts: HashMap::new(),
            apps: HashMap::new(),
            tasks: HashMap::new(),
            unacked_updates: HashMap::new(),
            asked: Demand::default(),
            is_suppressed: false,
            is_revival_due: false,
            is_restored: false,
        })
    }

    /// Makes a call to the master. Results arrive as events.
    async fn call(&self, call: &Call) -> Result<()> {
        let called = self.scheduler.call(call).await;
        if let Err(error) = &called {
            tracing::info!("a call to the Mesos master failed: {error}");
        }
        called
    }

    async fn on_event(
        &mut self,
        event: Event,
        orders: &mut mpsc::UnboundedReceiver<AgentOrder>,
    ) -> Result<()> {
        match event {
            Event::Subscribed { framework, master } => self.subscribed(framework, &master).await?,
            Event::Disconnected { why } => tracing::warn!("disconnected, no offers for now: {why}"),
            Event::Over(error) => return self.is_over(error).await,
            // Ignored until the tasks are known, so that none is taken for an unknown one. Sent again.
            Event::Update(_) if !self.is_restored => {}
            Event::Offers(offers) if !self.is_restored => {
                self.decline(RETRY_INTERVAL, ids(offers)).await
            }
            Event::Offers(offers) => self.on_offers(offers, orders).await,
            // Offers are not kept after a scheduling pass.
            Event::Rescinded(_) => {}
            Event::Update(status) => self.update(status).await?,
            Event::Failure { agent: Some(agent), executor: None } => {
                tracing::warn!(%agent, "an agent was removed");
                if self.hosts.remove(agent.value.as_str()).is_some() {
                    self.agents.forget(&agent.value);
                }
            }
            Event::Failure { .. } => {}
        }
        Ok(())
    }

    /// The master refuses the framework for good. If it was removed, all its tasks have ended.
    async fn is_over(&mut self, error: Error) -> Result<()> {
        if error.message().contains("removed") || error.message().contains("completed") {
            tracing::error!("{error}: the next start registers a new framework");
            self.log_error(self.agents.set_record(FRAMEWORK, Vec::new()).await);
            let tasks: Vec<_> = self.tasks.drain().collect();
            for (_, live) in tasks {
                let cause = Cause::Lost { why: "Mesos has removed its framework".into() };
                let progress = Progress::Ended(cause.into());
                self.log_error(self.tell(&live.agent, &live.app, live.task, progress).await);
            }
        }
        Err(error)
    }

    async fn subscribed(&mut self, framework: Id, master: &HostPort) -> Result<()> {
        tracing::info!("subscribed at Mesos master {master} as framework {framework}");
        if self.framework.as_ref() != Some(&framework) {
            let kept =
                self.agents.set_record(FRAMEWORK, framework.value.clone().into_bytes()).await;
            // Launching needs the same store: if this fails, nothing is launched either.
            self.is_durable(kept)?;
            self.matcher.set_framework(framework.clone());
            self.framework = Some(framework.clone());
        }
        self.sandboxes.set_master(master.clone());
        self.is_suppressed = false;
        self.begin().await
    }

    /// Recovers the running tasks, and reconciles them.
    async fn begin(&mut self) -> Result<()> {
        if !self.is_restored {
            match self.restore().await {
                Ok(()) => self.is_restored = true,
                // Retried at the next interval.
                Err(error) if error.kind().is_retryable() => {
                    tracing::warn!("cannot read the running tasks yet: {error}");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        // Explicit reconciliation: implicit one does not mention tasks that the master has forgotten.
        let all: Vec<_> = self.tasks.iter().map(|(id, live)| query(id, live)).collect();
        self.reconcile(all).await;
        Ok(())
    }

    async fn reconcile(&self, mut tasks: Vec<TaskQuery>) {
        while !tasks.is_empty() {
            let rest = tasks.split_off(tasks.len().min(QUERIES));
            let reconcile = Reconcile { tasks };
            if self.call(&Call::Reconcile { reconcile }).await.is_err() {
                return;
            }
            tasks = rest;
        }
    }

    /// Revives or suppresses offers, by demand.
    async fn ask(&mut self, demand: Demand) {
        self.is_revival_due |= demand.times != self.asked.times;
        self.is_revival_due &= demand.is_wanted;
        self.asked = demand;
        if demand.is_wanted && (self.is_suppressed || self.is_revival_due) {
            let is_revived = self.call(&Call::Revive).await.is_ok();
            self.is_suppressed &= !is_revived;
            self.is_revival_due = !is_revived;
        } else if !demand.is_wanted && !self.is_suppressed {
            self.is_suppressed = self.call(&Call::Suppress).await.is_ok();
        }
    }

    /// Handles an order of the engine, except those to launch something.
    async fn order(&mut self, agent: &Agent, order: Order) {
        match order {
            Order::Application(application) => {
                self.apps.insert(application.app.clone(), Arc::new(*application));
            }
            Order::ForgetApp { app } => {
                self.apps.remove(&app);
            }
            Order::Stop { app, task, stop } => self.stop(agent, &app, task, stop).await,
            Order::StartDriver(order) => self.refuse(agent, &order.app, Task::Driver).await,
            Order::StartExecutor(order) => {
                self.refuse(agent, &order.app, Task::Executor(order.id)).await;
            }
            // Accepted offers need no confirmation.
            Order::Registered { .. } | Order::TaskAck { .. } | Order::ConfirmDriver { .. } => {}
        }
    }

    /// Refuses to launch a task for which there is no offer any more.
    async fn refuse(&self, agent: &Agent, app: &AppId, task: Task) {
        let progress = Progress::Refused("its offer is gone".into());
        self.log_error(self.tell(agent, app, task, progress).await);
    }

    fn log_error(&self, told: Result<()>) {
        if let Err(error) = told {
            tracing::error!("{error}");
        }
    }

    /// Reports progress to the engine. It is durable when this returns.
    async fn tell(&self, agent: &str, app: &AppId, task: Task, progress: Progress) -> Result<()> {
        let report = TaskReport { app: app.clone(), task, progress, spec: None };
        self.agents.report(agent, report).await
    }

    /// Whether a report is durable; if not, it is written later.
    fn is_durable(&self, told: Result<()>) -> Result<bool> {
        match told {
            Ok(()) => Ok(true),
            Err(error) if error.kind().is_retryable() => {
                self.log_error(Err(error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn stop(&mut self, agent: &Agent, app: &AppId, task: Task, stop: Stop) {
        let is_it = |live: &Live| live.agent == *agent && live.app == *app && live.task == task;
        let id = match task {
            Task::Executor(_) => Some(tasks::name(app, task, 0)),
            // Any of its attempts.
            Task::Driver => {
                self.tasks.iter().find(|(_, live)| is_it(live)).map(|(id, _)| id.clone())
            }
        };
        let found = id.and_then(|id| {
            let live = self.tasks.get_mut(&id).filter(|live| is_it(live))?;
            Some((id, live))
        });
        let Some((id, live)) = found else {
            let cause = Cause::Killed { by: stop.by };
            let told = self.tell(agent, app, task, Progress::Ended(cause.into())).await;
            return self.log_error(told);
        };
        live.stop = Some(stop);
        let kill = kill(&id, live, stop);
        // If this fails, it is repeated at the next interval.
        let _ = self.call(&kill).await;
    }

    /// Repeats calls that may have been lost: a new master does not forward them to agents that have not
    /// reregistered yet.
    async fn retry_unanswered(&mut self) -> Result<()> {
        if !self.is_restored {
            let is_subscribed = self.framework.is_some() && self.scheduler.framework().is_some();
            return if is_subscribed { self.begin().await } else { Ok(()) };
        }
        if !self.unacked_updates.is_empty() {
            let written = self.agents.flush().await;
            self.acknowledge(written).await?;
        }
        let stops: Vec<_> =
            self.tasks.iter().filter_map(|(id, live)| Some(kill(id, live, live.stop?))).collect();
        for stop in stops {
            if self.call(&stop).await.is_err() {
                return Ok(());
            }
        }
        let doubtful = self.tasks.iter().filter(|(_, live)| live.needs_reconciliation());
        let doubtful = doubtful.map(|(id, live)| query(id, live)).collect();
        self.reconcile(doubtful).await;
        // Also without demand: agents become known by their first offers.
        let demand = *self.agents.demand().borrow();
        self.ask(demand).await;
        Ok(())
    }

    /// Handles a status update.
    async fn update(&mut self, status: TaskStatus) -> Result<()> {
        let id = &status.task_id.value;
        let Some(live) = self.tasks.get_mut(id) else {
            if !status.state.is_ended() {
                // A task of an abandoned attempt, or from before the recorded history.
                let kill = Kill {
                    task_id: status.task_id.clone(),
                    agent_id: status.agent_id.clone(),
                    kill_policy: None,
                };
                let _ = self.call(&Call::Kill { kill }).await;
            }
            return self.acknowledged(status, Ok(())).await;
        };
        live.has_update = true;
        if is_without_cause(&status)
            && live.answered.get_or_insert_with(Instant::now).elapsed() < CAUSE_TIMEOUT
        {
            return Ok(());
        }
        live.has_run |= status.state == TaskState::TaskRunning;
        let has_run = live.has_run;
        let (agent, app, task) = (Arc::clone(&live.agent), live.app.clone(), live.task);
        let progress = match status.state {
            TaskState::TaskRunning => {
                let container = status.container_status.as_ref();
                let host = container.and_then(|container| container.own_address());
                Some(Progress::Running { port: live.port, host: host.map(str::to_owned) })
            }
            state if !state.is_ended() => None,
            _ if !has_run && is_withdrawn(&status) => {
                let why = status.message.as_deref().unwrap_or("the offer was withdrawn");
                Some(Progress::Refused(why.into()))
            }
            _ => {
                let asked: Option<KilledBy> = live.stop.map(|stop| stop.by);
                let cause = match cause(&status, asked) {
                    // Its agent could not start it; another attempt there would fail too.
                    Cause::Lost { why } if !has_run => {
                        Cause::CouldNotStart { failure: StartFailure::Other, why }
                    }
                    cause => cause,
                };
                Some(Progress::Ended(Outcome::from(cause)))
            }
        };
        if status.state.is_ended() {
            self.tasks.remove(id);
        }
        let told = match progress {
            // The master refuses the task as invalid.
            Some(Progress::Ended(outcome)) if status.state == TaskState::TaskError => {
                self.agents.cannot_start(&agent, &app, task, outcome).await
            }
            Some(progress) => self.tell(&agent, &app, task, progress).await,
            None => Ok(()),
        };
        self.acknowledged(status, told).await
    }

    /// Queues an update for acknowledgement, after its content was reported with this result.
    async fn acknowledged(&mut self, status: TaskStatus, told: Result<()>) -> Result<()> {
        let told = match told {
            Ok(()) if !self.unacked_updates.is_empty() => self.agents.flush().await,
            told => told,
        };
        if status.uuid.is_some() {
            self.unacked_updates.insert(status.task_id.value.clone(), status);
        }
        self.acknowledge(told).await
    }

    /// Acknowledges all queued updates, if everything that was reported is durable.
    async fn acknowledge(&mut self, told: Result<()>) -> Result<()> {
        if !self.is_durable(told)? {
            return Ok(());
        }
        for (_, status) in self.unacked_updates.drain() {
            let gone = |_| Error::unavailable("the task that acknowledges updates has ended");
            self.acknowledgements.send(status).await.map_err(gone)?;
        }
        Ok(())
    }
}

/// Whether the task never reached its agent, as reported by the master.
fn is_withdrawn(status: &TaskStatus) -> bool {
    matches!(
        status.state,
        TaskState::TaskLost
            | TaskState::TaskDropped
            | TaskState::TaskUnknown
            | TaskState::TaskGone
            | TaskState::TaskGoneByOperator
    ) && status.source.as_deref() == Some("SOURCE_MASTER")
}

/// Whether this is a reconciliation answer without the cause of the end. The agent sends the cause in an
/// update, which it repeats until it is acknowledged.
fn is_without_cause(status: &TaskStatus) -> bool {
    matches!(status.state, TaskState::TaskFinished | TaskState::TaskFailed | TaskState::TaskKilled)
        && status.uuid.is_none()
        && status.reason.as_deref() == Some("REASON_RECONCILIATION")
}

fn query(id: &str, live: &Live) -> TaskQuery {
    TaskQuery { task_id: Id::new(id), agent_id: Some(Id::new(&*live.agent)) }
}

fn kill(id: &str, live: &Live, stop: Stop) -> Call {
    let nanoseconds = i64::try_from(stop.grace.as_nanos()).unwrap_or(i64::MAX);
    Call::Kill {
        kill: Kill {
            task_id: Id::new(id),
            agent_id: Some(Id::new(&*live.agent)),
            kill_policy: Some(KillPolicy { grace_period: DurationInfo { nanoseconds } }),
        },
    }
}
