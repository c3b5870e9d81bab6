//! `anymaster operator`: SparkApplications of kubeflow's operator, run with the role of its manifest.

mod faults;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Once;

use anymaster_test_support::daemon::Daemon;
use serde_json::{Value, json};

use crate::cluster::{IMAGE, Namespace, ca, kubectl, until};

const MANIFEST: &str = include_str!("../../deploy/operator.yaml");
const CRDS: &str = include_str!("../../deploy/operator-crds.yaml");

fn apply(arguments: &[&str], manifest: &str) -> Result<String, String> {
    let mut command = Command::new("kubectl");
    command.args(["apply", "--server-side", "-f", "-"]).args(arguments);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = pipes.spawn().unwrap();
    process.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A namespace with an account for operators that has what the manifest gives it.
struct Site {
    namespace: Namespace,
    files: tempfile::TempDir,
}

impl Site {
    fn new(purpose: &str) -> Self {
        static RESOURCES: Once = Once::new();
        RESOURCES.call_once(|| {
            apply(&[], CRDS).unwrap();
            let crd = "crd/sparkapplications.sparkoperator.k8s.io";
            kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]);
            let role = |kind: &str| {
                let kind = format!("kind: {kind}\n");
                MANIFEST.split("---\n").find(|part| part.contains(&kind)).unwrap()
            };
            apply(&[], role("ClusterRole")).unwrap();
        });
        let namespace = Namespace::new(purpose);
        let name = namespace.name.as_str();
        let lock = MANIFEST.split("---\n").find(|part| part.contains("kind: Role\n")).unwrap();
        apply(&["-n", name], lock).unwrap();
        kubectl(&["-n", name, "create", "serviceaccount", "operator"]);
        let account = format!("--serviceaccount={name}:operator");
        for (binding, role) in [
            ("operator", "--clusterrole=anymaster-operator"),
            ("lock", "--role=anymaster-operator-lock"),
        ] {
            kubectl(&["-n", name, "create", "rolebinding", binding, role, &account]);
        }
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca"), ca()).unwrap();
        let token = kubectl(&["-n", name, "create", "token", "operator"]);
        std::fs::write(files.path().join("token"), token.trim()).unwrap();
        Self { namespace, files }
    }

    /// An operator with the account's token.
    fn operator(&self, more: &[&str]) -> Operator {
        let property = |name: &str, file: &str| {
            let path = self.files.path().join(file);
            format!("spark.kubernetes.authenticate.submission.{name}={}", path.display())
        };
        let mut command = self.namespace.anymaster(&["operator", "--port", "0", "-v"]);
        command.args(["--namespace", &self.namespace.name]).args(more);
        command.args([
            "-c",
            &property("caCertFile", "ca"),
            "-c",
            &property("oauthTokenFile", "token"),
        ]);
        // Nothing of an administrator.
        command.env("KUBECONFIG", self.files.path().join("none"));
        Operator(Daemon::start(command))
    }

    fn apply(&self, application: &Value) {
        apply(&["-n", &self.namespace.name], &application.to_string()).unwrap();
    }

    fn patch(&self, name: &str, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        let app = format!("sparkapp/{name}");
        kubectl(&["-n", &self.namespace.name, "patch", &app, "--type=merge", "-p", &patch]);
    }

    fn application(&self, name: &str) -> Option<Value> {
        let all = self.namespace.objects("sparkapplications");
        all.into_iter().find(|app| app["metadata"]["name"] == name)
    }

    /// Waits for a state. Returns the application.
    #[track_caller]
    fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} is {state}"), || {
            let app = self.application(name)?;
            (app["status"]["applicationState"]["state"] == state).then_some(app)
        })
    }

    /// The reasons of the events of an application, in the order in which they happened.
    fn reasons(&self, name: &str) -> Vec<String> {
        let mut events = self.namespace.objects("events.events.k8s.io");
        events.retain(|event| event["regarding"]["name"] == name);
        events.sort_by_key(|event| event["eventTime"].as_str().unwrap_or_default().to_owned());
        events.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
    }
}

struct Operator(Daemon);

