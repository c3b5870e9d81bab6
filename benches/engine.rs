//! The scheduling engine of a large cluster on one core: 10,000 workers, 10,000 applications, 1,000,000 executors.
//!
//!     cargo bench -p anymaster-benches --bench engine
//!
//! Each input is what the master does with it: the engine is changed, a scheduling pass follows, and its effects are
//! taken.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anymaster_benches::{cpu_time, percentile, resident_memory};
use anymaster_core::model::{
    AppId, Cause, CommandLine, ExecutorId, ExecutorTarget, ExecutorTemplate, ExternalDriver,
    ResourceProfile,
};
use anymaster_engine::{
    Effect, Engine, Instant as EngineTime, Now, Order, Progress, Settings, Task, TaskReport,
    WorkerInfo, WorkerMessage,
};
use jiff::Timestamp;

const WORKERS: usize = 10_000;
const APPS: usize = 10_000;
/// Of each application.
const EXECUTORS: u32 = 100;
/// Of each worker: four more than executors take on the average.
const CORES: u32 = 104;
/// How many executors end in a measurement.
const ENDS: usize = 200_000;

struct Cluster {
    engine: Engine,
    began: Instant,
    /// An executor that was started: its worker, and which it is.
    started: Vec<(String, AppId, ExecutorId)>,
    /// How long each input took, with its pass.
    steps: Vec<Duration>,
    /// When the first of them was taken, in CPU time.
    cpu: Duration,
    random: u64,
}

fn settings() -> Settings {
    Settings::new("spark://master:7077")
}

fn app(number: usize) -> AppId {
    AppId::new(&format!("app-20260101000000-{number:04}")).unwrap()
}

fn target(executors: u32) -> ExecutorTarget {
    let template = ExecutorTemplate::new(CommandLine::new("executor"));
    ExecutorTarget::new(template, ResourceProfile::new(1.0, 1024), executors)
}

impl Cluster {
    fn new() -> Self {
        let now = Now { at: EngineTime::default(), wall: Timestamp::UNIX_EPOCH };
        Self {
            engine: Engine::new(settings(), [7; 32], now),
            began: Instant::now(),
            started: Vec::new(),
            steps: Vec::new(),
            cpu: Duration::ZERO,
            random: 1,
        }
    }

    /// The same numbers in each run.
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    fn step(&mut self, change: impl FnOnce(&mut Engine)) {
        let began = Instant::now();
        let at = EngineTime::after_start(self.began.elapsed());
        self.engine.at(Now { at, wall: Timestamp::UNIX_EPOCH });
        change(&mut self.engine);
        self.engine.schedule();
        let effects = self.engine.take_effects();
        self.steps.push(began.elapsed());
        for effect in effects {
            if let Effect::Send { worker, order: Order::StartExecutor(order), .. } = effect {
                self.started.push((worker, order.app, order.id));
            }
        }
    }

    fn report(&mut self, worker: &str, app: AppId, id: ExecutorId, progress: Progress) {
        let report = TaskReport { app, task: Task::Executor(id), progress, spec: None };
        self.step(|engine| engine.on_worker_message(worker, WorkerMessage::Report(report)));
    }

    /// What has been started runs.
    fn run_started(&mut self) -> Vec<(String, AppId, ExecutorId)> {
        let started = std::mem::take(&mut self.started);
        for (worker, app, id) in &started {
            let running = Progress::Running { port: None, host: None };
            self.report(worker, app.clone(), *id, running);
        }
        started
    }

    fn attach(&mut self, number: usize) {
        let driver = ExternalDriver::new("app", "10.1.0.1", 4040);
        let session = number as u64 + 1;
        self.step(|engine| engine.attach(&app(number), &driver, session).unwrap());
    }

    fn fill(&mut self) -> Vec<(String, AppId, ExecutorId)> {
        for number in 0..WORKERS {
            let info = WorkerInfo {
                id: format!("worker-20260101000000-10.0.{}.{}-7078", number / 256, number % 256),
                host: format!("10.0.{}.{}", number / 256, number % 256),
                port: 7078,
                web: String::new(),
                cores: CORES,
                memory_mib: 1024 * u64::from(CORES),
                sparks: Vec::new(),
                resources: BTreeMap::new(),
            };
            self.step(|engine| engine.register(info, Vec::new(), false, number as u64 + 1));
        }
        for number in 0..APPS {
            self.attach(number);
            self.step(|engine| engine.request(&app(number), target(EXECUTORS)).unwrap());
        }
        self.run_started()
    }

    fn begin(&mut self) {
        self.steps.clear();
        self.cpu = cpu_time();
    }

