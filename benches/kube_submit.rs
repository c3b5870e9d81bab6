//! One submission to Kubernetes, without waiting for its end, beside the real spark-submit.
//!
//!     eval "$(tests/clusters/kube/up)" && eval "$(tests/clusters/spark/up)"
//!     deploy/build && cargo bench -p anymaster-benches --bench kube_submit

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anymaster_benches::{cpu_of_children, in_turns, peak_memory_of_children, program, time};

const ROUNDS: usize = 5;

fn main() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (master, state) = (variable("ANYMASTER_KUBE_MASTER"), variable("ANYMASTER_KUBE_STATE"));
    let submit = Path::new(&variable("SPARK_HOME")).join("bin/spark-submit");
    let home = tempfile::tempdir().unwrap();
    let line = |command: &mut Command| {
        command.args(["--master", &master, "--deploy-mode", "cluster", "--class", "Main"]);
        for conf in [
            "spark.kubernetes.container.image=registry.test/driver:1",
            "spark.kubernetes.submission.waitAppCompletion=false",
            // Nobody schedules it: what is measured is the submission.
            "spark.kubernetes.driver.scheduler.name=nobody",
        ] {
            command.args(["--conf", conf]);
        }
        command.args(["local:///app.jar", "true"]);
        command.env("ANYMASTER_STATE_DIR", home.path());
    };
    let mut ours = Command::new(program());
    line(ours.arg("submit"));
    let mut theirs = Command::new(submit);
    // Its client cannot read EC keys.
    line(theirs.env("KUBECONFIG", Path::new(&state).join("kubeconfig-token")));

    // Memory first: it is known of all children together only.
    time(&mut ours);
    let our_memory = peak_memory_of_children();
    let mut cpu = [Duration::ZERO; 2];
    let mut measured = |which: usize, command: &mut Command| {
        let before = cpu_of_children();
        let took = time(command);
        cpu[which] += cpu_of_children() - before;
        took
    };
    let measured = std::cell::RefCell::new(&mut measured);
    let [our_time, their_time] = in_turns(
        ROUNDS,
        [&mut || (measured.borrow_mut())(0, &mut ours), &mut || {
            (measured.borrow_mut())(1, &mut theirs)
        }],
    );
    let their_memory = peak_memory_of_children();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let rounds = u32::try_from(ROUNDS).unwrap();
    println!("              {:>10} {:>10} {:>8}", "anymaster", "Spark's", "ratio");
    let row = |what: &str, unit: &str, ours: f64, theirs: f64| {
        println!("{what:<14}{ours:>7.1} {unit} {theirs:>7.1} {unit} {:>8.0}", theirs / ours);
    };
    row("wall time", "ms", our_time.as_secs_f64() * 1e3, their_time.as_secs_f64() * 1e3);
    row(
        "CPU time",
        "ms",
        (cpu[0] / rounds).as_secs_f64() * 1e3,
        (cpu[1] / rounds).as_secs_f64() * 1e3,
    );
    row("peak memory", "MiB", mib(our_memory), mib(their_memory));
    println!("aims: 50 times less time, 200 times less CPU, at most 15 MiB");
}
