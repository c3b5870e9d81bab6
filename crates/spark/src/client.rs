//! The command that runs a Spark driver in client mode (`SparkSubmitCommandBuilder`): the JVM whose
//! command line spark-submit computes in a first JVM; for the shells of Python and R, the
//! interpreter, which starts that JVM itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anymaster_core::conf::Redaction;
use anymaster_core::{Error, Result};

use crate::home::{SparkHome, find_java, find_spark};
use crate::parse::Script;
use crate::releases::Launch;
use crate::{Environment, Submission};

/// The main class of spark-submit in the JVM.
const SPARK_SUBMIT: &str = "org.apache.spark.deploy.SparkSubmit";

/// Spark's servers, which use the options of daemons.
const DAEMONS: [&str; 2] = [
    "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
    "org.apache.spark.sql.connect.service.SparkConnectServer",
];

/// A command to replace this process with.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCommand {
    /// The program: `java`, or an interpreter.
    pub program: PathBuf,
    /// The arguments: those of the user, unchanged. Properties from files are not added.
    pub args: Vec<String>,
    /// Environment variables to set.
    pub env: BTreeMap<String, String>,
}

impl ClientCommand {
    /// The arguments with secrets redacted.
    pub fn redacted_args(&self, redaction: &Redaction) -> Vec<String> {
        redaction.show_args(&self.args)
    }
}

impl fmt::Debug for ClientCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCommand")
            .field("program", &self.program)
            .field("args", &self.redacted_args(&Redaction::default()))
            .finish()
    }
}

/// The command for a submission in client mode. `archives` is the directory of class archives
/// (`spark.anymaster.client.classArchive`).
///
/// # Errors
/// If Spark or Java is not found; the hint says how to configure them.
pub fn client_command(
    submission: &Submission,
    environment: &Environment,
    archives: Option<&Path>,
) -> Result<ClientCommand> {
    let home = SparkHome::of(find_spark(environment)?);
    let conf_dir = home.conf_dir(environment);
    let text = |path: &Path| path.display().to_string();
    let mut env = BTreeMap::from([
        ("SPARK_HOME".to_owned(), text(&home.path)),
        ("SPARK_CONF_DIR".to_owned(), text(&conf_dir)),
        ("SPARK_ENV_LOADED".to_owned(), "1".to_owned()),
        ("PYTHONHASHSEED".to_owned(), "0".to_owned()),
    ]);
    if environment.get("SPARK_SCALA_VERSION").is_none() {
        env.insert("SPARK_SCALA_VERSION".to_owned(), home.scala.to_owned());
    }
    let launch = match Launch::of(home.release.as_ref()) {
        Some(launch) if !is_connect_client(submission, environment) => launch,
        // Other releases, and Spark Connect clients, are left to Spark's own launcher.
        _ => return Ok(launcher_command(&home, submission.launcher_line(), env)),
    };
    if let Some(library_path) = value(submission, "spark.driver.extraLibraryPath") {
        let merged = match environment.get("LD_LIBRARY_PATH") {
            Some(before) => format!("{before}:{library_path}"),
            None => library_path.to_owned(),
        };
        env.insert("LD_LIBRARY_PATH".to_owned(), merged);
    }
    match submission.script {
        Script::Pyspark => python(submission, environment, launch, env),
        Script::SparkR => Ok(r(submission, environment, &home, env)),
        Script::Submit | Script::RunExample => {
            let program = find_java(environment)?;
            let class_path = class_path(&home, &conf_dir, launch, submission, environment);
            let mut args = java_opts(&conf_dir.join("java-opts"))?;
            args.extend(crate::archive::options(submission, &program, &class_path, archives)?);
            args.extend(["-cp".to_owned(), class_path]);
            add_jvm_options(&mut args, submission, environment)?;
            args.extend(launch.options());
            args.push(SPARK_SUBMIT.to_owned());
            args.extend(submission.line());
            Ok(ClientCommand { program, args, env })
        }
    }
}

