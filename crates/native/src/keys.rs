//! Spark's properties for standalone clusters (Spark 3.5, `org.apache.spark.internal.config.Deploy` and
//! `Worker`; 4.x where noted), and our own.

use std::time::Duration;

use anymaster_core::conf::keys::{AUTHENTICATE_SECRET, Key, Kind};
use anymaster_core::conf::{Conf, TimeUnit};
use anymaster_core::model::AppId;
use anymaster_core::{Error, Result};
use anymaster_net::{Tls, bind, bind_with_retry};
use tokio::net::TcpListener;

use crate::wire::{Credentials, Role, Secret};

const SECONDS: Kind = Kind::Time(TimeUnit::Second);

anymaster_core::property_keys! {
    /// Whether the executors of an application are spread out over as many workers as possible, or put onto as few.
    SPREAD_OUT: bool = "spark.deploy.spreadOutApps", Kind::Flag, Some("true"), "4.0.0", Honoured, was "spark.deploy.spreadOut";
    /// The cores of an application that does not set `spark.cores.max`; all of them where it is unset.
    DEFAULT_CORES: u32 = "spark.deploy.defaultCores", Kind::Count, None, "0.9.0", Honoured;
    /// How many executors of an application may fail one after the other, with none running, before it is given up; a negative number: any.
    MAX_EXECUTOR_RETRIES: String = "spark.deploy.maxExecutorRetries", Kind::Text, Some("10"), "1.6.3", Honoured;
    /// How many applications that ended the master remembers.
    RETAINED_APPLICATIONS: u32 = "spark.deploy.retainedApplications", Kind::Count, Some("200"), "0.8.0", Honoured;
    /// How long a worker may be silent before it is taken for gone.
    WORKER_TIMEOUT: Duration = "spark.worker.timeout", SECONDS, Some("60"), "0.6.2", Honoured;
    /// Whether workers remove the directories of applications that ended.
    CLEANUP_ENABLED: bool = "spark.worker.cleanup.enabled", Kind::Flag, Some("true"), "1.0.0", Honoured;
    /// How often they look for such directories.
    CLEANUP_INTERVAL: Duration = "spark.worker.cleanup.interval", SECONDS, Some("1800"), "1.0.0", Honoured;
    /// How long these stay.
    CLEANUP_TTL: Duration = "spark.worker.cleanup.appDataTtl", SECONDS, Some("604800"), "1.0.0", Honoured;
    /// A program that prints which of a resource a worker has: `{"name": "gpu", "addresses": ["0", "1"]}`.
    RESOURCE_SCRIPT: String = "spark.worker.resource.*.discoveryScript", Kind::Text, None, "3.0.0", Honoured;
    /// How many of them the worker offers.
    RESOURCE_AMOUNT: u64 = "spark.worker.resource.*.amount", Kind::Count, None, "3.0.0", Honoured;

    /// The directories of the Sparks that a worker has for Spark's executors, with commas between them. `SPARK_HOME` where it is unset.
    WORKER_SPARK_HOMES: String = "spark.anymaster.worker.sparkHomes", Kind::List, None, "0.1.0", Honoured;

    /// Whether Spark's submission protocol is spoken.
    REST_ENABLED: bool = "spark.master.rest.enabled", Kind::Flag, Some("true"), "1.3.0", Honoured;
    /// At which port; a free one where it is 0.
    REST_PORT: u32 = "spark.master.rest.port", Kind::Count, Some("6066"), "1.3.0", Honoured;
    /// Whether `submit` in cluster mode, to a master or a dispatcher, waits until the application ends; its exit code is the driver's then.
    WAIT_APP_COMPLETION: bool = "spark.standalone.submit.waitAppCompletion", Kind::Flag, Some("false"), "3.1.0", Honoured;
    /// The port of the master's page, or where it is taken one of the next; a free one where it is 0.
    MASTER_UI_PORT: u32 = "spark.master.ui.port", Kind::Count, Some("8080"), "1.1.0", Honoured;

    /// The port of a worker's page, or where it is taken one of the next; a free one where it is 0.
    WORKER_UI_PORT: u32 = "spark.worker.ui.port", Kind::Count, Some("8081"), "1.1.0", Honoured;

    /// What a master that is started again knows: `NONE`, or all that it knew before, from a `FILESYSTEM`, or from a `ZOOKEEPER` through which several masters also find out which of them leads.
    RECOVERY_MODE: String = "spark.deploy.recoveryMode", Kind::Text, Some("NONE"), "0.8.1", Honoured;
    /// Where it keeps that.
    RECOVERY_DIRECTORY: String = "spark.deploy.recoveryDirectory", Kind::Text, None, "0.8.1", Honoured;

    /// Goes on with what can be read of a damaged store, and loses the rest: the number of the last change that was acknowledged, which the refusal to start names.
    ACCEPT_LOSS: u64 = "spark.anymaster.standalone.acceptLoss", Kind::Count, None, "0.1.0", Honoured;

    /// The servers of ZooKeeper: `host:port`, and more with commas between them.
    ZOOKEEPER_URL: String = "spark.deploy.zookeeper.url", Kind::Text, None, "0.8.1", Honoured;
    /// Where in ZooKeeper masters keep what they know; beside what Spark's own keep there.
    ZOOKEEPER_DIR: String = "spark.deploy.zookeeper.dir", Kind::Text, Some("/spark"), "0.8.1", Honoured;
    /// How long a master may not be heard of by ZooKeeper before another leads.
    ZOOKEEPER_TIMEOUT: Duration = "spark.anymaster.zookeeper.sessionTimeout", SECONDS, Some("15"), "0.1.0", Honoured;

    /// A file with the secret that masters, workers and clients share, instead of `spark.authenticate.secret`.
    SECRET_FILE: String = "spark.anymaster.authenticate.secretFile", Kind::Text, None, "0.1.0", Honoured;
    /// A file with the key by which the driver of one application is known; workers write it.
    APPLICATION_KEY_FILE: String = "spark.anymaster.authenticate.applicationKeyFile", Kind::Text, None, "0.1.0", Honoured;
    /// How long a worker, or a driver outside of the cluster, whose connection ended has to come back.
    RETURN_TIME: Duration = "spark.anymaster.standalone.returnTime", SECONDS, Some("5"), "0.1.0", Honoured;
    /// How long a worker keeps its processes when no master is to be reached.
    FENCE_AFTER: Duration = "spark.anymaster.standalone.fenceAfter", SECONDS, Some("120"), "0.1.0", Honoured;
}

