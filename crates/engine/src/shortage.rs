//! Why something waits, in words.

use std::collections::BTreeMap;

use anymaster_core::counted;

use crate::amount::{Amount, Cores};
use crate::app::App;
use crate::engine::Engine;
use crate::supply::ProcessSpec;
use crate::worker::Worker;

impl Engine {
    /// Whether a worker could ever hold this, as far as is known.
    pub(crate) fn could_hold(&self, worker: &Worker, need: &Amount) -> bool {
        !self.supply.lasts() || worker.whole().holds(need, 1)
    }

    /// Why a process of an application that needs this waits, of workers that have this left.
    pub(crate) fn why_waits(&self, app: &App, need: &Amount, free: &[&Amount]) -> String {
        let why = self.supply.why(app.id(), need, self.now.at);
        why.unwrap_or_else(|| self.shortage(need, free))
    }

    /// Why a queued driver waits.
    pub(crate) fn why_driver_waits(&self, app: &App) -> String {
        let alive = self.workers.values().filter(|worker| worker.is_alive());
        let free: Vec<_> = alive.map(|worker| &worker.free).collect();
        self.why_waits(app, &app.driver_need, &free)
    }

    /// Why an application gets no more executors of the first profile of which there are too few.
    pub(crate) fn why_executors_wait(&self, app: &App) -> Option<String> {
        let (id, _) = app.missing().next()?;
        let wanted = app.wanted.as_ref()?;
        let profile = &wanted.target.profiles.get(&id)?.profile;
        let need = self.need(&app.shared.conf, ProcessSpec::Executor(profile, &wanted.template));
        Some(self.obstacle(app, &need.ok()?))
    }

    fn shortage(&self, need: &Amount, free: &[&Amount]) -> String {
        let mut why = too_little(need, free);
        let mut present = self.workers.values().filter(|worker| worker.is_present());
        if !free.is_empty() && !present.any(|worker| self.could_hold(worker, need)) {
            why.push_str("; none could hold it if it were empty");
        }
        why
    }

    /// Why an application gets no more executors of this shape.
    pub(crate) fn obstacle(&self, app: &App, need: &Amount) -> String {
        if app.cores_max - app.cores < need.cores {
            let (has, most) = (app.cores, app.cores_max);
            return format!("it has {}, and spark.cores.max is {most}", counted(has, "core"));
        }
        let usable = self.usable(app, need);
        let free: Vec<_> = usable.iter().map(|(_, free)| *free).collect();
        let mut why = match app.spark() {
            Some(versions) if free.is_empty() && self.supply.lists_resources() => {
                format!("no worker has Spark {versions}")
            }
            _ => self.why_waits(app, need, &free),
        };
        let is_usable = |id: &str| usable.iter().any(|(usable, _)| *usable == id);
        let failing = app.failing_workers.keys().map(String::as_str);
        let excluded: Vec<&str> = failing.filter(|id| !is_usable(id)).collect();
        if !excluded.is_empty() {
            why.push_str(&format!("; its executors fail on {}", excluded.join(", ")));
        }
        why
    }
}

fn too_little(need: &Amount, free: &[&Amount]) -> String {
    if free.is_empty() {
        return "no worker has registered".to_owned();
    }
    let (cores, memory) = (need.cores, need.memory_mib);
    let plural = if cores == Cores::whole(1) { "core" } else { "cores" };
    let most = free.iter().max_by_key(|free| (free.cores, free.memory_mib));
    let (most_cores, most_memory) =
        most.map_or((Cores::default(), 0), |most| (most.cores, most.memory_mib));
    let whose = match free.len() {
        1 => "the only worker".to_owned(),
        many => format!("of {many} workers, the freest"),
    };
    let mut why = format!(
        "needs {cores} {plural} and {memory} MiB; {whose} has {most_cores} and {most_memory} MiB left"
    );
    let lacking: BTreeMap<_, _> = need
        .extra
        .iter()
        .filter(|(name, amount)| {
            !free.iter().any(|free| free.extra.get(*name).is_some_and(|left| left >= amount))
        })
        .collect();
    for (name, amount) in lacking {
        why.push_str(&format!("; no worker has {amount} {name} left"));
    }
    why
}
