//! Objects of newer Spark releases in a real API server.

use serde_json::{Value, json};

use crate::cluster::{Namespace, Ran, ca, kubectl, until};

const POLICIES: &str = "networkpolicies";

/// Options to submit without waiting.
const DETACHED: [&str; 2] = ["--conf", "spark.kubernetes.submission.waitAppCompletion=false"];

fn detached<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&DETACHED, more].concat()
}

/// A kubeconfig of a user who may do everything here that submissions did before Spark 4.2.
fn user_of_older_sparks(namespace: &Namespace, directory: &std::path::Path) -> String {
    let name = &namespace.name;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "submitter"},
        "rules": [{"apiGroups": [""], "verbs": ["*"], "resources": [
            "pods", "pods/log", "services", "configmaps", "secrets", "persistentvolumeclaims", "events",
        ]}],
    });
    let write = |file: &str, content: String| {
        let path = directory.join(file);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    kubectl(&["-n", name, "create", "-f", &write("role", role.to_string())]);
    kubectl(&["-n", name, "create", "serviceaccount", "submitter"]);
    let account = format!("--serviceaccount={name}:submitter");
    kubectl(&["-n", name, "create", "rolebinding", "submitter", "--role=submitter", &account]);
    let server =
        kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let token = kubectl(&["-n", name, "create", "token", "submitter"]);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": server, "certificate-authority": write("ca.crt", ca())}}],
        "users": [{"name": "u", "user": {"token": token.trim()}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    write("kubeconfig", config.to_string())
}

#[test]
#[ignore = "needs a cluster"]
fn the_network_policy_of_4_2_is_created_and_deleted_with_its_driver() {
    let namespace = Namespace::new("policy");
    let version = |text| detached(&["--conf", text]);
    let old = version("spark.anymaster.sparkVersion=4.1.4");
    Ran::of(&mut namespace.submit("old", &old, "sleep 60")).expect(0);
    assert_eq!(namespace.objects(POLICIES), [] as [Value; 0]);
    let new = version("spark.anymaster.sparkVersion=4.3.0");
    let id = Ran::of(&mut namespace.submit("new", &new, "sleep 60")).expect(0).id();
    let policies = namespace.objects(POLICIES);
    assert_eq!(policies.len(), 1, "{policies:?}");
    let (spec, owner) = (&policies[0]["spec"], &policies[0]["metadata"]["ownerReferences"][0]);
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    assert_eq!(spec["podSelector"]["matchLabels"]["spark-role"], "executor");
    assert_eq!(owner["kind"], "Pod");
    assert_eq!(owner["name"], id.split_once(':').unwrap().1);
    namespace.verb(&["kill", &id]).expect(0);
    until("the policy goes with its driver", || {
        namespace.objects(POLICIES).is_empty().then_some(())
    });
}

#[test]
#[ignore = "needs a cluster"]
fn without_permission_for_network_policies_older_sparks_can_be_submitted() {
    let (namespace, directory) = (Namespace::new("older"), tempfile::tempdir().unwrap());
    let kubeconfig = user_of_older_sparks(&namespace, directory.path());
    let submit = |name: &str, more: &[&str]| {
        let mut command = namespace.submit(name, &detached(more), "sleep 60");
        Ran::of(command.env("KUBECONFIG", &kubeconfig))
    };
    let doctor = Ran::of(
        namespace
            .anymaster(&["doctor", "--namespace", &namespace.name])
            .env("KUBECONFIG", &kubeconfig),
    )
    .expect(0);
    assert!(
        doctor.stdout.contains("you may not create networkpolicies.networking.k8s.io"),
        "{}",
        doctor.stdout
    );
    // The release is unknown.
    let unsaid = submit("unsaid", &[]).expect(0);
    assert!(unsaid.stderr.contains("the network policy that Spark creates"), "{}", unsaid.stderr);
    let older = submit("older", &["--conf", "spark.anymaster.sparkVersion=4.1.4"]).expect(0);
    assert!(!older.stderr.contains("network policy"), "{}", older.stderr);
    let drivers = namespace.objects("pods").len();
    assert_eq!(drivers, 2);
    // With 4.3 the policy is required: without it, the submission fails.
    let newer = submit("newer", &["--conf", "spark.anymaster.sparkVersion=4.3.0"]).expect(1);
    assert!(newer.stderr.contains("networkpolicies"), "{}", newer.stderr);
    until("nothing of it is left", || {
        let configmaps = namespace.objects("configmaps").len();
        (namespace.objects("pods").len() == 2 && configmaps == 2).then_some(())
    });
    assert_eq!(namespace.objects(POLICIES), [] as [Value; 0]);
}
