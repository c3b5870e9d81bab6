//! Spark's properties for Mesos, and what becomes of each (Spark 3.5,
//! `org.apache.spark.deploy.mesos.config`). Those by which a framework is known are in
//! [`credentials`].

use std::time::Duration;

use anymaster_core::conf::keys::{KeyInfo, Kind, Treatment};
use anymaster_core::conf::{Conf, SizeUnit, TimeUnit};
use anymaster_core::{Error, Result};

use crate::credentials;
use crate::task::container::is_dockers;

const MEBI: Kind = Kind::Size(SizeUnit::Mebi);
const MILLIS: Kind = Kind::Time(TimeUnit::Millisecond);
const SECONDS: Kind = Kind::Time(TimeUnit::Second);

anymaster_core::property_keys! {
    /// Whether executors stay for as long as the application: `true`. The fine-grained mode is refused; it is deprecated since Spark 2.0. Leave this out, and set `spark.dynamicAllocation.enabled=true` for executors that come and go.
    COARSE: bool = "spark.mesos.coarse", Kind::Flag, Some("true"), "0.6.0", Honoured;
    /// How long Spark's driver waits for its executors to end as it ends. It has no effect: Mesos ends them.
    SHUTDOWN_TIMEOUT: Duration = "spark.mesos.coarse.shutdownTimeout", MILLIS, Some("10s"), "2.0.0", Dropped;
    /// Which agents may run executors: `attribute:value,value;attribute:`. All of it must hold.
    CONSTRAINTS: String = "spark.mesos.constraints", Kind::Text, None, "1.5.0", Honoured;
    /// Which agents may run the driver, in cluster mode; the same form.
    DRIVER_CONSTRAINTS: String = "spark.mesos.driver.constraints", Kind::Text, None, "2.2.1", Honoured;
    /// The role for which resources are offered; `*` where it is unset.
    ROLE: String = "spark.mesos.role", Kind::Text, None, "1.5.0", Honoured;
    /// The most GPUs that the application takes. Executors start without, where there are none.
    GPUS_MAX: u32 = "spark.mesos.gpus.max", Kind::Count, Some("0"), "2.1.0", Honoured;
    /// How many cores each executor believes to have beyond those that it takes.
    EXTRA_CORES: u32 = "spark.mesos.extra.cores", Kind::Count, Some("0"), "0.6.0", Honoured;
    /// Cores of an agent's executor in the fine-grained mode, which is refused: it has no effect.
    MESOS_EXECUTOR_CORES: f64 = "spark.mesos.mesosExecutor.cores", Kind::Number, Some("1.0"), "1.4.0", Dropped;
    /// Memory of an executor beyond its heap [default: a tenth of `spark.executor.memory`, at least 384 MiB].
    EXECUTOR_MEMORY_OVERHEAD: u64 = "spark.mesos.executor.memoryOverhead", MEBI, None, "1.1.1", Honoured;
    /// Memory of the driver beyond its heap, in cluster mode [default: `spark.driver.memoryOverhead`, or a tenth of `spark.driver.memory`, at least 384 MiB].
    DRIVER_MEMORY_OVERHEAD: u64 = "spark.mesos.driver.memoryOverhead", MEBI, None, "3.2.0", Honoured;

    /// Where Spark is on the agents [default: where it is for the driver].
    EXECUTOR_HOME: String = "spark.mesos.executor.home", Kind::Text, None, "1.1.1", Honoured;
    /// An archive with Spark, fetched and unpacked for each executor; also `SPARK_EXECUTOR_URI`. For programs that are not Spark it is only fetched and unpacked.
    EXECUTOR_URI: String = "spark.executor.uri", Kind::Text, None, "0.8.0", Honoured;
    /// What is fetched into each driver's and executor's sandbox; archives are unpacked.
    URIS: Vec<String> = "spark.mesos.uris", Kind::List, None, "1.5.0", Honoured;
    /// Whether agents keep what they fetched for the next one.
    FETCHER_CACHE: bool = "spark.mesos.fetcherCache.enable", Kind::Flag, Some("false"), "2.1.0", Honoured;
    /// Where an application `local://…` is in cluster mode: on the agent's machine (`host`), or in the image (`container`).
    APP_JAR_LOCAL_RESOLUTION: String = "spark.mesos.appJar.local.resolution.mode", Kind::Text, Some("host"), "2.4.0", Honoured;

    /// Who runs images: `docker` or `mesos`.
    CONTAINERIZER: String = "spark.mesos.containerizer", Kind::Text, Some("docker"), "2.1.0", Honoured;
    /// The image of executors, and of the driver in cluster mode.
    DOCKER_IMAGE: String = "spark.mesos.executor.docker.image", Kind::Text, None, "1.4.0", Honoured;
    /// Whether agents pull the image even if they have it.
    DOCKER_FORCE_PULL: bool = "spark.mesos.executor.docker.forcePullImage", Kind::Flag, Some("false"), "2.1.0", Honoured;
    /// Ports that are passed on to the container: `HOST:CONTAINER[:tcp|:udp]`. Only with an image, the containerizer `docker` and `spark.mesos.network.name`.
    DOCKER_PORTMAPS: Vec<String> = "spark.mesos.executor.docker.portmaps", Kind::List, None, "1.4.0", Honoured;
    /// Parameters of `docker run`: `KEY=VALUE`. Only with an image, and the containerizer `docker`.
    DOCKER_PARAMETERS: Vec<String> = "spark.mesos.executor.docker.parameters", Kind::List, None, "2.2.0", Honoured;
    /// Volumes of the container: `[HOST:]CONTAINER[:ro|:rw]`. Only with an image.
    DOCKER_VOLUMES: Vec<String> = "spark.mesos.executor.docker.volumes", Kind::List, None, "1.4.0", Honoured;
    /// The network that containers are attached to, by name; also the driver's in cluster mode.
    NETWORK_NAME: String = "spark.mesos.network.name", Kind::Text, None, "2.1.0", Honoured;
    /// Labels for that network's CNI plugin: `key:value,key:value`.
    NETWORK_LABELS: String = "spark.mesos.network.labels", Kind::Text, None, "2.3.0", Honoured;

    /// Labels of executors' tasks: `key:value,key:value`, with `\,` and `\:` for the characters themselves.
    TASK_LABELS: String = "spark.mesos.task.labels", Kind::Text, None, "2.2.0", Honoured;
    /// Labels of the driver's task, in cluster mode; the same form.
    DRIVER_LABELS: String = "spark.mesos.driver.labels", Kind::Text, None, "2.3.0", Honoured;
    /// An environment variable of the driver, in cluster mode.
    DRIVER_ENV: String = "spark.mesos.driverEnv.*", Kind::Text, None, "2.1.0", Honoured;
    /// Secrets for the driver, by the names that the agents' secret resolver knows.
    DRIVER_SECRET_NAMES: Vec<String> = "spark.mesos.driver.secret.names", Kind::List, None, "2.3.0", Honoured;
    /// Secrets for the driver themselves, instead of names.
    DRIVER_SECRET_VALUES: Vec<String> = "spark.mesos.driver.secret.values", Kind::List, None, "2.3.0", Honoured;
    /// The environment variables in which the driver finds them.
    DRIVER_SECRET_ENVKEYS: Vec<String> = "spark.mesos.driver.secret.envkeys", Kind::List, None, "2.3.0", Honoured;
    /// The files in which the driver finds them. Agents need the isolator `volume/secret`.
    DRIVER_SECRET_FILENAMES: Vec<String> = "spark.mesos.driver.secret.filenames", Kind::List, None, "2.3.0", Honoured;
    /// Secrets for executors, by the names that the agents' secret resolver knows.
    EXECUTOR_SECRET_NAMES: Vec<String> = "spark.mesos.executor.secret.names", Kind::List, None, "2.3.0", Honoured;
    /// Secrets for executors themselves, instead of names.
    EXECUTOR_SECRET_VALUES: Vec<String> = "spark.mesos.executor.secret.values", Kind::List, None, "2.3.0", Honoured;
    /// The environment variables in which executors find them.
    EXECUTOR_SECRET_ENVKEYS: Vec<String> = "spark.mesos.executor.secret.envkeys", Kind::List, None, "2.3.0", Honoured;
    /// The files in which executors find them. Agents need the isolator `volume/secret`.
    EXECUTOR_SECRET_FILENAMES: Vec<String> = "spark.mesos.executor.secret.filenames", Kind::List, None, "2.3.0", Honoured;

    /// For how long an offer that is not used is not made again.
    REJECT_DURATION: Duration = "spark.mesos.rejectOfferDuration", SECONDS, Some("120s"), "2.2.0", Honoured;
    /// The same for offers of agents that do not meet the constraints [default: `spark.mesos.rejectOfferDuration`].
    REJECT_DURATION_CONSTRAINTS: Duration = "spark.mesos.rejectOfferDurationForUnmetConstraints", SECONDS, None, "1.6.0", Honoured;
    /// The same when there are as many cores as `spark.cores.max` allows [default: `spark.mesos.rejectOfferDuration`].
    REJECT_DURATION_MAX_CORES: Duration = "spark.mesos.rejectOfferDurationForReachedMaxCores", SECONDS, None, "2.0.0", Honoured;

    /// How long the master keeps the executors of one of Spark's own drivers that is away, in seconds. Executors of other drivers end with them: in client mode more than 0 is refused.
    DRIVER_FAILOVER_TIMEOUT: f64 = "spark.mesos.driver.failoverTimeout", Kind::Number, Some("0.0"), "2.3.0", Honoured;
    /// The framework's id. Set by the dispatcher for Spark's own drivers: not a setting, and refused in client mode.
    DRIVER_FRAMEWORK_ID: String = "spark.mesos.driver.frameworkId", Kind::Text, None, "2.1.0", Honoured;
    /// The driver's page, to which Mesos' own page links [default: Spark's].
    DRIVER_WEBUI_URL: String = "spark.mesos.driver.webui.url", Kind::Text, None, "2.0.0", Honoured;
    /// The dispatcher's page, to which Mesos' own page links [default: its own].
    DISPATCHER_WEBUI_URL: String = "spark.mesos.dispatcher.webui.url", Kind::Text, None, "2.0.0", Honoured;
    /// The history server to which the dispatcher's page links.
    HISTORY_SERVER_URL: String = "spark.mesos.dispatcher.historyServer.url", Kind::Text, None, "2.1.0", Honoured;
    /// What the paths of Spark's page begin with, behind a proxy. It has no effect: give the page a name of its own there.
    PROXY_BASE_URL: String = "spark.mesos.proxy.baseURL", Kind::Text, None, "2.3.0", Dropped;
    /// The dispatcher's queue in which the driver waits.
    DISPATCHER_QUEUE: String = "spark.mesos.dispatcher.queue", Kind::Text, Some("default"), "3.1.0", Honoured;
    /// A queue of the dispatcher, and its priority: the highest goes first.
    DISPATCHER_QUEUES: String = "spark.mesos.dispatcher.queue.*", Kind::Text, None, "3.1.0", Honoured;
    /// A property for all drivers of the dispatcher, unless they set it themselves.
    DRIVER_DEFAULT: String = "spark.mesos.dispatcher.driverDefault.*", Kind::Text, None, "2.1.0", Honoured;
    /// With how many drivers that were launched and have not ended the dispatcher refuses further submissions; those that wait in the queue do not count.
    MAX_DRIVERS: u32 = "spark.mesos.maxDrivers", Kind::Count, Some("200"), "1.4.0", Honoured;
    /// How many drivers that ended the dispatcher remembers.
    RETAINED_DRIVERS: u32 = "spark.mesos.retainedDrivers", Kind::Count, Some("200"), "1.4.0", Honoured;
    /// The longest pause before a driver with `--supervise` is started again, in seconds.
    RETRY_WAIT_MAX: u32 = "spark.mesos.cluster.retry.wait.max", Kind::Count, Some("60"), "1.4.0", Honoured;
    /// How often the shuffle service looks for drivers that are gone.
    SHUFFLE_CLEANER_INTERVAL: Duration = "spark.shuffle.cleaner.interval", SECONDS, Some("30s"), "2.0.0", Passed;
}

