//! Reports of a real ResourceManager (Hadoop 3.4.1), with the fields left out that nobody reads; some with changes.

use std::collections::BTreeSet;

use anymaster_core::Finding;
use serde_json::{Value, json};

use super::reports::{App, AttemptsFound, Node, NodesFound, Scheduler, SchedulerFound};
use super::{findings, is_of_interest};

const APPS: &str = include_str!("testdata/apps.json");
const ATTEMPTS: &str = include_str!("testdata/attempts.json");
const FAIR: &str = include_str!("testdata/fair.json");
const NODES: &str = include_str!("testdata/nodes.json");
const NODES_LOST: &str = include_str!("testdata/nodes-lost.json");
const SCHEDULER: &str = include_str!("testdata/scheduler.json");
const SCHEDULER_LOST: &str = include_str!("testdata/scheduler-lost.json");

const SMALL: &str = "The queue root.small uses 1024 MiB and 1 core of at most 3276 MiB and 25 cores (10 % of the cluster, and 10 % \
     where others leave it); 1 application has a driver, 2 wait for one. The cluster has 2 nodes, and of 32768 MiB \
     and 256 cores 7552 MiB and 252 cores are free.";

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn app(name: &str) -> Value {
    value(APPS)[name].clone()
}

/// One that runs, and asks for so many containers.
fn running(queue: &str, number: u32, memory: u32, cores: u32) -> Value {
    let mut app = app("queue-limit");
    (app["state"], app["queue"], app["diagnostics"]) = (json!("RUNNING"), json!(queue), json!(""));
    let capability = json!({"memory": memory, "vCores": cores});
    app["resourceRequests"] = json!([
        {"priority": 1, "resourceName": "127.0.0.2", "capability": capability, "numContainers": number},
        {"priority": 1, "resourceName": "*", "capability": capability, "numContainers": number,
         "nodeLabelExpression": ""},
    ]);
    app
}

struct Cluster {
    scheduler: Value,
    nodes: Value,
    excluded: BTreeSet<String>,
}

impl Cluster {
    fn new() -> Self {
        Self { scheduler: value(SCHEDULER), nodes: value(NODES), excluded: BTreeSet::new() }
    }

    fn explain(&self, app: Value) -> Vec<Finding> {
        let app: App = serde_json::from_value(app).unwrap();
        let scheduler: SchedulerFound = serde_json::from_value(self.scheduler.clone()).unwrap();
        let nodes: NodesFound = serde_json::from_value(self.nodes.clone()).unwrap();
        let nodes: Vec<Node> = nodes.nodes.unwrap_or_default().node;
        let allowed = ["root.default", "root.small", "root.stopped"].map(str::to_owned).into();
        let scheduler = &scheduler.scheduler.scheduler_info;
        findings(&app, scheduler, &nodes, &self.excluded, Some(&allowed))
    }

    /// What is found first, and what can be done about it.
    fn first(&self, app: Value) -> (String, String) {
        let first = self.explain(app).remove(0);
        (first.what, first.remedy.unwrap_or_default())
    }

    fn queue(&mut self, name: &str) -> &mut Value {
        let queues = &mut self.scheduler["scheduler"]["schedulerInfo"]["queues"]["queue"];
        queues.as_array_mut().unwrap().iter_mut().find(|it| it["queueName"] == name).unwrap()
    }
}

#[test]
fn a_driver_that_waits_for_the_am_limit_has_its_numbers_and_properties() {
    let found = Cluster::new().explain(app("queue-limit"));
    assert_eq!(
        found[0].what,
        "Its driver waits: the drivers of the queue root.small use 1024 MiB and 1 core and may use 384 MiB and 3 \
         cores (AM limit); this one wants 1024 MiB and 1 core."
    );
    assert_eq!(
        found[0].remedy.as_deref(),
        Some(
            "Wait until another application of the queue ends, ask for a smaller driver (spark.driver.memory), choose \
             another queue (spark.yarn.queue), or have \
             yarn.scheduler.capacity.root.small.maximum-am-resource-percent (0.1) raised."
        )
    );
    assert_eq!(found[1].what, SMALL);
    let mut of_user = app("large");
    let said = of_user["diagnostics"].as_str().unwrap().replace("Queue's AM", "User's AM");
    of_user["diagnostics"] = json!(said);
    let (what, remedy) = Cluster::new().first(of_user);
    assert_eq!(
        what,
        "Its driver waits: the drivers of root in the queue root.default may use 26624 MiB and 207 cores (user's AM \
         limit); this one wants 8064 MiB and 1 core."
    );
    assert!(
        remedy.contains("yarn.scheduler.capacity.root.default.user-limit-factor (1)"),
        "{remedy}"
    );
}

