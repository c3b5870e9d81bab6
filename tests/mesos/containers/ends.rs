//! How containers end, and why.

use super::{Containers, KINDS, PROGRAM, docker};
use anymaster_test_support::home::{eventually, nothing_is_left};

/// Nothing runs for this application any more, and Docker has no container of the task's.
fn is_gone(app: &str) {
    nothing_is_left(app);
    eventually("Docker has no container of it", || {
        let all = docker(&["ps", "--quiet", "--no-trunc"]);
        let of_app = |id: &str| {
            let env = docker(&["inspect", "--format", "{{json .Config.Env}}", id]);
            env.contains(&format!("ANYMASTER_APPLICATION_ID={app}\""))
        };
        (!all.lines().any(of_app)).then_some(())
    });
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn an_image_that_is_not_there_is_the_cause() {
    let containers = Containers::new();
    for kind in KINDS {
        let id = format!("missing-{kind}");
        let image = "127.0.0.1:80/no/such:1";
        let said = containers.submit(&id, kind, image, &[], "true");
        assert_ne!(said.code, Some(0), "{said:?}");
        let cause = containers.cause(&id);
        assert_eq!(cause["cause"], "could-not-start", "{kind}: {cause}");
        assert_eq!(cause["failure"], "image", "{kind}: {cause}");
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn what_takes_more_memory_than_its_container_may_is_told_so() {
    let containers = Containers::new();
    for kind in KINDS {
        let id = format!("memory-{kind}");
        let grows = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done";
        let said = containers.submit(&id, kind, PROGRAM, &[], grows);
        assert_ne!(said.code, Some(0), "{said:?}");
        let cause = containers.cause(&id);
        // Docker's executor knows only that it was killed. So does that of Mesos, whose agent knows more: what
        // is reported is from the one that is first.
        let of_agent = kind == "mesos" && cause["cause"] == "out-of-memory";
        let of_executor = cause["cause"] == "signaled" && cause["signal"] == 9;
        assert!(of_agent || of_executor, "{kind}: {cause}");
        let told = containers.scene.call("explain", &[&id]).out;
        assert!(told.contains("memory"), "{kind}: {told}");
        is_gone(&id);
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn exit_codes_and_programs_that_are_not_there_are_told() {
    let containers = Containers::new();
    for kind in KINDS {
        let id = format!("seven-{kind}");
        containers.submit(&id, kind, PROGRAM, &[], "exit 7").expect(7, &[]);
        assert_eq!(containers.cause(&id)["code"], 7);
        let id = format!("absent-{kind}");
        let conf = super::all(kind, PROGRAM, &[]);
        let said = containers.scene.submit(&id, &crate::scene::options(&conf), &["/no/such"]);
        assert_ne!(said.code, Some(0), "{said:?}");
        let cause = containers.cause(&id);
        assert_eq!(cause["failure"], "bad-command", "{kind}: {cause}");
    }
}

#[test]
#[ignore = "needs Mesos and Docker"]
fn what_is_killed_is_gone_even_if_it_ignores_sigterm() {
    let containers = Containers::new();
    for kind in KINDS {
        for (name, line) in [
            ("ends", "trap 'exit 0' TERM; echo ready; while true; do sleep 0.1; done"),
            ("ignores", "trap '' TERM; echo ready; while true; do sleep 0.1; done"),
        ] {
            let id = format!("{name}-{kind}");
            let run = containers.start(&id, kind, PROGRAM, &[], line);
            containers.output(&id, "ready");
            containers.scene.call("kill", &[&id, "--grace", "1s"]).expect(0, &[]);
            run.wait().expect(143, &[]);
            assert_eq!(containers.cause(&id)["cause"], "killed", "{id}");
            is_gone(&id);
        }
    }
}
