//! The real spark-submit of one release, in a JVM that serves many lines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::line::Environment;

/// What a submission came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) succeeded: bool,
    /// What it said, for people.
    pub(crate) said: String,
    /// What it created, or would.
    pub(crate) objects: Vec<Value>,
}

pub(crate) struct Spark {
    home: PathBuf,
    jvm: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where its stand-in for an API server listens.
    pub(crate) url: String,
}

impl Spark {
    /// Compiles the server against the jars of this release, and starts it.
    pub(crate) fn start(version: &str, directory: &Path) -> Self {
        let home = cache().join(format!("spark-{version}/home"));
        assert!(
            home.is_dir(),
            "there is no Spark in {}: tests/clusters/spark/up {version} installs it",
            home.display()
        );
        let jars = format!("{}/jars/*", home.display());
        let classes = directory.join("classes");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential");
        let compiled = Command::new(java("javac"))
            .args(["-d", &classes.display().to_string(), "-cp", &jars])
            .args([sources.join("SparkSubmits.java"), sources.join("ApiServer.java")])
            .status();
        assert!(compiled.unwrap().success(), "javac");
        let temporary = directory.join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let settings = directory.join("log4j2.properties");
        std::fs::write(
            &settings,
            "rootLogger.level = off\nrootLogger.appenderRef.err.ref = err\n\
             appender.err.type = Console\nappender.err.name = err\nappender.err.target = SYSTEM_ERR\n",
        )
        .unwrap();
        let mut jvm = Command::new(java("java"))
            // Most of what it does is done once a line: optimising it costs more than it gains.
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx1g"])
            .args(["-cp", &format!("{}:{jars}", classes.display())])
            .args(
                ["lang", "util", "nio", "net"]
                    .map(|name| format!("--add-opens=java.base/java.{name}=ALL-UNNAMED")),
            )
            .args([
                "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
                "-Dsun.net.httpserver.nodelay=true",
            ])
            .arg(format!("-Dlog4j2.configurationFile={}", settings.display()))
            .arg(format!("-Djava.io.tmpdir={}", temporary.display()))
            .arg(format!("-Duser.home={}", temporary.display()))
            .arg("SparkSubmits")
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let lines = jvm.stdin.take().unwrap();
        let mut answers = BufReader::new(jvm.stdout.take().unwrap());
        let mut url = String::new();
        answers.read_line(&mut url).unwrap();
        let url = url.trim_end().to_owned();
        assert!(url.starts_with("http://"), "the JVM did not start: {}", errors(directory));
        Self { home, jvm, lines, answers, url }
    }

    /// The variables that both programs run with.
    pub(crate) fn variables(&self) -> Environment {
        [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
            ("USER", "submitter".to_owned()),
            ("SPARK_USER", "submitter".to_owned()),
            ("SPARK_HOME", self.home.display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// What spark-submit does with this line.
    pub(crate) fn submit(&mut self, args: &[String], env: &Environment) -> Outcome {
        let mut env = env.clone();
        // As bin/load-spark-env.sh sets it.
        let scala =
            if self.home.join("jars").read_dir().unwrap().any(|jar| {
                jar.unwrap().file_name().to_string_lossy().starts_with("spark-core_2.12-")
            }) {
                "2.12"
            } else {
                "2.13"
            };
        env.insert("SPARK_SCALA_VERSION".to_owned(), scala.to_owned());
        writeln!(self.lines, "{}", json!({ "args": args, "env": env })).unwrap();
        self.lines.flush().unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("the JVM has gone ({error}) at {args:?}"));
        Outcome {
            succeeded: answer["code"] == 0,
            said: answer["said"].as_str().unwrap().to_owned(),
            objects: answer["objects"].as_array().unwrap().clone(),
        }
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.jvm.kill();
        let _ = self.jvm.wait();
    }
}

fn java(program: &str) -> PathBuf {
    std::env::var_os("JAVA_HOME")
        .map_or_else(|| program.into(), |home| Path::new(&home).join("bin").join(program))
}

fn cache() -> PathBuf {
    std::env::var_os("ANYMASTER_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/anymaster"),
        PathBuf::from,
    )
}

fn errors(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("stderr")).unwrap_or_default()
}
