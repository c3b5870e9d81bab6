//! The JVM that runs a Spark driver in client mode (Spark 3.5, `SparkSubmitCommandBuilder`): the one
//! that spark-submit's first JVM only works out the command line for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anymaster_core::conf::Redaction;
use anymaster_core::{Error, Result};

use crate::{Environment, Submission};

/// What lets Spark reach into the JDK (Spark 3.5, `JavaModuleOptions`).
const MODULE_OPTIONS: [&str; 17] = [
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.invoke=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.cs=ALL-UNNAMED",
    "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
    "--add-opens=java.base/sun.util.calendar=ALL-UNNAMED",
    "--add-opens=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Djdk.reflect.useDirectMethodHandle=false",
];

/// A JVM to become.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCommand {
    /// The `java` program.
    pub program: PathBuf,
    /// Its arguments. What the user typed is in them as it was typed; nothing is added that was in a
    /// file.
    pub args: Vec<String>,
    /// Environment variables to set.
    pub env: BTreeMap<String, String>,
}

impl ClientCommand {
    /// The arguments as they may be shown.
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

/// The JVM for a submission in client mode. `archives` is where class archives are kept
/// (`spark.anymaster.client.classArchive`).
///
/// # Errors
/// If there is no Spark or no Java, with how to say where they are; if `spark-env.sh` fails.
pub fn client_command(
    submission: &Submission,
    environment: &Environment,
    archives: Option<&Path>,
) -> Result<ClientCommand> {
    let home = find_spark(environment)?;
    let mut environment = environment.clone();
    let mut env = BTreeMap::new();
    let conf_dir =
        environment.get("SPARK_CONF_DIR").map_or_else(|| home.join("conf"), PathBuf::from);
    load_spark_env(&conf_dir, &home, &mut environment, &mut env)?;
    let text = |path: &Path| path.display().to_string();
    env.insert("SPARK_HOME".to_owned(), text(&home));
    env.insert("SPARK_CONF_DIR".to_owned(), text(&conf_dir));
    env.insert("SPARK_ENV_LOADED".to_owned(), "1".to_owned());
    if environment.get("SPARK_SCALA_VERSION").is_none() {
        env.insert("SPARK_SCALA_VERSION".to_owned(), scala_version(&home).to_owned());
    }
    env.insert("PYTHONHASHSEED".to_owned(), "0".to_owned());

    let get = |key: &str| submission.conf.get(key).filter(|value| !value.is_empty());
    let program = find_java(&environment)?;
    let extra = get("spark.driver.extraClassPath");
    let class_path = class_path(&home, &conf_dir, extra, &environment);
    let mut args = crate::archive::options(submission, &program, &class_path, archives)?;
    args.extend(["-cp".to_owned(), class_path]);
    add_options(&mut args, environment.get("SPARK_SUBMIT_OPTS"))?;
    let memory = get("spark.driver.memory")
        .or_else(|| environment.get("SPARK_DRIVER_MEMORY"))
        .or_else(|| environment.get("SPARK_MEM"))
        .unwrap_or("1g");
    args.push(format!("-Xmx{memory}"));
    add_options(&mut args, get("spark.driver.defaultJavaOptions"))?;
    add_options(&mut args, get("spark.driver.extraJavaOptions"))?;
    if let Some(library_path) = get("spark.driver.extraLibraryPath") {
        let merged = match environment.get("LD_LIBRARY_PATH") {
            Some(before) => format!("{before}:{library_path}"),
            None => library_path.to_owned(),
        };
        env.insert("LD_LIBRARY_PATH".to_owned(), merged);
    }
    args.extend(MODULE_OPTIONS.map(str::to_owned));
    args.push("org.apache.spark.deploy.SparkSubmit".to_owned());
    args.extend(submission.passed.iter().cloned());
    args.push(submission.typed.clone());
    args.extend(submission.args.iter().cloned());
    Ok(ClientCommand { program, args, env })
}

fn is_spark_home(dir: &Path) -> bool {
    dir.join("jars").is_dir() && dir.join("bin/spark-submit").exists()
}

/// `SPARK_HOME`, else where the `spark-submit` in `PATH` is, else a `pyspark` that pip installed.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if it is nowhere, with how to say where.
pub fn find_spark(environment: &Environment) -> Result<PathBuf> {
    if let Some(home) = environment.get("SPARK_HOME") {
        let home = PathBuf::from(home);
        if is_spark_home(&home) {
            return Ok(home);
        }
        return Err(Error::invalid(format!(
            "SPARK_HOME is {}, but there is no Spark in it (no jars directory)",
            home.display()
        ))
        .with_hint("export SPARK_HOME=the directory that has bin/spark-submit and jars in it"));
    }
    let path = environment.get("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(path).filter_map(|dir| {
        let program = dir.join("spark-submit").canonicalize().ok()?;
        let beside = program.parent()?.parent()?.to_owned();
        let installed = beside
            .join("lib")
            .read_dir()
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/pyspark")));
        std::iter::once(beside.clone()).chain(installed).find(|dir| is_spark_home(dir))
    });
    candidates.into_iter().next().ok_or_else(|| {
        Error::invalid(
            "no Spark found: SPARK_HOME is not set, and there is no spark-submit in PATH",
        )
        .with_hint(
            "export SPARK_HOME=the directory of a Spark distribution (or: pip install pyspark)",
        )
    })
}

