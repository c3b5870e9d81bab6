//! Validates submissions: what Spark refuses at submission, and what would fail later.

use anymaster_core::conf::{
    Conf, Layers, Redaction, SizeUnit, check_executors, check_task_cpus, keys, parse_size,
};
use anymaster_core::model::SparkLanguage;
use anymaster_core::{Error, Result};

use crate::mapping::Manager;
use crate::suspicious_line::{Suspicion, is_file_of_spark, options_among};
use crate::{Resource, SubmitArgs};
use anymaster_core::model::DeployMode;

/// Properties that have to be positive: option, property, and Spark's name for it.
const AMOUNTS: [(&str, &str, &str, Amount); 6] = [
    ("--driver-memory", "spark.driver.memory", "Driver memory", Amount::Memory),
    ("--executor-memory", "spark.executor.memory", "Executor memory", Amount::Memory),
    ("--driver-cores", "spark.driver.cores", "Driver cores", Amount::Cores),
    ("--executor-cores", "spark.executor.cores", "Executor cores", Amount::Cores),
    ("--total-executor-cores", "spark.cores.max", "Total executor cores", Amount::Count),
    ("--num-executors", "spark.executor.instances", "Number of executors", Amount::Executors),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Memory,
    /// A whole number for Spark; programs may have fractions, and drivers on Kubernetes quantities
    /// such as `400m`.
    Cores,
    Count,
    /// Required to be positive only without dynamic allocation.
    Executors,
}

/// The error for a line without an application.
pub(super) fn missing_application(args: &SubmitArgs) -> Error {
    let error = Error::invalid("Must specify a primary resource (JAR or Python or R file)");
    if let Some(Suspicion::Swallowed { .. }) = &args.suspicion {
        return error.with_hint("the value of an option is missing, so that it took what follows");
    }
    let swallowed = |(&option, value): (&&'static str, &String)| {
        let is_list = matches!(option, "--jars" | "--py-files" | "--files" | "--archives");
        (!is_list && is_file_of_spark(value)).then(|| format!("{option} has taken {value}"))
    };
    error.with_hint(match args.values.iter().find_map(swallowed) {
        Some(taken) => format!("{taken}: is its own value missing?"),
        None => {
            "name the application after the options: spark-submit [OPTIONS] app.jar [ARGUMENTS]"
                .to_owned()
        }
    })
}

/// Checks that the application was meant as such, and that a required class is given.
pub(super) fn check_application(
    args: &SubmitArgs,
    resource: &Resource,
    primary: &str,
    main_class: Option<&str>,
) -> Result<()> {
    match (resource, &args.suspicion) {
        (Resource::Program, Some(suspicion @ Suspicion::Swallowed { .. })) => {
            Err(Error::invalid(suspicion.message())
                .with_hint(format!("as it stands, {primary} would be started as a program")))
        }
        (Resource::Internal, _) if main_class.is_none() => Err(missing_class(
            args,
            Error::invalid("No main class set in JAR; please specify one with --class."),
        )),
        _ => Ok(()),
    }
}

/// The error for a missing class, which may have been given after the application.
pub(super) fn missing_class(args: &SubmitArgs, error: Error) -> Error {
    match options_among(&args.args).find(|option| *option == "--class") {
        Some(_) => error.with_hint(
            "--class follows the application, and so is an argument of it: write it before",
        ),
        None => error,
    }
}

