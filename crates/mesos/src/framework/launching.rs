//! Offers, and what is launched on them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Outcome};
use anymaster_core::{Error, ErrorKind, Result};
use anymaster_dispatcher::master::Order;
use anymaster_dispatcher::wire::{Progress, Task, ToWorker, WorkerInfo};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::market::gpus;
use super::tasks::{Agent, Launch, Place, resources};
use super::{Bridge, Live};
use crate::keys;
use crate::model::{Accept, Call, Decline, Filters, Id, Offer, Operation, Resource};

/// So many agents' offers take their time to be freed.
const MANY: usize = 1_000;
/// What is given back of an offer that was taken may be offered again at once.
const AT_ONCE: Filters = Filters { refuse_seconds: 0.0 };

/// For how long what is not used is not offered again. Whoever comes to want something revives all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusals {
    any: Duration,
    constraints: Duration,
    enough: Duration,
}

impl Refusals {
    pub(super) fn of(conf: &Conf) -> Result<Self> {
        let any = conf.read(&keys::REJECT_DURATION)?;
        let other = |key| Ok::<_, Error>(conf.read_optional(key)?.unwrap_or(any));
        Ok(Self {
            any,
            constraints: other(&keys::REJECT_DURATION_CONSTRAINTS)?,
            enough: other(&keys::REJECT_DURATION_MAX_CORES)?,
        })
    }

    /// `is_unsuited`: of an agent that does not meet constraints; `is_wanted`: there is something that
    /// wants offers.
    fn time(self, is_unsuited: bool, is_wanted: bool) -> Duration {
        match (is_wanted, is_unsuited) {
            (false, _) => self.enough,
            (true, true) => self.constraints,
            (true, false) => self.any,
        }
    }
}

/// A start that was ordered.
enum Start {
    Driver(Box<anymaster_dispatcher::wire::DriverOrder>),
    Executor(Box<anymaster_dispatcher::wire::ExecutorOrder>),
}

impl Start {
    fn whose(&self) -> (&AppId, Task) {
        match self {
            Self::Driver(order) => (&order.app, Task::Driver),
            Self::Executor(order) => (&order.app, Task::Executor(order.id)),
        }
    }
}

/// Their names.
pub(super) fn ids(offers: Vec<Offer>) -> Vec<Id> {
    offers.into_iter().map(|offer| offer.id).collect()
}

impl Bridge {
    /// Shares out what is offered; what nobody wants is declined.
    pub(super) async fn offered(
        &mut self,
        offers: Vec<Offer>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) {
        let mut by_agent: HashMap<String, Vec<Offer>> = HashMap::new();
        for offer in offers {
            self.meet(&offer);
            let of_agent = by_agent.entry(offer.agent_id.value.clone());
            of_agent.or_insert_with(|| Vec::with_capacity(1)).push(offer);
        }
        let amounts = self.market.open(by_agent);
        let shared = self.agents.offer(amounts).await;
        let (mut by_agent, unsuited) = self.market.close();
        let mut starts: BTreeMap<Agent, Vec<Start>> = BTreeMap::new();
        while let Ok((agent, order)) = orders.try_recv() {
            match order {
                ToWorker::StartDriver(order) => {
                    starts.entry(agent).or_default().push(Start::Driver(order));
                }
                ToWorker::StartExecutor(order) => {
                    starts.entry(agent).or_default().push(Start::Executor(order));
                }
                other => self.order(&agent, other).await,
            }
        }
        // What does not survive us is not begun.
        let is_safe = shared.is_ok();
        self.told(shared);
        for (agent, starts) in starts {
            if is_safe && let Some(offers) = by_agent.remove(&*agent) {
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
            let time = self.refusals.time(unsuited.contains(agent), is_wanted);
            declined.entry(time).or_default().extend(offers.iter().map(|offer| offer.id.clone()));
        }
        // Nobody has to wait until half a million resources are freed.
        if by_agent.len() > MANY {
            tokio::task::spawn_blocking(move || drop(by_agent));
        }
        for (time, offer_ids) in declined {
            self.decline(time, offer_ids).await;
        }
    }

    /// Gives offers back; what is in them is not offered again for this time.
    pub(super) async fn decline(&self, time: Duration, offer_ids: Vec<Id>) {
        let filters = Some(Filters { refuse_seconds: time.as_secs_f64() });
        let decline = Decline { offer_ids, filters };
        // An error: they are void.
        let _ = self.call(&Call::Decline { decline }).await;
    }

    fn is_wanted(&self) -> bool {
        self.agents.demand().borrow().is_wanted
    }

    /// An agent that the cluster does not know yet.
    fn meet(&mut self, offer: &Offer) {
        let id = offer.agent_id.value.as_str();
        if !self.hosts.contains_key(id) {
            self.hosts.insert(id.into(), offer.hostname.as_str().into());
            self.agents.register(self.info(id, &offer.hostname), Vec::new());
        }
    }

    /// An agent as the cluster knows it.
    pub(super) fn info(&self, id: &str, host: &str) -> WorkerInfo {
        WorkerInfo {
            id: id.to_owned(),
            host: host.to_owned(),
            port: 0,
            web: self.sandboxes.agent_page(id),
            cores: 0,
            memory_mib: 0,
            resources: BTreeMap::new(),
            is_lent: true,
        }
    }

    /// Launches tasks on the offers of one agent.
    async fn launch(&mut self, agent: &Agent, offers: Vec<Offer>, starts: Vec<Start>) {
        let mut left = resources(&offers);
        let mut launches = Vec::new();
        let mut starts = starts.into_iter();
        while let Some(start) = starts.next() {
            // Another one is not to lack what this one had taken when it failed.
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
                    self.told(told);
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
                is_heard: false,
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
        // An error: whether they were launched is asked about, as nothing is heard of them.
        let _ = self.call(&Call::Accept { accept }).await;
    }

    /// What is to be launched beside `launches`, of what these left of an agent's offers.
    fn make(
        &self,
        agent: &Agent,
        launches: &[Launch],
        left: &mut Vec<Resource>,
        start: &Start,
    ) -> Result<Launch> {
        let (app, _) = start.whose();
        let gone = || Error::unavailable(format!("{app} is over"));
        let application = self.apps.get(app).ok_or_else(gone)?;
        let (id, host) = (Id::new(&**agent), self.hosts.get(agent).ok_or_else(gone)?);
        match start {
            Start::Driver(order) => {
                let framework = self.framework.as_ref().ok_or_else(gone)?;
                let mut place = Place { agent: &id, host, left };
                self.setting.driver(application, order, &mut place, framework)
            }
            Start::Executor(order) => {
                let rules = self.market.rules(app, &application.conf);
                let live = self.tasks.values().map(|live| (&live.app, live.gpus));
                let all = live.chain(launches.iter().map(|launch| (&launch.app, launch.gpus)));
                let own = all.filter(|(of, _)| *of == app);
                let acquired = || own.map(|(_, gpus)| gpus).sum();
                let more = gpus(&rules, &order.profile, acquired, left);
                let mut place = Place { agent: &id, host, left };
                self.setting.executor(application, order, &rules, more, &mut place)
            }
        }
    }
}
