//! A framework that lends what agents offer to a cluster of ours: offers come in, tasks go out, and what
//! becomes of them is told.

mod launching;
mod lending;
mod market;
mod queue;
mod restore;
mod rules;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod tasks;
#[cfg(test)]
mod tests;
mod why;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::model::{AppId, Cause, KilledBy, Outcome, StartFailure, Stop};
use anymaster_core::{Error, HostPort, Result};
use anymaster_dispatcher::master::{Agents, Demand, Order};
use anymaster_dispatcher::wire::{Application, Held, Progress, Task, ToWorker};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;

use self::launching::{Refusals, ids};
use self::market::Market;
use self::tasks::{Agent, Setting};
use crate::cause::cause;
use crate::model::{
    Call, DurationInfo, FrameworkInfo, Id, Kill, KillPolicy, Reconcile, TaskQuery, TaskState,
    TaskStatus,
};
use crate::sandbox::Sandboxes;
use crate::scheduler::{Event, Options, Scheduler};

pub(crate) use self::lending::{Framework, framework};

/// Under which name the framework's id is kept.
const FRAMEWORK: &str = "mesos-framework";
/// How often it is asked again for what was not answered.
const ROUND: Duration = Duration::from_secs(10);
/// How long the update that says how a task ended may take to come, when the master knows that it has.
const PATIENCE: Duration = ROUND.saturating_mul(3);
/// How many tasks are asked about at once.
const QUERIES: usize = 1_000;
/// How many acknowledgements are under way at once, and how many wait.
const ACKNOWLEDGEMENTS: (usize, usize) = (16, 4_096);

/// A task that has not ended, as far as is known.
#[derive(Debug)]
struct Live {
    agent: Agent,
    app: AppId,
    task: Task,
    /// Of a driver.
    port: Option<u16>,
    gpus: u64,
    /// Something was heard of it.
    is_heard: bool,
    /// It has run.
    has_run: bool,
    launched: Instant,
    /// When the master first said that it has ended, and not how.
    answered: Option<Instant>,
    stop: Option<Stop>,
}

impl Live {
    /// Whether the master is to be asked about it again.
    fn is_doubtful(&self) -> bool {
        self.answered.is_some() || !self.is_heard && self.launched.elapsed() > ROUND
    }
}

/// The framework, for as long as this daemon leads.
struct Bridge {
    agents: Agents,
    market: Arc<Market>,
    setting: Arc<Setting>,
    sandboxes: Sandboxes,
    scheduler: Arc<Scheduler>,
    acknowledgements: mpsc::Sender<TaskStatus>,
    framework: Option<Id>,
    /// Agents that the cluster knows: their machines.
    hosts: HashMap<Agent, Arc<str>>,
    apps: HashMap<AppId, Arc<Application>>,
    tasks: HashMap<String, Live>,
    /// The last update of each task that is to be acknowledged when what it says has been written down.
    unsafe_updates: HashMap<String, TaskStatus>,
    /// What offers were last asked for.
    asked: Demand,
    is_suppressed: bool,
    /// Something new wants offers, and the master has not heard of it.
    is_revival_due: bool,
    is_restored: bool,
    refusals: Refusals,
}

/// Keeps the framework subscribed, and the cluster supplied; ends with the reason why that cannot go on.
async fn keep(
    framework: &Framework,
    agents: Agents,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<std::convert::Infallible> {
    let kept = agents.kept(FRAMEWORK).filter(|id| !id.is_empty());
    let kept = kept.and_then(|id| String::from_utf8(id).ok()).map(Id::new);
    let info = FrameworkInfo { id: kept, ..framework.options.framework.clone() };
    let options = Options { framework: info, ..framework.options.clone() };
    let (scheduler, mut events) = Scheduler::start(options)?;
    let scheduler = Arc::new(scheduler);
    let (acknowledgements, waiting) = mpsc::channel(ACKNOWLEDGEMENTS.1);
    let acknowledging = tokio::spawn(acknowledge(Arc::clone(&scheduler), waiting));
    let _ends_with_us = tokio_util::task::AbortOnDropHandle::new(acknowledging);
    let mut demand = agents.demand();
    let mut bridge = Bridge::new(framework, agents, scheduler, acknowledgements)?;
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Orders first: what is offered next is not for those that are to end.
            biased;
            Some((agent, order)) = orders.recv() => bridge.order(&agent, order).await,
            event = events.recv() => {
                let over = || Error::unavailable("the framework is not kept subscribed any more");
                bridge.heard(event.ok_or_else(over)?, &mut orders).await?;
            }
            changed = demand.changed() => {
                changed.map_err(|_| Error::unavailable("the cluster is gone"))?;
                let now = *demand.borrow_and_update();
                bridge.ask(now).await;
            }
            _ = rounds.tick() => bridge.ask_again().await?,
        }
    }
}

