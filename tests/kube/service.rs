//! `anymaster serve` and the API of kubeflow/spark-operator's submitter; leaks; and time to live.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::{IMAGE, Namespace, Ran, kubectl, master, until};

/// The service, until the test ends.
struct Service {
    process: Child,
    url: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Service {
    fn new(namespace: &Namespace, more: &[&str]) -> Self {
        Self::with(namespace, more, reqwest::Client::new())
    }

    fn with(namespace: &Namespace, more: &[&str], client: reqwest::Client) -> Self {
        let mut command =
            namespace.anymaster(&["serve", "--port", "0", "--namespace", &namespace.name]);
        let mut process = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self { process, url, runtime, client }
    }

    fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.send(self.client.get(format!("{}{path}", self.url)))
    }

    fn post(&self, body: &str) -> (u16, Value) {
        let request = self.client.post(format!("{}/api/v1/spark-submit", self.url));
        let (code, text) =
            self.send(request.header("content-type", "application/json").body(body.to_owned()));
        (code, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Sends SIGTERM and waits.
    fn stop(mut self) -> Option<i32> {
        Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn submission(namespace: &Namespace, id: &str, more: &[&str]) -> Value {
    let mut args: Vec<String> =
        vec!["--master".into(), master(), "--deploy-mode".into(), "cluster".into()];
    args.extend(["--name", "app", "--class", "Main"].map(str::to_owned));
    for conf in [
        format!("spark.kubernetes.namespace={}", namespace.name),
        format!("spark.kubernetes.container.image={IMAGE}"),
        "spark.kubernetes.driver.request.cores=10m".to_owned(),
        "spark.driver.memory=64m".to_owned(),
    ] {
        args.extend(["--conf".to_owned(), conf]);
    }
    args.extend(more.iter().map(|word| (*word).to_owned()));
    args.extend(["local:///app.jar".to_owned(), "sleep 60".to_owned()]);
    json!({"submission_id": id, "spark_submit_args": args})
}

#[test]
#[ignore = "needs a cluster"]
fn requests_and_responses_match_the_api() {
    let namespace = Namespace::new("serve");
    let service = Service::new(&namespace, &[]);
    let pod_name = ["--conf", "spark.kubernetes.driver.pod.name=by-name"];
    let request = submission(&namespace, "one", &pod_name);
    let (code, first) = service.post(&request.to_string());
    assert_eq!(code, 201, "{first}");
    assert_eq!(first["submission_id"], "one");
    assert_eq!(first["app_name"], "app");
    assert_eq!(first["driver_pod_name"], "by-name");
    assert_eq!(first["namespace"], namespace.name);
    assert_eq!(first["duplicate_submission"], false);
    let pod = &namespace.objects("pods")[0];
    assert_eq!(first["driver_pod_uid"], pod["metadata"]["uid"]);
    assert_eq!(first["spark_app_id"], pod["metadata"]["labels"]["spark-app-selector"]);
    first["submitted_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    // The state is in the cluster: another replica finds it, too.
    let replica = Service::new(&namespace, &[]);
    for service in [&service, &replica] {
        let (code, again) = service.post(&request.to_string());
        assert_eq!((code, &again["duplicate_submission"]), (200, &json!(true)), "{again}");
        assert_eq!(again["driver_pod_uid"], first["driver_pod_uid"]);
    }
    assert_eq!(replica.stop(), Some(0));

    let refused = |body: &str, code: u16, error: &str| {
        let (got, answer) = service.post(body);
        assert_eq!((got, answer["error_code"].as_str()), (code, Some(error)), "{body}: {answer}");
        for field in ["submission_id", "status", "message", "timestamp"] {
            assert!(answer[field].is_string(), "{field}: {answer}");
        }
    };
    refused("{", 400, "BAD_REQUEST");
    refused(r#"{"submission_id":"x"}"#, 400, "BAD_REQUEST");
    refused(r#"{"submission_id":"","spark_submit_args":["a"]}"#, 400, "BAD_REQUEST");
    refused(r#"{"submission_id":"../x","spark_submit_args":["a.jar"]}"#, 400, "BAD_REQUEST");
    refused(
        r#"{"submission_id":"x","spark_submit_args":["--blarg"]}"#,
        400,
        "INVALID_SPARK_SUBMIT_ARGS",
    );
    refused(
        &submission(&namespace, "x", &["--deploy-mode", "client"]).to_string(),
        400,
        "INVALID_SPARK_SUBMIT_ARGS",
    );
    refused(
        &submission(&namespace, "two", &pod_name).to_string(),
        409,
        "DRIVER_POD_ALREADY_EXISTS",
    );
    let mut template = submission(&namespace, "x", &[]);
    template["driver_pod_template"] = json!({"spec": 7});
    refused(&template.to_string(), 422, "INVALID_POD_TEMPLATE");
    // Files of the service's machine cannot be read.
    for file in ["--jars=/etc/hostname", "--properties-file=/etc/hostname"] {
        refused(
            &submission(&namespace, "x", &[file]).to_string(),
            400,
            "INVALID_SPARK_SUBMIT_ARGS",
        );
    }
    let file = ["--conf", "spark.kubernetes.driver.podTemplateFile=/etc/hostname"];
    refused(&submission(&namespace, "x", &file).to_string(), 400, "INVALID_SPARK_SUBMIT_ARGS");
    assert_eq!(service.get("/api/v1/spark-submit").0, 405);
    let bare = service.client.post(format!("{}/api/v1/spark-submit", service.url)).body("x");
    assert_eq!(service.send(bare).0, 415);

    // Properties override templates.
    let mut template = submission(&namespace, "with-template", &[]);
    template["driver_pod_template"] = json!({
        "metadata": {"labels": {"sparkoperator.k8s.io/submission-id": "with-template"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "by-name", "uid": first["driver_pod_uid"], "controller": true}]},
        "spec": {"containers": [{"name": "spark-kubernetes-driver", "env": [{"name": "A", "value": "b"}]}],
                 "tolerations": [{"operator": "Exists"}]},
    });
    let (code, answer) = service.post(&template.to_string());
    assert_eq!(code, 201, "{answer}");
    let pods = namespace.objects("pods");
    let pod = pods.iter().find(|pod| pod["metadata"]["uid"] == answer["driver_pod_uid"]).unwrap();
    assert_eq!(pod["metadata"]["labels"]["sparkoperator.k8s.io/submission-id"], "with-template");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "by-name");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "A");

    assert_eq!(service.get("/healthz"), (200, "ok".to_owned()));
    assert_eq!(service.get("/readyz"), (200, "ok".to_owned()));
    let metrics = service.get("/metrics").1;
    assert!(metrics.contains(r#"anymaster_submissions_total{outcome="created"} 2"#), "{metrics}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
#[ignore = "needs a cluster"]
fn submissions_beyond_the_limit_are_refused_with_retry_after() {
    let namespace = Namespace::new("busy");
    let service = Service::new(&namespace, &["--max-in-flight", "1"]);
    let requests = (0..12).map(|number| {
        let body = submission(&namespace, &format!("busy-{number}"), &[]).to_string();
        let request = service.client.post(format!("{}/api/v1/spark-submit", service.url));
        request.header("content-type", "application/json").body(body).send()
    });
    let answers = service.runtime.block_on(futures::future::join_all(requests));
    let codes: Vec<u16> =
        answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    assert!(codes.contains(&201) && codes.contains(&503), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 201 | 503)), "{codes:?}");
    let created = codes.iter().filter(|code| **code == 201).count();
    assert_eq!(namespace.objects("pods").len(), created);
}

#[test]
#[ignore = "needs a cluster"]
fn with_a_client_ca_only_its_clients_are_served() {
    let namespace = Namespace::new("mtls");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let openssl = |args: &[&str]| {
        let output =
            Command::new("openssl").args(args).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
    openssl(
        &[&["req", "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt"], &key[..]]
            .concat(),
    );
    for name in ["server", "client"] {
        let (subject, key_file, certificate) =
            (format!("/CN={name}"), format!("{name}.key"), format!("{name}.crt"));
        openssl(
            &[
                &[
                    "req",
                    "-x509",
                    "-CA",
                    "ca.crt",
                    "-CAkey",
                    "ca.key",
                    "-subj",
                    &subject,
                    "-addext",
                    "subjectAltName=IP:127.0.0.1",
                    "-addext",
                    "basicConstraints=CA:FALSE",
                    "-keyout",
                    &key_file,
                    "-out",
                    &certificate,
                ],
                &key[..],
            ]
            .concat(),
        );
    }
    let read = |name: &str| std::fs::read(path(name)).unwrap();
    let ca = || reqwest::Certificate::from_pem(&read("ca.crt")).unwrap();
    let identity =
        reqwest::Identity::from_pem(&[read("client.crt"), read("client.key")].concat()).unwrap();
    let known =
        reqwest::Client::builder().tls_certs_only([ca()]).identity(identity).build().unwrap();
    let unknown = reqwest::Client::builder().tls_certs_only([ca()]).build().unwrap();
    let options = [
        "--tls-cert",
        &path("server.crt"),
        "--tls-key",
        &path("server.key"),
        "--client-ca",
        &path("ca.crt"),
    ];
    let service = Service::with(&namespace, &options, known);
    assert!(service.url.starts_with("https://"), "{}", service.url);
    assert_eq!(service.get("/healthz").0, 200);
    let refused = service.runtime.block_on(unknown.get(format!("{}/healthz", service.url)).send());
    assert!(refused.is_err());
}

#[test]
#[ignore = "needs a cluster"]
fn a_driver_with_a_time_to_live_is_deleted_and_its_log_saved() {
    let namespace = Namespace::new("ttl");
    let logs = tempfile::tempdir().unwrap();
    let place = format!("spark.anymaster.logs.dir={}", logs.path().display());
    // A waiting submit deletes it.
    let ran = Ran::of(&mut namespace.submit(
        "now",
        &["--ttl", "0", "--conf", &place],
        "echo kept; exit 3",
    ))
    .expect(3);
    let pod = ran.id().split_once(':').unwrap().1.to_owned();
    let log = logs.path().join(&namespace.name).join(format!("{pod}.log"));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "kept\n");
    until("it is gone", || namespace.objects("pods").is_empty().then_some(()));
    // Otherwise the service does; it does not write logs to its own file system.
    let service = Service::new(&namespace, &[]);
    let no_wait = ["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];
    Ran::of(&mut namespace.submit("later", &[&["--ttl", "1s"], &no_wait[..]].concat(), "true"))
        .expect(0);
    let kept = Ran::of(&mut namespace.submit(
        "kept",
        &[&["--ttl", "1s", "--conf", &place], &no_wait[..]].concat(),
        "true",
    ))
    .expect(0);
    until("one is left", || (namespace.objects("pods").len() == 1).then_some(()));
    assert_eq!(
        namespace.objects("pods")[0]["metadata"]["name"],
        kept.id().split_once(':').unwrap().1
    );
    drop(service);
}

#[test]
#[ignore = "needs a cluster"]
fn leaks_are_listed_and_deleted_on_request() {
    let namespace = Namespace::new("leaks");
    let no_wait = ["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];
    Ran::of(&mut namespace.submit("alive", &no_wait, "sleep 120")).expect(0);
    let ended = Ran::of(&mut namespace.submit("ended", &[], "true")).expect(0).id();
    kubectl(&["-n", &namespace.name, "create", "configmap", "spark-drv-0123456789abcdef-conf-map"]);
    kubectl(&["-n", &namespace.name, "create", "configmap", "mine"]);
    let young = namespace.verb(&["leaks"]).expect(0);
    assert!(
        young.stderr.contains("nothing is left over"),
        "what is young is left alone: {young:?}"
    );
    let older = |name: &str| {
        namespace
            .anymaster(&["leaks", "--namespace", &namespace.name, "--older-than", "0s"])
            .arg(name)
            .output()
            .unwrap()
    };
    let list = Ran::from(older("-ojson")).expect(0);
    let leaks: Vec<Value> = serde_json::from_str(&list.stdout).unwrap();
    let names: Vec<_> = leaks
        .iter()
        .map(|leak| (leak["kind"].as_str().unwrap(), leak["name"].as_str().unwrap()))
        .collect();
    let service = format!("{}-svc", ended.split_once(':').unwrap().1);
    assert_eq!(
        names,
        [("configmap", "spark-drv-0123456789abcdef-conf-map"), ("service", service.as_str())]
    );
    let deleted = Ran::from(older("--delete")).expect(0);
    assert!(deleted.stderr.contains("2 objects deleted"), "{}", deleted.stderr);
    let left = namespace.objects("configmaps");
    assert_eq!(left.len(), 3, "{left:?}");
}
