//! The command line of Spark's own driver in cluster mode (Spark 3.5, `MesosClusterScheduler`): a
//! `spark-submit` in client mode, on an agent.

use std::collections::BTreeMap;
use std::fmt;

use anymaster_core::conf::keys::split_list;
use anymaster_core::conf::{Conf, write_properties};
use anymaster_core::model::{DriverSpec, SparkJob, SparkLanguage};
use anymaster_core::{Error, Result};
use anymaster_native::keys as daemon;

use super::memory::memory_with_overhead;
use super::{Role, executor_uri, fetched};
use crate::keys;
use crate::model::Uri;

/// Not passed on: their values are of the submission, or come another way.
const NOT_PASSED: [&str; 3] = ["spark.jars", "spark.submit.deployMode", "spark.master"];

/// The file of the sandbox with those properties that nobody else may see.
const SECRETS: &str = "secret.properties";
/// The file that `spark-submit` reads: with them and what `spark-defaults.conf` of the agent says, which it
/// does not read beside another one.
const PROPERTIES: &str = "spark.properties";

/// What one of Spark's own drivers runs. `Debug` shows none of its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct SparkCommand {
    /// A line for `/bin/sh`.
    pub line: String,
    /// Files of the sandbox that are to be written before, and that only the user may read: properties that
    /// are secret (`spark.redaction.regex`), if there are any.
    pub files: BTreeMap<&'static str, String>,
    /// What is fetched before, in Spark's order.
    pub uris: Vec<Uri>,
    /// Its environment: the submitter's, with the framework's id in `SPARK_SUBMIT_OPTS`.
    pub env: BTreeMap<String, String>,
    /// The memory that its task takes, in MiB: its heap and the overhead.
    pub memory_mib: u64,
}

impl fmt::Debug for SparkCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, uris, memory_mib, .. } = self;
        f.debug_struct("SparkCommand")
            .field("line", line)
            .field("uris", uris)
            .field("memory_mib", memory_mib)
            .finish_non_exhaustive()
    }
}

/// Where it is started, and how paths of the sandbox begin there.
struct Place {
    /// What goes there: a piece of the line, or nothing.
    enter: String,
    /// Spark's directory, seen from there; a word of the line.
    home: String,
    program: String,
    sandbox: &'static str,
}

