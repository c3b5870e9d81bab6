//! Drivers from their submission to their end.

use std::process::{Command, Stdio};

use crate::cluster::{IMAGE, Namespace, Ran, kubectl, start, until};

/// Sends a signal to a process.
fn signal(process: &std::process::Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &process.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
#[ignore = "needs a cluster"]
fn submit_exits_with_the_drivers_code_and_objects_have_sparks_labels() {
    let namespace = Namespace::new("ends");
    for (line, code) in [("echo fine", 0), ("echo bad >&2; exit 7", 7)] {
        let ran = Ran::of(&mut namespace.submit("my app", &[], line)).expect(code);
        let id = ran.id();
        let (of, pod) = id.split_once(':').unwrap();
        assert_eq!(of, namespace.name);
        for words in [
            "State changed, new state: \n\t pod name: my-app-",
            "\n\t phase: Pending\n\t container status: N/A\n",
            "\n\t\t container name: spark-kubernetes-driver\n",
            "Waiting for application my app with application ID spark-",
            "Container final statuses:\n\n\n\t container name: spark-kubernetes-driver\n",
            &format!("\n\t exit code: {code}\n"),
            &format!(" and submission ID {id} finished\n"),
        ] {
            assert!(ran.stderr.contains(words), "{words:?} is not in\n{}", ran.stderr);
        }
        assert!(ran.stderr.contains("spark-app-selector -> spark-"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
        let word = line.split_whitespace().nth(1).unwrap().trim_end_matches(';');
        assert_eq!(namespace.verb(&["logs", pod]).expect(0).stdout.trim(), word);
    }
    // The pod owns all of it.
    for kind in ["services", "configmaps"] {
        let objects = namespace.objects(kind);
        assert_eq!(objects.len(), 2, "{kind}");
        for object in objects {
            assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "Pod", "{object}");
            assert_eq!(object["metadata"]["ownerReferences"][0]["controller"], true);
        }
    }
    kubectl(&["-n", &namespace.name, "delete", "pods", "--all", "--now"]);
    until("what the pods owned is gone", || {
        (namespace.objects("services").is_empty() && namespace.objects("configmaps").is_empty())
            .then_some(())
    });
}

#[test]
#[ignore = "needs a cluster"]
fn the_same_submission_twice_is_one_driver() {
    let namespace = Namespace::new("idempotent");
    let more = [
        "--submission-id",
        "nightly-1",
        "--conf",
        "spark.kubernetes.submission.waitAppCompletion=false",
    ];
    // Concurrently, as several replicas of a service may do.
    let mut at_once: Vec<_> =
        (0..6).map(|_| start(&mut namespace.submit("twice", &more, "sleep 1; exit 3"))).collect();
    let ids: Vec<String> = at_once
        .drain(..)
        .map(|child| Ran::from(child.wait_with_output().unwrap()).expect(0).id())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(namespace.objects("pods").len(), 1);
    assert_eq!(namespace.objects("configmaps").len(), 1);

    // Later, too; a wait returns the driver's exit code, whether it still runs or not.
    for _ in 0..2 {
        Ran::of(&mut namespace.submit("twice", &more[..2], "sleep 1; exit 3")).expect(3);
    }
    let other = Ran::of(&mut namespace.submit("twice", &more, "exit 4")).expect(1);
    assert!(other.stderr.contains("another application or other properties"), "{}", other.stderr);
    assert!(other.stderr.contains("choose another --submission-id"), "{}", other.stderr);
    let status = namespace.verb(&["status", "nightly-1", "-o", "json"]).expect(0).stdout;
    assert!(status.contains("nightly-1"), "{status}");
    assert_eq!(namespace.objects("pods").len(), 1);
}

#[test]
#[ignore = "needs a cluster"]
fn an_existing_claim_is_used_and_not_deleted() {
    let namespace = Namespace::new("claims");
    let claim = serde_json::json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "precious"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
                 "resources": {"requests": {"storage": "1Gi"}}},
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), claim.to_string()).unwrap();
    kubectl(&["-n", &namespace.name, "create", "-f", file.path().to_str().unwrap()]);
    let volume = "spark.kubernetes.driver.volumes.persistentVolumeClaim.d";
    let properties = [
        "spark.kubernetes.submission.waitAppCompletion=false".to_owned(),
        // No node has it.
        "spark.kubernetes.driver.node.selector.on=none".to_owned(),
        format!("{volume}.mount.path=/d"),
        format!("{volume}.options.claimName=precious"),
        format!("{volume}.options.storageClass="),
        format!("{volume}.options.sizeLimit=1Gi"),
    ];
    let more: Vec<&str> = properties.iter().flat_map(|pair| ["--conf", pair]).collect();
    let ran = Ran::of(&mut namespace.submit("user", &more, "sleep 1")).expect(0);
    assert!(ran.stderr.contains("existed before"), "{}", ran.stderr);
    let claims = namespace.objects("persistentvolumeclaims");
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0]["metadata"].get("ownerReferences"), None, "{}", claims[0]);
}

#[test]
#[ignore = "needs a cluster"]
fn two_submissions_with_one_pod_name_conflict() {
    let namespace = Namespace::new("names");
    let name = [
        "--conf",
        "spark.kubernetes.driver.pod.name=taken",
        "--conf",
        "spark.kubernetes.submission.waitAppCompletion=false",
    ];
    Ran::of(&mut namespace.submit("first", &name, "sleep 60")).expect(0);
    let second = Ran::of(&mut namespace.submit("second", &name, "sleep 60")).expect(1);
    assert!(second.stderr.contains("exists, from another submission"), "{}", second.stderr);
    // Nothing of the second is left over.
    assert_eq!(namespace.objects("configmaps").len(), 1);
    assert_eq!(namespace.objects("services").len(), 1);
}

