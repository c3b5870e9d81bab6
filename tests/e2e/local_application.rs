//! `submit` with a program of one's own: what it finds when it runs.

use anymaster_test_support::home::Home;

#[test]
fn a_program_finds_its_application_in_its_environment() {
    let home = Home::new();
    let script = "env | grep ^ANYMASTER_ | cut -d= -f1 | sort; cat $ANYMASTER_PROPERTIES_FILE";
    let program = home.file("app.sh", &format!("#!/bin/sh\n{script}\n"));
    make_executable(&program);
    let program = program.display().to_string();
    let said = home.call(&[
        "submit",
        "--master",
        "local[2]",
        "--conf",
        "spark.my.own=1",
        "--conf",
        "spark.some.password=hush",
        &program,
        "--kill",
    ]);
    said.expect(0, &[]);
    for word in [
        "ANYMASTER_APPLICATION_ID",
        "ANYMASTER_DRIVER_PORT",
        "ANYMASTER_SECRET_FILE",
        "spark.my.own",
    ] {
        assert!(said.out.contains(word), "it does not find {word}: {said:?}");
    }
    assert!(!said.err.contains("hush"), "{said:?}");
}

#[test]
fn a_program_for_kubernetes_is_a_driver_there_unless_it_is_said() {
    let home = Home::new();
    let line = ["submit", "--master", "k8s://https://127.0.0.1:1", "--dry-run", "--conf"];
    let said = home.call(&[&line[..], &["spark.kubernetes.container.image=pi:1", "pi"]].concat());
    said.expect(0, &[]);
    assert!(said.out.contains("spark.submit.deployMode=cluster"), "{}", said.out);
}

#[test]
fn a_dry_run_starts_nothing_and_hides_secrets() {
    let home = Home::new();
    let line = ["submit", "--master", "local[2]", "--dry-run", "--conf", "spark.a.password=hush"];
    for format in [&["-o", "json"][..], &[]] {
        let said = home.call(&[&line[..], format, &["true", "1"]].concat());
        said.expect(0, &[]);
        assert!(said.out.contains("true"), "{said:?}");
        assert!(!said.out.contains("hush") && !said.err.contains("hush"), "{said:?}");
    }
    assert!(!home.path().join("state").exists());
}

#[test]
fn the_same_submission_again_attaches_and_another_is_a_conflict() {
    let home = Home::new();
    let submit = |seconds| ["submit", "--submission-id", "once", "sleep", seconds];
    let first = home.start(&submit("5"));
    home.until("once", "it runs", |status| status["driver"]["state"] == "running");
    home.call(&submit("6")).expect(1, &["once"]);
    home.call(&submit("5")).expect(0, &[]);
    first.wait().expect(0, &[]);
    assert_eq!(home.json(&["ps", "-a", "-o", "json"]).as_array().unwrap().len(), 1);
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
