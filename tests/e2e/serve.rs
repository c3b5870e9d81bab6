//! `anymaster serve`: submissions over HTTP, to any cluster that knows them again.

use serde_json::{Value, json};

use crate::standalone::Cluster;
use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::Home;

/// Posts a submission; its code, and the answer.
fn post(service: &Daemon, id: &str, args: &[&str], template: Option<Value>) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut body = json!({"submission_id": id, "spark_submit_args": args});
        if let Some(template) = template {
            body["driver_pod_template"] = template;
        }
        let request = reqwest::Client::new()
            .post(format!("{}/api/v1/spark-submit", service.ready))
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        (code, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    })
}

fn get(service: &Daemon, path: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = reqwest::get(format!("{}{path}", service.ready)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

#[test]
fn a_standalone_cluster_takes_submissions_over_http() {
    let mut cluster = Cluster::of_workers(0);
    let words = cluster.words("serve", &["--port", "0"]);
    let service = Daemon::start(cluster.home.command(&words));
    let master = cluster.master.ready.clone();
    let submit = |id: &str, class: &str, template| {
        let mode = ["--master", &master, "--deploy-mode", "cluster", "--name", "sums"];
        let args = [&mode[..], &["--class", class, "local:///app.jar"]].concat();
        post(&service, id, &args, template)
    };
    let (code, first) = submit("one", "Main", None);
    assert_eq!(code, 201, "{first}");
    for (field, value) in [
        ("submission_id", "one"),
        ("app_name", "sums"),
        ("spark_app_id", "one"),
        ("driver_pod_name", "one"),
        ("driver_pod_uid", ""),
        ("namespace", ""),
    ] {
        assert_eq!(first[field], value, "{first}");
    }
    // It is known again by its id alone, whatever it says now.
    for class in ["Main", "Other"] {
        let (code, again) = submit("one", class, None);
        assert_eq!((code, &again["duplicate_submission"]), (200, &json!(true)), "{again}");
        assert_eq!(again["submitted_at"], first["submitted_at"], "{again}");
    }
    let (code, answer) = submit("two", "Main", Some(json!({"spec": {}})));
    assert_eq!((code, answer["error_code"].as_str()), (422, Some("INVALID_POD_TEMPLATE")));
    let (code, answer) = post(&service, "two", &["--master", "local", "a.py"], None);
    assert_eq!((code, answer["error_code"].as_str()), (400, Some("INVALID_SPARK_SUBMIT_ARGS")));
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("submitted to a standalone cluster here"), "{message}");

    let there = cluster.home.json(&cluster.words("ps", &["-o", "json"]));
    assert_eq!((&there[0]["id"], there.as_array().map(Vec::len)), (&json!("one"), Some(1)));
    assert_eq!(get(&service, "/readyz"), (200, "ok".to_owned()));
    cluster.master.shoot();
    assert_eq!(get(&service, "/readyz").0, 503);
}

#[test]
fn where_drivers_of_others_would_run_on_this_machine_nothing_is_served() {
    let home = Home::new();
    home.call(&["serve", "--master", "local", "--port", "0"])
        .expect(1, &["drivers of other people would be processes of this machine"]);
    // A REST port of a master gives ids of its own: what is sent twice would run twice.
    home.call(&["serve", "--master", "spark://127.0.0.1:6066", "--port", "0"])
        .expect(1, &["cannot detect duplicate submissions"]);
}