/// Spark's own launcher with a line, for what is not supported here. It starts an additional JVM.
///
/// # Errors
/// If Spark is not found; the hint says how to configure it.
pub fn spark_launcher(line: Vec<String>, environment: &Environment) -> Result<ClientCommand> {
    Ok(launcher_command(&SparkHome::of(find_spark(environment)?), line, BTreeMap::new()))
}

fn launcher_command(
    home: &SparkHome,
    line: Vec<String>,
    env: BTreeMap<String, String>,
) -> ClientCommand {
    let args = std::iter::once(SPARK_SUBMIT.to_owned()).chain(line).collect();
    ClientCommand { program: home.path.join("bin/spark-class"), args, env }
}

fn value<'a>(submission: &'a Submission, key: &str) -> Option<&'a str> {
    submission.conf.get(key).filter(|value| !value.is_empty())
}

/// Whether the application is a client of a Spark Connect server, or starts one for itself.
fn is_connect_client(submission: &Submission, environment: &Environment) -> bool {
    let is = |name: &str| environment.get(name) == Some("1");
    let mode = value(submission, "spark.api.mode");
    value(submission, "spark.remote").is_some()
        || environment.get("SPARK_REMOTE").is_some()
        || mode.is_some_and(|mode| mode.eq_ignore_ascii_case("connect"))
        || (mode.is_none() && is("SPARK_CONNECT_MODE"))
        || is("SPARK_CONNECT_BEELINE")
}

fn add_jvm_options(
    args: &mut Vec<String>,
    submission: &Submission,
    environment: &Environment,
) -> Result<()> {
    let get = |key: &str| value(submission, key);
    let class = submission.main_class.as_deref();
    let is_daemon = class.is_some_and(|class| DAEMONS.contains(&class));
    let of_daemon = |name: &str| environment.get(name).filter(|_| is_daemon);
    for (name, options) in [
        ("SPARK_DAEMON_JAVA_OPTS", of_daemon("SPARK_DAEMON_JAVA_OPTS")),
        ("SPARK_SUBMIT_OPTS", environment.get("SPARK_SUBMIT_OPTS")),
    ] {
        add_options(args, name, options)?;
    }
    let memory = of_daemon("SPARK_DAEMON_MEMORY")
        .or_else(|| get("spark.driver.memory"))
        .or_else(|| environment.get("SPARK_DRIVER_MEMORY"))
        .or_else(|| environment.get("SPARK_MEM"))
        .unwrap_or("1g");
    args.push(format!("-Xmx{memory}"));
    for key in ["spark.driver.defaultJavaOptions", "spark.driver.extraJavaOptions"] {
        add_options(args, key, get(key))?;
    }
    Ok(())
}

/// `bin/pyspark`: Python, which passes the line in `PYSPARK_SUBMIT_ARGS` to the JVM that it starts.
fn python(
    submission: &Submission,
    environment: &Environment,
    launch: &Launch,
    mut env: BTreeMap<String, String>,
) -> Result<ClientCommand> {
    if let Some(word) = submission.args.first() {
        return Err(if word.ends_with(".py") {
            Error::invalid("Running python applications through 'pyspark' is not supported.")
                .with_hint(format!("write spark-submit {word}"))
        } else {
            Error::invalid("pyspark does not support any application options.")
                .with_hint(format!("leave out {word}"))
        });
    }
    env.insert("PYSPARK_SUBMIT_ARGS".to_owned(), quoted(&submission.line()));
    if launch.is_4 {
        env.insert("SPARK_API_MODE".to_owned(), "classic".to_owned());
    }
    // Spark's launcher reads these from the command line only, not from files.
    let given = |key: &str| submission.given(key).filter(|value| !value.is_empty());
    if let Some(python) = given("spark.pyspark.python") {
        env.insert("PYSPARK_PYTHON".to_owned(), python.to_owned());
    }
    let program = given("spark.pyspark.driver.python")
        .or_else(|| given("spark.pyspark.python"))
        .or_else(|| environment.get("PYSPARK_DRIVER_PYTHON"))
        .or_else(|| environment.get("PYSPARK_PYTHON"))
        .unwrap_or("python3");
    let mut args = Vec::new();
    let name = "PYSPARK_DRIVER_PYTHON_OPTS";
    add_options(&mut args, name, environment.get(name))?;
    Ok(ClientCommand { program: program.into(), args, env })
}

