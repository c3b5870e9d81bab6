//! Mesos: how fast executors are launched on a real master, beside the bare scheduler client; many offers
//! and many tasks; and the dispatcher beside Spark's MesosClusterDispatcher.
//!
//!     eval "$(tests/clusters/spark/up)"; tests/clusters/mesos/build
//!     deploy/build && cargo bench -p anymaster-benches --bench mesos
//!
//! Only some of it: `-- launching running offers tasks dispatcher`.
//!
//! Spark's dispatcher has no libmesos here: `MesosSchedulerDriver.java` is in its place.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "it is a benchmark")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anymaster_benches::daemons::{
    Process, executors, free_port, ours, submissions, submit_many, until,
};
use anymaster_benches::median;
use anymaster_benches::mesos::{Cluster, Pretended, Told, dispatcher};
use anymaster_core::conf::Conf;
use anymaster_core::model::{
    AppId, CommandLine, ExecutorTarget, ExecutorTemplate, ResourceProfile,
};
use anymaster_core::{ClusterManager as _, HostPort};
use anymaster_mesos::model::{
    Accept, Call, Capability, Decline, Filters, FrameworkInfo, Launch, Offer, Operation, TaskInfo,
};
use anymaster_mesos::scheduler::{Event, Options, Scheduler};
use anymaster_mesos::simulation::Simulated;
use anymaster_mesos::{Mesos, MesosMaster};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const AGENTS: u32 = 3;
/// Of each agent: room for all executors.
const RESOURCES: &str = "cpus:16;mem:16384;disk:4096;ports:[31000-32000]";
/// Executors, and what each takes: cores and MiB.
const EXECUTORS: u32 = 1_000;
const EACH: (f64, u64) = (0.01, 8);
/// How many of them begin at once: the tests' executors are in Python, and agents wait 20 s for each.
const PORTION: u32 = 200;
const OFFERS: usize = 10_000;
const RESOURCES_EACH: usize = 50;
const TASKS: u32 = 10_000;
const QUEUED: usize = 200;

fn conf(driver_host: &str) -> Conf {
    let of_client = [
        ("spark.submit.deployMode", "client"),
        ("spark.driver.host", driver_host),
        ("spark.driver.port", "4040"),
    ];
    of_client.into_iter().collect()
}

/// A driver in this process, with a framework of its own.
async fn driver(master: &MesosMaster) -> Mesos {
    Mesos::of_driver(master, &conf("127.0.0.1")).await.unwrap()
}

fn target(many: u32) -> ExecutorTarget {
    let template = ExecutorTemplate::new(CommandLine::new("sleep").args(["3600"]));
    ExecutorTarget::new(template, ResourceProfile::new(EACH.0, EACH.1), many)
}

