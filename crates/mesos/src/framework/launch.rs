//! Handles offers: runs a scheduling pass, launches tasks on the offers, and declines the rest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Outcome};
use anymaster_core::{Error, ErrorKind, Result};
use anymaster_engine::{DriverOrder, ExecutorOrder, Order, Progress, Task, WorkerInfo};
use anymaster_master::AgentOrder;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::offer_matcher::gpus;
use super::tasks::{Agent, Launch, Place, resources};
use super::{FrameworkDriver, Live};
use crate::keys;
use crate::model::{Accept, Call, Decline, Filters, Id, Offer, Operation, Resource};

/// Above this number of agents, offers are freed on another thread, as it takes long.
const MANY: usize = 1_000;
/// The filter of accepted offers: what is left of them may be offered again at once.
const AT_ONCE: Filters = Filters { refuse_seconds: 0.0 };

/// For how long declined resources are not offered again (`spark.mesos.rejectOfferDuration*`). New demand
/// revives all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefuseDurations {
    any: Duration,
    constraints: Duration,
    enough: Duration,
}

impl RefuseDurations {
    pub(super) fn of(conf: &Conf) -> Result<Self> {
        let any = conf.read(&keys::REJECT_DURATION)?;
        let other = |key| Ok::<_, Error>(conf.read_optional(key)?.unwrap_or(any));
        Ok(Self {
            any,
            constraints: other(&keys::REJECT_DURATION_CONSTRAINTS)?,
            enough: other(&keys::REJECT_DURATION_MAX_CORES)?,
        })
    }

    /// `is_unsuited`: the agent does not meet constraints; `is_wanted`: there is demand for offers.
    fn time(self, is_unsuited: bool, is_wanted: bool) -> Duration {
        match (is_wanted, is_unsuited) {
            (false, _) => self.enough,
            (true, true) => self.constraints,
            (true, false) => self.any,
        }
    }
}

/// An order to launch something.
enum Start {
    Driver(Box<DriverOrder>),
    Executor(Box<ExecutorOrder>),
}

impl Start {
    fn whose(&self) -> (&AppId, Task) {
        match self {
            Self::Driver(order) => (&order.app, Task::Driver),
            Self::Executor(order) => (&order.app, Task::Executor(order.id)),
        }
    }
}

/// The ids of offers.
pub(super) fn ids(offers: Vec<Offer>) -> Vec<Id> {
    offers.into_iter().map(|offer| offer.id).collect()
}

impl FrameworkDriver {
    /// Runs a scheduling pass with these offers, and declines those that are not used.
    pub(super) async fn on_offers(
        &mut self,
        offers: Vec<Offer>,
        orders: &mut mpsc::UnboundedReceiver<AgentOrder>,
    ) {
        let mut by_agent: HashMap<String, Vec<Offer>> = HashMap::new();
        for offer in offers {
            self.register_agent(&offer);
            let of_agent = by_agent.entry(offer.agent_id.value.clone());
            of_agent.or_insert_with(|| Vec::with_capacity(1)).push(offer);
        }
        let amounts = self.matcher.open(by_agent);
        let shared = self.agents.offer(amounts).await;
        let (mut by_agent, unsuited) = self.matcher.close();
        let mut starts: BTreeMap<Agent, Vec<Start>> = BTreeMap::new();
        while let Ok((agent, order)) = orders.try_recv() {
            match order {
                Order::StartDriver(order) => {
                    starts.entry(agent).or_default().push(Start::Driver(order));
                }
                Order::StartExecutor(order) => {
                    starts.entry(agent).or_default().push(Start::Executor(order));
                }
                other => self.order(&agent, other).await,
            }
        }
        // Nothing is launched unless it was recorded.
        let is_durable = shared.is_ok();
        self.log_error(shared);
        for (agent, starts) in starts {
            if is_durable && let Some(offers) = by_agent.remove(&*agent) {
                self.launch(&agent, offers, starts).await;
                continue;
            }
            for start in starts {
                let (app, task) = start.whose();
                self.refuse(&agent, app, task).await;
            }
        }
        let is_wanted = self.is_wanted();
        let mut declined: BTreeMap<Duration, Vec<Id>> = BTreeMap::new();
        for (agent, offers) in &by_agent {
            let time = self.refuse_durations.time(unsuited.contains(agent), is_wanted);
            declined.entry(time).or_default().extend(offers.iter().map(|offer| offer.id.clone()));
        }
        // Freeing half a million resources takes long.
        if by_agent.len() > MANY {
            tokio::task::spawn_blocking(move || drop(by_agent));
        }
        for (time, offer_ids) in declined {
            self.decline(time, offer_ids).await;
        }
    }

