//! Compares the JVM command and the properties with those of the real spark-submit, and the lines
//! of Spark's scripts with Spark's own launcher.
//!
//! `tests/all spark` runs it: it needs `SPARK_HOME` and `JAVA_HOME`, which `tests/clusters/spark/up` sets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anymaster_core::testing::{FakeBackend, FakeCluster};
use anymaster_core::{BackendInfo, Registry};
use anymaster_spark::{ClientCommand, Environment, client_command, parse, resolve, resolved};

/// Backends that accept every URL.
fn masters() -> Registry {
    const INFO: BackendInfo = BackendInfo::new(
        "any",
        &[
            ("local", "local[2]"),
            ("local-cluster", "local-cluster[2,1,1024]"),
            ("spark", "spark://h:7077"),
            ("k8s", "k8s://h"),
        ],
        "takes every URL",
    );
    Registry::new().with(FakeBackend::new(&INFO, FakeCluster::new()))
}

/// Replaces `java`: records the command of Spark's launcher, then runs it.
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

/// Command lines in shell syntax. No class is found: Spark prints what it parsed, and exits.
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

/// Lines of Spark's scripts: shells, servers and examples.
const SCRIPTS: [&str; 13] = [
    "pyspark-shell-main --name PySparkShell",
    "pyspark-shell-main --name PySparkShell --master local[2] --conf 'spark.x=a \"b\\ $c' --driver-memory 2g",
    "pyspark-shell-main --conf spark.pyspark.python=/p --conf spark.driver.extraLibraryPath=/l",
    "pyspark-shell-main --conf spark.pyspark.driver.python=/d --jars a.jar",
    "--master local[1] --conf spark.ui.enabled=false pyspark-shell",
    "sparkr-shell-main --name SparkR --conf spark.r.shell.command=/r",
    "--class org.apache.spark.repl.Main --name 'Spark shell' -i init.scala --master local",
    "--class org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver -e 'select 1' --files f.txt",
    "--class org.apache.spark.sql.hive.thriftserver.HiveThriftServer2 --hiveconf a=b --conf spark.a=b c d",
    "--class org.apache.spark.sql.connect.service.SparkConnectServer --name connect --driver-memory 2g",
    "run-example SparkPi 10",
    "run-example --jars a.jar org.apache.spark.examples.SparkPi --master local",
    "--class No spark-internal --port 0",
];

struct Spark<'a> {
    home: String,
    java_home: String,
    dir: &'a Path,
}

/// The result of spark-submit for a line.
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
            // The launcher needs it outside of a build of Spark.
            ("SPARK_SCALA_VERSION", scala(&self.home).to_owned()),
            ("SPARK_DAEMON_MEMORY", "3g".to_owned()),
            ("SPARK_DAEMON_JAVA_OPTS", "-Ddaemon=yes".to_owned()),
            ("PYSPARK_DRIVER_PYTHON_OPTS", "-m 'a b'".to_owned()),
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
        // An old file would have the previous line.
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

fn scala(home: &str) -> &'static str {
    let jars = std::fs::read_dir(format!("{home}/jars")).unwrap();
    let mut names = jars.map(|entry| entry.unwrap().file_name());
    let is_213 = |name: std::ffi::OsString| name.to_string_lossy().starts_with("spark-core_2.13");
    if names.any(is_213) { "2.13" } else { "2.12" }
}

