//! What tasks take, and what they find.

use std::process::Command;

use serde_json::Value;

use crate::scene::Scene;
use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::mesos::Cluster;
use anymaster_test_support::ports::free_ports;

/// The task of an application's only executor.
fn executor(scene: &Scene, app: &str) -> Value {
    eventually("its executor runs", || {
        let tasks = scene.running_tasks();
        let of_app = |task: &&Value| {
            let id = task["id"].as_str().unwrap();
            id.starts_with(&format!("{app}.")) && !id.contains("driver")
        };
        tasks.iter().find(of_app).cloned()
    })
}

#[test]
#[ignore = "needs Mesos"]
fn labels_archives_extra_cores_and_ports_are_as_properties_say() {
    let scene = Scene::new(1, &[]);
    let dir = scene.home.path().join("packed");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("word"), "found").unwrap();
    let archive = scene.home.path().join("files.tar.gz");
    let mut tar = Command::new("tar");
    let packed = tar.arg("-czf").arg(&archive).arg("-C").arg(&dir).arg("word").status();
    assert!(packed.unwrap().success());
    let uris = format!("spark.mesos.uris=file://{}", archive.display());
    let port = free_ports(1);
    // Ports that agents offer.
    let port = 31_000 + port % 1_000;
    let block = format!("spark.blockManager.port={port}");
    let conf = [
        "spark.mesos.task.labels=team:data,why:a\\,b",
        "spark.mesos.driver.labels=role:driver",
        "spark.mesos.extra.cores=3",
        &uris,
        &block,
    ];
    let conf: Vec<&str> = conf.iter().flat_map(|property| ["--conf", *property]).collect();
    let own = ["--submission-id", "told", "--executor-memory", "16m", "--driver-memory", "16m"];
    let told = "sh -c 'cat word; echo; echo cores {{executor.cores}} $ANYMASTER_EXECUTOR_CORES; sleep 3600'";
    let programs = ["--driver", "sleep 3600", "--executor", told];
    let run = scene.start("run", &[&own[..], &conf, &programs].concat());
    let task = executor(&scene, "told");
    let label = |task: &Value, key: &str| {
        let labels = task["labels"].as_array().unwrap();
        let found = labels.iter().find(|label| label["key"] == key);
        found.map(|label| label["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(label(&task, "team").as_deref(), Some("data"), "{task}");
    assert_eq!(label(&task, "why").as_deref(), Some("a,b"), "{task}");
    assert_eq!(task["resources"]["cpus"], 1.0, "{task}");
    assert_eq!(task["resources"]["ports"], format!("[{port}-{port}]"), "{task}");
    let id = task["id"].as_str().unwrap();
    let out = eventually("it has said so", || {
        scene.sandbox(id, "stdout").filter(|out| out.contains("cores"))
    });
    assert!(out.starts_with("found\ncores 4 4\n"), "{out}");
    let driver = scene.task("told.driver").unwrap();
    assert_eq!(label(&driver, "role").as_deref(), Some("driver"), "{driver}");
    // One agent has that port once.
    let second = ["--conf", block.as_str()];
    let waits = scene.run("second", 1, &second);
    eventually("it is told why", || {
        let told = scene.call("explain", &["second"]).out;
        told.contains(&format!("did not have port {port}")).then_some(())
    });
    scene.call("kill", &["told"]).expect(0, &[]);
    run.wait().expect(143, &[]);
    scene.until_running("second", 1);
    assert_eq!(executor(&scene, "second")["resources"]["ports"], format!("[{port}-{port}]"));
    scene.call("kill", &["second"]).expect(0, &[]);
    waits.wait().expect(143, &[]);
}

#[test]
#[ignore = "needs Mesos"]
fn what_is_reserved_for_the_role_is_taken_first() {
    let resources = "cpus(spark):2;mem(spark):512;cpus:2;mem:1024;ports:[31000-32000]";
    let mesos = Cluster::new(1, 1, &[("RESOURCES", resources)]);
    let scene = Scene::on(mesos, Home::new(), &["spark.mesos.role=spark"], &[]);
    let sizes = ["--submission-id", "app", "--executor-memory", "16m", "--driver-memory", "16m"];
    let programs = ["--driver", "sleep 3600", "--executor", "sleep 3600", "--executors", "1"];
    let run = scene.start("run", &[&sizes[..], &programs].concat());
    scene.until_running("app", 1);
    let agents = scene.master("slaves").unwrap();
    let agent = &agents["slaves"][0];
    let cpus = |resources: &Value| {
        resources
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["name"] == "cpus")
            .map(|one| one["scalar"]["value"].as_f64().unwrap())
            .sum::<f64>()
    };
    let used = &agent["used_resources_full"];
    assert_eq!(cpus(used), 2.0, "{agent}");
    let reserved = |one: &Value| one["reservations"][0]["role"] == "spark";
    let all = used.as_array().unwrap().iter().filter(|one| one["name"] == "cpus");
    assert!(all.clone().all(reserved), "{used}");
    scene.call("kill", &["app"]).expect(0, &[]);
    run.wait().expect(143, &[]);
    eventually("nothing is used any more", || {
        let agents = scene.master("slaves")?;
        (agents["slaves"][0]["used_resources"]["cpus"] == 0.0).then_some(())
    });
    // More than is reserved: both kinds together.
    let run = scene.start(
        "run",
        &[&["--executor-cores", "3"][..], &sizes, &programs]
            .concat()
            .into_iter()
            .map(|word| if word == "app" { "more" } else { word })
            .collect::<Vec<_>>(),
    );
    scene.until_running("more", 1);
    scene.call("kill", &["more"]).expect(0, &[]);
    run.wait().expect(143, &[]);
}
