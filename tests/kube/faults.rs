//! Faults during a submission.

use std::sync::atomic::Ordering;

use crate::cluster::{Namespace, Ran, kubectl, start};
use crate::proxy::Proxy;

#[test]
#[ignore = "needs a cluster"]
fn a_driver_that_is_deleted_by_hand_ends_the_wait() {
    let namespace = Namespace::new("deleted");
    let waiting = start(&mut namespace.submit("gone", &[], "sleep 300"));
    namespace.until_driver_runs();
    kubectl(&["-n", &namespace.name, "delete", "pods", "--all", "--now"]);
    let ran = Ran::from(waiting.wait_with_output().unwrap()).expect(143);
    assert!(ran.stderr.contains("killed on request"), "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn a_namespace_that_is_deleted_ends_the_wait() {
    let namespace = Namespace::new("nsgone");
    let waiting = start(&mut namespace.submit("gone", &[], "sleep 300"));
    namespace.until_driver_runs();
    kubectl(&["delete", "namespace", &namespace.name, "--wait=false"]);
    Ran::from(waiting.wait_with_output().unwrap()).expect(143);
}

#[test]
#[ignore = "needs a cluster of our own"]
fn an_api_server_that_restarts_does_not_end_the_wait() {
    let namespace = Namespace::new("restart");
    let waiting = start(&mut namespace.submit("long", &[], "sleep 8; exit 6"));
    namespace.until_driver_runs();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clusters/kube/apiserver");
    let run = |verb: &str| {
        assert!(std::process::Command::new(script).arg(verb).status().unwrap().success())
    };
    run("stop");
    // While it is down, submissions fail with an error.
    run("start");
    Ran::from(waiting.wait_with_output().unwrap()).expect(6);
}

#[test]
#[ignore = "needs a cluster"]
fn a_storm_of_refusals_makes_neither_duplicates_nor_orphans() {
    let namespace = Namespace::new("storm");
    let proxy = Proxy::new(&namespace.name);
    proxy.faults.storm.store(12, Ordering::Relaxed);
    let more = ["--master", &proxy.master];
    Ran::of(&mut namespace.submit("storm", &more, "exit 9")).expect(9);
    assert!(proxy.faults.storm.load(Ordering::Relaxed) < 6, "the storm was hardly met");
    for kind in ["pods", "services", "configmaps"] {
        let objects = namespace.objects(kind);
        assert_eq!(objects.len(), 1, "{kind}");
        assert!(
            kind == "pods" || !objects[0]["metadata"]["ownerReferences"].is_null(),
            "{}",
            objects[0]
        );
    }
    // A lasting fault fails the submission soon, and nothing is left over.
    proxy.faults.closed.store(true, Ordering::Relaxed);
    let ran = Ran::of(&mut namespace.submit("never", &more, "true"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn an_expired_watch_is_restarted() {
    let namespace = Namespace::new("expiry");
    let proxy = Proxy::new(&namespace.name);
    proxy.faults.expiries.store(6, Ordering::Relaxed);
    let ran =
        Ran::of(&mut namespace.submit("expiry", &["--master", &proxy.master], "sleep 4; exit 8"))
            .expect(8);
    assert!(proxy.faults.expiries.load(Ordering::Relaxed) < 6);
    assert_eq!(ran.stderr.matches("\n\t exit code: 8").count(), 1, "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn a_rotated_token_is_read_again() {
    let namespace = Namespace::new("token");
    let proxy = Proxy::new(&namespace.name);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first").unwrap();
    *proxy.faults.token.lock().unwrap() = Some("first".to_owned());
    let token = format!(
        "spark.kubernetes.authenticate.submission.oauthTokenFile={}",
        file.path().display()
    );
    let waiting = start(&mut namespace.submit(
        "token",
        &["--master", &proxy.master, "--conf", &token],
        "sleep 10; exit 2",
    ));
    namespace.until_driver_runs();
    std::fs::write(file.path(), "second").unwrap();
    *proxy.faults.token.lock().unwrap() = Some("second".to_owned());
    // Requests in flight have to be retried.
    proxy.faults.expiries.store(1, Ordering::Relaxed);
    Ran::from(waiting.wait_with_output().unwrap()).expect(2);
}