/// Checks that the application can run on this cluster manager in this deploy mode.
pub(super) fn check_deploy_mode(
    manager: Manager,
    mode: DeployMode,
    resource: &Resource,
    main_class: Option<&str>,
    layers: &Layers,
) -> Result<()> {
    if mode == DeployMode::Client {
        return Ok(());
    }
    let not_applicable = |what: &str| {
        Err(Error::invalid(format!("Cluster deploy mode is not applicable to {what}."))
            .with_hint("leave out --deploy-mode cluster"))
    };
    if *resource == Resource::Shell {
        return not_applicable("Spark shells");
    }
    match main_class {
        Some("org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver") => {
            return not_applicable("Spark SQL shell");
        }
        Some("org.apache.spark.sql.hive.thriftserver.HiveThriftServer2") => {
            return not_applicable("Spark Thrift server");
        }
        Some("org.apache.spark.sql.connect.service.SparkConnectServer") => {
            return not_applicable("Spark Connect server");
        }
        _ => {}
    }
    let language = match resource {
        Resource::Spark(SparkLanguage::Python) => "python",
        Resource::Spark(SparkLanguage::R) => "R",
        _ => "",
    };
    match manager {
        Manager::Local => {
            let master = layers.get("spark.master").unwrap_or("local");
            Err(Error::invalid(format!(
                "Cluster deploy mode is not compatible with master \"local\" ({master})"
            ))
            .with_hint("leave out --deploy-mode cluster, or name a cluster with --master"))
        }
        Manager::Standalone if !language.is_empty() => Err(Error::invalid(format!(
            "Cluster deploy mode is currently not supported for {language} applications on \
             standalone clusters."
        ))
        .with_hint("use --deploy-mode client")),
        _ => Ok(()),
    }
}

/// Checks the values of properties and options.
pub(super) fn check_values(
    conf: &Conf,
    args: &SubmitArgs,
    manager: Manager,
    resource: &Resource,
) -> Result<()> {
    let principal = keys::KERBEROS_PRINCIPAL.info.name;
    let has_principal = args.value("--principal").or_else(|| conf.get(principal)).is_some();
    if args.value("--proxy-user").is_some() && has_principal {
        return Err(Error::invalid("Only one of --proxy-user or --principal can be provided."));
    }
    let dynamic = conf.read(&keys::DYNAMIC_ALLOCATION)?;
    let is_program = *resource == Resource::Program;
    for (option, key, what, amount) in AMOUNTS {
        // The option is checked even where it has no effect.
        let (name, value) = match (args.value(option), conf.get(key)) {
            (Some(value), _) => (option, value),
            // A program may start without executors.
            (None, Some(_)) if is_program && amount == Amount::Executors => continue,
            (None, Some(value)) => (key, value),
            (None, None) => continue,
        };
        let whole = || value.trim().parse::<i64>().is_ok_and(|number| number > 0);
        let is_positive = match amount {
            Amount::Memory => parse_size(value, SizeUnit::Byte)
                .map_err(|fault| {
                    Error::invalid(format!("{name}: {value:?} is not a size: {fault}"))
                })
                .map(|bytes| bytes > 0)?,
            Amount::Cores if is_program => {
                value.trim().parse::<f64>().is_ok_and(|number| number > 0.0)
            }
            Amount::Cores if key == "spark.driver.cores" && manager == Manager::Kubernetes => {
                whole() || value.trim().ends_with('m')
            }
            Amount::Cores | Amount::Count => whole(),
            Amount::Executors => dynamic || whole(),
        };
        if !is_positive {
            return Err(Error::invalid(format!(
                "{what} must be a positive number ({name} {value})"
            )));
        }
    }
    for key in [&keys::DRIVER_MEMORY, &keys::EXECUTOR_MEMORY] {
        conf.read(key)?;
    }
    conf.read_optional(&keys::EXECUTOR_INSTANCES)?;
    for key in [&keys::DRIVER_JAVA_OPTIONS, &keys::DRIVER_DEFAULT_JAVA_OPTIONS] {
        if let Some(options) = conf.read_optional(key)?.filter(|options| options.contains("-Xmx")) {
            let shown = Redaction::from_conf(conf)?.show(key.info.name, &options).into_owned();
            return Err(Error::invalid(format!(
                "Not allowed to specify max heap(Xmx) memory settings through java options (was \
                 {shown})."
            ))
            .with_hint("use --driver-memory, or spark.driver.memory"));
        }
    }
    if !is_program {
        check_executors(conf)?;
    }
    match manager {
        // By default, an executor has all cores of its worker or offer.
        Manager::Standalone | Manager::Mesos if !is_program => check_task_cpus(conf, None),
        _ => Ok(()),
    }
}
