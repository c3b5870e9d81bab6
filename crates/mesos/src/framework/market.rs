//! What is offered in a pass, and which application may use it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, ResourceProfile};
use anymaster_core::{Error, LogOptions, LogStream, Result};
use anymaster_dispatcher::master::{Amount, Leftover, Lender, What};
use anymaster_dispatcher::wire::Task;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::rules::{self, GPUS, Rules};
use super::why::{Reason, Why};
use super::{queue, tasks};
use crate::keys;
use crate::model::{Id, Offer, Resource};
use crate::offers::resources;
use crate::sandbox::Sandboxes;

/// Offers and the rules for them.
#[derive(Debug)]
pub(super) struct Market {
    /// For which offers are made.
    role: String,
    /// The daemon's properties.
    conf: Conf,
    sandboxes: Sandboxes,
    floor: Mutex<Floor>,
}

#[derive(Debug, Default)]
struct Floor {
    /// By agent: of the pass that goes on.
    offers: HashMap<String, Vec<Offer>>,
    /// Whether nothing but constraints kept applications from them.
    unsuited: HashMap<String, bool>,
    apps: HashMap<AppId, App>,
    framework: Option<Id>,
    /// The names of all resources that were ever offered.
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct App {
    rules: Arc<Rules>,
    why: Why,
}

impl Market {
    pub(super) fn new(role: String, conf: Conf, sandboxes: Sandboxes) -> Self {
        Self { role, conf, sandboxes, floor: Mutex::default() }
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The framework has this id.
    pub(super) fn set_framework(&self, framework: Id) {
        self.floor().framework = Some(framework);
    }

    /// A pass begins; how much each agent offers.
    pub(super) fn open(&self, offers: HashMap<String, Vec<Offer>>) -> Vec<(String, Amount)> {
        let amounts: Vec<(String, Amount)> =
            offers.iter().map(|(agent, of)| (agent.clone(), rules::sum(of))).collect();
        let mut floor = self.floor();
        for name in amounts.iter().flat_map(|(_, amount)| amount.extra.keys()) {
            if !floor.names.contains(name) {
                floor.names.insert(name.clone());
            }
        }
        floor.offers = offers;
        floor.unsuited.clear();
        amounts
    }

    /// It is over: what was offered in it, and of which agents nothing but constraints kept applications.
    pub(super) fn close(&self) -> (HashMap<String, Vec<Offer>>, HashSet<String>) {
        let mut floor = self.floor();
        let unsuited = std::mem::take(&mut floor.unsuited).into_iter();
        let unsuited = unsuited.filter(|(_, only)| *only).map(|(agent, _)| agent).collect();
        (std::mem::take(&mut floor.offers), unsuited)
    }

    /// What an application asks.
    pub(super) fn rules(&self, app: &AppId, conf: &Conf) -> Arc<Rules> {
        Arc::clone(&self.floor().app(app, conf).0.rules)
    }
}

impl Floor {
    /// What is known of an application, and what is offered.
    fn app(&mut self, app: &AppId, conf: &Conf) -> (&mut App, &HashMap<String, Vec<Offer>>) {
        let known = self.apps.entry(app.clone()).or_insert_with(|| {
            // They were readable when it was taken in.
            let rules = Arc::new(Rules::of(conf).unwrap_or_default());
            App { rules, why: Why::default() }
        });
        (known, &self.offers)
    }
}

#[async_trait]
impl Lender for Market {
    fn need(&self, conf: &Conf, what: What<'_>) -> Result<Amount> {
        keys::check(conf)?;
        if matches!(what, What::Driver(_)) {
            queue::priority(&self.conf, conf)?;
        }
        let role = conf.read_optional(&keys::ROLE)?;
        if let Some(role) = role.filter(|role| *role != self.role) {
            return Err(Error::unsupported(format!(
                "{}: {role:?} is not the role of this framework, {:?}",
                keys::ROLE.info.name,
                self.role
            ))
            .with_hint("leave it out, or ask a dispatcher that was started with this role"));
        }
        let need = rules::need(conf, what)?;
        let floor = self.floor();
        // Before the first offer, nobody knows.
        let missing = need.extra.keys().find(|name| !floor.names.contains(*name));
        match missing.filter(|_| !floor.names.is_empty()) {
            None => Ok(need),
            Some(name) => Err(Error::unsupported(format!(
                "no agent has offered any {name} so far"
            ))
            .with_hint(match name.as_str() {
                GPUS => "agents with GPUs make offers to frameworks that set spark.mesos.gpus.max",
                _ => "ask for less, or start agents with it: mesos-agent --resources=…",
            })),
        }
    }