#[test]
fn a_driver_that_is_being_started_and_one_without_room() {
    assert_eq!(Cluster::new().explain(app("starting")).len(), 1);
    let (what, remedy) = Cluster::new().first(app("starting"));
    assert!(
        what.starts_with("The container of its driver is being started on 127.0.0.2:"),
        "{what}"
    );
    assert!(remedy.contains("anymaster logs"), "{remedy}");
    let mut lost = Cluster::new();
    (lost.scheduler, lost.nodes) = (value(SCHEDULER_LOST), value(NODES_LOST));
    let found = lost.explain(app("no-room"));
    assert!(found[0].what.contains("root has its share of the queue root.default"), "{found:?}");
    assert_eq!(
        found[1].what,
        "Its driver wants 8064 MiB and 1 core, and no node has room for that now: of 1 node, the one with most has \
         7296 MiB and 126 cores free."
    );
    assert!(found.last().unwrap().what.contains("The cluster has 1 node, and"), "{found:?}");
    lost.nodes["nodes"]["node"].as_array_mut().unwrap().remove(0);
    let (what, _) = lost.first(app("no-room"));
    assert_eq!(what, "Its driver wants 8064 MiB and 1 core, and no node runs.");
    lost.nodes = json!({"nodes": null});
    assert!(lost.first(app("no-room")).0.ends_with("and no node runs."));
}

#[test]
fn executors_that_never_come_are_told_alone() {
    let cluster = Cluster::new();
    let never = |app: Value| {
        let found = cluster.explain(app);
        assert_eq!(found.len(), 2, "{found:?}");
        (found[0].what.clone(), found[0].remedy.clone().unwrap_or_default())
    };
    let (what, remedy) = never(running("root.small", 3, 4096, 1));
    assert_eq!(
        what,
        "3 executors wait, and want 4096 MiB and 1 core each, and all of the queue root.small together may have no \
         more than 3276 MiB and 25 cores: it will never come."
    );
    assert!(
        remedy.contains("Ask for less (spark.executor.memory, spark.executor.memoryOverhead)"),
        "{remedy}"
    );
    assert!(remedy.contains("yarn.scheduler.capacity.root.small.maximum-capacity"), "{remedy}");
    let (what, remedy) = never(running("root.default", 1, 9000, 1));
    assert!(what.ends_with("and no container may have more than 8192 MiB and 8 cores."), "{what}");
    assert!(remedy.contains("yarn.scheduler.maximum-allocation-mb"), "{remedy}");
    let mut labelled = running("root.default", 1, 1024, 1);
    labelled["resourceRequests"][1]["nodeLabelExpression"] = json!("gpu");
    let (what, remedy) = never(labelled.clone());
    assert!(what.ends_with("on a node with the label gpu, and none of those runs."), "{what}");
    assert!(remedy.contains("spark.yarn.executor.nodeLabelExpression"), "{remedy}");
    let mut cluster = Cluster::new();
    cluster.queue("default")["nodeLabels"] = json!(["other"]);
    let (what, _) = cluster.first(labelled);
    assert!(
        what.ends_with("with the label gpu, which the queue root.default may not use."),
        "{what}"
    );
    // Nodes became smaller after it was accepted.
    for node in cluster.nodes["nodes"]["node"].as_array_mut().unwrap() {
        node["totalResource"] = json!({"memory": 2048, "vCores": 128});
    }
    let (what, remedy) = cluster.first(running("root.default", 2, 4096, 1));
    assert!(what.ends_with("no node has that: the largest has 2048 MiB and 128 cores."), "{what}");
    assert!(remedy.contains("yarn.nodemanager.resource.memory-mb"), "{remedy}");
}

