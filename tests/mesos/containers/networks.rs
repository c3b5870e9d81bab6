//! Containers with networks of their own.

use serde_json::Value;

use super::{Containers, KINDS, docker};
use crate::scene::{curl, options};
use anymaster_test_support::example::digits;
use anymaster_test_support::home::{eventually, nothing_is_left};

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

/// Works out Pi with two executors, all of them in containers: the task of the driver.
fn pi(containers: &Containers, id: &str, kind: &str, conf: &[&str]) -> Value {
    let own = ["spark.executor.instances=2"];
    let conf = super::all(kind, "127.0.0.1:80/worker:1", &[&own[..], conf].concat());
    let sizes = ["--executor-memory", "64m", "--executor-cores", "1"];
    let words = [&options(&conf)[..], &sizes].concat();
    let said = containers.scene.submit(id, &words, &["/usr/bin/pi", "20"]);
    said.expect(0, &["finished"]);
    let out = containers.scene.call("logs", &[id]).out;
    assert!(digits(&out).starts_with("3.14"), "{id}: {out}");
    nothing_is_left(id);
    containers.scene.task(&format!("{id}.driver")).unwrap()
}

/// Where the agent says that a task is.
fn address(task: &Value) -> Value {
    let runs = task["statuses"].as_array().unwrap().iter();
    let mut runs = runs.filter(|status| status["state"] == "TASK_RUNNING");
    let network = &runs.next().unwrap()["container_status"]["network_infos"][0];
    network["ip_addresses"][0]["ip_address"].clone()
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn drivers_and_executors_in_a_network_of_containers_find_each_other() {
    let _network = Network::new("pods");
    let containers = Containers::new();
    for kind in KINDS {
        let conf = ["spark.mesos.network.name=pods", "spark.mesos.network.labels=team:data"];
        let task = pi(&containers, &format!("pi-{kind}"), kind, &conf);
        let network = &task["container"]["network_infos"][0];
        assert_eq!(network["name"], "pods", "{task}");
        assert_eq!(network["labels"]["labels"][0]["value"], "data", "{task}");
        assert!(address(&task).is_string(), "{kind}: {task}");
        assert_ne!(address(&task), super::ADDRESS, "{kind}: it has one of its own");
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn drivers_and_executors_in_the_network_of_their_agent_find_each_other() {
    let containers = Containers::new();
    for kind in KINDS {
        let task = pi(&containers, &format!("pi-of-agent-{kind}"), kind, &[]);
        assert_eq!(task["container"]["network_infos"].as_array().map(Vec::len), None, "{task}");
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn ports_of_the_agent_are_passed_on_to_a_container_of_dockers() {
    let _network = Network::new("mapped");
    let containers = Containers::new();
    let conf =
        ["spark.mesos.network.name=mapped", "spark.mesos.executor.docker.portmaps=31999:8080"];
    let line = "echo passed on >/tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let run = containers.start("mapped", "docker", super::PROGRAM, &conf, line);
    let url = format!("http://{}:31999/", super::ADDRESS);
    let said = eventually("it is reached at the agent's port", || curl(&["--fail", &url]).ok());
    assert_eq!(said, "passed on\n");
    containers.scene.call("kill", &["mapped", "--grace", "0s"]).expect(0, &[]);
    run.wait();
    // Nobody offers such a one, and that is said.
    let conf = [conf[0], "spark.mesos.executor.docker.portmaps=80:8080"];
    let run = containers.start("unoffered", "docker", super::PROGRAM, &conf, line);
    eventually("it is said which port it is", || {
        let told = containers.scene.call("explain", &["unoffered"]).out;
        told.contains("port 80").then_some(())
    });
    containers.scene.call("kill", &["unoffered"]).expect(0, &[]);
    run.wait();
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
