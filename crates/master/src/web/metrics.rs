//! Numbers for Prometheus: ours, and those of Spark's master by its names.

use std::fmt::Write as _;

use anymaster_engine::{Cores, Overview};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::super::leadership::Leadership;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    /// Spark's word, in lower case.
    state: String,
}

/// In OpenMetrics' text format.
pub(super) fn text(leadership: &Leadership) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("anymaster_master");
    let leader = Gauge::<i64>::default();
    registry.register("leader", "Whether this master leads", leader.clone());
    if let Some(shared) = leadership.leading() {
        leader.set(1);
        let now = shared.now();
        let (overview, age) = shared.read(|engine| (engine.overview(now), engine.age(now)));
        register(&mut registry, &overview);
        let help = "How long it takes to see what can be placed";
        let (unit, passes) = (Unit::Seconds, shared.passes().clone());
        registry.register_with_unit("scheduling_pass", help, unit, passes);
        let leading = Gauge::<i64>::default();
        leading.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let (name, help) = ("leading", "How long it has led");
        registry.register_with_unit(name, help, Unit::Seconds, leading);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn register(registry: &mut Registry, Overview { workers, apps, .. }: &Overview) {
    let mut by_state = |name: &str, help: &str, states: &mut dyn Iterator<Item = &'static str>| {
        let family = Family::<State, Gauge>::default();
        for state in states {
            family.get_or_create(&State { state: state.to_lowercase() }).inc();
        }
        registry.register(name, help, family);
    };
    by_state("workers", "Workers by state", &mut workers.iter().map(|worker| worker.state));
    by_state("applications", "Applications by state", &mut apps.iter().map(|app| app.state));
    let drivers = apps.iter().filter_map(|app| app.driver.as_ref());
    by_state("drivers", "Submitted drivers by state", &mut drivers.map(|driver| driver.state));
    let alive = || workers.iter().filter(|worker| worker.state == "ALIVE");
    let mut number = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    // Gauges are whole numbers: so are the cores of workers.
    let whole = |cores: Cores| cores.as_f64() as u64;
    let executors: usize = apps.iter().map(|app| app.executors).sum();
    number("executors", "Executors that are starting, run or are ending", executors as u64);
    let wanted = apps.iter().map(|app| app.target).sum();
    number("executors_wanted", "Executors that applications want", wanted);
    let cores = whole(alive().map(|worker| worker.cores).sum());
    number("cores", "Cores of workers that are alive", cores);
    let free = whole(alive().map(|worker| worker.cores_free).sum());
    number("cores_free", "Cores of them that nobody has", free);
    let memory = alive().map(|worker| worker.memory_mib << 20).sum();
    number("memory_bytes", "Memory of workers that are alive", memory);
    let free = alive().map(|worker| worker.memory_free_mib << 20).sum();
    number("memory_free_bytes", "Memory of them that nobody has", free);
}

/// As Spark's `PrometheusServlet` writes them (Spark 3.5, `MasterSource`).
pub(super) fn sparks(leadership: &Leadership) -> String {
    let overview =
        leadership.leading().map(|shared| shared.read(|engine| engine.overview(shared.now())));
    let (mut workers, mut alive, mut apps, mut waiting) = (0, 0, 0, 0);
    if let Some(overview) = overview {
        workers = overview.workers.len();
        alive = overview.workers.iter().filter(|worker| worker.state == "ALIVE").count();
        apps = overview.apps.iter().filter(|app| app.ended.is_none()).count();
        waiting = overview.apps.iter().filter(|app| app.state == "WAITING").count();
    }
    let mut text = String::new();
    for (name, value) in
        [("aliveWorkers", alive), ("apps", apps), ("waitingApps", waiting), ("workers", workers)]
    {
        for form in ["Number", "Value"] {
            // Writing to a text does not fail.
            let _ = writeln!(text, "metrics_master_{name}_{form}{{type=\"gauges\"}} {value}");
        }
    }
    text
}
