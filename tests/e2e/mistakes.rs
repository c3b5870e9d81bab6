//! Mistakes: what, where and what to do; nothing is started.

use crate::home::Home;

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
    let said = home.call(&["ps", "--master", "yarn"]);
    said.expect(1, &["yarn", "available:"]);
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