/// Acknowledges updates, several at once; one that does not arrive is sent to us again.
async fn acknowledge(scheduler: Arc<Scheduler>, waiting: mpsc::Receiver<TaskStatus>) {
    ReceiverStream::new(waiting)
        .for_each_concurrent(ACKNOWLEDGEMENTS.0, |status| {
            let scheduler = Arc::clone(&scheduler);
            async move {
                if let Err(error) = scheduler.acknowledge(&status).await {
                    tracing::info!(task = %status.task_id, "an update will come again: {error}");
                }
            }
        })
        .await;
}

impl Bridge {
    fn new(
        framework: &Framework,
        agents: Agents,
        scheduler: Arc<Scheduler>,
        acknowledgements: mpsc::Sender<TaskStatus>,
    ) -> Result<Self> {
        Ok(Self {
            refusals: Refusals::of(&framework.setting.conf)?,
            agents,
            market: Arc::clone(&framework.market),
            setting: Arc::clone(&framework.setting),
            sandboxes: framework.sandboxes.clone(),
            scheduler,
            acknowledgements,
            framework: None,
            hosts: HashMap::new(),
            apps: HashMap::new(),
            tasks: HashMap::new(),
            unsafe_updates: HashMap::new(),
            asked: Demand::default(),
            is_suppressed: false,
            is_revival_due: false,
            is_restored: false,
        })
    }

    /// Says something to the master; what comes of it, the events say.
    async fn call(&self, call: &Call) -> Result<()> {
        let called = self.scheduler.call(call).await;
        if let Err(error) = &called {
            tracing::info!("not told to the Mesos master: {error}");
        }
        called
    }