/// What Spark's dispatcher runs for a driver of `job` whose framework gets the id `framework`:
/// `spark-submit --name … --master mesos://… --conf …`, with the dispatcher's
/// `spark.mesos.dispatcher.driverDefault.*` beneath the application's own properties.
///
/// Secret properties are no words of that line, which everybody on the machine sees, but in a file that is
/// given as `--properties-file`. `spark.authenticate.secret` is passed on where Spark uses it, with
/// `spark.authenticate=true`: else it is what the dispatcher's clients share.
///
/// Four things are other than Spark's, whose own do not work: whole `--driver-cores` are written without a
/// fraction, which `spark-submit` refuses; the memory overhead is added once, and not to the heap; arguments
/// arrive in one piece whatever is in them, and so do names of Python files in an image's sandbox; there is
/// no `--py-files` without a value. `mesos_master` is the master that the driver's framework subscribes at,
/// with `mesos://` or without. Spark is where the application's `spark.mesos.executor.home`, else the
/// dispatcher's `spark.home` says.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) where neither an image, an archive nor a home of
/// Spark is known (in Spark's words), and for a property that cannot be read.
pub fn spark_driver(
    app_name: &str,
    job: &SparkJob,
    spec: &DriverSpec,
    conf: &Conf,
    dispatcher_conf: &Conf,
    mesos_master: &str,
    framework: &str,
) -> Result<SparkCommand> {
    let archive = executor_uri(conf, &spec.env)?;
    let place = place(conf, dispatcher_conf, archive.as_deref())?;
    let is_in_image = job.primary_resource.starts_with("local://")
        && conf.read(&keys::APP_JAR_LOCAL_RESOLUTION)? == "container";
    let py_files: Vec<String> = split_list(conf.get("spark.submit.pyFiles").unwrap_or_default())
        .map(str::to_owned)
        .collect();

    let mut words = vec![place.program];
    let mut option = |name: &str, value: &str| {
        words.extend([name.to_owned(), shell_escape(value)]);
    };
    option("--name", app_name);
    let master = mesos_master.strip_prefix("mesos://").unwrap_or(mesos_master);
    option("--master", &format!("mesos://{master}"));
    // A whole number is shown without a fraction.
    option("--driver-cores", &spec.resources.cores.to_string());
    option("--driver-memory", &format!("{}M", spec.resources.memory_mib));
    let class = job.main_class.as_deref().filter(|class| !class.is_empty());
    if let Some(class) = class.filter(|_| job.language == SparkLanguage::Java) {
        option("--class", class);
    }
    if let Some(user) = &job.proxy_user {
        option("--proxy-user", user);
    }
    for (name, property) in [
        ("--executor-memory", "spark.executor.memory"),
        ("--total-executor-cores", "spark.cores.max"),
    ] {
        if let Some(value) = conf.get(property) {
            option(name, value);
        }
    }
    if !py_files.is_empty() {
        option("--py-files", &sandboxed(place.sandbox, &py_files));
    }
    let mut all: Conf = dispatcher_conf.with_prefix(keys::DRIVER_DEFAULT_PREFIX).collect();
    let authenticates = conf.get("spark.authenticate") == Some("true");
    let own = if authenticates { conf.clone() } else { daemon::without_secrets(conf) };
    for (name, value) in own.iter().filter(|(name, _)| !NOT_PASSED.contains(name)) {
        all.set(name, value);
    }
    let mut secrets = Vec::new();
    for ((name, value), (_, shown)) in all.iter().zip(all.redacted()) {
        match shown == value {
            true => option("--conf", &format!("{name}={value}")),
            false => secrets.push((name, value)),
        }
    }
    let (mut line, mut files) = (place.enter, BTreeMap::new());
    if !secrets.is_empty() {
        words
            .extend(["--properties-file".to_owned(), format!("\"$anymaster_files\"/{PROPERTIES}")]);
        files.insert(SECRETS, write_properties(secrets));
        line += &with_defaults(&place.home);
    }
    words.push(match job.primary_resource.strip_prefix("local://") {
        Some(path) if is_in_image => shell_escape(path),
        _ => sandboxed(place.sandbox, std::slice::from_ref(&job.primary_resource)),
    });
    words.extend(
        job.args.iter().map(|arg| if arg.is_empty() { "''".into() } else { shell_escape(arg) }),
    );

    let mut uris = Vec::new();
    if !is_in_image {
        let path = &job.primary_resource;
        let path = path.strip_prefix("file:").unwrap_or(path);
        uris.push(path.strip_prefix("local:").unwrap_or(path).to_owned());
    }
    uris.extend(dispatcher_conf.read_optional(&keys::URIS)?.unwrap_or_default());
    uris.extend(conf.read_optional(&keys::URIS)?.unwrap_or_default());
    uris.extend(py_files);
    uris.extend(archive);
    let cache = dispatcher_conf.read(&keys::FETCHER_CACHE)? || conf.read(&keys::FETCHER_CACHE)?;

    let mut env = spec.env.clone();
    let options = env.entry("SPARK_SUBMIT_OPTS".to_owned()).or_default();
    *options = format!("{options} -Dspark.mesos.driver.frameworkId={framework}");
    line += &words.join(" ");
    Ok(SparkCommand {
        line,
        files,
        uris: fetched(uris, cache),
        env,
        memory_mib: memory_with_overhead(conf, spec.resources.memory_mib, Role::Driver)?,
    })
}

