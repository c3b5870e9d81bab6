//! Why something waits, in words.

use std::collections::BTreeMap;

use anymaster_core::counted;

use crate::amount::{Amount, Cores};
use crate::app::App;
use crate::engine::Engine;
use crate::supply::ProcessSpec;
use crate::worker::Worker;
use crate::worker_index::Room;

/// What is left on workers.
struct Left<'a> {
    workers: usize,
    /// On the one that has the most.
    most: Room,
    /// Other resources that none has enough of, and how much is needed.
    lacking: BTreeMap<&'a String, &'a u64>,
}

impl<'a> Left<'a> {
    fn new(need: &'a Amount, free: &[&Amount]) -> Self {
        let most = free.iter().map(|free| (free.cores, free.memory_mib)).max();
        let has = |name: &String, amount: &u64| {
            free.iter().any(|free| free.extra.get(name).is_some_and(|left| left >= amount))
        };
        Self {
            workers: free.len(),
            most: most.unwrap_or_default(),
            lacking: need.extra.iter().filter(|(name, amount)| !has(name, amount)).collect(),
        }
    }
}

impl Engine {
    /// Whether a worker could ever hold this, as far as is known.
    pub(crate) fn could_hold(&self, worker: &Worker, need: &Amount) -> bool {
        !self.supply.lasts() || worker.whole().holds(need, 1)
    }

    /// Why a process of an application that needs this waits, of workers that have this left.
    pub(crate) fn why_waits(&self, app: &App, need: &Amount, free: &[&Amount]) -> String {
        let why = self.supply.why(app.id(), need, self.now.at);
        why.unwrap_or_else(|| self.shortage(need, &Left::new(need, free)))
    }

    /// The same of something that may use all workers; `None`: that takes a look at each of them.
    pub(crate) fn why_all_are_full(&self, need: &Amount) -> Option<String> {
        (self.supply.lasts() && need.extra.is_empty()).then(|| {
            let (workers, most) = (self.workers.alive(), self.workers.most_room());
            let (most, lacking) = (most.unwrap_or_default(), BTreeMap::new());
            self.shortage(need, &Left { workers, most, lacking })
        })
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

    fn shortage(&self, need: &Amount, left: &Left<'_>) -> String {
        let mut why = too_little(need, left);
        let mut present = self.workers.values().filter(|worker| worker.is_present());
        if left.workers > 0 && !present.any(|worker| self.could_hold(worker, need)) {
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
        if !app.is_choosy()
            && let Some(why) = self.why_all_are_full(need)
        {
            return why;
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

fn too_little(need: &Amount, left: &Left<'_>) -> String {
    let (cores, memory) = (need.cores, need.memory_mib);
    let plural = if cores == Cores::whole(1) { "core" } else { "cores" };
    let whose = match left.workers {
        0 => return "no worker has registered".to_owned(),
        1 => "the only worker".to_owned(),
        many => format!("of {many} workers, the freest"),
    };
    let (most_cores, most_memory) = left.most;
    let mut why = format!(
        "needs {cores} {plural} and {memory} MiB; {whose} has {most_cores} and {most_memory} MiB left"
    );
    for (name, amount) in &left.lacking {
        why.push_str(&format!("; no worker has {amount} {name} left"));
    }
    why
}