/// What [`DRIVER_DEFAULT`] begins with.
pub const DRIVER_DEFAULT_PREFIX: &str = "spark.mesos.dispatcher.driverDefault.";

/// All of them with those of [`credentials`], sorted by name: for documentation.
pub fn table() -> Vec<&'static KeyInfo> {
    let mut all = [TABLE, credentials::TABLE].concat();
    all.sort_by_key(|info| info.name);
    all
}

/// Whether these properties can be honoured on Mesos (Spark 3.5 checks the same ones in
/// `MesosCoarseGrainedSchedulerBackend` and in its `ConfigBuilder`s).
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), naming the property, and what to do instead.
pub fn check(conf: &Conf) -> Result<()> {
    if !conf.read(&COARSE)? {
        return Err(Error::invalid(
            "spark.mesos.coarse=false: the fine-grained mode cannot be honoured, it is deprecated since \
             Spark 2.0",
        )
        .with_hint(
            "leave it out; for executors that come and go set spark.dynamicAllocation.enabled=true",
        ));
    }
    let encryption = conf.get("spark.io.encryption.enabled").unwrap_or("false");
    if encryption.trim().eq_ignore_ascii_case("true") {
        return Err(Error::invalid(
            "spark.io.encryption.enabled=true: I/O encryption is currently not supported in Mesos.",
        )
        .with_hint("leave it out, and put the agents' work directories on encrypted disks"));
    }
    one_of(conf, &CONTAINERIZER.info, &["docker", "mesos"])?;
    check_secrets(conf)?;
    check_portmaps(conf)?;
    one_of(conf, &APP_JAR_LOCAL_RESOLUTION.info, &["host", "container"])
}

