//! Which agents may be used, and why none is.

use serde_json::Value;

use crate::scene::Scene;
use anymaster_test_support::home::{Home, eventually, nothing_is_left};
use anymaster_test_support::mesos::Cluster;

/// The agents of the tasks that run, by the number that their port tells.
fn agents(scene: &Scene, app: &str) -> Vec<u64> {
    let all = scene.master("slaves").unwrap();
    let all = all["slaves"].as_array().unwrap();
    let number = |task: &Value| {
        let agent = all.iter().find(|agent| agent["id"] == task["slave_id"]).unwrap();
        let rack = agent["attributes"]["rack"].as_str().unwrap();
        rack.strip_prefix('r').unwrap().parse().unwrap()
    };
    let is_executor = |task: &&Value| {
        let id = task["id"].as_str().unwrap();
        id.starts_with(&format!("{app}.")) && !id.contains("driver")
    };
    let tasks = scene.running_tasks();
    let mut agents: Vec<u64> = tasks.iter().filter(is_executor).map(number).collect();
    agents.sort_unstable();
    agents
}

#[test]
#[ignore = "needs Mesos"]
fn executors_go_only_where_attributes_are_as_they_have_to_be() {
    let scene = Scene::new(3, &[]);
    let end = |app: &str, run: anymaster_test_support::home::Started| {
        scene.call("kill", &[app]).expect(0, &[]);
        run.wait().expect(143, &[]);
        nothing_is_left(app);
    };
    for (app, constraints, wanted) in [
        ("rack", "rack:r1", &[1, 1, 1][..]),
        ("both", "rack:r1,r2;zone:z0", &[2, 2, 2]),
        ("present", "rack:", &[]),
    ] {
        let property = format!("spark.mesos.constraints={constraints}");
        let run = scene.run(app, 3, &["--conf", &property]);
        scene.until_running(app, 3);
        let found = agents(&scene, app);
        assert_eq!(found.len(), 3);
        assert!(wanted.is_empty() || found == wanted, "{constraints}: {found:?}");
        end(app, run);
    }
    let conf = ["--conf", "spark.mesos.constraints=zone:z7"];
    let run = scene.run("nowhere", 1, &conf);
    let told = eventually("it is told why", || {
        let told = scene.call("explain", &["nowhere"]).out;
        told.contains("did not meet the constraint on zone").then_some(told)
    });
    assert!(told.contains(" offers declined in the last minute"), "{told}");
    end("nowhere", run);

    let bad = scene.run("bad", 1, &["--conf", "spark.mesos.constraints=zone:z0;"]).wait();
    assert_ne!(bad.code, Some(0), "{bad:?}");
    assert!(bad.err.contains("spark.mesos.constraints"), "{bad:?}");
}

#[test]
#[ignore = "needs Mesos"]
fn drivers_go_only_where_attributes_are_as_they_have_to_be() {
    let scene = Scene::new(3, &[]);
    let conf = ["--conf", "spark.mesos.driver.constraints=rack:r2"];
    let driver = scene.start_driver("placed", &conf, &["/bin/sleep", "3600"]);
    let task = eventually("it runs", || scene.running_tasks().pop());
    let all = scene.master("slaves").unwrap();
    let of_task = |agent: &&Value| agent["id"] == task["slave_id"];
    let agent = all["slaves"].as_array().unwrap().iter().find(of_task).unwrap();
    assert_eq!(agent["attributes"]["rack"], "r2", "{agent}");
    scene.call("kill", &["placed"]).expect(0, &[]);
    driver.wait().expect(143, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn an_executor_that_is_too_large_is_told_in_numbers() {
    let scene = Scene::new(2, &[]);
    let run = scene.run("large", 1, &["--executor-cores", "16"]);
    let told = eventually("it is told why", || {
        let told = scene.call("explain", &["large"]).out;
        told.contains("had too few cpus (the most ").then_some(told)
    });
    for word in ["needs 16 cpus and 400 MiB", "offers declined in the last minute"] {
        assert!(told.contains(word), "{told}");
    }
    scene.call("kill", &["large"]).expect(0, &[]);
    run.wait().expect(143, &[]);
    let run = scene.run("roomy", 1, &["--conf", "spark.executor.memoryOverhead=64g"]);
    eventually("it is told why", || {
        let told = scene.call("explain", &["roomy"]).out;
        told.contains("too little memory (the most ").then_some(())
    });
    drop(run);
}

#[test]
#[ignore = "needs Mesos"]
fn a_role_is_the_dispatchers() {
    let scene = Scene::new(1, &["spark.mesos.role=spark"]);
    let said = scene.run("theirs", 1, &["--conf", "spark.mesos.role=dev"]).wait();
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("\"dev\" is not the role of this framework, \"spark\""), "{said:?}");
    let run = scene.run("ours", 1, &["--conf", "spark.mesos.role=spark"]);
    scene.until_running("ours", 1);
    let framework = scene.master("frameworks").unwrap();
    assert_eq!(framework["frameworks"][0]["roles"][0], "spark", "{framework}");
    scene.call("kill", &["ours"]).expect(0, &[]);
    run.wait().expect(143, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn a_dispatcher_is_known_by_principal_and_secret() {
    let home = Home::new();
    let known = r#"{"credentials": [{"principal": "me", "secret": "sesame"}]}"#;
    let known = home.file("credentials", known);
    let flags = format!(
        "--authenticate_http_frameworks --http_framework_authenticators=basic --credentials={}",
        known.display()
    );
    let mesos = Cluster::new(1, 1, &[("MASTER_FLAGS", &flags)]);
    let url = format!("mesos://{}", mesos.url);
    for conf in [&[][..], &["spark.mesos.principal=me", "spark.mesos.secret=open"]] {
        let own = ["dispatcher", "--master", &url, "--port", "0", "--webui-port", "0"];
        let conf: Vec<&str> = conf.iter().flat_map(|property| ["--conf", *property]).collect();
        let said = home.call(&[&own[..], &conf].concat());
        assert_ne!(said.code, Some(0), "{said:?}");
        assert!(said.err.contains("spark.mesos.principal"), "{said:?}");
        assert!(!said.err.contains("open"), "{said:?}");
    }
    let secret = home.file("secret", "sesame");
    let secret = format!("spark.mesos.secret.file={}", secret.display());
    let scene = Scene::on(mesos, home, &["spark.mesos.principal=me", &secret], &[]);
    scene.submit("known", &[], &["/bin/true"]).expect(0, &["finished"]);
}
