//! Spark's submission protocol: each answer beside that of the real master of Spark's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use anymaster_test_support::home::{Home, eventually};
use anymaster_test_support::ports::free_port;
use anymaster_test_support::standalone::{Cluster, curl, variable};

/// The real master of Spark's, and a worker.
pub(crate) struct Spark {
    processes: Vec<Child>,
    pub(crate) rest: u16,
}

impl Drop for Spark {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Spark {
    pub(crate) fn start(home: &Home) -> Self {
        let [port, web, rest, worker, worker_web] = [(); 5].map(|()| free_port());
        let class = format!("{}/bin/spark-class", variable("SPARK_HOME"));
        let start = |words: &[&str], variable: (&str, &str)| {
            let mut command = Command::new(&class);
            command.args(words).env(variable.0, variable.1).env("SPARK_LOCAL_IP", "127.0.0.1");
            let log = std::fs::File::create(home.path().join(format!("{}.log", words[0]))).unwrap();
            command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(log).spawn().unwrap()
        };
        let options = format!(
            "-Dspark.master.rest.enabled=true -Dspark.master.rest.host=127.0.0.1 -Dspark.master.rest.port={rest}"
        );
        let [port, web] = [port, web].map(|port| port.to_string());
        let place = ["--host", "127.0.0.1", "--port", &port, "--webui-port", &web];
        let words = [&["org.apache.spark.deploy.master.Master"][..], &place[..]].concat();
        let mut spark =
            Self { processes: vec![start(&words, ("SPARK_MASTER_OPTS", &options))], rest };
        let [worker, worker_web] = [worker, worker_web].map(|port| port.to_string());
        let place = ["--host", "127.0.0.1", "--port", &worker, "--webui-port", &worker_web];
        let url = format!("spark://127.0.0.1:{port}");
        let offer = ["--cores", "4", "--memory", "4g", url.as_str()];
        let class = ["org.apache.spark.deploy.worker.Worker"];
        let words = [&class[..], &place[..], &offer[..]].concat();
        // One that comes before its master comes again only after ten seconds.
        let json = format!("http://127.0.0.1:{web}/json/");
        eventually("Spark's master answers", || {
            let asked = Command::new("curl").args(["-sf", &json]).output().unwrap();
            asked.status.success().then_some(())
        });
        spark.processes.push(start(&words, ("SPARK_WORKER_OPTS", "")));
        eventually("Spark's master has a worker", || {
            let asked = Command::new("curl").args(["-s", &json]).output().unwrap();
            String::from_utf8_lossy(&asked.stdout).contains("\"aliveworkers\" : 1").then_some(())
        });
        spark
    }
}

/// Asks: the status and the body.
fn ask(port: u16, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let mut words = vec!["-X", method, "-w", "\n%{http_code}", "--http1.1", &url];
    if let Some(body) = body {
        words.extend(["-H", "Content-Type: application/json;charset=UTF-8", "--data-binary", body]);
    }
    let said = curl(&words);
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// What has to be equal: all but releases, and of faults the first line, where it is Spark's own.
fn essence(body: &str) -> Value {
    let Ok(mut answer) = serde_json::from_str::<Value>(body) else { return Value::Null };
    answer["serverSparkVersion"] = Value::Null;
    if let Some(message) = answer["message"].as_str().map(str::to_owned) {
        let first = message.lines().next().unwrap_or_default();
        let is_sparks = !message.starts_with("Malformed") || first.contains("SubmitRest");
        answer["message"] = json!(if is_sparks { first } else { "Malformed request" });
    }
    answer
}

fn request(without: &str, with: &[(&str, &str)]) -> String {
    let mut properties = json!({
        "spark.app.name": "an application", "spark.driver.memory": "512m",
        "spark.submit.deployMode": "cluster", "spark.driver.supervise": "false",
    });
    for (key, value) in with {
        properties[key] = json!(value);
    }
    let mut request = json!({
        "action": "CreateSubmissionRequest", "appArgs": ["1"], "appResource": "file:/no/such.jar",
        "clientSparkVersion": "3.5.9", "environmentVariables": {"FOO": "bar"},
        "mainClass": "org.example.Main", "sparkProperties": properties,
    });
    let request = request.as_object_mut().unwrap();
    request.remove(without);
    if let Some(properties) = request.get_mut("sparkProperties").and_then(Value::as_object_mut) {
        properties.remove(without);
    }
    serde_json::to_string(request).unwrap()
}

#[test]
#[ignore = "needs Spark"]
fn answers_are_those_of_the_real_master() {
    let home = Home::new();
    let spark = Spark::start(&home);
    let cluster = Cluster::new(1, &[]);
    let both = |method: &str, path: &str, body: Option<&str>| {
        let ours = ask(cluster.rest, method, path, body);
        let theirs = ask(spark.rest, method, path, body);
        assert_eq!(ours.0, theirs.0, "{method} {path} {body:?}: {ours:?} {theirs:?}");
        (ours.1, theirs.1)
    };
    let create = "/v1/submissions/create";
    for (method, path) in [
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/submissions/"),
        ("GET", "/v1/other"),
        ("GET", "/v2/submissions/status/x"),
        ("POST", "/v9/submissions/create"),
        ("GET", "/v1/submissions/status"),
        ("GET", "/v1/submissions/status/"),
        ("POST", "/v1/submissions/kill"),
        ("GET", "/v1/submissions/status/driver-19990101000000-0000"),
        ("GET", "/v1/submissions/status/driver-19990101000000-0000/more"),
        ("POST", "/v1/submissions/kill/driver-19990101000000-0000"),
    ] {
        let (ours, theirs) = both(method, path, None);
        let (ours, theirs) = (essence(&ours), essence(&theirs));
        // Spark 4 has more actions than Spark 3.5, and says so.
        let text = |answer: &Value| answer["message"].as_str().unwrap_or_default().to_owned();
        if text(&theirs).starts_with("Missing an action") {
            assert!(
                text(&ours).starts_with("Missing an action: please specify one of /create, /kill")
            );
            continue;
        }
        assert_eq!(ours, theirs, "{method} {path}");
    }
    for (method, path) in [
        ("GET", create),
        ("PUT", create),
        ("GET", "/v1/submissions/kill/x"),
        ("POST", "/v1/submissions/status/x"),
    ] {
        let (status, _) = ask(cluster.rest, method, path, None);
        assert_eq!(status, 405, "{method} {path}");
        assert_eq!(ask(spark.rest, method, path, None).0, 405, "{method} {path}");
    }
    let requests = [
        "{ not json".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        String::new(),
        r#"{"action":"KillSubmissionResponse","serverSparkVersion":"3.5.9"}"#.to_owned(),
        request("appArgs", &[]),
        request("appResource", &[]),
        request("clientSparkVersion", &[]),
        request("environmentVariables", &[]),
        request("mainClass", &[]),
        request("sparkProperties", &[]),
        request("spark.app.name", &[]),
        request("", &[("spark.driver.memory", "lots")]),
        request("", &[("spark.driver.cores", "many")]),
        request("", &[("spark.driver.supervise", "perhaps")]),
        request("", &[]).replace(r#"["1"]"#, r#""1""#),
    ];
    for request in &requests {
        let (ours, theirs) = both("POST", create, Some(request));
        assert_eq!(essence(&ours), essence(&theirs), "{request}");
    }
    // Numbers that are none of Java's. Spark's master fails at its own, and leaves the others to the driver.
    for (name, value, theirs) in
        [("spark.driver.cores", "4294967295", 500), ("spark.cores.max", "99999999999", 200)]
    {
        let request = request("", &[(name, value)]);
        let (ours, said) = ask(cluster.rest, "POST", create, Some(&request));
        assert!(said.contains(&format!("Property '{name}' expected numeric value")), "{said}");
        let said = ask(spark.rest, "POST", create, Some(&request)).0;
        assert_eq!((ours, said), (400, theirs), "{name}");
    }
    // And what no machine has.
    for (name, value) in [("spark.driver.cores", "2147483647"), ("spark.driver.memory", "2000p")] {
        let said = ask(cluster.rest, "POST", create, Some(&request("", &[(name, value)]))).1;
        assert_eq!(essence(&said)["success"], false, "{said}");
        assert!(said.contains("and no process gets more than"), "{said}");
    }
    // As in the examples of Spark's documentation: no resource, but a class.
    let no_resource = request("", &[]).replace("file:/no/such.jar", "");
    let (ours, theirs) = both("POST", create, Some(&no_resource));
    let success = [essence(&ours)["success"].clone(), essence(&theirs)["success"].clone()];
    assert_eq!(success, [json!(true), json!(true)], "{ours} {theirs}");
    // What is taken in ends alike, and is told alike.
    let (ours, theirs) =
        both("POST", create, Some(&request("", &[]).replace("{\"action", "{\"x\":1,\"action")));
    let id = |body: &str| essence(body)["submissionId"].as_str().unwrap().to_owned();
    let ids = [(cluster.rest, id(&ours)), (spark.rest, id(&theirs))];
    for (answer, id) in [(&ours, &ids[0].1), (&theirs, &ids[1].1)] {
        let answer = essence(answer);
        assert_eq!(answer["message"], format!("Driver successfully submitted as {id}"));
        assert_eq!(answer["success"], true);
        assert_eq!(answer["unknownFields"], json!(["x"]));
        assert!(id.starts_with("driver-20") && id.len() == "driver-20261120211223-0002".len());
    }
    for (port, id) in &ids {
        let answer = eventually("the driver cannot start", || {
            let answer =
                essence(&ask(*port, "GET", &format!("/v1/submissions/status/{id}"), None).1);
            (answer["driverState"] == "ERROR").then_some(answer)
        });
        assert_eq!(answer["success"], true);
        assert_eq!(answer["message"], "Exception from the cluster:", "{answer}");
        assert!(answer["workerId"].as_str().unwrap().starts_with("worker-20"), "{answer}");
        let killed = essence(&ask(*port, "POST", &format!("/v1/submissions/kill/{id}"), None).1);
        assert_eq!(killed["success"], false);
        assert_eq!(
            killed["message"],
            format!("Driver {id} has already finished or does not exist")
        );
    }
    // Spark 4's.
    let all = |action: &str, method: &str| {
        let (status, body) = ask(cluster.rest, method, &format!("/v1/submissions/{action}"), None);
        (status, essence(&body)["action"].as_str().unwrap().to_owned())
    };
    assert_eq!(all("readyz", "GET"), (200, "ReadyzResponse".to_owned()));
    assert_eq!(all("killall", "POST"), (200, "KillAllSubmissionResponse".to_owned()));
    assert_eq!(all("clear", "POST"), (200, "ClearResponse".to_owned()));
    let known = ask(cluster.rest, "GET", &format!("/v1/submissions/status/{}", ids[0].1), None);
    assert_eq!(essence(&known.1)["success"], false, "it was cleared");
}

/// Files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    std::fs::read_dir(dir).unwrap().flat_map(|entry| below(entry.unwrap().path())).collect()
}

#[test]
#[ignore = "needs the example"]
fn a_program_that_came_over_rest_gets_executors_and_the_secret_stays_where_it_is() {
    const SECRET: &str = "0penSesame-of-the-cluster";
    let secret = format!("spark.authenticate.secret={SECRET}");
    let keeps = ["spark.deploy.recoveryMode=FILESYSTEM", "spark.deploy.recoveryDirectory=kept"];
    let mut cluster = Cluster::master(Home::new(), &[&secret, keeps[0], keeps[1]]);
    cluster.add_worker(3, "2g");
    let url = format!("spark://127.0.0.1:{}", cluster.rest);
    let pi = anymaster_test_support::example::pi().to_str().unwrap();
    let conf = [
        secret.as_str(),
        "spark.master.rest.enabled=true",
        "spark.standalone.submit.waitAppCompletion=true",
        "spark.executor.instances=2",
    ];
    let conf: Vec<&str> = conf.iter().flat_map(|property| ["--conf", property]).collect();
    let sizes = ["--driver-memory", "64m", "--executor-memory", "64m", "--executor-cores", "1"];
    let mode = ["submit", "--master", &url, "--deploy-mode", "cluster"];
    cluster.home.call(&[&mode[..], &conf, &sizes, &[pi, "20"]].concat()).expect(0, &[]);

    // As the real spark-submit does it: with all properties that its user has.
    let token = cluster.home.call(&["token", "--conf", &secret]).out.trim().to_owned();
    let create = format!("http://127.0.0.1:{}/v1/submissions/create", cluster.rest);
    let body = request("", &[("spark.authenticate.secret", SECRET)]);
    let created = curl(&["-u", &format!("x:{token}"), "--data-binary", &body, &create]);
    let id = essence(&created)["submissionId"].as_str().unwrap().to_owned();
    eventually("the worker has it", || {
        cluster.status(&id).filter(|status| !status["driver"]["host"].is_null())
    });
    let all = cluster.call("ps", &["-a", "-o", "json"]).out;
    let all: Value = serde_json::from_str(&all).unwrap();
    let ids: Vec<_> = all.as_array().unwrap().iter().filter_map(|app| app["id"].as_str()).collect();
    let first = ids.iter().find(|first| **first != id).unwrap();
    let out = cluster.call("logs", &[first]).out;
    assert!(anymaster_test_support::example::digits(&out).starts_with("3.1"), "{out}");
    let written: Vec<_> =
        ["kept", "work-0"].map(|dir| files(&cluster.home.path().join(dir))).concat();
    assert!(written.len() > 2, "{written:?}");
    for path in written {
        let content = std::fs::read(&path).unwrap();
        let has_it = content.windows(SECRET.len()).any(|some| some == SECRET.as_bytes());
        assert!(!has_it, "{} has the secret", path.display());
    }
}

/// What is posted in Spark's documentation of the protocol for a program in Python (SPARK-46095).
fn of_the_documentation(resource: &str, arguments: &[&str], variable: &str) -> String {
    json!({
        "action": "CreateSubmissionRequest", "appResource": resource, "appArgs": arguments,
        "mainClass": "org.apache.spark.deploy.SparkSubmit", "clientSparkVersion": "",
        "environmentVariables": {"SPARK_ENV_LOADED": "1", "ENDPOINT": variable},
        "sparkProperties": {
            "spark.master": "spark://host:7077", "spark.app.name": "Spark Pi",
            "spark.driver.memory": "1g", "spark.driver.cores": "1", "spark.jars": "",
            "spark.my.endpoint": variable,
        },
    })
    .to_string()
}

#[test]
#[ignore = "needs Spark"]
fn the_examples_of_sparks_documentation_run_and_variables_of_the_master_are_replaced() {
    let home = Home::new();
    let variables = [("AWS_ENDPOINT_URL", "http://store:9000"), ("AWS_SECRET_ACCESS_KEY", "x")];
    let mut cluster = Cluster::master_with_variables(home, &[], &variables);
    cluster.add_worker(2, "4g");
    let create = |body: &str| ask(cluster.rest, "POST", "/v1/submissions/create", Some(body));
    let run = |body: &str| {
        let said = essence(&create(body).1);
        let id = said["submissionId"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned();
        eventually("it has finished", || {
            let status = ask(cluster.rest, "GET", &format!("/v1/submissions/status/{id}"), None);
            let status = essence(&status.1);
            let word = status["driverState"].as_str().unwrap();
            assert!(["SUBMITTED", "RUNNING", "FINISHED"].contains(&word), "{status}");
            (word == "FINISHED").then_some(())
        });
        cluster.call("logs", &[&id]).out
    };
    // A class of Spark's own, with a program in Python as its argument, and no resource.
    let pi = format!("{}/examples/src/main/python/pi.py", variable("SPARK_HOME"));
    let out = run(&of_the_documentation("", &[&pi, "2"], "plain"));
    assert!(out.contains("Pi is roughly 3."), "{out}");

    let script = "import os, sys\n\
        from pyspark.sql import SparkSession\n\
        spark = SparkSession.builder.getOrCreate()\n\
        print(sys.argv[1:], os.environ['ENDPOINT'], spark.conf.get('spark.my.endpoint'))\n";
    let script = cluster.home.file("env.py", script).display().to_string();
    let resource = format!("file:{script}");
    let out = run(&of_the_documentation(&resource, &[&script, "a"], "{{AWS_ENDPOINT_URL}}"));
    assert!(out.contains("['a'] http://store:9000 http://store:9000"), "{out}");
    // What may be secret is not given out to whoever may submit.
    let secret = of_the_documentation("", &[&pi], "{{AWS_SECRET_ACCESS_KEY}}");
    let refused = essence(&create(&secret).1);
    assert_eq!(refused["success"], false, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("may be secret"), "{refused}");
}

#[test]
#[ignore = "needs curl"]
fn where_it_is_switched_off_no_port_speaks_it() {
    let cluster = Cluster::new(1, &["spark.master.rest.enabled=false"]);
    let own = cluster.master.ready.trim_start_matches("spark://").to_owned();
    for place in [own, format!("127.0.0.1:{}", cluster.rest)] {
        let url = format!("http://{place}/v1/submissions/readyz");
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        assert!(!output.status.success(), "{place}: {output:?}");
    }
    cluster.call("ps", &[]).expect(0, &[]);
}

#[test]
#[ignore = "needs curl"]
fn a_page_in_a_browser_submits_nothing() {
    let cluster = Cluster::new(1, &[]);
    let own = cluster.master.ready.trim_start_matches("spark://").to_owned();
    for place in [own, format!("127.0.0.1:{}", cluster.rest)] {
        let url = format!("http://{place}/v1/submissions/create");
        let body = request("", &[]);
        let code = |more: &[&str]| {
            let words = ["-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &body, &url];
            curl(&[&words[..], more].concat())
        };
        // By curl as it is, which says that this is a form.
        assert_eq!(code(&[]), "200");
        assert_eq!(code(&["-H", "Origin: https://example.org"]), "403");
        assert_eq!(code(&["-H", "Sec-Fetch-Site: cross-site"]), "403");
        assert_eq!(code(&["-H", "Host: example.org"]), "403");
    }
}