/// Docker's containerizer gives containers no secrets: a variable is empty, a file is not there, and nobody
/// says so (Mesos 1.11).
fn check_secrets(conf: &Conf) -> Result<()> {
    if !is_dockers(conf)? {
        return Ok(());
    }
    let places = [
        &DRIVER_SECRET_ENVKEYS,
        &DRIVER_SECRET_FILENAMES,
        &EXECUTOR_SECRET_ENVKEYS,
        &EXECUTOR_SECRET_FILENAMES,
    ];
    match places.iter().find(|key| conf.get(key.info.name).is_some_and(|text| !text.is_empty())) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "{} cannot be honoured: containers of Docker's get no secrets of Mesos",
            key.info.name
        ))
        .with_hint("set spark.mesos.containerizer=mesos, which runs the same image")),
    }
}

/// Containers share the network of their agent unless there is one by name, and Mesos does not start those
/// that ask for ports of theirs there (1.11, `Port mappings are only supported for bridge and user-defined
/// networks`).
fn check_portmaps(conf: &Conf) -> Result<()> {
    let has = |key: &KeyInfo| conf.get(key.name).is_some_and(|text| !text.is_empty());
    if !is_dockers(conf)? || !has(&DOCKER_PORTMAPS.info) || has(&NETWORK_NAME.info) {
        return Ok(());
    }
    let name = DOCKER_PORTMAPS.info.name;
    Err(Error::invalid(format!("{name} cannot be honoured without a network of containers"))
        .with_hint("set spark.mesos.network.name, or leave it out: containers have all of the agent's ports"))
}

