use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anymaster_core::model::{CommandLine, ResourceProfile};

use super::*;
use crate::model::{CommandInfo, Id};
use crate::task::{Process, spark_task};

fn job(resource: &str) -> SparkJob {
    SparkJob {
        language: SparkLanguage::Java,
        primary_resource: resource.to_owned(),
        main_class: Some("org.Pi".to_owned()),
        args: vec!["100".to_owned()],
        proxy_user: None,
    }
}

fn spec(cores: f64) -> DriverSpec {
    let mut spec = DriverSpec::new(CommandLine::new("unused"));
    spec.resources = ResourceProfile::new(cores, 1024).with_overhead(384);
    spec
}

fn command(job: &SparkJob, conf: &[(&str, &str)], dispatcher: &[(&str, &str)]) -> SparkCommand {
    let (conf, dispatcher) = (conf.iter().copied().collect(), dispatcher.iter().copied().collect());
    spark_driver("My app", job, &spec(1.0), &conf, &dispatcher, "mesos://m:5050", "f-1").unwrap()
}

fn values(uris: &[Uri]) -> Vec<&str> {
    uris.iter().map(|uri| uri.value.as_str()).collect()
}

#[test]
fn with_a_home_on_the_agents() {
    let conf = [
        ("spark.app.name", "My app"),
        ("spark.cores.max", "4"),
        ("spark.executor.memory", "2g"),
        ("spark.jars", "http://h/pi.jar"),
        ("spark.master", "mesos://dispatcher:7077"),
        ("spark.mesos.executor.home", "/opt/spark/"),
        ("spark.mesos.uris", "http://h/b"),
        ("spark.submit.deployMode", "cluster"),
        ("spark.x", "of the application"),
    ];
    let dispatcher = [
        ("spark.mesos.dispatcher.driverDefault.spark.x", "of the dispatcher"),
        ("spark.mesos.dispatcher.driverDefault.spark.a", "1"),
        ("spark.mesos.uris", "http://h/a"),
        ("spark.mesos.fetcherCache.enable", "true"),
    ];
    let command = command(&job("http://h/pi.jar"), &conf, &dispatcher);
    assert_eq!(
        command.line,
        "/opt/spark/./bin/spark-submit --name \"My app\" --master mesos://m:5050 --driver-cores 1 \
         --driver-memory 1024M --class org.Pi --executor-memory 2g --total-executor-cores 4 --conf \
         spark.a=1 --conf \"spark.app.name=My app\" --conf spark.cores.max=4 --conf \
         spark.executor.memory=2g --conf spark.mesos.executor.home=/opt/spark/ --conf \
         spark.mesos.uris=http://h/b --conf \"spark.x=of the application\" ./pi.jar 100"
    );
    assert_eq!(values(&command.uris), ["http://h/pi.jar", "http://h/a", "http://h/b"]);
    assert_eq!(command.uris[0].cache, Some(true));
    assert_eq!(command.memory_mib, 1408);
    assert_eq!(command.env["SPARK_SUBMIT_OPTS"], " -Dspark.mesos.driver.frameworkId=f-1");
}

#[test]
fn with_an_archive_and_python_files() {
    let mut job = job("file:/a/pi.py");
    job.language = SparkLanguage::Python;
    let conf = [
        ("spark.executor.uri", "hdfs://n/spark-3.5.1.tgz"),
        ("spark.driver.extraLibraryPath", "/d"),
        ("spark.submit.pyFiles", "http://h/x.py,/h/y.zip"),
    ];
    let dispatcher = [("spark.executor.extraLibraryPath", "/e")];
    let command = command(&job, &conf, &dispatcher);
    let begin = "cd spark-3*; LD_LIBRARY_PATH=\"/e:/d:$LD_LIBRARY_PATH\" bin/spark-submit --name ";
    assert!(command.line.starts_with(begin), "{}", command.line);
    assert!(command.line.contains(" --py-files ../x.py,../y.zip --conf "), "{}", command.line);
    assert!(!command.line.contains("--class"));
    assert!(command.line.ends_with(" ../pi.py 100"), "{}", command.line);
    assert_eq!(
        values(&command.uris),
        ["/a/pi.py", "http://h/x.py", "/h/y.zip", "hdfs://n/spark-3.5.1.tgz"]
    );
}