#[test]
fn executors_wait_for_the_queue_for_their_users_share_and_for_nodes() {
    let mut cluster = Cluster::new();
    let (what, remedy) = cluster.first(running("root.small", 2, 2560, 1));
    assert_eq!(
        what,
        "2 executors wait, and want 2560 MiB and 1 core each; the queue root.small is full: 1024 MiB and 1 core of at \
         most 3276 MiB and 25 cores are used."
    );
    assert!(remedy.contains("spark.yarn.queue"), "{remedy}");
    let found = cluster.explain(running("root.default", 1, 7680, 1));
    let whats: Vec<_> = found.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        whats[..2],
        [
            "1 executor waits, and wants 7680 MiB and 1 core; root has its share of the queue root.default: 24192 MiB \
             and 3 cores of at most 29568 MiB and 230 cores are used.",
            "1 executor waits, and wants 7680 MiB and 1 core, and no node has room for that now: of 2 nodes, the one \
             with most has 7296 MiB and 126 cores free.",
        ]
    );
    let attempts: AttemptsFound = serde_json::from_str(ATTEMPTS).unwrap();
    assert!(attempts.excluded().is_empty());
    let text = ATTEMPTS
        .replace(r#""blacklistedNodes": """#, r#""blacklistedNodes": "127.0.0.2,127.0.0.9""#);
    cluster.excluded = serde_json::from_str::<AttemptsFound>(&text).unwrap().excluded();
    let (what, _) = cluster.first(running("root.default", 1, 1024, 1));
    assert!(what.contains("gets nothing on the nodes with room for it (127.0.0.2)"), "{what}");
    cluster.excluded.clear();
    let (what, _) = cluster.first(running("root.default", 1, 1024, 1));
    assert!(what.contains("for which there is room"), "{what}");
}

#[test]
fn an_application_that_was_not_taken_has_the_queues_that_would() {
    let cluster = Cluster::new();
    let (what, remedy) = cluster.first(app("unknown-queue"));
    assert_eq!(what, "There is no queue nowhere.");
    assert_eq!(remedy, "Choose another one (spark.yarn.queue): root.default, root.small.");
    let (what, _) = cluster.first(app("stopped"));
    assert_eq!(what, "The queue root.stopped is stopped, and takes no applications.");
    let mut other = app("stopped");
    other["diagnostics"] =
        json!("Application a failed 2 times due to AM Container for b exited with  exitCode: 7");
    let other: App = serde_json::from_value(other).unwrap();
    assert!(!is_of_interest(&other));
}

#[test]
fn of_the_fair_scheduler_the_limits_are_those_of_its_own_file() {
    let mut cluster = Cluster::new();
    cluster.scheduler = value(FAIR);
    let found = cluster.explain(app("fair-limit"));
    assert_eq!(
        found[0].what,
        "Its driver waits: the drivers of the queue root.default use 16384 MiB and 2 cores and may use 16384 MiB and \
         127 cores (AM limit); this one wants 8192 MiB and 1 core."
    );
    let remedy = found[0].remedy.as_deref().unwrap();
    assert!(
        remedy
            .ends_with("or have maxAMShare of the queue root.default (fair-scheduler.xml) raised."),
        "{remedy}"
    );
    assert!(found[1].what.contains("2 applications have a driver, 2 wait for one"), "{found:?}");
    let (what, _) = cluster.first(running("default", 1, 9000, 1));
    assert!(what.ends_with("no container may have more than 8192 MiB and 8 cores."), "{what}");
    let queue = &mut cluster.scheduler["scheduler"]["schedulerInfo"]["rootQueue"]["childQueues"]["queue"]
        [0];
    queue["maxResources"] = json!({"memory": 17000, "vCores": 256});
    let (what, remedy) = cluster.first(running("root.default", 1, 1024, 1));
    assert!(
        what.contains("the queue root.default is full: 16384 MiB and 2 cores of at most 17000 MiB"),
        "{what}"
    );
    assert!(remedy.contains("maxResources of the queue root.default"), "{remedy}");
}

#[test]
fn queues_are_found_by_path_and_by_name() {
    let found: SchedulerFound = serde_json::from_str(SCHEDULER).unwrap();
    let scheduler: Scheduler = found.scheduler.scheduler_info;
    let path =
        |name| scheduler.path(name).iter().map(|it| it.path().to_owned()).collect::<Vec<_>>();
    assert_eq!(path("root.small"), ["root", "root.small"]);
    assert_eq!(path("small"), ["root", "root.small"]);
    assert!(path("nowhere").is_empty());
}