    /// Declines offers; their resources are not offered again for this time.
    pub(super) async fn decline(&self, time: Duration, offer_ids: Vec<Id>) {
        let filters = Some(Filters { refuse_seconds: time.as_secs_f64() });
        let decline = Decline { offer_ids, filters };
        // If this fails, the offers are invalid anyway.
        let _ = self.call(&Call::Decline { decline }).await;
    }

    fn is_wanted(&self) -> bool {
        self.agents.demand().borrow().is_wanted
    }

    /// Registers the agent of an offer with the engine, if it is new.
    fn register_agent(&mut self, offer: &Offer) {
        let id = offer.agent_id.value.as_str();
        if !self.hosts.contains_key(id) {
            self.hosts.insert(id.into(), offer.hostname.as_str().into());
            self.agents.register(self.info(id, &offer.hostname), Vec::new());
        }
    }

    /// An agent as a worker of the engine.
    pub(super) fn info(&self, id: &str, host: &str) -> WorkerInfo {
        WorkerInfo {
            id: id.to_owned(),
            host: host.to_owned(),
            port: 0,
            web: self.sandboxes.agent_page(id),
            cores: 0,
            memory_mib: 0,
            sparks: Vec::new(),
            resources: BTreeMap::new(),
        }
    }

    /// Launches tasks on the offers of one agent.
    async fn launch(&mut self, agent: &Agent, offers: Vec<Offer>, starts: Vec<Start>) {
        let mut left = resources(&offers);
        let mut launches = Vec::new();
        let mut starts = starts.into_iter();
        while let Some(start) = starts.next() {
            // If building this task fails, what it took goes to the next one.
            let before = (starts.len() > 0).then(|| left.clone());
            match self.make(agent, &launches, &mut left, &start) {
                Ok(launch) => launches.push(launch),
                Err(error) => {
                    left = before.unwrap_or_default();
                    let (app, task) = start.whose();
                    let told = match error.kind() {
                        ErrorKind::Unavailable => {
                            let progress = Progress::Refused(error.to_string().into());
                            self.tell(agent, app, task, progress).await
                        }
                        _ => {
                            let outcome = Outcome::could_not_start(&error);
                            self.agents.cannot_start(agent, app, task, outcome).await
                        }
                    };
                    self.log_error(told);
                }
            }
        }
        let mut task_infos = Vec::with_capacity(launches.len());
        for Launch { info, app, task, port, gpus } in launches {
            let live = Live {
                agent: Arc::clone(agent),
                app,
                task,
                port,
                gpus,
                has_update: false,
                has_run: false,
                launched: Instant::now(),
                answered: None,
                stop: None,
            };
            self.tasks.insert(info.task_id.value.clone(), live);
            task_infos.push(info);
        }
        let offer_ids = ids(offers);
        let operations = match task_infos.is_empty() {
            true => Vec::new(),
            false => vec![Operation::Launch { launch: crate::model::Launch { task_infos } }],
        };
        let accept = Accept { offer_ids, operations, filters: Some(AT_ONCE) };
        // If this fails, reconciliation finds out whether they were launched.
        let _ = self.call(&Call::Accept { accept }).await;
    }

    /// Builds a task from what `launches` left of an agent's offers.
    fn make(
        &self,
        agent: &Agent,
        launches: &[Launch],
        left: &mut Vec<Resource>,
        start: &Start,
    ) -> Result<Launch> {
        let (app, _) = start.whose();
        let gone = || Error::unavailable(format!("{app} has ended"));
        let application = self.apps.get(app).ok_or_else(gone)?;
        let (id, host) = (Id::new(&**agent), self.hosts.get(agent).ok_or_else(gone)?);
        match start {
            Start::Driver(order) => {
                let framework = self.framework.as_ref().ok_or_else(gone)?;
                let mut place = Place { agent: &id, host, left };
                self.builder.driver(application, order, &mut place, framework)
            }
            Start::Executor(order) => {
                let rules = self.matcher.rules(app, &application.conf);
                let live = self.tasks.values().map(|live| (&live.app, live.gpus));
                let all = live.chain(launches.iter().map(|launch| (&launch.app, launch.gpus)));
                let own = all.filter(|(of, _)| *of == app);
                let acquired = || own.map(|(_, gpus)| gpus).sum();
                let more = gpus(&rules, &order.profile, acquired, left);
                let mut place = Place { agent: &id, host, left };
                self.builder.executor(application, order, &rules, more, &mut place)
            }
        }
    }
}
