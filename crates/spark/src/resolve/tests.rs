use anymaster_core::conf::Origin;

use super::*;
use crate::parse;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        current_dir: "/work".into(),
        for_others: false,
    }
}

fn try_submit(line: &str, variables: &[(&str, &str)]) -> Result<Submission> {
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    resolve(&parse(&words)?, &environment(variables))
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
fn flags_win_over_conf_over_file_over_environment() {
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
fn a_flag_counts_only_where_spark_lets_it() {
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
fn the_master_url_of_kubernetes_is_written_with_its_scheme() {
    for (given, written) in [
        ("k8s://kubernetes.default.svc:443", "k8s://https://kubernetes.default.svc:443"),
        ("k8s://http://h:1", "k8s://http://h:1"),
        ("k8s://HTTPS://h", "k8s://https://h"),
    ] {
        let submission = submit(&format!("--master {given} a.jar"));
        assert_eq!(submission.conf.get("spark.master"), Some(written));
    }
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
fn a_program_is_taken_as_it_is() {
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
fn mistakes_have_sparks_meaning_and_say_what_to_do() {
    let error = |line: &str| {
        let error = try_submit(line, &[]).unwrap_err();
        format!("{line}\n  {error}\n  {}", error.hint().unwrap_or("-"))
    };
    insta::assert_snapshot!(
        [
            "--master local",
            "--master local[0] a.jar",
            "--master foo a.jar",
            "--master yarn a.jar",
            "--master local --deploy-mode cluster a.jar",
            "--master spark://h:1 --deploy-mode cluster a.py",
            "--master k8s://h --deploy-mode cluster pyspark-shell",
            "pyspark-shell",
            "-c spark.submit.deployMode=x a.jar",
            "--driver-memory 0 a.jar",
            "--driver-memory 1.5g a.jar",
            "--executor-memory lots a.jar",
            "-c spark.executor.memory=lots a.jar",
            "--num-executors 0 a.jar",
            "--proxy-user a --principal b a.jar",
            "--remote sc://h --master local a.jar",
            "-c spark.driver.extraJavaOptions=-Xmx1g a.jar",
            "--properties-file /no/such/file a.jar",
        ]
        .map(error)
        .join("\n")
    );
}

#[test]
fn more_executors_may_be_none_with_dynamic_allocation() {
    submit("--num-executors 0 -c spark.dynamicAllocation.enabled=true a.jar");
}