/// The variables that `conf/spark-env.sh` exports. A shell has to read it; mostly there is none.
fn load_spark_env(
    conf_dir: &Path,
    home: &Path,
    environment: &mut Environment,
    env: &mut BTreeMap<String, String>,
) -> Result<()> {
    let file = conf_dir.join("spark-env.sh");
    if environment.get("SPARK_ENV_LOADED").is_some() || !file.is_file() {
        return Ok(());
    }
    let failed = |why: String| Error::invalid(format!("{} failed: {why}", file.display()));
    let output = Command::new("bash")
        .args(["-c", r#"set -a; . "$1" >&2; env -0"#, "spark-env"])
        .arg(&file)
        .env_clear()
        .envs(&environment.variables)
        .env("SPARK_HOME", home)
        .env("SPARK_CONF_DIR", conf_dir)
        .output()
        .map_err(|error| failed(format!("cannot start bash: {error}")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    for variable in String::from_utf8_lossy(&output.stdout).split('\0') {
        if let Some((name, value)) = variable.split_once('=')
            && !matches!(name, "_" | "SHLVL" | "PWD")
            && environment.variables.get(name).is_none_or(|known| known != value)
        {
            environment.variables.insert(name.to_owned(), value.to_owned());
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

fn scala_version(home: &Path) -> &'static str {
    let is_213 = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with("spark-core_2.13"))
        })
    };
    if home.join("jars").read_dir().is_ok_and(|mut jars| jars.any(is_213)) {
        "2.13"
    } else {
        "2.12"
    }
}

fn class_path(
    home: &Path,
    conf_dir: &Path,
    extra: Option<&str>,
    environment: &Environment,
) -> String {
    let mut entries = Vec::new();
    let mut add = |path: &str| {
        for entry in path.split(':').filter(|entry| !entry.is_empty()) {
            let is_dir = !entry.ends_with('/') && Path::new(entry).is_dir();
            entries.push(if is_dir { format!("{entry}/") } else { entry.to_owned() });
        }
    };
    add(extra.unwrap_or_default());
    add(&conf_dir.display().to_string());
    add(&home.join("jars/*").display().to_string());
    for variable in ["HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH"] {
        add(environment.get(variable).unwrap_or_default());
    }
    entries.join(":")
}

/// Options in one text, split as Spark does it: quotes and backslashes as in a shell.
fn add_options(args: &mut Vec<String>, options: Option<&str>) -> Result<()> {
    let Some(options) = options else { return Ok(()) };
    let words = shell_words::split(options)
        .map_err(|error| Error::invalid(format!("JVM options {options:?}: {error}")))?;
    args.extend(words);
    Ok(())
}

/// The `java` program: of `JAVA_HOME`, else in `PATH`.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) if there is none, with how to get one.
pub fn find_java(environment: &Environment) -> Result<PathBuf> {
    if let Some(home) = environment.get("JAVA_HOME") {
        let java = Path::new(home).join("bin/java");
        return if java.is_file() {
            Ok(java)
        } else {
            Err(Error::invalid(format!("JAVA_HOME is {home}, but {} is not there", java.display()))
                .with_hint("export JAVA_HOME=the directory of a JDK, or unset it"))
        };
    }
    let path = environment.get("PATH").unwrap_or_default();
    std::env::split_paths(path).map(|dir| dir.join("java")).find(|java| java.is_file()).ok_or_else(
        || {
            Error::invalid("no Java found: JAVA_HOME is not set, and there is no java in PATH")
                .with_hint("install one (Debian: apt install openjdk-17-jre-headless)")
        },
    )
}