    /// CPU time, as others may use the core as well.
    fn report_steps(&mut self, what: &str) {
        let used = (cpu_time() - self.cpu).as_secs_f64();
        let steps = std::mem::take(&mut self.steps);
        let inputs = steps.len() as f64;
        println!(
            "{what}: {inputs} inputs, {:.0} a second of CPU time, {:.1} µs each; by the clock p99 {:.1} µs, longest {:.2} ms",
            inputs / used,
            used * 1e6 / inputs,
            percentile(steps.clone(), 99).as_secs_f64() * 1e6,
            percentile(steps, 100).as_secs_f64() * 1e3,
        );
    }
}

/// Executors end here and there, and others are started in their place.
fn churn(cluster: &mut Cluster, running: &mut Vec<(String, AppId, ExecutorId)>, ends: usize) {
    for _ in 0..ends {
        let at = cluster.random(running.len());
        let (worker, app, id) = running.swap_remove(at);
        let ended = Progress::Ended(Cause::Finished.into());
        cluster.report(&worker, app, id, ended);
        let started = cluster.run_started();
        running.extend(started);
    }
}

/// What an event of an application with ten watchers costs: it happens, and they read it. `watchers`: how many watch
/// another application, which has its events as well.
fn event(cluster: &mut Cluster, watchers: usize) -> Duration {
    const IN_A_ROW: u32 = 10;
    let (watched, other) = (app(1), app(2));
    let mut read = vec![cluster.engine.events().position(); watchers];
    let mut times = Vec::new();
    // A target has its event when it is lowered.
    let mut wanted = EXECUTORS * 1_000;
    for _ in 0..1_000 {
        // What the other one's event costs, and to read that, is not measured.
        wanted -= 1;
        cluster.step(|engine| engine.request(&other, target(wanted)).unwrap());
        let events = cluster.engine.events();
        for position in &mut read {
            let (seen, next) = events.since(*position, Some(&other), 100).unwrap();
            assert!(!seen.is_empty());
            *position = next;
        }
        let mut ten = vec![events.position(); 10];
        let began = Instant::now();
        for _ in 0..IN_A_ROW {
            wanted -= 1;
            cluster.step(|engine| engine.request(&watched, target(wanted)).unwrap());
            let events = cluster.engine.events();
            for position in &mut ten {
                let (seen, next) = events.since(*position, Some(&watched), 100).unwrap();
                assert!(!seen.is_empty());
                *position = next;
            }
        }
        times.push(began.elapsed() / IN_A_ROW);
        cluster.started.clear();
    }
    anymaster_benches::median(times)
}

fn main() {
    let before = resident_memory();
    let mut cluster = Cluster::new();
    cluster.steps.reserve(WORKERS + 2 * APPS + APPS * EXECUTORS as usize);
    cluster.begin();
    let mut running = cluster.fill();
    let executors = running.len() as u64;
    assert_eq!(executors, (APPS * EXECUTORS as usize) as u64, "all run");
    cluster.report_steps("filling");
    // What the benchmark itself remembers of the executors does not count.
    let kept = std::mem::take(&mut running);
    let own = kept.iter().map(|(worker, ..)| worker.capacity() + 16).sum::<usize>()
        + kept.capacity() * size_of::<(String, AppId, ExecutorId)>()
        + (WORKERS + 2 * APPS + APPS * EXECUTORS as usize) * size_of::<Duration>();
    let used = resident_memory().saturating_sub(before).saturating_sub(own as u64);
    println!("{executors} executors: {} bytes each", used / executors);
    running = kept;

    cluster.begin();
    churn(&mut cluster, &mut running, ENDS);
    cluster.report_steps("executors end and are replaced, with room to spare");

    // One more application, which takes what is left, and many that wait.
    let waiting = APPS / 10;
    cluster.begin();
    for number in APPS..APPS + waiting {
        cluster.attach(number);
        cluster.step(|engine| engine.request(&app(number), target(EXECUTORS)).unwrap());
        let started = cluster.run_started();
        running.extend(started);
    }
    cluster.report_steps("the cluster becomes full");
    cluster.begin();
    churn(&mut cluster, &mut running, ENDS / 10);
    cluster.report_steps(&format!(
        "the same in a full cluster, where {waiting} applications ask for more"
    ));

    let beside_few = event(&mut cluster, 10);
    let beside_many = event(&mut cluster, 10_000);
    println!(
        "an event of an application with 10 watchers: {beside_few:?} beside one with 10, {beside_many:?} beside one \
         with 10,000: ratio {:.2}",
        beside_many.as_secs_f64() / beside_few.as_secs_f64()
    );
}
