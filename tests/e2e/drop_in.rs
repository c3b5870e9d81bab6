//! A Spark whose `bin/spark-submit` is ours: all of Spark's own scripts, and Python programs, work as
//! before. Every test needs a real Spark: `tests/all spark` runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anymaster_test_support::home::{Home, eventually, program};

/// Hive's tables are made on disk else, which takes half a minute.
const IN_MEMORY: &str =
    "spark.hadoop.javax.jdo.option.ConnectionURL=jdbc:derby:memory:tables;create=true";

/// A copy of a real Spark, in a home of its own.
struct Spark {
    home: Home,
    real: PathBuf,
}

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: tests/clusters/spark/up"))
        .into()
}

impl Spark {
    /// With a `spark-env.sh` that writes down how often it is read.
    fn new() -> Self {
        let (home, real) = (Home::new(), variable("SPARK_HOME"));
        let root = home.path();
        for dir in ["bin", "sbin", "conf", "examples/jars"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        for dir in ["bin", "sbin"] {
            for entry in real.join(dir).read_dir().unwrap().flatten() {
                std::fs::copy(entry.path(), root.join(dir).join(entry.file_name())).unwrap();
            }
        }
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, root.join(to)).unwrap();
        link(&real.join("jars"), "jars");
        link(&real.join("python"), "python");
        // A Spark of pip has no examples: this has the one that is run.
        std::fs::write(root.join("RELEASE"), "").unwrap();
        link(&variable("SPARK_PI_JAR"), "examples/jars/spark-examples_test.jar");
        std::fs::remove_file(root.join("bin/spark-submit")).unwrap();
        link(program(), "bin/spark-submit");
        let env =
            "echo read >> \"$SPARK_HOME/reads\"\nSPARK_LOCAL_IP=127.0.0.1\nOF_SPARK_ENV=yes\n";
        std::fs::write(root.join("conf/spark-env.sh"), env).unwrap();
        Self { home, real }
    }