/// Until a framework that is subscribed has declined what it was offered at first.
async fn settle(told: &mut Told) {
    told.until("FRAMEWORK_ADDED", 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// What a driver in this process launches for its executors.
async fn task_infos() -> Vec<TaskInfo> {
    let master = Pretended::start(AGENTS as usize, true).await;
    let driver = driver(&MesosMaster::Address(master.address.clone())).await;
    executors(&driver, &AppId::new("launching").unwrap(), EACH, EXECUTORS).await;
    master.launched()
}

/// From the request of executors until all of them are staged at the master.
async fn launch() -> Duration {
    let cluster = Cluster::new(AGENTS, RESOURCES);
    cluster.stop_agents();
    let mut told = Told::by(&cluster.master).await;
    let driver = driver(&cluster.url()).await;
    settle(&mut told).await;
    let began = Instant::now();
    let app = AppId::new("launching").unwrap();
    driver.request_executors(&app, &target(EXECUTORS)).await.unwrap();
    told.until("TASK_ADDED", EXECUTORS as usize).await;
    began.elapsed()
}

/// The same of the same tasks by the bare client: from its revival, and from when it has offers.
async fn launch_barely(mut tasks: Vec<TaskInfo>) -> [Duration; 2] {
    let cluster = Cluster::new(AGENTS, RESOURCES);
    cluster.stop_agents();
    let mut told = Told::by(&cluster.master).await;
    let framework = FrameworkInfo {
        user: std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
        name: "bare".to_owned(),
        roles: vec!["*".to_owned()],
        capabilities: ["MULTI_ROLE", "TASK_KILLING_STATE"].map(Capability::new).into(),
        ..FrameworkInfo::default()
    };
    let options = Options { master: cluster.url(), framework, credentials: None };
    let (scheduler, mut events) = Scheduler::start(options).unwrap();
    let mut offers = async || {
        let mut offers: Vec<Offer> = Vec::new();
        while offers.len() < AGENTS as usize {
            if let Event::Offers(more) = events.recv().await.unwrap() {
                offers.extend(more);
            }
        }
        offers
    };
    let offer_ids = offers().await.into_iter().map(|offer| offer.id).collect();
    let filters = Some(Filters { refuse_seconds: 120.0 });
    scheduler.call(&Call::Decline { decline: Decline { offer_ids, filters } }).await.unwrap();
    settle(&mut told).await;

    let began = Instant::now();
    scheduler.call(&Call::Revive).await.unwrap();
    let offers = offers().await;
    let offered = Instant::now();
    let share = tasks.len().div_ceil(offers.len());
    for offer in offers {
        let mut task_infos: Vec<_> = tasks.drain(..share.min(tasks.len())).collect();
        for task in &mut task_infos {
            task.agent_id = offer.agent_id.clone();
        }
        let operations = vec![Operation::Launch { launch: Launch { task_infos } }];
        let accept = Accept { offer_ids: vec![offer.id], operations, filters: None };
        scheduler.call(&Call::Accept { accept }).await.unwrap();
    }
    told.until("TASK_ADDED", EXECUTORS as usize).await;
    [began.elapsed(), offered.elapsed()]
}

async fn launching() {
    let tasks = task_infos().await;
    assert_eq!(tasks.len(), EXECUTORS as usize);
    let (mut ours, mut bare) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        ours.push(launch().await);
        let took = launch_barely(tasks.clone()).await;
        bare.iter_mut().zip(took).for_each(|(all, took)| all.push(took));
    }
    let rate = |took: Vec<Duration>| f64::from(EXECUTORS) / median(took).as_secs_f64();
    let [bare, accepted] = bare.map(rate);
    let ours = rate(ours);
    println!(
        "{EXECUTORS} executors of {} cores on {AGENTS} agents that stand still, from the request to all \
         staged at the master: {ours:.0}/s, the bare client {bare:.0}/s from its revival, {:.2} of it \
         ({accepted:.0}/s from the first offer)",
        EACH.0,
        ours / bare,
    );
}

async fn running() {
    let cluster = Cluster::new(AGENTS, RESOURCES);
    let mut told = Told::by(&cluster.master).await;
    let driver = driver(&cluster.url()).await;
    settle(&mut told).await;
    let app = AppId::new("running").unwrap();
    let mut took = Duration::ZERO;
    for many in (PORTION..=EXECUTORS).step_by(PORTION as usize) {
        took += executors(&driver, &app, EACH, many).await;
    }
    println!(
        "{EXECUTORS} executors on those agents, {PORTION} more at a time, until all run: {:.1} s, {:.0}/s, \
         which is the speed of the tests' executors in Python",
        took.as_secs_f64(),
        f64::from(EXECUTORS) / took.as_secs_f64(),
    );
}

/// An offer as masters send it: of each kind of resource some for a role, and some for anybody.
fn offer(number: usize) -> Offer {
    let resource = |at: usize| -> Value {
        let mut resource = match at % 5 {
            0 => json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}}),
            1 => json!({"name": "mem", "type": "SCALAR", "scalar": {"value": 512.0}}),
            2 => json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 100.0}}),
            3 => json!({"name": "gpus", "type": "SCALAR", "scalar": {"value": 1.0}}),
            _ => json!({"name": "ports", "type": "RANGES", "ranges": {"range": [
                {"begin": 31_000 + at, "end": 31_000 + at},
            ]}}),
        };
        if at.is_multiple_of(2) {
            resource["reservations"] = json!([{"type": "STATIC", "role": "dev"}]);
        }
        resource
    };
    serde_json::from_value(json!({
        "id": {"value": format!("offer-{number}")},
        "agent_id": {"value": format!("agent-{number}")},
        "hostname": format!("host-{number}"),
        "resources": (0..RESOURCES_EACH).map(resource).collect::<Vec<_>>(),
        "attributes": [{"name": "zone", "type": "TEXT", "text": {"value": format!("z{}", number % 3)}}],
    }))
    .unwrap()
}

