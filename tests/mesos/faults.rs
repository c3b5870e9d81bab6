//! Masters and agents that are killed, and come back or not.

use std::time::Duration;

use serde_json::Value;

use crate::scene::{Scene, curl, programs_of, programs_of_executor, so_many_programs_of};
use anymaster_test_support::home::{Home, eventually, nothing_is_left};
use anymaster_test_support::mesos::Cluster;

/// Agents are given up after some seconds.
const QUICK: (&str, &str) =
    ("MASTER_FLAGS", "--agent_ping_timeout=2secs --max_agent_ping_timeouts=2");

/// Which executors run.
fn running(status: &Value) -> Vec<u64> {
    let all = status["executors"].as_array().unwrap().iter();
    let running = all.filter(|executor| executor["state"] == "running");
    running.map(|executor| executor["id"].as_u64().unwrap()).collect()
}

/// The agent, by its number, of an executor of the application; and its id.
fn agent_of(scene: &Scene, task: &str) -> (u64, String) {
    let task = scene.task(task).unwrap();
    let all = scene.master("slaves").unwrap();
    let of_task = |agent: &&Value| agent["id"] == task["slave_id"];
    let agent = all["slaves"].as_array().unwrap().iter().find(of_task).unwrap();
    let rack = agent["attributes"]["rack"].as_str().unwrap();
    (rack.strip_prefix('r').unwrap().parse().unwrap(), agent["id"].as_str().unwrap().to_owned())
}

/// An executor on another agent than the driver: it, its agent's number, and that agent's id.
fn executor_apart(scene: &Scene, app: &str) -> (u64, u64, String) {
    let (driver, _) = agent_of(scene, &format!("{app}.driver"));
    let status = scene.status(app).unwrap();
    let found = running(&status).into_iter().find_map(|id| {
        let (agent, name) = agent_of(scene, &format!("{app}.{id}"));
        (agent != driver).then_some((id, agent, name))
    });
    found.expect("an executor is apart from the driver")
}

#[test]
#[ignore = "needs Mesos"]
fn a_mesos_master_that_is_killed_and_started_again_changes_nothing() {
    // Agents that find their master by its address look for it when it has not asked for five seconds.
    let flags = ("MASTER_FLAGS", "--agent_ping_timeout=1secs");
    let scene = Scene::on(Cluster::new(2, 1, &[flags]), Home::new(), &[], &[]);
    let run = scene.run("master", 4, &[]);
    let before = running(&scene.until_running("master", 4));
    let (framework, processes) = (scene.framework(), so_many_programs_of("master", 5));
    scene.mesos.signal("master0", "-KILL");
    // Meanwhile one executor dies, and another application is to end.
    let doomed = scene.run("doomed", 1, &[]);
    scene.until("doomed", "it is taken in", |_| true);
    let one = programs_of_executor("master", before[0]);
    one.iter().for_each(|pid| anymaster_test_support::home::signal("KILL", *pid));
    scene.call("kill", &["doomed"]).expect(0, &[]);
    scene.mesos.up(&["master", "0"]);
    doomed.wait().expect(143, &[]);
    let after = scene.until("master", "the executor that died is replaced", |status| {
        status["allocation"]["running"] == 4 && !running(status).contains(&before[0])
    });
    let left = |ids: &[u64]| ids.iter().filter(|id| before[1..].contains(id)).count();
    assert_eq!(left(&running(&after)), 3, "{after}");
    let still = programs_of("master");
    assert_eq!(
        processes.iter().filter(|pid| still.contains(pid)).count(),
        processes.len() - one.len()
    );
    assert_eq!(scene.framework(), framework);

    // A kill that is asked for while there is no master happens when there is one.
    scene.mesos.signal("master0", "-KILL");
    let killed = scene.start("kill", &["master"]);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!programs_of("master").is_empty());
    scene.mesos.up(&["master", "0"]);
    killed.wait().expect(0, &[]);
    run.wait().expect(143, &[]);
    nothing_is_left("master");
}