    /// Where pip put the Python that knows this Spark.
    fn python_dir(&self) -> PathBuf {
        self.real.join("../../../../bin").canonicalize().unwrap()
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let root = self.home.path();
        let python = self.python_dir();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(root.join(program));
        command
            .args(args)
            .env_clear()
            .env("PATH", format!("{}:{path}", python.display()))
            .env("HOME", root)
            .env("JAVA_HOME", variable("JAVA_HOME"))
            .env("SPARK_HOME", root)
            .env("ANYMASTER", anymaster_test_support::home::program())
            .env("ANYMASTER_STATE_DIR", root.join("state"))
            // As on a terminal: else Python reads no start file.
            .env("PYSPARK_DRIVER_PYTHON_OPTS", "-i")
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs one of its programs with this on standard input, and expects it to print something.
    #[track_caller]
    fn prints(&self, program: &str, args: &[&str], input: &str, want: &str) {
        let file = self.home.file("input", input);
        let mut command = self.command(program, args);
        let output = command.stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        let (out, err) = said(&output);
        assert!(output.status.success(), "{program}: {out}\n{err}");
        assert!(out.contains(want), "{program} does not print {want:?}: {out}\n{err}");
    }

    fn is_4(&self) -> bool {
        let jars = self.real.join("jars").read_dir().unwrap().flatten();
        jars.into_iter()
            .any(|jar| jar.file_name().to_string_lossy().starts_with("spark-core_2.13-4"))
    }
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn a_session_of_a_python_program_or_notebook() {
    let spark = Spark::new();
    let python = spark.python_dir().join("python3");
    let program = "from pyspark.sql import SparkSession\n\
                   spark = SparkSession.builder.getOrCreate()\n\
                   import os\n\
                   print('counted', spark.range(3).count())\n\
                   print('in jvm', spark._jvm.java.lang.System.getenv('OF_SPARK_ENV'))\n";
    let command = spark.command("bin/spark-submit", &[]);
    let arguments = "--master local[1] --conf spark.ui.enabled=false pyspark-shell";
    let output = Command::new(python)
        .args(["-c", program])
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PYSPARK_SUBMIT_ARGS", arguments)
        .current_dir(spark.home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = said(&output);
    assert!(out.contains("counted 3") && out.contains("in jvm yes"), "{out}\n{err}");
    let reads = std::fs::read_to_string(spark.home.path().join("reads")).unwrap();
    assert_eq!(reads, "read\n", "spark-env.sh is read once");
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn the_shells() {
    let spark = Spark::new();
    let local = ["--master", "local[1]", "--conf", "spark.ui.enabled=false"];
    spark.prints("bin/pyspark", &local, "print('counted', spark.range(5).count())\n", "counted 5");
    let reads = std::fs::read_to_string(spark.home.path().join("reads")).unwrap();
    assert_eq!(reads, "read\n", "also where a script has read it before");
    spark.prints(
        "bin/spark-shell",
        &local,
        "println(\"counted \" + spark.range(7).count)\n",
        "counted 7",
    );
    let sql = ["--conf", IN_MEMORY, "-e", "select 40 + 2"];
    let sql: Vec<_> = local.into_iter().chain(sql).collect();
    spark.prints("bin/spark-sql", &sql, "", "42");
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn examples_and_the_version() {
    let spark = Spark::new();
    let class = "org.apache.spark.examples.SparkPi";
    for name in ["SparkPi", class] {
        let line = ["--conf", "spark.ui.enabled=false", "--master", "local[1]", name, "2"];
        spark.prints("bin/run-example", &line, "", "Pi is roughly");
    }
    let real = Command::new(spark.real.join("bin/spark-submit"))
        .arg("--version")
        .env("JAVA_HOME", variable("JAVA_HOME"))
        .output()
        .unwrap();
    let (_, real) = said(&real);
    // As called by its path, and with a home of Spark's that nobody named.
    let ours = spark.command("bin/spark-submit", &["--version"]).env_remove("SPARK_HOME").output();
    let ours = ours.unwrap();
    assert_eq!(ours.status.code(), Some(0));
    let (out, err) = said(&ours);
    assert_eq!(out, "");
    let banner = real.split_once("Welcome to").unwrap().1;
    for line in banner.lines().filter(|line| !line.starts_with("Using Scala")) {
        assert!(err.contains(line), "{line:?} is not in {err}");
    }
    let scala = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Using Scala version")).unwrap();
        line.split_once(", ").unwrap().0.to_owned()
    };
    assert_eq!(scala(&err), scala(&real));
}

impl Spark {
    /// Scripts of `sbin` give `bin/spark-submit` to a shell, so that it has to be a script.
    fn with_script() -> Self {
        let spark = Self::new();
        let program = spark.home.path().join("bin/spark-submit");
        std::fs::remove_file(&program).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/spark-submit");
        std::fs::copy(script, &program).unwrap();
        spark
    }
}

/// A server that a script of `sbin` started; stopped when it is forgotten.
struct Server<'a> {
    spark: &'a Spark,
    class: &'static str,
}

impl<'a> Server<'a> {
    /// Waits until its log has this; returns the line.
    fn start(spark: &'a Spark, class: &'static str, args: &[&str], ready: &str) -> (Self, String) {
        let line: Vec<_> = ["submit", class, "1", "--master", "local[1]"]
            .into_iter()
            .chain(["--conf", "spark.ui.enabled=false"])
            .chain(args.iter().copied())
            .collect();
        let output = spark.command("sbin/spark-daemon.sh", &line).output().unwrap();
        assert!(output.status.success(), "{:?}", said(&output));
        let server = Self { spark, class };
        let line = eventually("the server is ready", || {
            let logs = spark.home.path().join("logs").read_dir().ok()?;
            let text: String =
                logs.flatten().filter_map(|log| std::fs::read_to_string(log.path()).ok()).collect();
            text.lines().find(|line| line.contains(ready)).map(str::to_owned)
        });
        (server, line)
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.spark.command("sbin/spark-daemon.sh", &["stop", self.class, "1"]).output();
    }
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn the_thrift_server_and_beeline() {
    let spark = Spark::with_script();
    let class = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2";
    let options = [
        "--name",
        "thrift",
        "--hiveconf",
        "hive.server2.thrift.port=0",
        "--hiveconf",
        "hive.server2.thrift.bind.host=127.0.0.1",
        "--conf",
        IN_MEMORY,
    ];
    let (_server, line) = Server::start(&spark, class, &options, "ThriftBinaryCLIService on port");
    let port = line.split(" on port ").nth(1).unwrap();
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    assert!(!port.is_empty(), "{line}");
    let url = format!("jdbc:hive2://127.0.0.1:{port}");
    spark.prints("bin/beeline", &["-u", &url, "-e", "select 40 + 2"], "", "42");
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn the_connect_server() {
    let spark = Spark::with_script();
    // A Spark 3.5 of pip comes without it.
    if !spark.is_4() {
        return;
    }
    let class = "org.apache.spark.sql.connect.service.SparkConnectServer";
    let options = ["--conf", "spark.connect.grpc.binding.port=0"];
    let (_server, line) = Server::start(&spark, class, &options, "Spark Connect server started at");
    assert!(!line.is_empty());
}

#[test]
#[ignore = "needs a real Spark: tests/all spark"]
fn a_shell_on_a_standalone_cluster() {
    let spark = Spark::new();
    let master = "org.apache.spark.deploy.master.Master";
    let mut line =
        vec!["start", master, "1", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"];
    let start = |line: &[&str]| {
        let output = spark.command("sbin/spark-daemon.sh", line).output().unwrap();
        assert!(output.status.success(), "{:?}", said(&output));
    };
    start(&line);
    let _master = Server { spark: &spark, class: master };
    let url = eventually("the master is ready", || {
        let logs = spark.home.path().join("logs").read_dir().ok()?;
        let text: String =
            logs.flatten().filter_map(|log| std::fs::read_to_string(log.path()).ok()).collect();
        let url = text.split("Starting Spark master at ").nth(1)?.split_whitespace().next()?;
        Some(url.to_owned())
    });
    let worker = "org.apache.spark.deploy.worker.Worker";
    line = vec![
        "start",
        worker,
        "1",
        "--host",
        "127.0.0.1",
        "--webui-port",
        "0",
        "-c",
        "1",
        "-m",
        "1g",
        &url,
    ];
    start(&line);
    let _worker = Server { spark: &spark, class: worker };
    let options =
        ["--master", &url, "--conf", "spark.ui.enabled=false", "--executor-memory", "512m"];
    spark.prints(
        "bin/pyspark",
        &options,
        "print('counted', spark.range(9).count())\n",
        "counted 9",
    );
}
