//! Native drivers on the real node that request executors themselves.

use std::process::Command;

use crate::cluster::{Namespace, Ran, ca, kubectl, until};

/// Puts programs of this machine into an image of the cluster.
fn image(name: &str, programs: &[(&str, &str)]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clusters/kube/program-image");
    let programs = programs.iter().map(|(name, file)| format!("{name}={file}"));
    assert!(Command::new(script).arg(name).args(programs).status().unwrap().success());
}

/// A namespace with a service account that may do what `deploy/driver.yaml` says.
pub(crate) fn prepared(purpose: &str) -> Namespace {
    let namespace = Namespace::new(purpose);
    let role = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/driver.yaml");
    kubectl(&["-n", &namespace.name, "apply", "-f", role]);
    namespace
}

/// The options of a driver, and its executors, of this image.
pub(crate) fn properties(namespace: &Namespace, image: &str) -> Vec<String> {
    let properties = [
        format!("spark.kubernetes.namespace={}", namespace.name),
        format!("spark.kubernetes.container.image={image}"),
        format!("spark.anymaster.kubernetes.janitor.image={image}"),
        "spark.kubernetes.authenticate.driver.serviceAccountName=driver".to_owned(),
        "spark.kubernetes.driver.request.cores=10m".to_owned(),
        "spark.kubernetes.executor.request.cores=10m".to_owned(),
        "spark.executor.memory=32m".to_owned(),
        "spark.executor.memoryOverhead=32m".to_owned(),
    ];
    properties.into_iter().flat_map(|property| ["--conf".to_owned(), property]).collect()
}

fn submit(namespace: &Namespace, image: &str, more: &[&str], program: &[&str]) -> Command {
    let mut command = namespace.anymaster(&["submit", "--deploy-mode", "cluster"]);
    command.args(properties(namespace, image)).args(more).args(program);
    command
}

/// The example Pi, built with the feature `k8s`, and the program.
pub(crate) fn pi_image() -> &'static str {
    const NAME: &str = "registry.test/pi:1";
    let program = env!("CARGO_BIN_EXE_anymaster");
    let pi = std::path::Path::new(program).with_file_name("examples").join("pi");
    image(NAME, &[("pi", pi.to_str().unwrap()), ("anymaster", program)]);
    NAME
}

#[test]
#[ignore = "needs a cluster"]
fn pi_is_computed_by_executors_that_its_driver_requests() {
    let namespace = prepared("pi");
    // A local file: the driver looks for it in its pod.
    let template = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(template.path(), crate::executors::real()).unwrap();
    let file = format!("spark.kubernetes.executor.podTemplateFile={}", template.path().display());
    let more = ["--conf", "spark.executor.instances=3", "--conf", &file];
    let ran = Ran::of(&mut submit(&namespace, pi_image(), &more, &["pi", "50"])).expect(0);
    let log = namespace.verb(&["logs", &ran.id()]).expect(0);
    assert!(log.stdout.starts_with("Pi is roughly 3.14"), "{}", log.stdout);
    assert!(log.stdout.contains("by 3 executors"), "{}", log.stdout);
    until("no executor is left", || {
        let pods = namespace.objects("pods");
        pods.iter().all(|pod| pod["metadata"]["labels"]["spark-role"] == "driver").then_some(())
    });
}

#[test]
#[ignore = "needs a cluster"]
fn a_driver_connects_with_its_own_credentials_and_not_with_its_submitters() {
    let namespace = prepared("piwho");
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), ca()).unwrap();
    let token = kubectl(&["-n", &namespace.name, "create", "token", "driver"]);
    let context = kubectl(&["config", "current-context"]);
    let conf = [
        format!("spark.kubernetes.context={}", context.trim()),
        format!(
            "spark.kubernetes.authenticate.submission.caCertFile={}",
            authority.path().display()
        ),
        format!("spark.kubernetes.authenticate.driver.oauthToken={}", token.trim()),
        // An account without permissions.
        "spark.kubernetes.authenticate.driver.serviceAccountName=default".to_owned(),
        "spark.executor.instances=1".to_owned(),
    ];
    let more: Vec<&str> = conf.iter().flat_map(|conf| ["--conf", conf]).collect();
    let ran = Ran::of(&mut submit(&namespace, pi_image(), &more, &["pi", "10"])).expect(0);
    let log = namespace.verb(&["logs", &ran.id()]).expect(0);
    assert!(log.stdout.contains("by 1 executors"), "{}", log.stdout);
}

#[test]
#[ignore = "needs a cluster"]
fn a_driver_without_the_permission_says_which_one_it_lacks() {
    let namespace = prepared("pinot");
    let more = ["--conf", "spark.kubernetes.authenticate.driver.serviceAccountName=default"];
    let ran = Ran::of(&mut submit(&namespace, pi_image(), &more, &["pi", "50"]));
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    let log = namespace.verb(&["logs", &ran.id()]).expect(0);
    assert!(log.stdout.contains("system:serviceaccount:"), "{}", log.stdout);
}
