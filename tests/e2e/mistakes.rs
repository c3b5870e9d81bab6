//! Mistakes: what, where and what to do; nothing is started.

use anymaster_test_support::home::Home;

#[test]
fn of_submit() {
    let home = Home::new();
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--masterr", "local", "x"], &["Unrecognized option: --masterr", "--master?"]),
        (&["--master", "local"], &["Must specify a primary resource"]),
        (
            &["--master", "local[2]", "--deploy-mode", "cluster", "x.jar"],
            &["Cluster deploy mode is not compatible with master", "local[2]"],
        ),
        (
            &["--master", "local", "--driver-memory", "1q", "--class", "A", "x.jar"],
            &["--driver-memory", "1q"],
        ),
        (&["--master", "spork://h:1", "x"], &["spork://h:1"]),
        (&["--master", "local[0]", "true"], &["local[0]"]),
        (&["--conf", "novalue", "true"], &["novalue"]),
        (&["--properties-file", "none.conf", "true"], &["none.conf"]),
        (&["--master"], &["--master"]),
        (
            &["--master", "k8s://https://127.0.0.1:1", "--deploy-mode", "client", "pi"],
            &["pi cannot be a driver on this machine", "--deploy-mode cluster", "anymaster run"],
        ),
    ];
    for (line, words) in cases {
        home.call(&[&["submit"], line].concat()).expect(2, words);
        home.spark_submit(line).expect(1, words);
    }
    assert!(!home.path().join("state").exists(), "nothing was started");
}

#[test]
fn of_run() {
    let home = Home::new();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--driver", "'open"], &["--driver", "'open"]),
        (&["--driver", "true", "--executors", "many"], &["--executors", "many"]),
        (&["--driver", "true", "--executor", "{{executor.idd}}"], &["{{executor.idd}}"]),
        (&["--driver", "true", "--executor-memory", "1g"], &["--executor <CMD>"]),
        (
            &["--driver", "true", "--executor", "true", "--executor-memory", "1q"],
            &["spark.executor.memory", "1q"],
        ),
        (&["--driver", "true", "--master", "local[x]"], &["local[x]"]),
    ];
    for (line, words) in cases {
        home.call(&[&["run"], line].concat()).expect(2, words);
    }
    assert!(!home.path().join("state").exists(), "nothing was started");
}

#[test]
fn of_the_settings() {
    let home = Home::new();
    let file = home.file("config.toml", "master = \"local[2]\"\nmasster = \"x\"\n");
    let mut command = home.command(&["ps"]);
    let output = command.env("ANYMASTER_CONFIG", file).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("masster") && words.contains("config.toml"), "{words}");
    assert_eq!(output.status.code(), Some(2), "{words}");
}

#[test]
fn a_master_nobody_serves_is_named_with_those_that_are() {
    let home = Home::new();
    let said = home.call(&["ps", "--master", "slurm://host"]);
    said.expect(1, &["slurm", "available:"]);
}

#[test]
fn yarn_without_a_configuration_says_what_to_export() {
    let home = Home::new();
    home.call(&["ps", "--master", "yarn"]).expect(2, &["HADOOP_CONF_DIR"]);
    let mut command = home.command(&["ps", "--master", "yarn"]);
    let output = command.env("HADOOP_CONF_DIR", home.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("spark.hadoop.yarn.resourcemanager.hostname=HOST"), "{said}");
}

#[test]
fn of_whoever_brings_the_environment_of_sparks_daemons() {
    let home = Home::new();
    let words = ["worker", "spark://127.0.0.1:1", "--webui-port", "0", "--cores", "0"];
    let mut command = home.command(&words);
    let unread = ["SPARK_WORKER_INSTANCES", "SPARK_PUBLIC_DNS", "SPARK_DAEMON_MEMORY"];
    unread.iter().for_each(|name| {
        command.env(name, "2");
    });
    let output = command.env("SPARK_WORKER_OPTS", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nothing to offer"), "{said}");
    for name in unread {
        assert!(said.contains(&format!("{name} is not read: ")), "{said}");
    }
    assert!(!said.contains("SPARK_WORKER_OPTS"), "one that is empty says nothing: {said}");
    let mut command = home.command(&words);
    let output =
        command.env("SPARK_WORKER_OPTS", "-Dspark.worker.timeout=x -Xmx1g").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("SPARK_WORKER_OPTS: -Xmx1g has no effect"), "{said}");
}

#[test]
fn memory_of_a_worker_without_its_unit_is_not_offered() {
    let home = Home::new();
    let mut command = home.command(&["worker", "spark://127.0.0.1:9", "--webui-port", "0"]);
    let output = command.env("SPARK_WORKER_MEMORY", "4").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("SPARK_WORKER_MEMORY 4") && said.contains("write 4g or 4m"), "{said}");
}

