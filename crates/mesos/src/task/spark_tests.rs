use std::time::Duration;

use anymaster_core::model::{CommandLine, Payload, ResourceProfile};

use super::*;
use crate::model::Id;
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
    DriverSpec {
        payload: Payload::Command(CommandLine::new("unused")),
        env: BTreeMap::new(),
        resources: ResourceProfile { overhead_mib: 384, ..ResourceProfile::new(cores, 1024) },
        working_dir: None,
        supervise: false,
    }
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

#[test]
fn the_line_becomes_a_task() {
    let conf: Conf = [
        ("spark.mesos.executor.home", "/s"),
        ("spark.mesos.driverEnv.A", "a"),
        ("spark.mesos.uris", "http://h/b"),
    ]
    .into_iter()
    .collect();
    let command =
        spark_driver("a", &job("x.jar"), &spec(1.0), &conf, &Conf::new(), "m:1", "f").unwrap();
    let line = command.line.clone();
    let process = Process {
        task: "driver-1",
        name: "Driver for a".to_owned(),
        agent: &Id::new("s"),
        resources: Vec::new(),
        program: "",
        args: &[],
        env: BTreeMap::new(),
        files: BTreeMap::new(),
        labels: Vec::new(),
        conf: &conf,
        role: Role::Driver,
        grace: Duration::from_secs(3),
    };
    let task = spark_task(process, command).unwrap();
    let command = task.command.unwrap();
    assert_eq!(command.value, Some(line));
    assert_eq!(values(&command.uris), ["x.jar", "http://h/b"]);
    let variables = command.environment.unwrap().variables;
    let names: Vec<_> = variables.iter().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["A", "SPARK_SUBMIT_OPTS"]);
}
