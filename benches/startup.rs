//! How long the program takes to begin and how much memory it takes, beside the real spark-submit
//! when `SPARK_HOME` is set.
//!
//!     deploy/build && cargo bench -p anymaster-benches --bench startup

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::path::Path;
use std::process::Command;

use anymaster_benches::{in_turns, peak_memory_of_children, program, time};

const DRY_RUN: [&str; 11] = [
    "submit",
    "--master",
    "local[2]",
    "--executor-memory",
    "2g",
    "--conf",
    "spark.executor.instances=3",
    "--conf",
    "spark.eventLog.enabled=true",
    "--dry-run",
    "true",
];

fn main() {
    let program = program();
    let home = tempfile::tempdir().unwrap();
    let ours = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).env("ANYMASTER_STATE_DIR", home.path());
        command
    };
    let [version, dry_run] =
        in_turns(51, [&mut || time(&mut ours(&["--version"])), &mut || time(&mut ours(&DRY_RUN))]);
    let mib = peak_memory_of_children() as f64 / f64::from(1 << 20);
    println!("anymaster --version:        {:.1} ms (aim: at most 10)", ms(version));
    println!("anymaster submit --dry-run: {:.1} ms (aim: at most 20)", ms(dry_run));
    println!("peak memory of either:      {mib:.1} MiB (aim: at most 20)");

    let Some(spark) = std::env::var_os("SPARK_HOME") else { return };
    let submit = Path::new(&spark).join("bin/spark-submit");
    let [theirs] = in_turns(5, [&mut || time(Command::new(&submit).arg("--version"))]);
    let mib = peak_memory_of_children() as f64 / f64::from(1 << 20);
    println!("spark-submit --version:     {:.0} ms, {mib:.0} MiB", ms(theirs));
    println!("ratio: {:.0}", theirs.as_secs_f64() / version.as_secs_f64());
}

fn ms(took: std::time::Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
