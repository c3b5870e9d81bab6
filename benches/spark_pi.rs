//! SparkPi on `local[2]`, from the command line to the last exit, beside the real spark-submit.
//!
//!     eval "$(tests/clusters/spark/up)"
//!     deploy/build && cargo bench -p anymaster-benches --bench spark_pi

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a benchmark")]

use std::path::Path;
use std::process::Command;

use anymaster_benches::{in_turns, program, time};

const ROUNDS: usize = 9;
const ARCHIVE: &str = "spark.anymaster.client.classArchive";

fn main() {
    let variable = |name| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/clusters/spark/up"))
    };
    let (spark, jar) = (variable("SPARK_HOME"), variable("SPARK_PI_JAR"));
    let home = tempfile::tempdir().unwrap();
    let line = ["--master", "local[2]", "--class", "org.apache.spark.examples.SparkPi"];
    let submit = Path::new(&spark).join("bin/spark-submit");
    let theirs = || time(Command::new(&submit).args(line).args([&jar, "2"]));
    let ours = |archive: &str| {
        let mut command = Command::new(program());
        command.env("ANYMASTER_STATE_DIR", home.path()).arg("submit").args(line);
        time(command.args(["--conf", &format!("{ARCHIVE}={archive}"), &jar, "2"]))
    };
    let made = ours("create");
    println!("class archive:           made once in {:.1} s", made.as_secs_f64());

    let [theirs, plain, archived] =
        in_turns(ROUNDS, [&mut || theirs(), &mut || ours("off"), &mut || ours("auto")]);
    println!("spark-submit:            {:.2} s", theirs.as_secs_f64());
    for (what, took) in [("without it:", plain), ("with it:   ", archived)] {
        println!(
            "anymaster, {what}   {:.2} s; {:.2} s sooner, ratio {:.2}",
            took.as_secs_f64(),
            theirs.as_secs_f64() - took.as_secs_f64(),
            theirs.as_secs_f64() / took.as_secs_f64(),
        );
    }
    println!("aim: at least 0.5 s sooner");
}
