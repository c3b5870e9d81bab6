//! Authentication: kubeconfigs, credential plugins, certificates.

use std::process::Command;

use crate::cluster::{Namespace, Ran, ca, kubectl, own_cluster};

/// Lists applications with a kubeconfig and nothing else.
fn lists(namespace: &Namespace, kubeconfig: &str, more: &[&str]) -> Ran {
    let mut command = namespace.anymaster(&["ps", "--namespace", &namespace.name]);
    Ran::of(command.args(more).env("KUBECONFIG", kubeconfig))
}

fn openssl(directory: &std::path::Path, args: &[&str]) {
    let output = Command::new("openssl").args(args).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs a cluster"]
fn tokens_plugins_lists_and_contexts_of_kubeconfigs_work() {
    let namespace = Namespace::new("who");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let server =
        kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let ca = write("ca.crt", &ca());
    let token = kubectl(&["-n", &namespace.name, "create", "token", "spark"]);
    let cluster = write(
        "cluster",
        &format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: '{server}', certificate-authority: {ca}}}}}]\n\
         contexts: [{{name: plugin, context: {{cluster: c, user: plugin}}}}, {{name: token, context: {{cluster: c, user: token}}}}]\n\
         current-context: token\n"
        ),
    );
    let credential = format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{}"}}}}"#,
        token.trim()
    );
    let answer = write("answer", &credential);
    let users = write(
        "users",
        &format!(
            "apiVersion: v1\nkind: Config\nusers:\n- {{name: token, user: {{token: {}}}}}\n\
         - {{name: plugin, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: cat, args: [{answer}], interactiveMode: Never}}}}}}\n",
            token.trim()
        ),
    );
    // The cluster in one file, users in another.
    let list = format!("{cluster}:{users}");
    lists(&namespace, &list, &[]).expect(0);
    lists(&namespace, &list, &["-c", "spark.kubernetes.context=plugin"]).expect(0);
    let unknown = lists(&namespace, &list, &["-c", "spark.kubernetes.context=nope"]);
    assert_ne!(unknown.code, Some(0));
    assert!(
        unknown.stderr.contains("nope") && unknown.stderr.contains("get-contexts"),
        "{}",
        unknown.stderr
    );
    // No credentials.
    let nobody = lists(&namespace, &cluster, &[]).expect(1);
    assert!(
        nobody.stderr.contains("pods is forbidden")
            || nobody.stderr.contains("does not accept the credentials"),
        "{}",
        nobody.stderr
    );
    // An untrusted server certificate.
    let stranger = write(
        "stranger",
        &format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: token}}}}]\ncurrent-context: x\n"
        ),
    );
    let refused = lists(&namespace, &format!("{stranger}:{users}"), &[]).expect(1);
    assert!(refused.stderr.contains("certificate is not trusted"), "{}", refused.stderr);
    lists(
        &namespace,
        &format!("{stranger}:{users}"),
        &["-c", "spark.kubernetes.trust.certificates=true"],
    )
    .expect(0);
    let named = format!("spark.kubernetes.authenticate.submission.caCertFile={ca}");
    lists(&namespace, &format!("{stranger}:{users}"), &["-c", &named]).expect(0);
}

#[test]
#[ignore = "needs a cluster of our own"]
fn client_certificates_with_any_kind_of_key_work() {
    let state = own_cluster().expect("the keys of tests/clusters/kube are needed");
    let namespace = Namespace::new("keys");
    let directory = tempfile::tempdir().unwrap();
    let (ca, ca_key) = (state.join("pki/ca.crt"), state.join("pki/ca.key"));
    let kinds: [(&str, &[&str]); 5] = [
        (
            "rsa",
            &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key"],
        ),
        ("rsa-pkcs1", &["genrsa", "-traditional", "-out", "key", "2048"]),
        ("p256-sec1", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key"]),
        (
            "p384",
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "key"],
        ),
        ("ed25519", &["genpkey", "-algorithm", "ED25519", "-out", "key"]),
    ];
    std::fs::write(directory.path().join("extensions"), "basicConstraints=CA:FALSE").unwrap();
    for (kind, generate) in kinds {
        openssl(directory.path(), generate);
        openssl(
            directory.path(),
            &[
                "req",
                "-new",
                "-key",
                "key",
                "-subj",
                "/O=system:masters/CN=test",
                "-out",
                "request",
            ],
        );
        let (ca, ca_key) = (ca.display().to_string(), ca_key.display().to_string());
        openssl(
            directory.path(),
            &[
                "x509",
                "-req",
                "-in",
                "request",
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-set_serial",
                "1",
                "-extfile",
                "extensions",
                "-days",
                "1",
                "-out",
                "crt",
            ],
        );
        let file = |name: &str| directory.path().join(name).display().to_string();
        let conf: Vec<String> =
            [("caCertFile", ca), ("clientKeyFile", file("key")), ("clientCertFile", file("crt"))]
                .iter()
                .flat_map(|(key, path)| {
                    [
                        "-c".to_owned(),
                        format!("spark.kubernetes.authenticate.submission.{key}={path}"),
                    ]
                })
                .collect();
        let conf: Vec<&str> = conf.iter().map(String::as_str).collect();
        let empty = directory.path().join("empty");
        std::fs::write(&empty, "apiVersion: v1\nkind: Config\n").unwrap();
        let ran = lists(&namespace, &empty.display().to_string(), &conf);
        assert_eq!(ran.code, Some(0), "{kind}: {}", ran.stderr);
    }
}