impl Operator {
    fn get(&self, path: &str) -> (u16, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = reqwest::get(format!("{}{path}", self.0.ready)).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// Sends SIGTERM and waits.
    fn stop(mut self) -> Option<i32> {
        self.0.signal("TERM");
        self.0.wait()
    }
}

/// An application whose driver runs a line for a shell.
fn application(name: &str, line: &str) -> Value {
    json!({
        "apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "metadata": {"name": name},
        "spec": {
            "type": "Scala", "sparkVersion": "3.5.9", "image": IMAGE, "mainClass": "Main",
            "mainApplicationFile": "local:///app.jar", "arguments": [line],
            "driver": {"coreRequest": "10m", "memory": "64m", "serviceAccount": "spark"},
            "executor": {"instances": 1},
        },
    })
}

#[test]
#[ignore = "needs a cluster with a real node and Spark's image"]
fn spark_pi_of_an_application_completes_with_its_executors_in_the_status() {
    let site = Site::new("operator-pi");
    let operator = site.operator(&[]);
    let mut pi = application("pi", "4");
    pi["spec"]["image"] = json!("registry.test/spark:3.5");
    pi["spec"]["mainClass"] = json!("org.apache.spark.examples.SparkPi");
    pi["spec"]["mainApplicationFile"] =
        json!("local:///opt/spark/examples/jars/spark-examples.jar");
    pi["spec"]["driver"] = json!({"coreRequest": "100m", "memory": "512m", "serviceAccount": "spark",
        "env": [{"name": "OF_THE_MANIFEST", "value": "yes"}]});
    pi["spec"]["executor"] =
        json!({"instances": 2, "coreRequest": "100m", "memory": "512m", "memoryLimit": "2g"});
    site.apply(&pi);
    let running = site.until_state("pi", "RUNNING");
    assert_eq!(running["status"]["driverInfo"]["webUIServiceName"], "pi-ui-svc", "{running}");
    assert_eq!(running["status"]["driverInfo"]["webUIPort"], 4040);
    let done = site.until_state("pi", "COMPLETED");
    let status = &done["status"];
    assert_eq!(status["driverInfo"]["podName"], "pi-driver");
    assert_eq!(
        (&status["executionAttempts"], &status["submissionAttempts"]),
        (&json!(1), &json!(1))
    );
    let executors = status["executorState"].as_object().unwrap();
    assert!(
        executors.len() == 2 && executors.values().all(|state| state == "COMPLETED"),
        "{status}"
    );
    let pod = &site.namespace.objects("pods")[0];
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["sparkoperator.k8s.io/submission-id"], status["submissionID"]);
    assert_eq!(labels["spark-app-selector"], status["sparkApplicationId"]);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], done["metadata"]["uid"]);
    assert!(pod["spec"]["containers"][0]["env"].to_string().contains("OF_THE_MANIFEST"), "{pod}");
    let name = &site.namespace.name;
    let log = kubectl(&["-n", name, "logs", "pi-driver", "-c", "spark-kubernetes-driver"]);
    assert!(log.contains("Pi is roughly 3.1"), "{log}");

    let ends = |field: &str| status[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(ends("terminationTime") > ends("lastSubmissionAttemptTime"));
    let columns = kubectl(&["-n", name, "get", "sparkapp", "pi"]);
    let header: Vec<_> = columns.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "SUSPEND", "STATUS", "ATTEMPTS", "START", "FINISH", "AGE"]);
    until("the service of the page is gone", || {
        site.namespace
            .objects("services")
            .iter()
            .all(|s| s["metadata"]["name"] != "pi-ui-svc")
            .then_some(())
    });
    let reasons = until("its end is told", || {
        let reasons = site.reasons("pi");
        reasons.contains(&"SparkApplicationCompleted".to_owned()).then_some(reasons)
    });
    for reason in [
        "SparkApplicationAdded",
        "SparkApplicationSubmitted",
        "ExecutorFieldIgnored",
        "SparkDriverRunning",
        "SparkExecutorRunning",
        "SparkDriverCompleted",
    ] {
        assert!(reasons.iter().any(|told| told == reason), "{reason}: {reasons:?}");
    }
    assert_eq!(operator.get("/readyz"), (200, "ok".to_owned()));
    let metrics = operator.get("/metrics").1;
    let counted =
        format!("spark_application_success_count{{namespace=\"{name}\",app_type=\"Unknown\"}} 1");
    assert!(metrics.contains(&counted), "{metrics}");

    // All of it goes with the application.
    kubectl(&["-n", name, "delete", "sparkapp", "pi"]);
    until("nothing is left", || {
        let left =
            ["pods", "services", "configmaps"].map(|kind| site.namespace.objects(kind).len());
        (left == [0, 0, 0]).then_some(())
    });
    assert_eq!(operator.stop(), Some(0));
}