/// Whether a driver of its own framework, which is gone with it, can honour these properties.
///
/// # Errors
/// As [`check`].
pub fn check_driver(conf: &Conf) -> Result<()> {
    let cannot = |key: &KeyInfo| {
        let why = "the executors of a driver that is not Spark's end with it";
        Error::invalid(format!("{} cannot be honoured: {why}", key.name)).with_hint(
            "leave it out; a driver that is to outlive failures is submitted to a dispatcher, with \
             --supervise",
        )
    };
    if conf.read(&DRIVER_FAILOVER_TIMEOUT)? > 0.0 {
        return Err(cannot(&DRIVER_FAILOVER_TIMEOUT.info));
    }
    match conf.read_optional(&DRIVER_FRAMEWORK_ID)? {
        Some(_) => Err(cannot(&DRIVER_FRAMEWORK_ID.info)),
        None => Ok(()),
    }
}

fn one_of(conf: &Conf, key: &KeyInfo, values: &[&str]) -> Result<()> {
    let Some(value) = conf.get(key.name).filter(|value| !values.contains(value)) else {
        return Ok(());
    };
    let known = values.join(" or ");
    Err(Error::invalid(format!("{}: {value:?} is not {known}", key.name))
        .with_hint(format!("set it to {known}, or leave it out")))
}

