//! What goes wrong around a submission.

use crate::cluster::{Namespace, Ran, kubectl, own_cluster, start, until};

#[test]
#[ignore = "needs a cluster"]
fn a_driver_that_is_deleted_by_hand_ends_the_wait() {
    let namespace = Namespace::new("deleted");
    let waiting = start(&mut namespace.submit("gone", &[], "sleep 300"));
    until("the driver runs", || {
        namespace
            .objects("pods")
            .first()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .map(|_| ())
    });
    kubectl(&["-n", &namespace.name, "delete", "pods", "--all", "--now"]);
    let ran = Ran::from(waiting.wait_with_output().unwrap()).expect(143);
    assert!(ran.stderr.contains("killed on request"), "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn a_namespace_that_is_deleted_ends_the_wait() {
    let namespace = Namespace::new("nsgone");
    let waiting = start(&mut namespace.submit("gone", &[], "sleep 300"));
    until("the driver is there", || namespace.objects("pods").first().map(|_| ()));
    kubectl(&["delete", "namespace", &namespace.name, "--wait=false"]);
    Ran::from(waiting.wait_with_output().unwrap()).expect(143);
}

#[test]
#[ignore = "needs a cluster of our own"]
fn an_api_server_that_restarts_does_not_end_the_wait() {
    let Some(_) = own_cluster() else { return };
    let namespace = Namespace::new("restart");
    let waiting = start(&mut namespace.submit("long", &[], "sleep 8; exit 6"));
    until("the driver runs", || {
        namespace
            .objects("pods")
            .first()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .map(|_| ())
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clusters/kube/apiserver");
    let run = |verb: &str| {
        assert!(std::process::Command::new(script).arg(verb).status().unwrap().success())
    };
    run("stop");
    // While it is away, nothing can be submitted, and that is said.
    run("start");
    Ran::from(waiting.wait_with_output().unwrap()).expect(6);
}