#[test]
fn in_an_image() {
    let image = ("spark.mesos.executor.docker.image", "i");
    let local = job("local:///opt/pi.jar");
    let plain = command(&local, &[image], &[]);
    assert!(plain.line.starts_with("./bin/spark-submit --name "), "{}", plain.line);
    assert!(plain.line.ends_with(" \"$MESOS_SANDBOX/pi.jar\" 100"), "{}", plain.line);
    assert_eq!(values(&plain.uris), ["///opt/pi.jar"]);
    let mode = ("spark.mesos.appJar.local.resolution.mode", "container");
    let inside = command(&local, &[image, mode], &[]);
    assert!(inside.line.ends_with(" /opt/pi.jar 100"), "{}", inside.line);
    assert!(inside.uris.is_empty());
    let py = command(&local, &[image, ("spark.submit.pyFiles", "a.py,b c.py")], &[]);
    let files = "--py-files \"$MESOS_SANDBOX/a.py,$MESOS_SANDBOX/b c.py\"";
    assert!(py.line.contains(files), "{}", py.line);
}

#[test]
fn without_any_spark_it_is_said_in_sparks_words() {
    let none = Conf::new();
    let error = spark_driver("a", &job("x.jar"), &spec(1.0), &none, &none, "m:1", "f").unwrap_err();
    assert_eq!(error.message(), "Executor Spark home `spark.mesos.executor.home` is not set!");
    let home: Conf = [("spark.home", "/s")].into_iter().collect();
    let mut half = spec(0.5);
    half.env.insert("SPARK_SUBMIT_OPTS".to_owned(), "-Dx".to_owned());
    let command = spark_driver("a", &job("x.jar"), &half, &none, &home, "m:1", "f").unwrap();
    assert!(command.line.starts_with("/s/./bin/spark-submit --name a --master mesos://m:1 "));
    assert!(command.line.contains("--driver-cores 0.5 "));
    assert_eq!(command.env["SPARK_SUBMIT_OPTS"], "-Dx -Dspark.mesos.driver.frameworkId=f");
}

#[test]
fn words_are_escaped_as_spark_does() {
    for (value, escaped) in [
        ("plain-1.0_x=y,z", "plain-1.0_x=y,z"),
        ("a b", "\"a b\""),
        ("'a b'", "'a b'"),
        ("\"a b\"", "\"a b\""),
        ("\"", "\"\\\"\""),
        ("onlyCap'", "\"onlyCap'\""),
        ("col1|col2", "\"col1|col2\""),
        ("$PATH`x`\\", "\"\\$PATH\\`x\\`\\\\\""),
        ("a\nb", "\"a\nb\""),
    ] {
        assert_eq!(shell_escape(value), escaped);
    }
}

/// As a task, with what the submitter's environment has.
fn started(conf: &Conf, env: &[(&str, &str)]) -> (SparkCommand, CommandInfo) {
    let mut spec = spec(1.0);
    let own = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    spec.env = own.collect();
    let command = spark_driver("a", &job("x.jar"), &spec, conf, &Conf::new(), "m:1", "f").unwrap();
    let process = Process {
        task: "driver-1",
        name: "Driver for a".to_owned(),
        agent: &Id::new("s"),
        resources: Vec::new(),
        program: "",
        args: &[],
        env: spec.env,
        files: BTreeMap::new(),
        labels: Vec::new(),
        conf,
        role: Role::Driver,
        grace: Duration::from_secs(3),
    };
    let task = spark_task(process, command.clone()).unwrap();
    (command, task.command.unwrap())
}