/// `bin/sparkR`, in the same way as `bin/pyspark`.
fn r(
    submission: &Submission,
    environment: &Environment,
    home: &SparkHome,
    mut env: BTreeMap<String, String>,
) -> ClientCommand {
    env.insert("SPARKR_SUBMIT_ARGS".to_owned(), quoted(&submission.line()));
    let profile = home.path.join("R/lib/SparkR/profile/shell.R").display().to_string();
    env.insert("R_PROFILE_USER".to_owned(), profile);
    let program = submission
        .given("spark.r.shell.command")
        .or_else(|| environment.get("SPARKR_DRIVER_R"))
        .unwrap_or("R");
    ClientCommand { program: program.into(), args: Vec::new(), env }
}

/// Quotes a line as PySpark and SparkR parse it (`quoteForCommandString`).
fn quoted(line: &[String]) -> String {
    let quote = |word: &String| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""));
    line.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn class_path(
    home: &SparkHome,
    conf_dir: &Path,
    launch: &Launch,
    submission: &Submission,
    environment: &Environment,
) -> String {
    let mut entries: Vec<String> = Vec::new();
    let mut add = |path: &str| {
        for entry in path.split(':').filter(|entry| !entry.is_empty()) {
            let is_dir = !entry.ends_with('/') && Path::new(entry).is_dir();
            let entry = if is_dir { format!("{entry}/") } else { entry.to_owned() };
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    };
    add(value(submission, "spark.driver.extraClassPath").unwrap_or_default());
    if launch.is_4 {
        let default = submission.conf.get("spark.driver.defaultExtraClassPath");
        add(default.unwrap_or(launch.default_class_path).trim());
    }
    add(&conf_dir.display().to_string());
    for jar in home.slf4j.iter().filter(|_| launch.is_4) {
        add(&jar.display().to_string());
    }
    add(&home.path.join("jars/*").display().to_string());
    for variable in ["HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH"] {
        add(environment.get(variable).unwrap_or_default());
    }
    entries.join(":")
}

/// The options in the file `java-opts` of the configuration directory, if it exists.
fn java_opts(file: &Path) -> Result<Vec<String>> {
    let mut args = Vec::new();
    if !file.is_file() {
        return Ok(args);
    }
    let bytes = std::fs::read(file).map_err(|error| {
        Error::invalid(format!("{} cannot be read", file.display())).with_source(error)
    })?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        add_options(&mut args, &file.display().to_string(), Some(line))?;
    }
    Ok(args)
}

/// Splits options with the quoting rules of a shell, as Spark does. They may contain passwords, so
/// errors name only their source.
fn add_options(args: &mut Vec<String>, name: &str, options: Option<&str>) -> Result<()> {
    let Some(options) = options else { return Ok(()) };
    args.extend(split_options(name, options)?);
    Ok(())
}

/// Splits the options of a JVM with the quoting rules of a shell, as Spark does. `name`: the property or
/// variable that they come from.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with that name, and without the options.
pub fn split_options(name: &str, options: &str) -> Result<Vec<String>> {
    shell_words::split(options).map_err(|error| {
        Error::invalid(format!("{name} cannot be split into options: {error}"))
            .with_hint("quotes in it come in pairs, as in a shell")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_be_split_are_not_in_the_error() {
        let error = add_options(&mut Vec::new(), "SPARK_SUBMIT_OPTS", Some("-Dpassword='hush"));
        let error = error.unwrap_err();
        assert!(error.message().starts_with("SPARK_SUBMIT_OPTS cannot be split"), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }

    #[test]
    fn words_are_quoted_for_the_shells() {
        let line = ["--conf", r#"spark.x=a"b\c d"#, "pyspark-shell"].map(str::to_owned);
        assert_eq!(quoted(&line), r#""--conf" "spark.x=a\"b\\c d" "pyspark-shell""#);
    }
}