/// All of what becomes of an event with many offers, but for what the master is told of it.
async fn offers() {
    let all: Vec<Offer> = (0..OFFERS).map(offer).collect();
    for (what, cores, fit) in [
        ("1,000 executors that fit", 1.0, EXECUTORS as usize),
        ("1,000 executors that fit nowhere", 64.0, 0),
    ] {
        let mut dispatcher = Simulated::start(&Conf::new()).await.unwrap();
        // A driver that is gone ends its executors.
        let (mut took, mut clients) = (Vec::new(), Vec::new());
        // Agents that are new to it have a cost of their own.
        dispatcher.offer(all.clone()).await;
        for round in 0..ROUNDS {
            let mut conf = conf("127.0.0.1");
            conf.set("spark.mesos.constraints", "zone:z0,z1");
            let client = Mesos::of_dispatcher(dispatcher.address(), &conf).unwrap();
            let app = AppId::new(&format!("offers-{round}")).unwrap();
            let template = ExecutorTemplate::new(CommandLine::new("sleep"));
            let profile = ResourceProfile::new(cores, 1024);
            let target = |many| ExecutorTarget::new(template.clone(), profile.clone(), many);
            client.request_executors(&app, &target(EXECUTORS)).await.unwrap();
            let offers = all.clone();
            let began = Instant::now();
            let launched = dispatcher.offer(offers).await;
            took.push(began.elapsed());
            assert_eq!(launched, fit);
            if fit == 0 {
                // It is not to be in the way of the next one.
                client.request_executors(&app, &target(0)).await.unwrap();
            }
            clients.push(client);
        }
        println!(
            "{OFFERS} offers of {RESOURCES_EACH} resources, {what}: {fit} placed and their tasks made in \
             {:.0} ms (aim: at most 100)",
            1e3 * median(took).as_secs_f64()
        );
    }
}

async fn tasks(dir: &Path) {
    let master = Pretended::start(100, false).await;
    let url = format!("mesos://{}", master.address);
    let words = ["dispatcher", "--master", &url, "--port", "0", "--webui-port", "0"];
    let (process, _, ready) = ours(dir, &words);
    let idle = process.memory();
    let client = Mesos::of_dispatcher(&dispatcher(&ready), &conf("127.0.0.1")).unwrap();
    let took = executors(&client, &AppId::new("tasks").unwrap(), EACH, TASKS).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "a dispatcher with {TASKS} executors on 100 pretended agents: running after {:.2} s; {:.1} MiB, {:.1} \
         at most, {idle:.1} without (aim: at most 60)",
        took.as_secs_f64(),
        process.memory(),
        process.peak_memory(),
    );
}

/// Our dispatcher: when it was ready, and the port of Spark's protocol.
fn our_dispatcher(dir: &Path, master: &HostPort, more: &[&str]) -> (Process, Duration, u16) {
    let url = format!("mesos://{master}");
    let words = ["dispatcher", "--master", &url, "--port", "0", "--webui-port", "0"];
    let (process, took, ready) = ours(dir, &[&words[..], more].concat());
    (process, took, dispatcher(&ready).port)
}

