//! All of it over TLS.

use std::process::Command;

use anymaster_test_support::certificates::Certificates;
use anymaster_test_support::home::{Home, nothing_is_left, processes_of};
use anymaster_test_support::standalone::{Cluster, curl};

#[test]
#[ignore = "needs openssl and curl"]
fn nobody_reads_along_and_nobody_else_is_believed() {
    let home = Home::new();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Certificates::named(&home, name));
    let secret = home.file("secret", "of the cluster").display().to_string();
    let authority = ours.authority.display().to_string();
    let [on, chain, key, authorities] = ours.properties();
    let conf = [
        on,
        chain,
        key,
        authorities,
        format!("spark.anymaster.authenticate.secretFile={secret}"),
        "spark.deploy.recoveryMode=FILESYSTEM".to_owned(),
        "spark.deploy.recoveryDirectory=kept".to_owned(),
    ];
    let conf: Vec<&str> = conf.iter().map(String::as_str).collect();
    let mut cluster = Cluster::master(home, &conf);
    cluster.add_worker(3, "2g");

    // A driver of its own, which reaches the master by the key of its application.
    let pi = anymaster_test_support::example::pi().to_str().unwrap();
    let sizes = ["--driver-memory", "64m", "--executor-memory", "64m", "--executor-cores", "1"];
    let id = ["--deploy-mode", "cluster", "--submission-id", "pi-tls"];
    let waits = ["--conf", "spark.standalone.submit.waitAppCompletion=true"];
    let more = ["--conf", "spark.executor.instances=2", pi, "20"];
    cluster.call("submit", &[&id[..], &sizes, &waits, &more].concat()).expect(0, &["finished"]);
    let out = cluster.call("logs", &["pi-tls"]).out;
    assert!(anymaster_test_support::example::digits(&out).starts_with("3.1"), "{out}");
    nothing_is_left("pi-tls");

    // The page and the REST port, for those who show the token.
    let token = cluster.home.call(&["token", "--conf", conf[4]]).out.trim().to_owned();
    let bearer = format!("Authorization: Bearer {token}");
    let page = format!("https://127.0.0.1:{}/", cluster.web);
    let rest = format!("https://127.0.0.1:{}/v1/submissions/readyz", cluster.rest);
    for url in [&page, &rest] {
        let code = |more: &[&str]| {
            let words = ["--cacert", &authority, "-o", "/dev/null", "-w", "%{http_code}", url];
            curl(&[&words[..], more].concat())
        };
        assert_eq!(code(&["-H", &bearer]), "200");
        assert_eq!(code(&[]), "401");
        assert_eq!(code(&["-H", "Authorization: Bearer 0123"]), "401");
        let output = Command::new("curl").args(["-sS", url]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("certificate"), "{output:?}");
    }
    assert!(curl(&["--cacert", &authority, "-u", &format!("me:{token}"), &page]).contains("ALIVE"));

    // A master that breaks off while TLS begins, as one that goes down does, ends nothing.
    let before = cluster.submit_one_that_waits("kept");
    cluster.replace_for_a_while(b"");
    assert_eq!(processes_of("kept"), before, "nothing was disturbed");
    cluster.call("kill", &["kept"]).expect(0, &[]);
    nothing_is_left("kept");

    // Who does not speak TLS, or believes somebody else.
    let master = cluster.master.ready.clone();
    let ps = ["ps", "--master", &master, "--conf", conf[4]];
    cluster.home.call(&ps).expect(1, &["the connection is broken", "is TLS on there"]);
    let authorities = format!("spark.anymaster.ssl.authorities={}", theirs.authority.display());
    let other = [&ps[..], &["--conf", conf[0], "--conf", &authorities]].concat();
    cluster.home.call(&other).expect(1, &["the certificate of"]);
    let none = [&ps[..], &["--conf", conf[0]]].concat();
    cluster.home.call(&none).expect(2, &["trusted authorities", "spark.anymaster.ssl.authorities"]);
    let java = [&none[..], &["--conf", "spark.ssl.trustStore=trust.jks"]].concat();
    cluster.home.call(&java).expect(1, &["Java key stores are not supported"]);
}