#[test]
#[ignore = "needs a cluster"]
fn an_interrupted_wait_leaves_the_driver_running_and_can_be_resumed() {
    let namespace = Namespace::new("detach");
    let waiting = start(&mut namespace.submit(
        "long",
        &[],
        "until [ -e /tmp/go ]; do sleep 0.1; done; exit 5",
    ));
    let pod = until("the driver runs", || {
        let pods = namespace.objects("pods");
        pods.first()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
    });
    signal(&waiting, "INT");
    let detached = Ran::from(waiting.wait_with_output().unwrap()).expect(130);
    assert!(detached.stderr.contains("goes on without us"), "{}", detached.stderr);
    assert!(
        detached.stderr.contains(&format!("anymaster watch {}:{pod}", namespace.name)),
        "{}",
        detached.stderr
    );

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut watch = namespace.anymaster(&["watch", &format!("{}:{pod}", namespace.name)]);
    watch.args(["-o", "json"]).stdout(file.reopen().unwrap());
    let watching = watch.stderr(Stdio::piped()).spawn().unwrap();
    let seen = || std::fs::read_to_string(file.path()).unwrap();
    until("it is seen to run", || seen().contains(r#""state":"running""#).then_some(()));
    kubectl(&["-n", &namespace.name, "exec", &pod, "--", "touch", "/tmp/go"]);
    Ran::from(watching.wait_with_output().unwrap()).expect(5);
    assert!(seen().contains(r#""code":5"#), "{}", seen());
}

#[test]
#[ignore = "needs a cluster"]
fn logs_are_followed_from_before_the_start_to_the_end() {
    let namespace = Namespace::new("logs");
    let more = ["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];
    let line = "for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done";
    let id = Ran::of(&mut namespace.submit("logs", &more, line)).expect(0).id();
    let followed = namespace.verb(&["logs", "-f", &id]).expect(0);
    assert_eq!(followed.stdout, (1..=5).map(|i| format!("line {i}\n")).collect::<String>());
    let tail = namespace.verb(&["logs", "-n", "2", &id]).expect(0);
    assert_eq!(tail.stdout, "line 4\nline 5\n");
}

#[test]
#[ignore = "needs a cluster"]
fn status_and_kill_print_what_spark_prints() {
    let namespace = Namespace::new("ops");
    let more = ["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];
    let ids: Vec<_> = ["etl-a", "etl-b", "other"]
        .iter()
        .map(|name| Ran::of(&mut namespace.submit(name, &more, "sleep 60")).expect(0).id())
        .collect();
    let operation =
        |words: &[&str]| Ran::of(&mut namespace.anymaster(&[&["submit"], words].concat()));
    let master = crate::cluster::master();

    let status = operation(&["--master", &master, "--status", &ids[0]]).expect(0);
    let first =
        format!("Submitting a request for the status of submission {} in {master}.", ids[0]);
    assert!(status.stderr.starts_with(&first), "{}", status.stderr);
    assert!(
        status.stderr.contains("Application status (driver): \n\t pod name: etl-a-"),
        "{}",
        status.stderr
    );
    let absent = operation(&["--master", &master, "--status", &format!("{}:nope", namespace.name)])
        .expect(1);
    assert!(absent.stderr.contains("Application not found."), "{}", absent.stderr);

    let glob = format!("{}:etl-*", namespace.name);
    let killed = operation(&[
        "--master",
        &master,
        "--kill",
        &glob,
        "--conf",
        "spark.kubernetes.appKillPodDeletionGracePeriod=1",
    ])
    .expect(0);
    assert!(killed.stderr.contains("Grace period in secs: 1."), "{}", killed.stderr);
    assert_eq!(killed.stderr.matches("Deleting driver pod: etl-").count(), 2, "{}", killed.stderr);
    until("the two are gone", || (namespace.objects("pods").len() == 1).then_some(()));
    let none = operation(&["--master", &master, "--kill", &glob]).expect(0);
    assert!(none.stderr.contains("No applications found."), "{}", none.stderr);

    let list = namespace.verb(&["ps", "-o", "json"]).expect(0).stdout;
    assert!(list.contains(&ids[2]) && !list.contains(&ids[0]), "{list}");
    let ended = namespace.verb(&["kill", "--grace", "0s", &ids[2]]).expect(0);
    assert!(ended.stderr.contains("killed on request"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn a_submission_to_sparks_default_namespace_is_followed_from_a_context_with_another() {
    let namespace = Namespace::new("context");
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("config");
    std::fs::write(&kubeconfig, kubectl(&["config", "view", "--raw", "--flatten"])).unwrap();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let context = ["config", "set-context", "--current", "--namespace", &namespace.name];
    kubectl(&[&["--kubeconfig", kubeconfig], &context[..]].concat());
    let id = format!("context-{}", std::process::id());
    let mut command = namespace.anymaster(&["submit", "--deploy-mode", "cluster", "--name", &id]);
    for conf in [
        &format!("spark.kubernetes.container.image={IMAGE}"),
        "spark.kubernetes.driver.request.cores=10m",
        "spark.driver.memory=64m",
    ] {
        command.args(["--conf", conf]);
    }
    command.args(["--class", "Main", "local:///app.jar", "exit 3"]).env("KUBECONFIG", kubeconfig);
    let ran = Ran::of(&mut command).expect(3);
    let driver = ran.id();
    assert!(driver.starts_with("default:"), "{driver}");
    kubectl(&["-n", "default", "delete", "pod", driver.split_once(':').unwrap().1]);
}