    async fn heard(
        &mut self,
        event: Event,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<()> {
        match event {
            Event::Subscribed { framework, master } => self.subscribed(framework, &master).await?,
            Event::Disconnected { why } => tracing::warn!("no offers for now: {why}"),
            Event::Over(error) => return self.is_over(error).await,
            // What is not known yet is not taken for a stray: it is told again.
            Event::Update(_) if !self.is_restored => {}
            Event::Offers(offers) if !self.is_restored => self.decline(ROUND, ids(offers)).await,
            Event::Offers(offers) => self.offered(offers, orders).await,
            // Offers are held for no longer than a pass.
            Event::Rescinded(_) => {}
            Event::Update(status) => self.update(status).await?,
            Event::Failure { agent: Some(agent), executor: None } => {
                tracing::warn!(%agent, "an agent is gone");
                if self.hosts.remove(agent.value.as_str()).is_some() {
                    self.agents.forget(&agent.value);
                }
            }
            Event::Failure { .. } => {}
        }
        Ok(())
    }

    /// Mesos wants nothing of this framework any more. Of one that it has forgotten, all tasks are gone.
    async fn is_over(&mut self, error: Error) -> Result<()> {
        if error.message().contains("removed") || error.message().contains("completed") {
            tracing::error!("{error}: the next start begins a new one");
            self.told(self.agents.keep(FRAMEWORK, Vec::new()).await);
            let tasks: Vec<_> = self.tasks.drain().collect();
            for (_, live) in tasks {
                let cause = Cause::Lost { why: "Mesos has removed its framework".into() };
                let progress = Progress::Ended(cause.into());
                self.told(self.tell(&live.agent, &live.app, live.task, progress).await);
            }
        }
        Err(error)
    }

    async fn subscribed(&mut self, framework: Id, master: &HostPort) -> Result<()> {
        tracing::info!("subscribed at Mesos master {master} as framework {framework}");
        if self.framework.as_ref() != Some(&framework) {
            let kept = self.agents.keep(FRAMEWORK, framework.value.clone().into_bytes()).await;
            // If it cannot be written down yet, neither can what is to be launched.
            self.is_safe(kept)?;
            self.market.set_framework(framework.clone());
            self.framework = Some(framework.clone());
        }
        self.sandboxes.set_master(master.clone());
        self.is_suppressed = false;
        self.begin().await
    }

    /// Finds out what runs, and asks what has become of it.
    async fn begin(&mut self) -> Result<()> {
        if !self.is_restored {
            match self.restore().await {
                Ok(()) => self.is_restored = true,
                // It is tried again, in the next round at the latest.
                Err(error) if error.kind().is_retryable() => {
                    tracing::warn!("what runs is not known yet: {error}");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        // Of those that the master has forgotten it says nothing by itself.
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

    /// Asks for offers, or for none.
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

    /// What is to be done on an agent, but for what is to be launched there.
    async fn order(&mut self, agent: &Agent, order: ToWorker) {
        match order {
            ToWorker::Application(application) => {
                self.apps.insert(application.app.clone(), Arc::new(*application));
            }
            ToWorker::Over { app } => {
                self.apps.remove(&app);
            }
            ToWorker::Stop { app, task, stop } => self.stop(agent, &app, task, stop).await,
            ToWorker::StartDriver(order) => self.refuse(agent, &order.app, Task::Driver).await,
            ToWorker::StartExecutor(order) => {
                self.refuse(agent, &order.app, Task::Executor(order.id)).await;
            }
            // An offer that was accepted is confirmed by itself.
            ToWorker::Registered { .. } | ToWorker::Noted { .. } | ToWorker::Confirmed { .. } => {}
        }
    }

    /// A start without an offer.
    async fn refuse(&self, agent: &Agent, app: &AppId, task: Task) {
        let progress = Progress::Refused("its offer is gone".into());
        self.told(self.tell(agent, app, task, progress).await);
    }

    fn told(&self, told: Result<()>) {
        if let Err(error) = told {
            tracing::error!("{error}");
        }
    }

    /// Tells the cluster; when this returns, that survives the daemon.
    async fn tell(&self, agent: &str, app: &AppId, task: Task, progress: Progress) -> Result<()> {
        let held = Held { app: app.clone(), task, progress, terms: None };
        self.agents.changed(agent, held).await
    }

    /// Whether what was told survives the daemon; if not, it will be written down later.
    fn is_safe(&self, told: Result<()>) -> Result<bool> {
        match told {
            Ok(()) => Ok(true),
            Err(error) if error.kind().is_retryable() => {
                self.told(Err(error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn stop(&mut self, agent: &Agent, app: &AppId, task: Task, stop: Stop) {
        let is_it = |live: &Live| live.agent == *agent && live.app == *app && live.task == task;
        let id = match task {
            Task::Executor(_) => Some(tasks::name(app, task, 0)),
            // Of one of its attempts.
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
            return self.told(told);
        };
        live.stop = Some(stop);
        let kill = kill(&id, live, stop);
        // An error: it is asked again.
        let _ = self.call(&kill).await;
    }

    /// Asks again for what may have been lost on its way: agents that a new master does not know yet are
    /// not told.
    async fn ask_again(&mut self) -> Result<()> {
        if !self.is_restored {
            let is_subscribed = self.framework.is_some() && self.scheduler.framework().is_some();
            return if is_subscribed { self.begin().await } else { Ok(()) };
        }
        if !self.unsafe_updates.is_empty() {
            let written = self.agents.written().await;
            self.acknowledge(written).await?;
        }
        let stops: Vec<_> =
            self.tasks.iter().filter_map(|(id, live)| Some(kill(id, live, live.stop?))).collect();
        for stop in stops {
            if self.call(&stop).await.is_err() {
                return Ok(());
            }
        }
        let doubtful = self.tasks.iter().filter(|(_, live)| live.is_doubtful());
        let doubtful = doubtful.map(|(id, live)| query(id, live)).collect();
        self.reconcile(doubtful).await;
        // Also of a daemon that nobody has wanted anything of: it knows agents by their first offers.
        let demand = *self.agents.demand().borrow();
        self.ask(demand).await;
        Ok(())
    }

    /// Something has become of a task.
    async fn update(&mut self, status: TaskStatus) -> Result<()> {
        let id = &status.task_id.value;
        let Some(live) = self.tasks.get_mut(id) else {
            if !status.state.is_ended() {
                // Of an attempt that was given up, or of a time that nobody remembers.
                let kill = Kill {
                    task_id: status.task_id.clone(),
                    agent_id: status.agent_id.clone(),
                    kill_policy: None,
                };
                let _ = self.call(&Call::Kill { kill }).await;
            }
            return self.acknowledged(status, Ok(())).await;
        };
        live.is_heard = true;
        if is_without_cause(&status)
            && live.answered.get_or_insert_with(Instant::now).elapsed() < PATIENCE
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
                    // Its agent could not even begin: as another attempt there would end.
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
            // The master says that it can never be.
            Some(Progress::Ended(outcome)) if status.state == TaskState::TaskError => {
                self.agents.cannot_start(&agent, &app, task, outcome).await
            }
            Some(progress) => self.tell(&agent, &app, task, progress).await,
            None => Ok(()),
        };
        self.acknowledged(status, told).await
    }

    /// What an update says was told; it is acknowledged when that is safe.
    async fn acknowledged(&mut self, status: TaskStatus, told: Result<()>) -> Result<()> {
        let told = match told {
            Ok(()) if !self.unsafe_updates.is_empty() => self.agents.written().await,
            told => told,
        };
        if status.uuid.is_some() {
            self.unsafe_updates.insert(status.task_id.value.clone(), status);
        }
        self.acknowledge(told).await
    }

    /// Acknowledges all updates, if everything that was told is safe.
    async fn acknowledge(&mut self, told: Result<()>) -> Result<()> {
        if !self.is_safe(told)? {
            return Ok(());
        }
        for (_, status) in self.unsafe_updates.drain() {
            let gone = |_| Error::unavailable("nobody acknowledges updates any more");
            self.acknowledgements.send(status).await.map_err(gone)?;
        }
        Ok(())
    }
}

/// Whether a task never reached its agent, for what the master knows: that was nobody's fault.
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

/// Whether it is an answer that a task has ended: how, its agent says in an update until that is acknowledged.
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