/// Spark's, without libmesos: when its port answered.
fn spark(dir: &Path, master: &HostPort) -> (Process, Duration, u16) {
    let home = std::env::var("SPARK_HOME").unwrap_or_else(|_| panic!("SPARK_HOME is not set"));
    let java = std::env::var("JAVA_HOME").unwrap_or_else(|_| panic!("JAVA_HOME is not set"));
    let classes = dir.join("classes");
    if !classes.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("MesosSchedulerDriver.java");
        let mut javac = Command::new(format!("{java}/bin/javac"));
        javac.args(["-cp", &format!("{home}/jars/*"), "-d"]).arg(&classes).arg(source);
        assert!(javac.status().unwrap().success(), "javac");
    }
    let (port, web) = (free_port(), free_port());
    let mut command = Command::new(format!("{home}/bin/spark-class"));
    command
        .arg("org.apache.spark.deploy.mesos.MesosClusterDispatcher")
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--webui-port", &web.to_string(), "--master", &format!("mesos://{master}")])
        // Before Spark's jars on the class path.
        .env("SPARK_CONF_DIR", &classes)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let process = Process(command.spawn().unwrap());
    until(port, "/v1/submissions/status/none", "SubmissionStatusResponse");
    (process, began.elapsed(), port)
}

async fn dispatchers(dir: &Path) {
    let cluster = Cluster::new(AGENTS, RESOURCES);
    let (mut starts, mut memory) = ([Vec::new(), Vec::new()], [[0.0; 2]; 2]);
    for _ in 0..ROUNDS {
        let mut told = Told::by(&cluster.master).await;
        let (process, took, rest) = our_dispatcher(dir, &cluster.master, &[]);
        starts[0].push(took);
        settle(&mut told).await;
        let idle = process.memory();
        submit_many(rest, "sleep", "", QUEUED).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory[0] = [idle, process.memory()];
    }
    for _ in 0..3 {
        let (process, took, rest) = spark(dir, &cluster.master);
        starts[1].push(took);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = process.memory();
        submit_many(rest, "file:/none.jar", "org.example.Main", QUEUED).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory[1] = [idle, process.memory()];
    }
    let [ours, sparks] = starts.map(median);
    println!(
        "a dispatcher: ready after {:.1} ms, Spark's {:.0} ms, {:.0} times as fast; {:.1} MiB, Spark's {:.0} \
         MiB, 1/{:.0}; with {QUEUED} drivers that wait {:.1} MiB, Spark's {:.0} MiB, 1/{:.0}",
        1e3 * ours.as_secs_f64(),
        1e3 * sparks.as_secs_f64(),
        sparks.as_secs_f64() / ours.as_secs_f64(),
        memory[0][0],
        memory[1][0],
        memory[1][0] / memory[0][0],
        memory[0][1],
        memory[1][1],
        memory[1][1] / memory[0][1],
    );

    // Submissions that survive the dispatcher.
    let kept = format!("spark.deploy.recoveryDirectory={}", dir.join("kept").display());
    let keeping = ["spark.deploy.recoveryMode=FILESYSTEM", &kept, "spark.mesos.maxDrivers=1000000"];
    let keeping: Vec<&str> = keeping.into_iter().flat_map(|pair| ["--conf", pair]).collect();
    let (process, _, rest) = our_dispatcher(dir, &cluster.master, &keeping);
    let ours = submissions(rest, "sleep", "").await;
    let peak = process.peak_memory();
    drop(process);
    let (_process, _, rest) = spark(dir, &cluster.master);
    let sparks = submissions(rest, "file:/none.jar", "org.example.Main").await;
    println!(
        "REST submissions to it, kept on disk: {ours:.0}/s (aim: 200/s; {peak:.0} MiB then), Spark's \
         {sparks:.0}/s, kept nowhere"
    );
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_asked = |part: &str| asked.is_empty() || asked.iter().any(|asked| asked == part);
    if is_asked("offers") {
        offers().await;
    }
    if is_asked("tasks") {
        tasks(dir.path()).await;
    }
    if is_asked("launching") {
        launching().await;
    }
    if is_asked("running") {
        running().await;
    }
    if is_asked("dispatcher") {
        dispatchers(dir.path()).await;
    }
}
