//! Drivers of a real Spark, which ask a master of ours for executors.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::daemon::Daemon;
use crate::home::{Home, Said, said};

/// JVMs that live for seconds: their second compiler costs more than it gains.
pub const JAVA_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// Properties by which executors come and go within seconds.
pub const DYNAMIC_ALLOCATION: [&str; 6] = [
    "spark.dynamicAllocation.enabled=true",
    "spark.dynamicAllocation.shuffleTracking.enabled=true",
    "spark.dynamicAllocation.minExecutors=0",
    "spark.dynamicAllocation.maxExecutors=2",
    "spark.dynamicAllocation.executorIdleTimeout=2s",
    "spark.dynamicAllocation.schedulerBacklogTimeout=1s",
];

/// A variable that the scripts of `tests/clusters` set.
pub fn variable(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: tests/all brings up what does"))
        .into()
}

/// Spark's own `spark-submit`, with a driver in client mode at this master that does one of the jobs of
/// `tests/clusters/spark/job.py`. `more`: other options.
pub fn job(home: &Home, master: &str, more: &[&str], job: &[&str]) -> Command {
    let spark = variable("SPARK_HOME");
    let mut command = Command::new(spark.join("bin/spark-submit"));
    command
        .args(["--master", master, "--conf", "spark.executor.cores=1"])
        .args(["--conf", "spark.executor.memory=512m", "--conf", "spark.ui.enabled=false"])
        .args(["--conf", "spark.driver.host=127.0.0.1"])
        .args(["--driver-java-options", JAVA_OPTIONS])
        .args(["--conf", &format!("spark.executor.extraJavaOptions={JAVA_OPTIONS}")])
        .args(more)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../clusters/spark/job.py"))
        .args(job)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("SPARK_HOME", &spark)
        .env("JAVA_HOME", variable("JAVA_HOME"))
        .stdin(Stdio::null())
        .current_dir(home.path());
    command
}

/// Runs such a job, which has to have the right result.
#[track_caller]
pub fn succeeds(home: &Home, master: &str, more: &[&str], part: &[&str]) -> Said {
    let said = said(&job(home, master, more, part).output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("right"), "{said:?}");
    said
}

/// A driver that runs; ended with this.
pub struct Driver(Child);

impl Driver {
    /// Waits for its end: its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts such a job, and does not wait. What it says is nobody's business.
pub fn start(home: &Home, master: &str, more: &[&str], part: &[&str]) -> Driver {
    let mut command = job(home, master, more, part);
    Driver(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A gateway to this cluster, with these options.
pub fn gateway(home: &Home, master: &str, more: &[&str]) -> Daemon {
    let mut command = home.command(&["gateway", "--master", master, "--port", "0"]);
    command.args(more);
    command.env("JAVA_HOME", variable("JAVA_HOME")).env("SPARK_HOME", variable("SPARK_HOME"));
    Daemon::start(command)
}