#[test]
#[ignore = "needs a cluster"]
fn failures_are_retried_and_mistakes_disturb_no_other_application() {
    let site = Site::new("operator-fail");
    let mut fails = application("fails", "exit 3");
    fails["spec"]["restartPolicy"] =
        json!({"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": 1});
    let mut mistaken = application("mistaken", "true");
    mistaken["spec"]["driver"]["memoryLimit"] = json!("much");
    let mut unreadable = application("unreadable", "true");
    unreadable["spec"]["executor"]["secrets"] = json!([{"name": "without-a-path"}]);
    unreadable["spec"]["restartPolicy"] = json!({"type": "Always"});
    for app in [&mistaken, &fails, &unreadable, &application("good", "true")] {
        site.apply(app);
    }
    let _operator = site.operator(&[]);
    let failed = site.until_state("fails", "FAILED");
    let status = &failed["status"];
    assert_eq!(status["executionAttempts"], 2, "{status}");
    assert!(
        status["applicationState"]["errorMessage"].as_str().unwrap().contains("ExitCode: 3"),
        "{status}"
    );
    let reasons = site.reasons("fails");
    let count = |wanted: &str| reasons.iter().filter(|reason| *reason == wanted).count();
    assert_eq!(
        (count("SparkApplicationSubmitted"), count("SparkDriverFailed")),
        (2, 2),
        "{reasons:?}"
    );
    assert_eq!(count("SparkApplicationPendingRerun"), 1, "{reasons:?}");

    assert_eq!(site.until_state("good", "COMPLETED")["status"]["executionAttempts"], 1);
    for (name, field) in [
        ("mistaken", "spec.driver.memoryLimit: \"much\""),
        ("unreadable", "spec.executor.secrets[0]"),
    ] {
        let app = site.until_state(name, "FAILED");
        let why = app["status"]["applicationState"]["errorMessage"].as_str().unwrap();
        assert!(why.contains(field), "{why}");
        until("it is told", || {
            site.reasons(name)
                .contains(&"SparkApplicationSubmissionFailed".to_owned())
                .then_some(())
        });
    }
    // It runs when it is mended.
    site.patch("mistaken", &json!({"driver": {"memoryLimit": "1g"}}));
    let mended = site.until_state("mistaken", "COMPLETED");
    assert_eq!(mended["status"]["executionAttempts"], 1, "{mended}");
    assert_eq!(mended["status"]["applicationState"]["errorMessage"], Value::Null);
}

#[test]
#[ignore = "needs a cluster"]
fn applications_are_suspended_resumed_changed_and_deleted() {
    let site = Site::new("operator-life");
    let _operator = site.operator(&[]);
    let mut app = application("app", "sleep 600");
    app["spec"]["driver"]["terminationGracePeriodSeconds"] = json!(1);
    site.apply(&app);
    let first = site.until_state("app", "RUNNING")["status"]["submissionID"].clone();
    site.patch("app", &json!({"suspend": true}));
    site.until_state("app", "SUSPENDED");
    assert!(site.namespace.objects("pods").is_empty());
    site.patch("app", &json!({"suspend": false}));
    let resumed = site.until_state("app", "RUNNING");
    assert_ne!(resumed["status"]["submissionID"], first);
    assert_eq!(resumed["status"]["submissionAttempts"], 2);

    // Another specification: another driver, counted anew.
    site.patch("app", &json!({"arguments": ["true"]}));
    let done = site.until_state("app", "COMPLETED");
    assert_eq!(done["status"]["executionAttempts"], 1, "{done}");
    assert!(site.reasons("app").contains(&"SparkApplicationSpecChanged".to_owned()));
    assert_eq!(site.namespace.objects("pods").len(), 1);
    // The time to live is no other specification.
    site.patch("app", &json!({"timeToLiveSeconds": 1}));
    until("it is deleted, with its driver", || {
        (site.application("app").is_none() && site.namespace.objects("pods").is_empty())
            .then_some(())
    });

    site.apply(&application("deleted", "sleep 600"));
    kubectl(&["-n", &site.namespace.name, "delete", "sparkapp", "deleted"]);
    until("nothing is left", || {
        let left =
            ["pods", "services", "configmaps"].map(|kind| site.namespace.objects(kind).len());
        (left == [0, 0, 0]).then_some(())
    });
}
