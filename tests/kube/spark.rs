//! Real Spark in real pods. Needs the image that `tests/clusters/kube/spark-image` puts into the cluster.

use crate::cluster::{Namespace, Ran, kubectl, master};

const IMAGE: &str = "registry.test/spark:3.5";
const JAR: &str = "local:///opt/spark/examples/jars/spark-examples.jar";

/// The program called as `spark-submit`, with a command line.
fn spark_submit(namespace: &Namespace, line: &str) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("spark-submit");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_anymaster"), &program).unwrap();
    let template = namespace.anymaster(&[]);
    let mut command = std::process::Command::new(program);
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(command.args(line.split_whitespace()))
}

fn pi(namespace: &Namespace, ran: Ran) {
    let id = last_id(namespace, &ran);
    let log = namespace.verb(&["logs", &id]).expect(0).stdout;
    assert!(log.contains("Pi is roughly 3.1"), "{log}");
}

fn last_id(namespace: &Namespace, ran: &Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}\n{:?}", ran.stderr, namespace.verb(&["ps", "-a"]));
    ran.id()
}

#[test]
#[ignore = "needs a cluster with a real node and Spark's image"]
fn spark_pi_runs_and_failures_have_an_exit_code() {
    let namespace = Namespace::new("pi");
    let (master, ns) = (master(), &namespace.name);
    let common = format!(
        "--master {master} --deploy-mode cluster --conf spark.kubernetes.namespace={ns} \
         --conf spark.kubernetes.authenticate.driver.serviceAccountName=spark --conf spark.kubernetes.container.image={IMAGE}"
    );
    // `bin/spark-submit --master k8s://https://192.168.0.23:6443 --deploy-mode cluster …`, with three executors.
    let line = format!(
        "{common} --conf spark.executor.instances=3 --conf spark.kubernetes.executor.request.cores=100m \
         --conf spark.kubernetes.driver.request.cores=100m --conf spark.executor.memory=512m \
         --class org.apache.spark.examples.SparkPi --name spark-pi {JAR} 4"
    );
    pi(&namespace, spark_submit(&namespace, &line));
    let failed = spark_submit(
        &namespace,
        &format!(
            "{common} --conf spark.kubernetes.driver.request.cores=100m --class no.such.Main --name wrong {JAR}"
        ),
    );
    assert_eq!(failed.code, Some(101), "{}", failed.stderr);
}

/// Command lines of users, as typed but for host, image, jar and what two cores have room for.
#[test]
#[ignore = "needs a cluster with a real node and Spark's image"]
fn old_and_new_command_lines_run_as_typed() {
    let namespace = Namespace::new("typed");
    let (master, ns) = (master(), &namespace.name);
    // Service account and namespace are not named in these lines.
    let account = format!("--serviceaccount={ns}:default");
    kubectl(&["-n", ns, "create", "rolebinding", "default", "--clusterrole=edit", &account]);
    let small = "--conf spark.kubernetes.driver.request.cores=100m --conf spark.kubernetes.executor.request.cores=100m";
    let old = spark_submit(
        &namespace,
        &format!(
            "--deploy-mode cluster --class org.apache.spark.examples.SparkPi --master {master} --kubernetes-namespace {ns} \
         --conf spark.executor.instances=1 --conf spark.app.name=spark-pi \
         --conf spark.kubernetes.driver.limit.cores=1 --conf spark.kubernetes.executor.limit.cores=1 \
         --conf spark.kubernetes.driver.docker.image={IMAGE} --conf spark.kubernetes.executor.docker.image={IMAGE} \
         --conf spark.kubernetes.initcontainer.docker.image=x {small} {JAR}"
        ),
    );
    for words in [
        "--kubernetes-namespace is an old name",
        "spark.kubernetes.driver.docker.image is an old name, read as spark.kubernetes.driver.container.image",
        "spark.kubernetes.initcontainer.docker.image has no effect",
    ] {
        assert!(old.stderr.contains(words), "{words}: {}", old.stderr);
    }
    pi(&namespace, old);
    let new = spark_submit(
        &namespace,
        &format!(
            "--master {master} --deploy-mode cluster --name spark-pi --class org.apache.spark.examples.SparkPi \
         --conf spark.executor.instances=1 --executor-memory 512m --conf spark.kubernetes.container.image={IMAGE} \
         --conf spark.kubernetes.namespace={ns} {small} {JAR}"
        ),
    );
    pi(&namespace, new);
}