/// A dry run of a Spark application for Kubernetes, with more options and environment.
fn dry_run(home: &Home, options: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    let line = ["submit", "--dry-run", "-o", "json", "--master", "k8s://https://127.0.0.1:6443"];
    let line = line.into_iter().chain(["--deploy-mode", "cluster"]);
    let image = ["--conf", "spark.kubernetes.container.image=i"];
    let line: Vec<_> = line.chain(image).chain(options.iter().copied()).collect();
    home.command(&line).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn misspelt_properties_are_named_with_those_that_were_meant() {
    let home = Home::new();
    let conf = [
        ("spark.executor.instance=3", "spark.executor.instances"),
        ("spark.dynamicAllocation.enable=true", "spark.dynamicAllocation.enabled"),
        (
            "spark.kubernetes.driver.serviceAccountName=spark",
            "spark.kubernetes.authenticate.driver.serviceAccountName",
        ),
    ];
    let mut options: Vec<_> = conf.iter().flat_map(|(conf, _)| ["--conf", conf]).collect();
    options.extend(["--class", "A", "local:///a.jar"]);
    let output = dry_run(&home, &options, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for (conf, meant) in conf {
        assert!(said.contains(&format!("did you mean {meant}?")), "{said}");
        let name = conf.split('=').next().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(name), "it is passed on: {name}");
    }
}

#[test]
fn spark_env_counts_in_cluster_mode() {
    let home = Home::new();
    let env = "echo talk\nSPARK_DRIVER_MEMORY=5g\nexport SPARK_EXECUTOR_MEMORY=7g\n";
    home.file("spark-env.sh", env);
    let conf_dir = home.path().to_str().unwrap();
    let options = ["--class", "A", "local:///a.jar"];
    let output = dry_run(&home, &options, &[("SPARK_CONF_DIR", conf_dir)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let objects: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let limits = &objects["pods"][0]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits["memory"], "5632Mi");
    let properties = objects["configmaps"][0]["data"]["spark.properties"].as_str().unwrap();
    assert!(properties.contains("spark.executor.memory=7g"), "{properties}");
    let output =
        dry_run(&home, &options, &[("SPARK_CONF_DIR", conf_dir), ("SPARK_ENV_LOADED", "1")]);
    let objects: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let limits = &objects["pods"][0]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits["memory"], "1408Mi", "it was read before");
}

#[test]
fn nothing_is_made_of_what_was_not_meant() {
    let home = Home::new();
    let application = ["--class", "A", "local:///a.jar"];
    let with = |options: &[&'static str]| [options, &application].concat();
    for (options, words) in [
        (vec!["–-class", "A", "local:///a.jar"], "U+2013"),
        (
            ["--jars", "local:///a.jar,", "local:///b.jar", "--class", "A", "local:///c.jar"]
                .to_vec(),
            "the value of --jars ends with a comma",
        ),
        (with(&["--conf", "spark.driver.memory=0"]), "Driver memory must be a positive number"),
        (
            with(&["--conf", "spark.kubernetes.submission.waitAppCompletion=maybe"]),
            "neither true nor false",
        ),
        (with(&["--conf", "spark.kubernetes.report.interval=x"]), "report.interval"),
    ] {
        let output = dry_run(&home, &options, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{options:?}: {said}");
    }
    let output =
        dry_run(&home, &["--class", "org.example.A", "spark-internal", "--port", "0"], &[]);
    let objects: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let args = objects["pods"][0]["spec"]["containers"][0]["args"].to_string();
    assert!(args.contains(r#""spark-internal","--port","0""#), "{args}");
}

#[test]
fn a_credential_plugin_that_is_not_there_is_named_with_its_hint() {
    const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:7"}}]
users:
- name: u
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: not-there-authenticator, args: [token], installHint: see the wiki}
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"#;
    let home = Home::new();
    let file = home.file("kubeconfig", KUBECONFIG);
    let line = ["submit", "--master", "k8s://https://127.0.0.1:7", "--deploy-mode", "cluster"];
    let rest = ["--conf", "spark.kubernetes.container.image=i", "--class", "A", "local:///a.jar"];
    let mut command = home.command(&[&line[..], &rest[..]].concat());
    let output = command.env("KUBECONFIG", file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("not-there-authenticator") && said.contains("see the wiki"), "{said}");
    assert_eq!(said.matches("No such file or directory").count(), 1, "once: {said}");
}

#[test]
fn one_file_that_is_too_large_does_not_go_and_several_do_not() {
    let home = Home::new();
    let directory = home.path().join("conf");
    std::fs::create_dir(&directory).unwrap();
    let directory = directory.to_str().unwrap().to_owned();
    let said = || {
        let options =
            ["--conf", "spark.kubernetes.configMap.maxSize=300", "--class", "A", "local:///a.jar"];
        let output = dry_run(&home, &options, &[("SPARK_CONF_DIR", &directory)]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    home.file("conf/big.txt", &"x".repeat(400));
    let one = said();
    assert!(one.contains("big.txt") && one.contains("is not passed"), "{one}");
    home.file("conf/bigger.txt", &"x".repeat(500));
    let two = said();
    assert!(two.contains("bigger.txt") && two.contains("are not passed"), "{two}");
}