/// Writes the agent's `spark-defaults.conf`, as `spark-submit` finds it, and the secrets after it into one
/// file: what is said last counts.
fn with_defaults(home: &str) -> String {
    let conf = "${SPARK_CONF_DIR:-${SPARK_HOME:-$home}/conf}";
    format!(
        "(umask 077; home={home}; {{ cat \"{conf}/spark-defaults.conf\" 2>/dev/null; echo; \
         cat \"$anymaster_files\"/{SECRETS}; }} >\"$anymaster_files\"/{PROPERTIES}); "
    )
}

fn place(conf: &Conf, dispatcher_conf: &Conf, archive: Option<&str>) -> Result<Place> {
    if conf.read_optional(&keys::DOCKER_IMAGE)?.is_some() {
        // What is fetched is in the sandbox, and the image's own directory is another one.
        return Ok(Place {
            enter: String::new(),
            home: ".".to_owned(),
            program: "./bin/spark-submit".to_owned(),
            sandbox: "$MESOS_SANDBOX",
        });
    }
    if let Some(archive) = archive {
        let file = archive.rsplit('/').next().unwrap_or_default();
        let base = file.split('.').next().unwrap_or_default();
        let paths: Vec<&str> = [
            dispatcher_conf.get("spark.executor.extraLibraryPath"),
            conf.get("spark.driver.extraLibraryPath"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let paths = match paths.as_slice() {
            [] => String::new(),
            paths => format!("LD_LIBRARY_PATH=\"{}:$LD_LIBRARY_PATH\" ", paths.join(":")),
        };
        return Ok(Place {
            enter: format!("cd {}*; ", shell_escape(base)),
            home: ".".to_owned(),
            program: format!("{paths}bin/spark-submit"),
            sandbox: "..",
        });
    }
    let home = conf.read_optional(&keys::EXECUTOR_HOME)?;
    let home = home.or_else(|| dispatcher_conf.get("spark.home").map(str::to_owned));
    let Some(home) = home else {
        let name = keys::EXECUTOR_HOME.info.name;
        return Err(Error::invalid(format!("Executor Spark home `{name}` is not set!")).with_hint(
            format!(
                "set {name} to where Spark is on the agents, spark.executor.uri to an archive with \
                 Spark, or spark.mesos.executor.docker.image"
            ),
        ));
    };
    let home = home.trim_end_matches('/');
    Ok(Place {
        enter: String::new(),
        home: shell_escape(home),
        program: shell_escape(&format!("{home}/./bin/spark-submit")),
        sandbox: ".",
    })
}

/// Fetched files, by their names in the sandbox, as one word.
fn sandboxed(sandbox: &str, paths: &[String]) -> String {
    let names = paths.iter().map(|path| path.rsplit('/').next().unwrap_or_default());
    let is_plain = names.clone().all(|name| shell_escape(name) == name);
    let one = |name: &str| match is_plain {
        true => format!("{sandbox}/{name}"),
        false => format!("{sandbox}/{}", escaped(name)),
    };
    let joined = names.map(one).collect::<Vec<_>>().join(",");
    // In double quotes the sandbox' variable still counts.
    if is_plain && !joined.contains('$') { joined } else { format!("\"{joined}\"") }
}

/// As Spark escapes: not what is in quotes already, or has nothing special in it.
fn shell_escape(value: &str) -> String {
    let is_quoted = |quote| value.len() > 2 && value.starts_with(quote) && value.ends_with(quote);
    if is_quoted('"') || is_quoted('\'') {
        return value.to_owned();
    }
    // A line feed is not in Spark's list; it would end the command.
    if value.contains(|c: char| " '<>&|?*;!#\\()\"$`\n\t".contains(c)) {
        return format!("\"{}\"", escaped(value));
    }
    value.to_owned()
}

/// For between double quotes.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        if matches!(char, '"' | '`' | '$' | '\\') {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

#[cfg(test)]
mod tests;