/// Properties of other clusters for what `spark.standalone.submit.waitAppCompletion` says.
pub const WAITS: &[(&str, &str)] = &[
    ("spark.kubernetes.submission.waitAppCompletion", WAIT_APP_COMPLETION.info.name),
    ("spark.yarn.submit.waitAppCompletion", WAIT_APP_COMPLETION.info.name),
];

/// In the place of a resource of a Spark application that has none: its class is among its jars, or Spark's own
/// (Spark 3.5, `SparkLauncher.NO_RESOURCE`).
pub const NO_RESOURCE: &str = "spark-internal";

/// The properties by which somebody is known to the whole cluster: not the business of applications.
pub const SECRETS: [&str; 2] = [AUTHENTICATE_SECRET.info.name, SECRET_FILE.info.name];

/// Takes them out.
pub fn without_secrets(conf: &Conf) -> Conf {
    conf.iter().filter(|(key, _)| !SECRETS.contains(key)).collect()
}

/// The secret that all processes of the cluster share, if there is one.
///
/// # Errors
/// For a file that cannot be read.
pub fn secret(conf: &Conf) -> Result<Secret> {
    match conf.read_optional(&SECRET_FILE)? {
        Some(path) => secret_in(SECRET_FILE.info.name, &path),
        None => Ok(Secret::new(conf.get(AUTHENTICATE_SECRET.info.name))),
    }
}

/// The secret of `spark.authenticate`, for Spark's own processes, if there is one.
///
/// # Errors
/// For a file that cannot be read.
pub fn secret_of_spark(conf: &Conf) -> Result<Option<String>> {
    secret(conf).map(|secret| secret.expose().map(str::to_owned))
}

fn secret_in(property: &str, path: &str) -> Result<Secret> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("{property}: cannot read {path}")).with_source(error)
    })?;
    match text.trim() {
        "" => Err(Error::invalid(format!("{property}: {path} is empty"))),
        secret => Ok(Secret::new(Some(secret))),
    }
}

/// How a client is known: by the secret of the cluster, or as the driver of its application.
///
/// # Errors
/// For files that cannot be read.
pub fn credentials(conf: &Conf) -> Result<Credentials> {
    let tls = Tls::of(conf)?;
    let (Some(path), Some(app)) =
        (conf.read_optional(&APPLICATION_KEY_FILE)?, conf.get("spark.app.id"))
    else {
        return Ok(Credentials { role: Role::Client, secret: secret(conf)?, tls });
    };
    let role = Role::Application(AppId::new(app)?);
    let secret = secret_in(APPLICATION_KEY_FILE.info.name, &path)?;
    Ok(Credentials { role, secret, tls })
}

/// What those show who ask a daemon over HTTP, if there is a secret.
///
/// # Errors
/// For a file that cannot be read.
pub fn token(conf: &Conf) -> Result<Option<String>> {
    secret(conf)?.token()
}

/// A port: as it is given, or as a property says.
///
/// # Errors
/// If that is no port.
pub fn port(conf: &Conf, given: Option<u16>, key: &Key<u32>) -> Result<u16> {
    if let Some(given) = given {
        return Ok(given);
    }
    let port = conf.read(key)?;
    u16::try_from(port)
        .map_err(|_| Error::invalid(format!("{}: {port} is not a port", key.info.name)))
}

/// Listens for the page: where an option says, or at a property's port, or near that.
///
/// # Errors
/// If the port is not to be had.
pub async fn bind_page(
    host: &str,
    given: Option<u16>,
    conf: &Conf,
    key: &Key<u32>,
) -> Result<(TcpListener, u16)> {
    match port(conf, given, key)? {
        port if given.is_some() || port == 0 => bind(host, port).await,
        port => bind_with_retry(host, port).await,
    }
}

/// How many retries there are; `None`: any number.
///
/// # Errors
/// If it is no number.
pub fn max_retries(conf: &Conf) -> Result<Option<u32>> {
    let text = conf.read(&MAX_EXECUTOR_RETRIES)?;
    let number: i64 = text.trim().parse().map_err(|_| {
        Error::invalid(format!(
            "{}: {text:?} is not a whole number",
            MAX_EXECUTOR_RETRIES.info.name
        ))
    })?;
    Ok(u32::try_from(number).ok())
}
