use anymaster_core::BackendInfo;
use anymaster_core::conf::Origin;
use anymaster_core::testing::{FakeBackend, FakeCluster};

use super::*;
use crate::parse;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        current_dir: "/work".into(),
        multi_tenant: false,
    }
}

/// Backends that accept every URL.
fn masters() -> Registry {
    const INFO: BackendInfo = BackendInfo::new(
        "any",
        &[
            ("local", "local[2]"),
            ("spark", "spark://h:7077"),
            ("mesos", "mesos://h:5050"),
            ("k8s", "k8s://h"),
        ],
        "takes every URL",
    );
    Registry::new().with(FakeBackend::new(&INFO, FakeCluster::new()))
}

fn try_submit(line: &str, variables: &[(&str, &str)]) -> Result<Submission> {
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    resolve(&parse(&words)?, &environment(variables), &masters())
}

fn submit(line: &str) -> Submission {
    try_submit(line, &[]).unwrap()
}

#[test]
fn defaults_are_sparks() {
    let submission = submit("app.jar");
    assert_eq!(submission.master.to_string(), "local[*]");
    assert_eq!(submission.deploy_mode, DeployMode::Client);
    assert_eq!(submission.name, "app.jar");
    assert_eq!(submission.primary_resource, "file:/work/app.jar");
    assert_eq!(submission.conf.get("spark.jars"), Some("file:/work/app.jar"));
    assert_eq!(submit("--class org.example.Pi app.jar").name, "org.example.Pi");
    assert_eq!(submit("--name x --class org.example.Pi app.jar").name, "x");
}

#[test]
fn flags_override_conf_override_files_override_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spark-defaults.conf");
    std::fs::write(&file, "spark.executor.memory 3g\nspark.master k8s://h\nother 1\n").unwrap();
    let conf_dir = dir.path().to_str().unwrap();
    let variables =
        [("SPARK_CONF_DIR", conf_dir), ("SPARK_EXECUTOR_MEMORY", "2g"), ("MASTER", "yarn")];
    let key = "spark.executor.memory";
    let submission = try_submit("app.jar", &variables).unwrap();
    assert_eq!(submission.conf.get(key), Some("3g"));
    assert_eq!(submission.master.scheme(), "k8s");
    assert_eq!(submission.warnings, ["Ignoring non-Spark config property: other"]);
    assert_eq!(submission.origins[key], Origin::File(file));
    let submission = try_submit("-c spark.executor.memory=4g app.jar", &variables).unwrap();
    assert_eq!(submission.conf.get(key), Some("4g"));
    let line = "--executor-memory 5g -c spark.executor.memory=4g app.jar";
    let submission = try_submit(line, &variables).unwrap();
    assert_eq!(submission.conf.get(key), Some("5g"));
    let submission = try_submit("app.jar", &variables[1..2]).unwrap();
    assert_eq!(submission.conf.get(key), Some("2g"));
}

#[test]
fn a_flag_has_an_effect_only_where_spark_maps_it() {
    let conf = |line: &str, key: &str| submit(line).conf.get(key).map(str::to_owned);
    let memory = "spark.executor.memory";
    assert_eq!(conf("--master local --executor-memory 1g a.jar", memory), None);
    assert_eq!(
        conf("--master local --executor-memory 1g -c spark.executor.memory=2g a.jar", memory),
        Some("2g".to_owned())
    );
    let cores = "spark.executor.cores";
    assert_eq!(conf("--master mesos://h:5050 --executor-cores 2 a.jar", cores), None);
    assert_eq!(conf("--master k8s://h --executor-cores 2 a.jar", cores), Some("2".to_owned()));
    let instances = "spark.executor.instances";
    assert_eq!(conf("--master spark://h:1 --num-executors 2 a.jar", instances), None);
    assert_eq!(conf("--master k8s://h --num-executors 2 a.jar", instances), Some("2".to_owned()));
    let supervise = "spark.driver.supervise";
    let line = "--master spark://h:1 --deploy-mode cluster a.jar";
    assert_eq!(conf(line, supervise), Some("false".to_owned()));
    let line = "--master k8s://h --deploy-mode cluster --supervise a.jar";
    assert_eq!(conf(line, supervise), None);
}

