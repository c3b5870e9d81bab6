//! Compares dynamic allocation with Spark's own, event by event.
//!
//! `tests/all spark` runs it: it needs `SPARK_HOME` and `JAVA_HOME`, which `tests/clusters/spark/up` sets.

#![expect(clippy::unwrap_used, reason = "it is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::dynamic_allocation::{
    Activity, DynamicAllocation, DynamicAllocationPolicy, Workload,
};
use anymaster_core::model::{ExecutorId, ProfileId};
use fastrand::Rng;

const DEFAULT: ProfileId = ProfileId(0);
/// How many applications are compared, and how many events each has.
const APPLICATIONS: u64 = 300;
const EVENTS: usize = 400;

/// Spark's `ExecutorAllocationManager`.
struct Spark {
    process: Child,
    events: ChildStdin,
    answers: BufReader<ChildStdout>,
    _classes: tempfile::TempDir,
}

impl Spark {
    fn start() -> Self {
        let variable = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
        let java = |name: &str| variable("JAVA_HOME").join("bin").join(name);
        let jars = variable("SPARK_HOME").join("jars/*").display().to_string();
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_spark/Allocations.java");
        let classes = tempfile::tempdir().unwrap();
        let mut compiler = Command::new(java("javac"));
        compiler.args(["-cp", &jars, "-d"]).arg(classes.path()).arg(source);
        assert!(compiler.status().unwrap().success(), "javac");
        let mut process = Command::new(java("java"))
            .args(["-XX:+UseSerialGC", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp"])
            .arg(format!("{}:{jars}", classes.path().display()))
            .arg("Allocations")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let events = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, events, answers, _classes: classes }
    }

    fn tell(&mut self, event: &str) {
        writeln!(self.events, "{event}").unwrap();
    }

    /// The target, and which executors are removed.
    fn tick(&mut self) -> (u32, Vec<u64>) {
        self.tell("tick");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let (target, removed) = answer.trim_end_matches('\n').split_once(' ').unwrap();
        let removed = removed.split(',').filter(|id| !id.is_empty());
        (target.parse().unwrap(), removed.map(|id| id.parse().unwrap()).collect())
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An application that does things at random: the same in both.
struct Application<'a> {
    spark: &'a mut Spark,
    ours: DynamicAllocation,
    now: Duration,
    tasks_per_executor: u32,
    /// Tasks of each stage that wait, and those that run, by their executors.
    stages: BTreeMap<u64, (BTreeSet<u64>, BTreeMap<u64, u64>)>,
    last_stage: u64,
    /// Living executors, and how many tasks each runs.
    executors: BTreeMap<u64, u32>,
    /// Those that are being removed.
    leaving: BTreeSet<u64>,
    last_executor: u64,
    wanted: u32,
    history: Vec<String>,
}

impl Application<'_> {
    fn tell(&mut self, event: String) {
        self.spark.tell(&event);
        self.history.push(event);
    }

    fn event(&mut self, random: &mut Rng) {
        match random.u32(0..100) {
            0..8 => {
                self.last_stage += 1;
                let tasks = random.u64(1..40);
                self.stages.insert(self.last_stage, ((0..tasks).collect(), BTreeMap::new()));
                self.tell(format!("stage {} {tasks}", self.last_stage));
            }
            8..35 => self.start_task(random),
            35..60 => self.end_task(random),
            60..75 => self.add_executor(),
            75..78 => {
                let idle = self.executors.iter().filter(|(_, tasks)| **tasks == 0);
                let Some(id) = random.choice(idle.map(|(id, _)| *id).collect::<Vec<_>>()) else {
                    return;
                };
                self.executor_is_gone(id);
            }
            _ => {
                let longest = if random.u32(0..5) == 0 { 90_000 } else { 1500 };
                let millis = random.u64(1..longest);
                self.now += Duration::from_millis(millis);
                self.tell(format!("wait {millis}"));
            }
        }
        self.say_what_there_is_to_do();
    }

    fn say_what_there_is_to_do(&mut self) {
        let pending = self.stages.values().map(|(waiting, _)| waiting.len() as u64).sum();
        let running = self.stages.values().map(|(_, running)| running.len() as u64).sum();
        let workload = Workload::new(pending, running);
        let workload = workload.with_tasks_per_executor(self.tasks_per_executor);
        self.ours.set_workload(DEFAULT, workload, self.now);
    }

    fn start_task(&mut self, random: &mut Rng) {
        let free = self
            .executors
            .iter()
            .filter(|(id, tasks)| **tasks < self.tasks_per_executor && !self.leaving.contains(id));
        let waiting = self.stages.iter().filter(|(_, (waiting, _))| !waiting.is_empty());
        let (Some(executor), Some(stage)) = (
            random.choice(free.map(|(id, _)| *id).collect::<Vec<_>>()),
            random.choice(waiting.map(|(id, _)| *id).collect::<Vec<_>>()),
        ) else {
            return;
        };
        let (waiting, running) = self.stages.get_mut(&stage).unwrap();
        let task = waiting.pop_first().unwrap();
        running.insert(task, executor);
        *self.executors.get_mut(&executor).unwrap() += 1;
        self.ours.set_activity(ExecutorId(executor), Activity::Busy, self.now);
        self.tell(format!("start {stage} {task} {executor}"));
    }

    fn end_task(&mut self, random: &mut Rng) {
        let running = self.stages.iter();
        let running = running.flat_map(|(stage, (_, running))| {
            running.iter().map(|(task, executor)| (*stage, *task, *executor))
        });
        let Some((stage, task, executor)) = random.choice(running.collect::<Vec<_>>()) else {
            return;
        };
        let (waiting, running) = self.stages.get_mut(&stage).unwrap();
        running.remove(&task);
        let is_done = waiting.is_empty() && running.is_empty();
        let tasks = self.executors.get_mut(&executor).unwrap();
        *tasks -= 1;
        if *tasks == 0 {
            self.ours.set_activity(ExecutorId(executor), Activity::IDLE, self.now);
        }
        self.tell(format!("end {stage} {task} {executor}"));
        if is_done {
            self.stages.remove(&stage);
            self.tell(format!("done {stage}"));
        }
    }

    fn add_executor(&mut self) {
        if self.executors.len() >= self.wanted as usize {
            return;
        }
        self.last_executor += 1;
        let id = self.last_executor;
        self.executors.insert(id, 0);
        self.ours.executor_added(ExecutorId(id), DEFAULT, self.now);
        self.tell(format!("add {id}"));
    }

    fn executor_is_gone(&mut self, id: u64) {
        self.executors.remove(&id);
        self.leaving.remove(&id);
        self.ours.executor_removed(ExecutorId(id));
        self.tell(format!("gone {id}"));
    }

    /// Both decide.
    fn tick(&mut self) {
        let spark = self.spark.tick();
        let decision = self.ours.decide(self.now);
        let removed: Vec<_> = decision.remove.iter().map(|id| id.0).collect();
        assert_eq!(
            (decision.targets[&DEFAULT], &removed),
            (spark.0, &spark.1),
            "the target and what is removed (ours, Spark's), after\n{}",
            self.history.join("\n")
        );
        self.history.push(format!("tick: {} {removed:?}", spark.0));
        self.wanted = decision.executors[&DEFAULT];
        self.leaving.extend(removed);
    }
}

#[test]
#[ignore = "needs Spark: tests/all spark"]
fn targets_and_removals_are_those_of_sparks_executor_allocation_manager() {
    let mut spark = Spark::start();
    for seed in 0..APPLICATIONS {
        let mut random = Rng::with_seed(seed);
        let min = random.u32(0..3);
        let cores = random.u32(1..4);
        let mut pairs = vec![
            ("spark.dynamicAllocation.enabled", "true".to_owned()),
            ("spark.dynamicAllocation.shuffleTracking.enabled", "false".to_owned()),
            ("spark.dynamicAllocation.minExecutors", min.to_string()),
            ("spark.dynamicAllocation.maxExecutors", (min + random.u32(1..30)).to_string()),
            ("spark.dynamicAllocation.executorAllocationRatio", "1.0".to_owned()),
            ("spark.executor.cores", cores.to_string()),
        ];
        if random.bool() {
            pairs.extend([
                ("spark.dynamicAllocation.schedulerBacklogTimeout", "3s".to_owned()),
                ("spark.dynamicAllocation.sustainedSchedulerBacklogTimeout", "2s".to_owned()),
                ("spark.dynamicAllocation.executorIdleTimeout", "10s".to_owned()),
                ("spark.dynamicAllocation.initialExecutors", (min + 1).to_string()),
            ]);
        }
        if random.bool() {
            pairs[4].1 = "0.4".to_owned();
        }
        let conf: Conf = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let policy = DynamicAllocationPolicy::from_conf(&conf).unwrap().unwrap();
        let words: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut application = Application {
            spark: &mut spark,
            wanted: policy.initial,
            ours: DynamicAllocation::new(policy),
            now: Duration::ZERO,
            tasks_per_executor: cores,
            stages: BTreeMap::new(),
            last_stage: 0,
            executors: BTreeMap::new(),
            leaving: BTreeSet::new(),
            last_executor: 0,
            history: Vec::new(),
        };
        application.tell(format!("new {}", words.join(" ")));
        for _ in 0..EVENTS {
            application.event(&mut random);
            application.tick();
            // What is being removed ends sooner or later.
            if random.u32(0..4) == 0
                && let Some(id) = application.leaving.first().copied()
            {
                application.executor_is_gone(id);
                application.say_what_there_is_to_do();
            }
        }
    }
}
