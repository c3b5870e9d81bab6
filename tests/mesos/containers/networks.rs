//! Containers with networks of their own.

use super::{Containers, KINDS, docker};
use crate::example::digits;
use crate::home::nothing_is_left;
use crate::scene::options;

/// A network of Docker's, gone with this.
struct Network(String);

impl Network {
    fn new(name: &str) -> Self {
        // One that failed has left it.
        if docker(&["network", "ls", "--format", "{{.Name}}"]).lines().any(|known| known == name) {
            docker(&["network", "rm", name]);
        }
        docker(&["network", "create", name]);
        Self(name.to_owned())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            docker(&["network", "rm", &self.0]);
        }
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn drivers_and_executors_in_a_network_of_containers_find_each_other() {
    let _network = Network::new("pods");
    let containers = Containers::new();
    for kind in KINDS {
        let id = format!("pi-{kind}");
        let conf = super::all(
            kind,
            "127.0.0.1:80/worker:1",
            &[
                "spark.mesos.network.name=pods",
                "spark.mesos.network.labels=team:data",
                "spark.executor.instances=2",
            ],
        );
        let sizes = ["--executor-memory", "64m", "--executor-cores", "1"];
        let words = [&options(&conf)[..], &sizes].concat();
        let said = containers.scene.submit(&id, &words, &["/usr/bin/pi", "20"]);
        said.expect(0, &["finished"]);
        let out = containers.scene.call("logs", &[&id]).out;
        assert!(digits(&out).starts_with("3.14"), "{kind}: {out}");
        let task = containers.scene.task(&format!("{id}.driver")).unwrap();
        let network = &task["container"]["network_infos"][0];
        assert_eq!(network["name"], "pods", "{task}");
        assert_eq!(network["labels"]["labels"][0]["value"], "data", "{task}");
        let runs = task["statuses"].as_array().unwrap().iter();
        let mut runs = runs.filter(|status| status["state"] == "TASK_RUNNING");
        let address = &runs.next().unwrap()["container_status"]["network_infos"][0]["ip_addresses"]
            [0]["ip_address"];
        assert_ne!(address, super::ADDRESS, "{kind}: it has one of its own");
        nothing_is_left(&id);
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn a_network_that_is_not_there_is_told_by_name() {
    let containers = Containers::new();
    for kind in KINDS {
        let id = format!("nowhere-{kind}");
        let conf = ["spark.mesos.network.name=no-such-net"];
        let said = containers.submit(&id, kind, super::PROGRAM, &conf, "true");
        assert_ne!(said.code, Some(0), "{said:?}");
        let told = containers.told(&id);
        assert!(
            said.err.contains("no-such-net") || told.contains("no-such-net"),
            "{kind}: {told}{said:?}"
        );
    }
}