#[test]
fn dependencies_are_uris() {
    let submission = submit("--master k8s://h --jars x.jar,hdfs:/y.jar --files a#b main.py 1");
    assert_eq!(submission.conf.get("spark.jars"), Some("file:/work/x.jar,hdfs:/y.jar"));
    assert_eq!(submission.conf.get("spark.files"), Some("file:/work/a#b"));
    assert_eq!(submission.conf.get("spark.submit.pyFiles"), Some(""));
    assert_eq!(submission.args, ["1"]);
    assert_eq!(submission.resource, Resource::Spark(SparkLanguage::Python));
}

#[test]
fn values_refer_to_the_environment_where_spark_reads_them_so() {
    let line = "--master k8s://h -c spark.executor.memoryOverhead=${env:M} a.jar";
    let submission = try_submit(line, &[("M", "1g")]).unwrap();
    let overhead = &anymaster_core::conf::keys::EXECUTOR_MEMORY_OVERHEAD;
    assert_eq!(submission.conf.read_optional(overhead).unwrap(), Some(1024));
    assert_eq!(submission.conf.get(overhead.info.name), Some("${env:M}"));
    let line = "--master k8s://h -c spark.executor.memory=${env:M} a.jar";
    assert!(try_submit(line, &[("M", "1g")]).is_err());
}

#[test]
fn a_program_is_submitted_as_it_is() {
    let submission = submit("--master local[2] target/release/examples/pi 200");
    assert_eq!(submission.resource, Resource::Program);
    assert_eq!(submission.primary_resource, "target/release/examples/pi");
    assert_eq!(submission.name, "pi");
    assert_eq!(submission.conf.get("spark.jars"), None);
    let line = "--master local[2] --executor-memory 2g --num-executors 3 --jars a.jar pi";
    let submission = submit(line);
    assert_eq!(submission.conf.get("spark.executor.memory"), Some("2g"));
    assert_eq!(submission.conf.get("spark.executor.instances"), Some("3"));
    assert_eq!(submission.warnings, ["--jars has no effect: pi is not an application of Spark"]);
}

#[test]
fn an_old_option_and_old_properties_are_read_with_a_warning() {
    let submission = submit("--master k8s://h --kubernetes-namespace ns a.jar");
    assert_eq!(submission.conf.get("spark.kubernetes.namespace"), Some("ns"));
    assert!(submission.warnings[0].contains("--kubernetes-namespace"), "{submission:?}");
}

#[test]
fn errors_have_sparks_message_and_a_hint() {
    let error = |line: &str| {
        let error = try_submit(line, &[]).unwrap_err();
        format!("{line}\n  {error}\n  {}", error.hint().unwrap_or("-"))
    };
    insta::assert_snapshot!(
        [
            "--master local",
            "--master foo a.jar",
            "--master yarn a.jar",
            "--master local --deploy-mode cluster a.jar",
            "--master spark://h:1 --deploy-mode cluster a.py",
            "--master k8s://h --deploy-mode cluster pyspark-shell",
            "--master k8s://h --deploy-mode cluster --class org.apache.spark.repl.Main -i x",
            "--name a.jar",
            "--master k8s://h --deploy-mode cluster --name --class A a.jar",
            "spark-internal",
            "-c spark.anymaster.sparkVersion=3.5.9 --load-spark-defaults a.jar",
            "--driver-cores 0 a.jar",
            "-c spark.driver.memory=0 a.jar",
            "-c spark.executor.memory= a.jar",
            "-c spark.executor.cores=1.5 a.jar",
            "-c spark.cores.max=0 a.jar",
            "-c spark.executor.instances=0 a.jar",
            "--jars a.jar, b.jar --class A app.jar",
            "-c spark.submit.deployMode=x a.jar",
            "--driver-memory 0 a.jar",
            "--driver-memory 1.5g a.jar",
            "--executor-memory lots a.jar",
            "-c spark.executor.memory=lots a.jar",
            "--num-executors 0 a.jar",
            "--proxy-user a --principal b a.jar",
            "--proxy-user a -c spark.yarn.principal=b a.jar",
            "--remote sc://h --master local a.jar",
            "-c spark.driver.extraJavaOptions=-Xmx1g a.jar",
            "--properties-file /no/such/file a.jar",
        ]
        .map(error)
        .join("\n")
    );
}