#[test]
#[ignore = "needs Mesos and ZooKeeper"]
fn the_next_mesos_master_goes_on_when_the_one_that_leads_is_killed() {
    let scene = Scene::on(Cluster::new(2, 3, &[]), Home::new(), &[], &[]);
    let run = scene.run("leader", 3, &[]);
    let before = running(&scene.until_running("leader", 3));
    let processes = so_many_programs_of("leader", 4);
    let leader = eventually("a master leads", || {
        let state: Value = serde_json::from_str(
            &curl(&[&format!("http://{}/state", scene.mesos.master(0))]).ok()?,
        )
        .ok()?;
        let port = state["leader_info"]["port"].as_u64()?;
        (0..3).find(|at| u64::from(scene.mesos.master(*at).port) == port)
    });
    scene.mesos.signal(&format!("master{leader}"), "-KILL");
    let one = programs_of_executor("leader", before[0]);
    one.iter().for_each(|pid| anymaster_test_support::home::signal("KILL", *pid));
    let after = scene.until("leader", "the executor that died is replaced", |status| {
        status["allocation"]["running"] == 3 && !running(status).contains(&before[0])
    });
    assert_eq!(running(&after).iter().filter(|id| before.contains(id)).count(), 2, "{after}");
    let still = programs_of("leader");
    assert_eq!(
        processes.iter().filter(|pid| still.contains(pid)).count(),
        processes.len() - one.len()
    );
    scene.call("kill", &["leader"]).expect(0, &[]);
    run.wait().expect(143, &[]);
    nothing_is_left("leader");
}

#[test]
#[ignore = "needs Mesos"]
fn executors_of_an_agent_that_does_not_come_back_are_replaced_elsewhere() {
    let scene = Scene::on(Cluster::new(3, 1, &[QUICK]), Home::new(), &[], &[]);
    let run = scene.run("lost", 6, &["--executor-cores", "1"]);
    scene.until_running("lost", 6);
    let (id, agent, _) = executor_apart(&scene, "lost");
    scene.mesos.signal(&format!("agent{agent}"), "-KILL");
    let status = scene.until("lost", "its executors are replaced", |status| {
        status["allocation"]["running"] == 6 && !running(status).contains(&id)
    });
    for executor in running(&status) {
        assert_ne!(agent_of(&scene, &format!("lost.{executor}")).0, agent, "{status}");
    }
    let lost = status["executors"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    assert_eq!(lost["cause"]["cause"], "lost", "{lost}");
    assert_eq!(status["allocation"]["failed"], 0, "it is no failure of the application: {status}");
    scene.call("kill", &["lost"]).expect(0, &[]);
    run.wait().expect(143, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn executors_of_an_agent_that_is_marked_gone_are_replaced_elsewhere() {
    let scene = Scene::on(Cluster::new(3, 1, &[QUICK]), Home::new(), &[], &[]);
    // More than one agent has room for.
    let run = scene.run("gone", 4, &["--executor-cores", "1"]);
    let before = running(&scene.until_running("gone", 4));
    let (_, number, agent) = executor_apart(&scene, "gone");
    let gone = format!(
        r#"{{"type":"MARK_AGENT_GONE","mark_agent_gone":{{"agent_id":{{"value":"{agent}"}}}}}}"#
    );
    scene.mesos.signal(&format!("agent{number}"), "-KILL");
    let url = format!("http://{}/api/v1", scene.mesos.master(0));
    let json = "Content-Type: application/json";
    let said = curl(&["-H", json, "--data-binary", &gone, "-w", "%{http_code}", &url]).unwrap();
    assert_eq!(said, "200");
    let status = scene.until("gone", "its executors are replaced", |status| {
        status["allocation"]["running"] == 4
            && running(status).iter().all(|id| {
                scene.task(&format!("gone.{id}")).is_some_and(|task| task["slave_id"] != *agent)
            })
    });
    assert_ne!(running(&status), before);
    scene.call("kill", &["gone"]).expect(0, &[]);
    run.wait().expect(143, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn an_agent_that_is_killed_and_started_again_keeps_what_it_runs() {
    // The machine is small, and executors have two seconds to come back if nobody says.
    let flags = ("AGENT_FLAGS", "--executor_reregistration_timeout=15secs");
    let scene = Scene::on(Cluster::new(2, 1, &[flags]), Home::new(), &[], &[]);
    let run = scene.run("again", 3, &[]);
    let before = running(&scene.until_running("again", 3));
    let processes = so_many_programs_of("again", 4);
    for agent in ["agent0", "agent1"] {
        scene.mesos.signal(agent, "-KILL");
        std::thread::sleep(Duration::from_millis(500));
        scene.mesos.up(&["agent", agent.strip_prefix("agent").unwrap()]);
        eventually("it is there again", || {
            let all = scene.master("slaves")?;
            let active = |agent: &Value| agent["active"] == true;
            all["slaves"].as_array()?.iter().all(active).then_some(())
        });
    }
    std::thread::sleep(Duration::from_secs(2));
    let after = scene.until_running("again", 3);
    assert_eq!(running(&after), before, "{after}");
    assert_eq!(programs_of("again"), processes, "nothing was disturbed");
    scene.call("kill", &["again"]).expect(0, &[]);
    run.wait().expect(143, &[]);
    nothing_is_left("again");
}
