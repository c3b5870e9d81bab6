//! The offers of a scheduling pass, and the requirements of applications that they have to meet.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, ResourceProfile};
use anymaster_core::{Error, LogOptions, LogStream, Result};
use anymaster_engine::{Amount, Instant, OfferPolicy, ProcessSpec, RemainingOffer, Task};
use anymaster_master::AgentAccess;
use async_trait::async_trait;
use tokio::sync::watch;

use super::decline_stats::{DeclineStats, Reason};
use super::requirements::{self, GPUS, OfferRequirements};
use super::{queue, tasks};
use crate::keys;
use crate::model::{Id, Offer, Resource};
use crate::offers::resources;
use crate::sandbox::Sandboxes;

/// Matches offers and applications for the scheduling engine.
#[derive(Debug)]
pub(super) struct OfferMatcher {
    /// The role of the framework.
    role: String,
    /// The daemon's properties.
    conf: Conf,
    sandboxes: Sandboxes,
    pool: Mutex<OfferPool>,
}

#[derive(Debug, Default)]
struct OfferPool {
    /// The offers of the current scheduling pass, by agent.
    offers: HashMap<String, Vec<Offer>>,
    /// By agent: whether its offers were unused only because of constraints.
    unsuited: HashMap<String, bool>,
    apps: HashMap<AppId, App>,
    framework: Option<Id>,
    /// The names of all resources that were offered so far.
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct App {
    rules: Arc<OfferRequirements>,
    why: DeclineStats,
}

impl OfferMatcher {
    pub(super) fn new(role: String, conf: Conf, sandboxes: Sandboxes) -> Self {
        Self { role, conf, sandboxes, pool: Mutex::default() }
    }

    fn pool(&self) -> MutexGuard<'_, OfferPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the framework id.
    pub(super) fn set_framework(&self, framework: Id) {
        self.pool().framework = Some(framework);
    }

    /// Begins a scheduling pass; returns how much each agent offers.
    pub(super) fn open(&self, offers: HashMap<String, Vec<Offer>>) -> Vec<(String, Amount)> {
        let amounts: Vec<(String, Amount)> =
            offers.iter().map(|(agent, of)| (agent.clone(), requirements::sum(of))).collect();
        let mut pool = self.pool();
        for name in amounts.iter().flat_map(|(_, amount)| amount.extra.keys()) {
            if !pool.names.contains(name) {
                pool.names.insert(name.clone());
            }
        }
        pool.offers = offers;
        pool.unsuited.clear();
        amounts
    }

    /// Ends the scheduling pass; returns the offers, and the agents unused only because of constraints.
    pub(super) fn close(&self) -> (HashMap<String, Vec<Offer>>, HashSet<String>) {
        let mut pool = self.pool();
        let unsuited = std::mem::take(&mut pool.unsuited).into_iter();
        let unsuited = unsuited.filter(|(_, only)| *only).map(|(agent, _)| agent).collect();
        (std::mem::take(&mut pool.offers), unsuited)
    }

