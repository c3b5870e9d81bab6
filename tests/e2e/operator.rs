//! `anymaster operator --dry-run`: what SparkApplications of kubeflow/spark-operator would create.

use std::process::Output;

use anymaster_test_support::daemon::Daemon;
use anymaster_test_support::home::Home;
use serde_json::Value;

const EVERY_FIELD: &str = include_str!("../../crates/operator/src/translate/every-field.yaml");

const CRDS: &str = include_str!("../../deploy/operator-crds.yaml");

/// What a schema does not have of an object.
fn missing(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let (named, any) = (&schema["properties"], &schema["additionalProperties"]);
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match (named.get(name), any) {
                    (Some(schema), _) => missing(&path, schema, value, found),
                    (None, schema @ Value::Object(_)) => missing(&path, schema, value, found),
                    // Kubernetes' own types have any fields.
                    (None, _)
                        if named.is_null()
                            && schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                    (None, _) => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                missing(path, &schema["items"], item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_resource_of_the_manifest_has_every_field_that_is_read() {
    let crd: Value = serde_saphyr::from_str(CRDS).unwrap();
    let application: Value = serde_saphyr::from_str(EVERY_FIELD).unwrap();
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    missing("spec", schema, &application["spec"], &mut found);
    assert_eq!(found, Vec::<String>::new());
    let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
    let names: Vec<_> = columns.map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Suspend", "Status", "Attempts", "Start", "Finish", "Age"]);
}

fn dry_run(home: &Home, manifest: &str) -> Output {
    let file = home.file("application.yaml", manifest);
    let words = ["operator", "--dry-run", "-o", "json", "--master", "k8s://https://127.0.0.1:1"];
    home.command(&words).arg("--filename").arg(file).output().unwrap()
}

#[test]
fn an_application_with_every_field_is_a_complete_pod() {
    let home = Home::new();
    let output = dry_run(&home, EVERY_FIELD);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for field in ["spec.executor.memoryLimit", "spec.executor.env[2]", "spec.monitoring"] {
        assert!(said.contains(&format!("default/nightly-report: {field} has no effect")), "{said}");
    }
    let objects: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pod = &objects["pods"][0];
    assert_eq!(pod["metadata"]["name"], "nightly-report-driver");
    assert_eq!(pod["metadata"]["labels"]["sparkoperator.k8s.io/app-name"], "nightly-report");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "SparkApplication");
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let main = containers.iter().find(|container| container["name"] == "spark-kubernetes-driver");
    let main = main.unwrap();
    assert_eq!(main["image"], "registry.test/report:7");
    assert_eq!(main["resources"]["limits"]["memory"], "1300Mi");
    assert_eq!(main["resources"]["limits"]["nvidia.com/gpu"], "1");
    // The variables of the manifest come last, and each is there once.
    let env = main["env"].as_array().unwrap();
    let names: Vec<_> = env.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names[names.len() - 4..], ["REGION", "HOST", "HADOOP_CONF_DIR", "SPARK_CONF_DIR"]);
    assert_eq!(names.iter().filter(|name| **name == "SPARK_CONF_DIR").count(), 1);
    assert_eq!(pod["spec"]["schedulerName"], "schedule-driver");
    let maps = objects["configmaps"].as_array().unwrap();
    let template = maps.iter().find_map(|map| map["data"]["podspec-configmap-key"].as_str());
    assert!(template.unwrap().contains("beside-executor"), "{maps:?}");
    // The same manifest is the same submission.
    let again: Value = serde_json::from_slice(&dry_run(&home, EVERY_FIELD).stdout).unwrap();
    let id = |objects: &Value| {
        objects["pods"][0]["metadata"]["annotations"]["anymaster.dev/submission-id"].clone()
    };
    assert!(id(&again).is_string());
    assert_eq!(id(&again), id(&objects));
}

#[test]
fn a_mistake_is_told_with_its_application_and_field() {
    let home = Home::new();
    let manifest = EVERY_FIELD.replace("memoryLimit: 1300m", "memoryLimit: much");
    let output = dry_run(&home, &manifest);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0));
    assert!(
        said.contains("default/nightly-report: spec.driver.memoryLimit: \"much\" is not a size"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_operator_whose_cluster_does_not_answer_lives_and_is_not_ready_and_stops_when_asked() {
    let home = Home::new();
    let words = ["operator", "--master", "k8s://http://127.0.0.1:1", "--port", "0", "-A"];
    let mut operator = Daemon::start(home.command(&words));
    let get = |path: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = reqwest::get(format!("{}{path}", operator.ready)).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    };
    assert_eq!(get("/healthz"), (200, "ok".to_owned()));
    assert_eq!(get("/readyz").0, 503);
    let (code, metrics) = get("/metrics");
    assert!(code == 200 && metrics.contains("anymaster_operator_leading 1"), "{metrics}");
    // Nothing is under way that could be waited for.
    let began = std::time::Instant::now();
    operator.signal("TERM");
    assert_eq!(operator.wait(), Some(0));
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_manifest_and_a_dry_run_belong_together() {
    let home = Home::new();
    home.call(&["operator", "--dry-run"]).expect(2, &["--filename"]);
    home.call(&["operator", "--filename", "app.yaml"]).expect(2, &["--dry-run"]);
    home.call(&["operator", "--master", "local"])
        .expect(1, &["local: SparkApplications run on Kubernetes"]);
}
