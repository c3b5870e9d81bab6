//! The same command lines, given to Spark's own spark-submit: it must start the same JVM, and see the
//! same properties.
//!
//! `tests/all spark` runs it: it needs `SPARK_HOME` and `JAVA_HOME`, which `tests/clusters/spark/up` sets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anymaster_spark::{Environment, client_command, parse, resolve, resolved};

/// Stands in for `java`: writes down what Spark's launcher makes of a command line, then runs it.
const JAVA: &str = r#"#!/bin/sh
case " $* " in
  *" org.apache.spark.launcher.Main "*) ;;
  *) printf '%s\n' "$@" > "$ARGV_FILE" ;;
esac
exec "$REAL_JAVA_HOME/bin/java" "$@"
"#;

const DEFAULTS: &str = "\
# A comment
spark.executor.memory      3g
spark.eventLog.dir=/tmp/a\\ b
spark.some.password : hush
spark.driver.extraJavaOptions -Dfrom=file -Dquoted=\"a b\"
not.sparks 1
";

/// Words are as a shell sees them. No class is ever found: Spark says what it understood, and ends.
const LINES: [&str; 13] = [
    "--class No app.jar",
    "--master local[2] --name 'a name' --class No app.jar 1 'two words' ''",
    "--master local[2] --driver-memory 700m --executor-memory 2g --executor-cores 2 --class No app.jar",
    "--class No --conf spark.executor.memory=4g -c spark.a.token=t --conf=spark.b=c=d app.jar --master x",
    "--class No --jars a.jar,b.jar --files f.txt#alias,g.txt app.jar",
    "--class No --archives z.zip#dir --total-executor-cores 4 --num-executors 3 --queue q app.jar",
    "--class No --driver-java-options '-Dx=\"y z\" -Dw=1' --driver-class-path /x/*:/y app.jar",
    "--class No --driver-library-path /native --properties-file own.conf app.jar",
    "--class No --conf spark.driver.defaultJavaOptions=-Da=b --conf spark.driver.memory=600m app.jar",
    "--py-files a.py,b.zip script.py --not --ours",
    "--files f.txt script.py",
    "--master local-cluster[1,1,1024] --class No --supervise --driver-cores 2 app.jar",
    "--class No local:///opt/app.jar",
];

struct Spark<'a> {
    home: String,
    java_home: String,
    dir: &'a Path,
}

/// What spark-submit did with a line.
struct Real {
    argv: Vec<String>,
    properties: BTreeSet<String>,
}

impl Spark<'_> {
    fn environment(&self) -> Environment {
        let variables = [
            ("HOME", self.dir.display().to_string()),
            ("PATH", std::env::var("PATH").unwrap()),
            ("SPARK_HOME", self.home.clone()),
            ("SPARK_CONF_DIR", self.dir.join("conf").display().to_string()),
            ("JAVA_HOME", self.dir.join("java").display().to_string()),
            ("PYSPARK_PYTHON", "true".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Environment {
            variables: variables.into(),
            current_dir: self.dir.to_owned(),
            ..Environment::default()
        }
    }

    fn real(&self, words: &[String]) -> Real {
        let argv_file = self.dir.join("argv");
        // A leftover would be the line before.
        let _ = std::fs::remove_file(&argv_file);
        let output = Command::new(format!("{}/bin/spark-submit", self.home))
            .arg("--verbose")
            .args(words)
            .env_clear()
            .envs(self.environment().variables)
            .env("REAL_JAVA_HOME", &self.java_home)
            .env("ARGV_FILE", &argv_file)
            .current_dir(self.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let argv = std::fs::read_to_string(&argv_file)
            .unwrap_or_else(|error| panic!("it started no driver: {error}: {said}"));
        let argv = argv.lines().map(str::to_owned).collect();
        let block =
            said.split_once("Spark config:\n").and_then(|(_, rest)| rest.split_once("Classpath"));
        let Some((block, _)) = block else { panic!("it printed no properties: {said}") };
        Real { argv, properties: properties(block) }
    }
}

/// The lines `(key,value)`, without a time and without what only Spark's shells read. Files are
/// `file:/a` here and `file:///a` there, as they went through Spark's local copies or not.
fn properties(block: &str) -> BTreeSet<String> {
    const LEFT_OUT: [&str; 2] = ["(spark.app.submitTime,", "(spark.repl.local.jars,"];
    let compared = |line: &&str| {
        line.starts_with('(') && !LEFT_OUT.iter().any(|prefix| line.starts_with(prefix))
    };
    block.lines().filter(compared).map(|line| line.replace("file:///", "file:/")).collect()
}

#[test]
#[ignore = "needs SPARK_HOME and JAVA_HOME: tests/all spark"]
fn the_same_jvm_and_the_same_properties() {
    let (home, java_home) = (variable("SPARK_HOME"), variable("JAVA_HOME"));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    for part in ["conf", "java/bin"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    for file in
        ["app.jar", "script.py", "a.py", "b.zip", "a.jar", "b.jar", "f.txt", "g.txt", "z.zip"]
    {
        std::fs::write(dir.join(file), "").unwrap();
    }
    std::fs::write(dir.join("conf/spark-defaults.conf"), DEFAULTS).unwrap();
    std::fs::write(dir.join("own.conf"), "spark.driver.memory 650m\nspark.own yes\n").unwrap();
    let java = dir.join("java/bin/java");
    std::fs::write(&java, JAVA).unwrap();
    std::fs::set_permissions(&java, std::fs::Permissions::from_mode(0o755)).unwrap();

    let spark = Spark { home, java_home, dir: &dir };
    for line in LINES {
        let words = shell_words::split(line).unwrap();
        let real = spark.real(&words);

        let environment = spark.environment();
        let verbose: Vec<_> = std::iter::once("--verbose".to_owned()).chain(words).collect();
        let submission = resolve(&parse(&verbose).unwrap(), &environment).unwrap();
        let ours = client_command(&submission, &environment, None).unwrap();
        let (our_jvm, _) = split(&ours.args);
        let (real_jvm, real_line) = split(&real.argv);
        assert_eq!(our_jvm, real_jvm, "{line}");
        // Spark's launcher puts the options into an order of its own, and ours are as typed.
        let meant = resolve(&parse(real_line).unwrap(), &environment).unwrap();
        assert_eq!(meant.args, submission.args, "{line}");
        assert_eq!(meant.primary_resource, submission.primary_resource, "{line}");
        assert_eq!(properties(&resolved("No", &meant)), real.properties, "{line}");
        assert_eq!(properties(&resolved("No", &submission)), real.properties, "{line}");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/clusters/spark/up"))
}

/// The JVM's options, and what its main class is given.
fn split(argv: &[String]) -> (&[String], &[String]) {
    let main = argv.iter().position(|arg| arg == "org.apache.spark.deploy.SparkSubmit");
    let main = main.unwrap_or_else(|| panic!("it is no spark-submit: {argv:?}"));
    (&argv[..main], &argv[main + 1..])
}