    /// The requirements of an application.
    pub(super) fn rules(&self, app: &AppId, conf: &Conf) -> Arc<OfferRequirements> {
        Arc::clone(&self.pool().app(app, conf).0.rules)
    }
}

impl OfferPool {
    /// The entry of an application, and the offers.
    fn app(&mut self, app: &AppId, conf: &Conf) -> (&mut App, &HashMap<String, Vec<Offer>>) {
        let known = self.apps.entry(app.clone()).or_insert_with(|| {
            // They were valid when the application was accepted.
            let rules = Arc::new(OfferRequirements::of(conf).unwrap_or_default());
            App { rules, why: DeclineStats::default() }
        });
        (known, &self.offers)
    }
}

impl OfferPolicy for OfferMatcher {
    fn need(&self, conf: &Conf, process: ProcessSpec<'_>) -> Result<Amount> {
        keys::check(conf)?;
        if matches!(process, ProcessSpec::Driver(_)) {
            queue::priority(&self.conf, conf)?;
        }
        let role = conf.read_optional(&keys::ROLE)?;
        if let Some(role) = role.filter(|role| *role != self.role) {
            return Err(Error::unsupported(format!(
                "{}: {role:?} is not the role of this framework, {:?}",
                keys::ROLE.info.name,
                self.role
            ))
            .with_hint("leave it out, or use a dispatcher that was started with this role"));
        }
        let need = requirements::need(conf, process)?;
        let pool = self.pool();
        // Unknown before the first offer.
        let missing = need.extra.keys().find(|name| !pool.names.contains(*name));
        match missing.filter(|_| !pool.names.is_empty()) {
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
        let mut pool = self.pool();
        let (App { rules, .. }, offers) = pool.app(app, conf);
        offers.get(agent).is_some_and(|offers| rules.objection(offers, is_driver).is_none())
    }

    fn unmet(
        &self,
        (app, conf): (&AppId, &Conf),
        need: &Amount,
        is_driver: bool,
        left: &[RemainingOffer<'_>],
        now: Instant,
    ) {
        let mut pool = self.pool();
        let mut unsuited = std::mem::take(&mut pool.unsuited);
        let (App { rules, why }, offers) = pool.app(app, conf);
        for RemainingOffer { agent, free, is_excluded } in left {
            let Some(offers) = offers.get(*agent) else { continue };
            let reason = if *is_excluded {
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
        pool.unsuited = unsuited;
    }

    fn why(&self, app: &AppId, need: &Amount, now: Instant) -> String {
        let mut pool = self.pool();
        match pool.apps.get_mut(app) {
            Some(app) => app.why.tell(need, &self.role, now),
            None => DeclineStats::default().tell(need, &self.role, now),
        }
    }

    fn priority(&self, conf: &Conf) -> f64 {
        // Drivers for an unknown queue were refused.
        queue::priority(&self.conf, conf).unwrap_or_default()
    }

    fn forget(&self, app: &AppId) {
        self.pool().apps.remove(app);
    }
}

#[async_trait]
impl AgentAccess for OfferMatcher {
    fn sandbox(&self, agent: &str, app: &AppId, task: Task, attempt: u32) -> Option<String> {
        let framework = self.pool().framework.clone()?;
        self.sandboxes.page(agent, &framework, &tasks::name(app, task, attempt))
    }

    fn history(&self, app: &AppId, attempt: u32) -> Option<String> {
        let server = self.conf.get(keys::HISTORY_SERVER_URL.info.name)?;
        let framework = self.pool().framework.clone()?;
        let id = tasks::framework_of(&framework, app, attempt);
        Some(format!("{}/history/{id}", server.trim_end_matches('/')))
    }

    async fn output(
        &self,
        agent: &str,
        (app, task, attempt): (&AppId, Task, u32),
        options: &LogOptions,
        ended: watch::Receiver<bool>,
    ) -> Result<LogStream> {
        let framework = self.pool().framework.clone();
        let framework = framework
            .ok_or_else(|| Error::unavailable("the framework has not been subscribed yet"))?;
        let name = tasks::name(app, task, attempt);
        self.sandboxes.output(agent, &framework, &name, options, ended).await
    }
}

/// How many GPUs an executor gets that does not request any: all of the offer, up to `spark.mesos.gpus.max` for
/// the application (Spark 3.5, `MesosCoarseGrainedSchedulerBackend`).
pub(super) fn gpus(
    rules: &OfferRequirements,
    profile: &ResourceProfile,
    acquired: impl FnOnce() -> u64,
    left: &[Resource],
) -> u64 {
    if rules.gpus_max == 0 || requirements::own_gpus(profile) > 0 {
        return 0;
    }
    let offered = resources::sum(left, GPUS) as u64;
    u64::from(rules.gpus_max).saturating_sub(acquired()).min(offered)
}