#[test]
fn the_framework_is_told_beside_what_the_submitter_says() {
    let conf = [("spark.mesos.executor.home", "/s")].into_iter().collect();
    let (_, command) = started(&conf, &[("SPARK_SUBMIT_OPTS", "-Dx"), ("SPARK_USER", "me")]);
    let variables = command.environment.unwrap().variables;
    let value = |name: &str| {
        let found = variables.iter().find(|variable| variable.name == name);
        found.and_then(|variable| variable.value.as_deref())
    };
    assert_eq!(value("SPARK_SUBMIT_OPTS"), Some("-Dx -Dspark.mesos.driver.frameworkId=f"));
    assert_eq!(value("SPARK_USER"), Some("me"));
}

#[test]
fn secrets_are_in_a_file_after_the_agents_own_defaults() {
    let dir = std::env::temp_dir().join(format!("spark's own {}", std::process::id()));
    for part in ["home/bin", "home/conf", "sandbox"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    let submit = dir.join("home/bin/spark-submit");
    std::fs::write(
        &submit,
        "#!/bin/sh\nprintf '%s\\n' \"$@\"\nenv | grep ANYMASTER_FILE_\n\
         while [ $# -gt 0 ]; do [ $1 = --properties-file ] && cat \"$2\"; shift; done\n",
    )
    .unwrap();
    std::fs::set_permissions(&submit, std::fs::Permissions::from_mode(0o755)).unwrap();
    let defaults = "spark.of.agent here\nspark.hadoop.password theirs";
    std::fs::write(dir.join("home/conf/spark-defaults.conf"), defaults).unwrap();
    let conf: Conf = [
        ("spark.mesos.executor.home", dir.join("home").to_str().unwrap()),
        ("spark.mesos.secret", "sesame"),
        ("spark.hadoop.password", "a $b'c"),
        ("spark.driver.extraJavaOptions", "-Dtoken=hidden"),
        ("spark.authenticate.secret", "of the dispatcher"),
        ("spark.plain", "open"),
    ]
    .into_iter()
    .collect();
    let (made, command) = started(&conf, &[]);
    let line = command.value.unwrap();
    for secret in ["sesame", "a $b", "hidden", "of the dispatcher"] {
        assert!(!line.contains(secret) && !format!("{made:?}").contains(secret), "{line}");
    }
    let mut run = std::process::Command::new("/bin/sh");
    let sandbox = dir.join("sandbox");
    run.args(["-c", &line]).current_dir(&sandbox).env("MESOS_SANDBOX", &sandbox);
    for variable in command.environment.unwrap().variables {
        run.env(variable.name, variable.value.unwrap());
    }
    let said = String::from_utf8(run.output().unwrap().stdout).unwrap();
    let (words, file) = said.split_once("spark.of.agent").unwrap();
    assert!(words.contains("\nspark.plain=open\n") && !words.contains("FILE_"), "{words}");
    assert_eq!(
        file,
        " here\nspark.hadoop.password theirs\nspark.driver.extraJavaOptions=-Dtoken\\=hidden\n\
         spark.hadoop.password=a $b'c\nspark.mesos.secret=sesame\n"
    );
    for name in ["secret.properties", "spark.properties"] {
        let mode = std::fs::metadata(sandbox.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    std::fs::remove_dir_all(&dir).unwrap();

    // Where Spark uses it, it is Spark's.
    let mut both = conf;
    both.set("spark.authenticate", "true");
    assert!(started(&both, &[]).0.files[SECRETS].contains("of the dispatcher"));
}

#[test]
fn the_line_becomes_a_task() {
    let conf: Conf = [
        ("spark.mesos.executor.home", "/s"),
        ("spark.mesos.driverEnv.A", "a"),
        ("spark.mesos.uris", "http://h/b"),
    ]
    .into_iter()
    .collect();
    let (made, command) = started(&conf, &[]);
    let line = made.line;
    assert_eq!(command.value, Some(line));
    assert_eq!(values(&command.uris), ["x.jar", "http://h/b"]);
    let variables = command.environment.unwrap().variables;
    let names: Vec<_> = variables.iter().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["A", "SPARK_SUBMIT_OPTS"]);
}