/// What the user should know: properties that are set and have no effect.
pub fn warnings(conf: &Conf) -> Vec<String> {
    let is_dockers = is_dockers(conf).unwrap_or(true);
    let of_docker = [DOCKER_PARAMETERS.info.name, DOCKER_PORTMAPS.info.name];
    let is_dropped = |info: &&&KeyInfo| {
        info.treatment == Treatment::Dropped || !is_dockers && of_docker.contains(&info.name)
    };
    let dropped = TABLE.iter().filter(is_dropped);
    dropped
        .filter(|info| conf.get(info.name).is_some())
        .map(|info| format!("{} has no effect: {}", info.name, info.doc))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Conf {
        [(name, value)].into_iter().collect()
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        check(&Conf::new()).unwrap();
        check(&of("spark.mesos.coarse", "true")).unwrap();
        check(&of("spark.io.encryption.enabled", "false")).unwrap();
        check(&of("spark.mesos.containerizer", "mesos")).unwrap();
        for (name, value) in [
            ("spark.mesos.coarse", "false"),
            ("spark.mesos.coarse", "maybe"),
            ("spark.io.encryption.enabled", "TRUE"),
            ("spark.mesos.containerizer", "podman"),
            ("spark.mesos.appJar.local.resolution.mode", "moon"),
        ] {
            let error = check(&of(name, value)).unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        let mut secret = of("spark.mesos.executor.secret.envkeys", "WORD");
        check(&secret).unwrap();
        secret.set("spark.mesos.executor.docker.image", "i");
        let error = check(&secret).unwrap_err();
        assert!(error.message().starts_with("spark.mesos.executor.secret.envkeys "), "{error}");
        secret.set("spark.mesos.containerizer", "mesos");
        check(&secret).unwrap();
        let mut ports = of("spark.mesos.executor.docker.portmaps", "31000:80");
        check(&ports).unwrap();
        assert_eq!(warnings(&ports).len(), 1);
        ports.set("spark.mesos.executor.docker.image", "i");
        assert_eq!(warnings(&ports), Vec::<String>::new());
        let error = check(&ports).unwrap_err();
        assert!(error.hint().unwrap().contains("spark.mesos.network.name"), "{error}");
        ports.set("spark.mesos.network.name", "n");
        check(&ports).unwrap();
        let error = check(&of("spark.mesos.coarse", "false")).unwrap_err();
        assert!(error.hint().unwrap().contains("dynamicAllocation"));
        let warnings = warnings(&of("spark.mesos.mesosExecutor.cores", "2"));
        assert!(warnings[0].contains("mesosExecutor.cores has no effect"), "{warnings:?}");
    }

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        let names: Vec<_> = table().iter().map(|info| info.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        let none = Conf::new();
        assert_eq!(none.read(&REJECT_DURATION).unwrap(), Duration::from_secs(120));
        assert_eq!(none.read(&SHUTDOWN_TIMEOUT).unwrap(), Duration::from_secs(10));
        assert_eq!(none.read(&SHUFFLE_CLEANER_INTERVAL).unwrap(), Duration::from_secs(30));
        assert_eq!(none.read_optional(&URIS).unwrap(), None);
        assert_eq!(none.read(&MAX_DRIVERS).unwrap(), 200);
        assert_eq!(none.read(&DRIVER_FAILOVER_TIMEOUT).unwrap(), 0.0);
    }
}
