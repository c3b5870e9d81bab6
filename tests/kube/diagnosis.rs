//! Diagnoses of drivers that do not run.

use crate::cluster::{IMAGE, Namespace, Ran, ca, kubectl, until};

/// Submits without waiting, and returns the explanation once it has the words.
fn explained(namespace: &Namespace, name: &str, more: &[&str], words: &str) -> String {
    let mut options = vec!["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];
    options.extend(more);
    let id = Ran::of(&mut namespace.submit(name, &options, "sleep 60")).expect(0).id();
    until(words, || {
        Some(namespace.verb(&["explain", &id]).expect(0).stdout).filter(|text| text.contains(words))
    })
}

#[test]
#[ignore = "needs a cluster"]
fn the_reason_of_a_pending_driver_is_explained() {
    let namespace = Namespace::new("why");
    let text = explained(
        &namespace,
        "image",
        &["--conf", "spark.kubernetes.container.image=registry.test/none:1"],
        "cannot be pulled",
    );
    assert!(text.contains("registry.test/none:1") && text.contains("pullSecrets"), "{text}");
    let text = explained(&namespace, "large", &["--driver-memory", "900g"], "fits none of");
    assert!(
        text.contains("too little memory: at most") && text.contains("no node has that much"),
        "{text}"
    );
    let text = explained(
        &namespace,
        "nowhere",
        &["--conf", "spark.kubernetes.node.selector.disk=ssd"],
        "fits none of",
    );
    assert!(text.contains("excluded by node selector disk=ssd"), "{text}");
    let text = explained(
        &namespace,
        "secret",
        &["--conf", "spark.kubernetes.driver.secrets.creds=/etc/creds"],
        "\"creds\" not found",
    );
    assert!(text.contains(&format!("kubectl -n {} create secret creds", namespace.name)), "{text}");
    let claim = [
        "--conf",
        "spark.kubernetes.driver.volumes.persistentVolumeClaim.d.mount.path=/d",
        "--conf",
        "spark.kubernetes.driver.volumes.persistentVolumeClaim.d.options.claimName=nope",
    ];
    explained(
        &namespace,
        "claim",
        &claim,
        "waits for persistentvolumeclaim nope, which does not exist",
    );
}

#[test]
#[ignore = "needs a cluster"]
fn refusals_of_the_cluster_name_the_command_that_fixes_them() {
    let namespace = Namespace::new("refused");
    let refused =
        |more: &[&str]| Ran::of(&mut namespace.submit("no", more, "true")).expect(1).stderr;
    let text = refused(&["--conf", "spark.kubernetes.authenticate.driver.serviceAccountName=nope"]);
    assert!(
        text.contains(&format!("hint: kubectl -n {} create serviceaccount nope", namespace.name)),
        "{text}"
    );
    let text = refused(&["--conf", "spark.kubernetes.namespace=nowhere"]);
    assert!(text.contains("hint: kubectl create namespace nowhere"), "{text}");
    kubectl(&["-n", &namespace.name, "create", "quota", "few", "--hard=pods=0"]);
    let text = until("the quota counts", || {
        let ran = Ran::of(&mut namespace.submit(
            "no",
            &["--conf", "spark.kubernetes.submission.waitAppCompletion=false"],
            "true",
        ));
        (ran.code == Some(1)).then_some(ran.stderr)
    });
    assert!(text.contains("exceeded quota: few"), "{text}");
    // Objects created before the failure are deleted.
    until("nothing is left", || {
        namespace
            .objects("configmaps")
            .iter()
            .all(|map| !map["metadata"]["ownerReferences"].is_null())
            .then_some(())
    });
}

#[test]
#[ignore = "needs a cluster"]
fn a_missing_permission_is_named_and_nothing_is_left_over() {
    let namespace = Namespace::new("rbac");
    // The user may create the first objects, and not the rest.
    kubectl(&["-n", &namespace.name, "create", "serviceaccount", "weak"]);
    kubectl(&[
        "-n",
        &namespace.name,
        "create",
        "role",
        "weak",
        "--verb=create,get,list,delete,patch",
        "--resource=configmaps,pods",
    ]);
    let account = format!("--serviceaccount={}:weak", namespace.name);
    kubectl(&["-n", &namespace.name, "create", "rolebinding", "weak", "--role=weak", &account]);
    let token = kubectl(&["-n", &namespace.name, "create", "token", "weak"]);
    let token = format!("spark.kubernetes.authenticate.submission.oauthToken={}", token.trim());
    // A client certificate would take precedence over a token.
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let ca = ca_file();
    let ca = format!("spark.kubernetes.authenticate.submission.caCertFile={}", ca.path().display());
    std::fs::write(kubeconfig.path(), "apiVersion: v1\nkind: Config\n").unwrap();
    let mut command = namespace.submit("weak", &["--conf", &token, "--conf", &ca], "true");
    let ran = Ran::of(command.env("KUBECONFIG", kubeconfig.path())).expect(1);
    let grant = format!(
        "kubectl -n {} create role services-create --verb=create --resource=services",
        namespace.name
    );
    assert!(
        ran.stderr.contains("cannot create service") && ran.stderr.contains(&grant),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("eyJ"), "a token is shown: {}", ran.stderr);
    until("nothing is left", || {
        (namespace.objects("configmaps").is_empty() && namespace.objects("pods").is_empty())
            .then_some(())
    });
}

/// The cluster's CA, as a file.
fn ca_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca()).unwrap();
    file
}

#[test]
#[ignore = "needs a cluster"]
fn running_out_of_memory_is_reported_with_the_limit() {
    let namespace = Namespace::new("memory");
    let more = ["--conf", "spark.driver.memoryOverhead=16m", "--conf", "spark.driver.memory=16m"];
    let ran = Ran::of(&mut namespace.submit("greedy", &more, "tail /dev/zero")).expect(137);
    assert!(ran.stderr.contains("out of memory: used more than its 32 MiB"), "{}", ran.stderr);
    assert_eq!(IMAGE, "registry.test/driver:1");
}