#[test]
fn what_sparks_driver_refuses_of_executors_is_refused_on_every_cluster() {
    for master in ["local[2]", "spark://h:7077", "mesos://h:5050", "yarn", "k8s://h"] {
        for mode in ["client", "cluster"] {
            if master.starts_with("local") && mode == "cluster" {
                continue;
            }
            for (property, words) in [
                ("spark.executor.memoryOverhead=512Mi", "is not a size"),
                ("spark.executor.extraJavaOptions=-Xmx2g", "max heap memory"),
                ("spark.memory.offHeap.enabled=true", "offHeap.size must be > 0"),
            ] {
                let line =
                    format!("--master {master} --deploy-mode {mode} -c {property} --class A a.jar");
                let error = try_submit(&line, &[("HADOOP_CONF_DIR", "/h")]).expect_err(&line);
                assert!(error.message().contains(words), "{line}: {error}");
            }
        }
    }
    let line = "-c spark.executor.cores=1 -c spark.task.cpus=2 a.jar";
    for master in ["spark://h:7077", "mesos://h:5050"] {
        try_submit(&format!("--master {master} {line}"), &[]).unwrap_err();
        submit(&format!("--master {master} -c spark.task.cpus=2 a.jar"));
    }
    // Programs have no heap and no tasks.
    submit("--master spark://h:7077 -c spark.executor.extraJavaOptions=-Xmx2g program");
}

#[test]
fn a_password_among_options_of_java_is_not_in_the_error() {
    let line = ["-c", "spark.driver.extraJavaOptions=-Dstore.password=hush -Xmx1g", "a.jar"];
    let args = crate::parse(&line.map(str::to_owned)).unwrap();
    let error = resolve(&args, &Environment::default(), &masters()).unwrap_err();
    assert!(error.message().contains("max heap(Xmx)"), "{error}");
    assert!(!format!("{error:?}").contains("hush"), "{error:?}");
}

#[test]
fn more_executors_may_be_none_with_dynamic_allocation() {
    submit("--num-executors 0 -c spark.dynamicAllocation.enabled=true a.jar");
    submit("-c spark.executor.instances=0 -c spark.dynamicAllocation.enabled=true a.jar");
    submit("-c spark.executor.instances=0 -c spark.executor.cores=0.5 program");
    submit("--master k8s://h -c spark.driver.cores=400m a.jar");
}

#[test]
fn a_class_of_the_image_needs_no_jar() {
    let line =
        "--master k8s://h --deploy-mode cluster --class org.example.Engine spark-internal --port 0";
    let submission = submit(line);
    let job = submission.spark_job().unwrap();
    assert_eq!(job.primary_resource, "spark-internal");
    assert_eq!(job.args, ["--port", "0"]);
    assert_eq!(submission.conf.get("spark.jars"), None);
    assert_eq!(submission.conf.get("spark.app.name"), Some("org.example.Engine"));
}

#[test]
fn shells_and_servers_of_spark_take_their_own_options_between_others() {
    let line = "--class org.apache.spark.sql.hive.thriftserver.HiveThriftServer2 --name t --hiveconf \
                a=b --conf spark.x=1";
    let submission = submit(line);
    let class = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2";
    assert_eq!(
        submission.line(),
        [
            "--class",
            class,
            "--name",
            "t",
            "--conf",
            "spark.x=1",
            "spark-internal",
            "--hiveconf",
            "a=b"
        ]
    );
    assert_eq!(
        submission.launcher_line(),
        [&submission.line()[..6], &submission.line()[7..]].concat()
    );
    let submission = submit("pyspark-shell-main --name PySparkShell --master local[2]");
    assert_eq!(submission.resource, Resource::Shell);
    assert_eq!(
        submission.line(),
        ["--name", "PySparkShell", "--master", "local[2]", "pyspark-shell"]
    );
    assert_eq!(submission.launcher_line()[0], "pyspark-shell-main");
}

#[test]
fn both_properties_files_are_read_with_load_spark_defaults() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spark-defaults.conf"), "spark.a d\nspark.b d\nspark.c d\n")
        .unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (own, extra) = (file("own", "spark.a o\nspark.b o\n"), file("extra", "spark.a x\n"));
    let conf_dir = [("SPARK_CONF_DIR", dir.path().to_str().unwrap())];
    let values = |line: &str| {
        let submission = try_submit(line, &conf_dir).unwrap();
        ["spark.a", "spark.b", "spark.c"].map(|key| submission.conf.get(key).map(str::to_owned))
    };
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(values(&format!("--properties-file {own} a.jar")), [some("o"), some("o"), None]);
    let line = format!("--properties-file {own} --load-spark-defaults a.jar");
    assert_eq!(values(&line), [some("o"), some("o"), some("d")]);
    let line = format!("--extra-properties-file {own} --extra-properties-file {extra} a.jar");
    assert_eq!(values(&line), [some("x"), some("o"), some("d")]);
}