    fn suits(&self, app: &AppId, conf: &Conf, agent: &str, is_driver: bool) -> bool {
        let mut floor = self.floor();
        let (App { rules, .. }, offers) = floor.app(app, conf);
        offers.get(agent).is_some_and(|offers| rules.objection(offers, is_driver).is_none())
    }

    fn unmet(
        &self,
        app: &AppId,
        conf: &Conf,
        need: &Amount,
        is_driver: bool,
        left: &[Leftover<'_>],
    ) {
        let mut floor = self.floor();
        let mut unsuited = std::mem::take(&mut floor.unsuited);
        let (App { rules, why }, offers) = floor.app(app, conf);
        let now = Instant::now();
        for Leftover { agent, free, is_left_out } in left {
            let Some(offers) = offers.get(*agent) else { continue };
            let reason = if *is_left_out {
                Reason::Failing
            } else if let Some(reason) = rules.objection(offers, is_driver) {
                reason
            } else if free.cores < need.cores {
                Reason::Cpus
            } else if free.memory_mib < need.memory_mib {
                Reason::Memory
            } else {
                let has = |name: &String| free.extra.get(name).copied().unwrap_or(0);
                let too_few = need.extra.iter().find(|(name, amount)| has(name) < **amount);
                let Some((name, _)) = too_few else { continue };
                Reason::Too(name.clone())
            };
            let is_constraint = matches!(reason, Reason::Constraint(_));
            match unsuited.get_mut(*agent) {
                Some(only) => *only &= is_constraint,
                None => drop(unsuited.insert((*agent).to_owned(), is_constraint)),
            }
            why.count(reason, free, now);
        }
        floor.unsuited = unsuited;
    }

    fn why(&self, app: &AppId, need: &Amount) -> String {
        let now = Instant::now();
        let mut floor = self.floor();
        match floor.apps.get_mut(app) {
            Some(app) => app.why.tell(need, &self.role, now),
            None => Why::default().tell(need, &self.role, now),
        }
    }

    fn priority(&self, conf: &Conf) -> f64 {
        // Of an unknown queue there are none: they are refused.
        queue::priority(&self.conf, conf).unwrap_or_default()
    }

    fn sandbox(&self, agent: &str, app: &AppId, task: Task, attempt: u32) -> Option<String> {
        let framework = self.floor().framework.clone()?;
        self.sandboxes.page(agent, &framework, &tasks::name(app, task, attempt))
    }

    fn history(&self, app: &AppId, attempt: u32) -> Option<String> {
        let server = self.conf.get(keys::HISTORY_SERVER_URL.info.name)?;
        let framework = self.floor().framework.clone()?;
        let id = tasks::framework_of(&framework, app, attempt);
        Some(format!("{}/history/{id}", server.trim_end_matches('/')))
    }

    fn forget(&self, app: &AppId) {
        self.floor().apps.remove(app);
    }

    async fn output(
        &self,
        agent: &str,
        (app, task, attempt): (&AppId, Task, u32),
        options: &LogOptions,
        ended: watch::Receiver<bool>,
    ) -> Result<LogStream> {
        let framework = self.floor().framework.clone();
        let framework = framework
            .ok_or_else(|| Error::unavailable("the framework has not been subscribed yet"))?;
        let name = tasks::name(app, task, attempt);
        self.sandboxes.output(agent, &framework, &name, options, ended).await
    }
}

/// How many GPUs an executor is given that asks for none: as many as are left, up to a most for the
/// application (Spark 3.5, `MesosCoarseGrainedSchedulerBackend`).
pub(super) fn gpus(
    rules: &Rules,
    profile: &ResourceProfile,
    acquired: impl FnOnce() -> u64,
    left: &[Resource],
) -> u64 {
    if rules.gpus_max == 0 || rules::own_gpus(profile) > 0 {
        return 0;
    }
    let offered = resources::sum(left, GPUS) as u64;
    u64::from(rules.gpus_max).saturating_sub(acquired()).min(offered)
}