/// The command of Spark's launcher for a line: variables, program and arguments.
fn launcher(spark: &Spark<'_>, words: &[String]) -> ClientCommand {
    let output = Command::new(format!("{}/bin/java", spark.java_home))
        .args(["-cp", &format!("{}/jars/*", spark.home), "org.apache.spark.launcher.Main"])
        .arg("org.apache.spark.deploy.SparkSubmit")
        .args(words)
        .env_clear()
        .envs(spark.environment().variables)
        .current_dir(spark.dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said.trim_start_matches(['\0', '\n']);
    let mut parts = said.split_terminator('\0').map(str::to_owned).peekable();
    let mut env = std::collections::BTreeMap::new();
    if parts.next_if_eq("env").is_some() {
        while let Some(part) = parts.next_if(|part| part.contains('=')) {
            let (name, value) = part.split_once('=').unwrap();
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    let program = parts.next().unwrap_or_else(|| panic!("{words:?}: {output:?}")).into();
    ClientCommand { program, args: parts.collect(), env }
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
        let submission = resolve(&parse(&verbose).unwrap(), &environment, &masters()).unwrap();
        let ours = client_command(&submission, &environment, None).unwrap();
        let (our_jvm, _) = split(&ours.args);
        let (real_jvm, real_line) = split(&real.argv);
        assert_eq!(our_jvm, real_jvm, "{line}");
        // Spark's launcher reorders options; ours are in the given order.
        let meant = resolve(&parse(real_line).unwrap(), &environment, &masters()).unwrap();
        assert_eq!(meant.args, submission.args, "{line}");
        assert_eq!(meant.primary_resource, submission.primary_resource, "{line}");
        assert_eq!(properties(&resolved("No", &meant)), real.properties, "{line}");
        assert_eq!(properties(&resolved("No", &submission)), real.properties, "{line}");
    }
}

/// The jars of the examples are fake: pip's pyspark has none.
#[test]
#[ignore = "needs SPARK_HOME and JAVA_HOME: tests/all spark"]
fn shells_servers_and_examples_start_as_sparks_launcher_starts_them() {
    let (real, java_home) = (variable("SPARK_HOME"), variable("JAVA_HOME"));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let home = dir.join("home");
    for part in ["conf", "home/bin", "home/examples/jars", "java/bin"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    let link = |from: String, to: std::path::PathBuf| std::os::unix::fs::symlink(from, to).unwrap();
    link(format!("{real}/jars"), home.join("jars"));
    link(format!("{java_home}/bin/java"), dir.join("java/bin/java"));
    for file in [
        "home/RELEASE",
        "home/bin/spark-submit",
        "home/examples/jars/spark-examples_1.jar",
        "a.jar",
    ] {
        std::fs::write(dir.join(file), "").unwrap();
    }
    std::fs::write(dir.join("conf/java-opts"), "-Dof=file -Dand='so on'\n").unwrap();
    std::fs::write(dir.join("conf/spark-defaults.conf"), DEFAULTS).unwrap();
    let spark = Spark { home: home.display().to_string(), java_home, dir: &dir };
    let environment = spark.environment();
    for line in SCRIPTS {
        let words = shell_words::split(line).unwrap();
        let real = launcher(&spark, &words);
        let submission = resolve(&parse(&words).unwrap(), &environment, &masters()).unwrap();
        let ours = client_command(&submission, &environment, None).unwrap();
        assert_eq!(ours.program, real.program, "{line}");
        let same = |real_line: &[String], our_line: &[String]| {
            let meant =
                |line: &[String]| resolve(&parse(line).unwrap(), &environment, &masters()).unwrap();
            let (real, ours) = (meant(real_line), meant(our_line));
            assert_eq!(ours.args, real.args, "{line}");
            assert_eq!(ours.primary_resource, real.primary_resource, "{line}");
            assert_eq!(resolved("", &ours), resolved("", &real), "{line}");
        };
        for (name, value) in &real.env {
            let ours = ours.env.get(name).unwrap_or_else(|| panic!("{line}: no {name}"));
            if name.ends_with("_SUBMIT_ARGS") {
                same(&shell_words::split(value).unwrap(), &shell_words::split(ours).unwrap());
            } else {
                assert_eq!(ours, value, "{line}: {name}");
            }
        }
        if real.program.ends_with("java") {
            let ((our_jvm, our_line), (real_jvm, real_line)) =
                (split(&ours.args), split(&real.args));
            assert_eq!(our_jvm, real_jvm, "{line}");
            same(real_line, our_line);
        } else {
            assert_eq!(ours.args, real.args, "{line}");
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/clusters/spark/up"))
}

/// The JVM's options, and the arguments of its main class.
fn split(argv: &[String]) -> (&[String], &[String]) {
    let main = argv.iter().position(|arg| arg == "org.apache.spark.deploy.SparkSubmit");
    let main = main.unwrap_or_else(|| panic!("it is no spark-submit: {argv:?}"));
    (&argv[..main], &argv[main + 1..])
}
