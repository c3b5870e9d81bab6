//! From a line to a submission: properties from all their sources, defaults, checks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Conf, Layers, Loaded, Origin, keys};
use anymaster_core::model::{
    ApplicationSpec, DriverSpec, Payload, ResourceProfile, SparkJob, SparkLanguage,
};
use anymaster_core::{Error, MasterUrl, Result};

use crate::manifest;
use crate::mapping::{ASSIGNMENTS, Manager, NOT_OF_PROGRAMS, OF_PROGRAMS};
use crate::resource::{has_scheme, to_uri, to_uris};
use crate::{Environment, Resource, SubmitArgs};

/// Where the driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployMode {
    /// With the submitter.
    Client,
    /// In the cluster.
    Cluster,
}

impl fmt::Display for DeployMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Cluster => "cluster",
        })
    }
}

/// An application to be submitted, understood and checked.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where the cluster is.
    pub master: MasterUrl,
    /// Where the driver runs.
    pub deploy_mode: DeployMode,
    /// What the application is.
    pub resource: Resource,
    /// A URI for a Spark application, a path for a program.
    pub primary_resource: String,
    /// `--class`.
    pub main_class: Option<String>,
    /// `spark.app.name`.
    pub name: String,
    /// The application's arguments.
    pub args: Vec<String>,
    /// `--proxy-user`.
    pub proxy_user: Option<String>,
    /// All properties.
    pub conf: Conf,
    /// Where each comes from.
    pub origins: BTreeMap<String, Origin>,
    /// The properties file that was read.
    pub properties_file: Option<PathBuf>,
    /// What is to be said about all this.
    pub warnings: Vec<String>,
    /// The application as it was typed.
    pub(crate) typed: String,
    /// The options that a JVM of Spark's is given.
    pub(crate) passed: Vec<String>,
}

impl Submission {
    /// The file of a Spark application, if it was named by its path on this machine.
    pub fn application_file(&self, current_dir: &Path) -> Option<PathBuf> {
        let path = self.typed.split('#').next().unwrap_or_default();
        let is_path = matches!(self.resource, Resource::Spark(_)) && !has_scheme(&self.typed);
        is_path.then(|| current_dir.join(path))
    }
}

impl Submission {
    /// What Spark's driver is to run, if this is an application of Spark.
    pub fn spark_job(&self) -> Option<SparkJob> {
        let Resource::Spark(language) = self.resource else { return None };
        Some(SparkJob {
            language,
            primary_resource: self.primary_resource.clone(),
            main_class: self.main_class.clone(),
            args: self.args.clone(),
            proxy_user: self.proxy_user.clone(),
        })
    }

    /// The application as a cluster takes it.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a size or a flag that is none.
    pub fn application(&self, payload: Payload) -> Result<ApplicationSpec> {
        let mut resources = ResourceProfile::new(1.0, 0);
        // Kubernetes' amounts have a form of their own, and its backend reads them.
        let is_kubernetes = matches!(self.master, MasterUrl::Kubernetes { .. });
        if self.deploy_mode == DeployMode::Cluster && !is_kubernetes {
            resources.cores = self.conf.read(&keys::DRIVER_CORES)?;
            if matches!(payload, Payload::Spark(_)) {
                resources.memory_mib = self.conf.read(&keys::DRIVER_MEMORY)?;
            }
        }
        // A program's memory is limited only if somebody says so.
        if let Some(memory) = self.conf.read_optional(&keys::DRIVER_MEMORY)? {
            resources.memory_mib = memory;
            let overhead = self.conf.read_optional(&keys::DRIVER_MEMORY_OVERHEAD)?;
            resources.overhead_mib = overhead.unwrap_or(0);
        }
        Ok(ApplicationSpec {
            name: self.name.clone(),
            driver: DriverSpec {
                payload,
                env: BTreeMap::new(),
                resources,
                working_dir: None,
                supervise: self.conf.read(&keys::DRIVER_SUPERVISE)?,
            },
            conf: self.conf.clone(),
        })
    }
}

/// Looks up what a line leaves open, and checks it.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with what is wrong, in Spark's meaning, and
/// what to write instead.
pub fn resolve(args: &SubmitArgs, environment: &Environment) -> Result<Submission> {
    let mut layers = Layers::new();
    let properties_file = add_file(&mut layers, args, environment)?;
    for (variable, key) in [
        ("SPARK_DRIVER_MEMORY", "spark.driver.memory"),
        ("SPARK_EXECUTOR_MEMORY", "spark.executor.memory"),
        ("SPARK_EXECUTOR_CORES", "spark.executor.cores"),
        ("MASTER", "spark.master"),
        ("DEPLOY_MODE", "spark.submit.deployMode"),
    ] {
        if let Some(value) = environment.get(variable) {
            layers.add(Origin::Environment(variable), key, value);
        }
    }
    for (key, value) in &args.conf {
        layers.add(Origin::Conf, key, value.as_str());
    }
    if args.value("--remote").is_some()
        && ["--master", "--deploy-mode"].iter().any(|o| args.value(o).is_some())
    {
        return Err(Error::invalid("--remote cannot be given with --master or --deploy-mode"));
    }
    for (option, key) in [
        ("--master", "spark.master"),
        ("--deploy-mode", "spark.submit.deployMode"),
        ("--name", "spark.app.name"),
        ("--remote", "spark.remote"),
    ] {
        if let Some(value) = args.value(option) {
            layers.add(Origin::Flag(option), key, value);
        }
    }
    let (master, deploy_mode) = place(&mut layers, environment)?;
    if matches!(master, MasterUrl::Kubernetes { .. }) {
        // Spark writes the URL with the scheme that it took for meant.
        layers.replace("spark.master", master.to_string());
    }
    let manager = Manager::of(&master);
    assign(&mut layers, args, manager, deploy_mode, &environment.current_dir);

    let primary = args.primary_resource.as_deref().ok_or_else(|| {
        Error::invalid("Must specify a primary resource (JAR or Python or R file)").with_hint(
            "name the application after the options: spark-submit [OPTIONS] app.jar [ARGUMENTS]",
        )
    })?;
    let main_class = args.value("--class").map(str::to_owned);
    let resource = Resource::of(primary, main_class.is_some(), &environment.current_dir);
    let primary_resource = match &resource {
        Resource::Spark(_) => to_uri(primary, &environment.current_dir),
        _ => primary.to_owned(),
    };
    check_place(manager, deploy_mode, &resource, main_class.as_deref(), &layers)?;
    name(&mut layers, manager, main_class.as_deref(), primary, environment);
    if let Resource::Spark(language) = resource {
        if deploy_mode == DeployMode::Client
            && let Some(files) = args.value("--py-files")
        {
            layers.add(Origin::Flag("--py-files"), "spark.submit.pyFiles", files);
        }
        finish_spark(
            &mut layers,
            language,
            manager,
            deploy_mode,
            &primary_resource,
            &environment.current_dir,
        );
    }
    let mut without_effect = Vec::new();
    if resource == Resource::Program {
        for (option, key) in OF_PROGRAMS {
            if let Some(value) = args.value(option) {
                layers.add(Origin::Flag(option), key, value);
            }
        }
        let given = NOT_OF_PROGRAMS.iter().filter(|option| args.value(option).is_some());
        without_effect.extend(given.map(|option| {
            format!("{option} has no effect: {primary} is not an application of Spark")
        }));
    }
    let is_jar = resource == Resource::Spark(SparkLanguage::Java);
    let application = environment.current_dir.join(primary);
    let main_class = match main_class {
        // In client mode Spark's own JVM looks into the jar.
        None if is_jar && deploy_mode == DeployMode::Cluster && application.is_file() => {
            Some(manifest::main_class(&application)?)
        }
        given => given,
    };
    let Loaded { mut conf, origins, warnings } = layers.finish();
    conf.set_variables(environment.references());
    check_values(&conf, args)?;
    let warnings = args.warnings.iter().cloned().chain(warnings).chain(without_effect).collect();
    Ok(Submission {
        name: conf.read(&keys::APP_NAME)?,
        master,
        deploy_mode,
        resource,
        primary_resource,
        main_class,
        args: args.args.clone(),
        proxy_user: args.value("--proxy-user").map(str::to_owned),
        conf,
        origins,
        properties_file,
        warnings,
        typed: primary.to_owned(),
        passed: args.passed.clone(),
    })
}

/// The properties of a line that names no application: of its file and its `--conf`.
///
/// # Errors
/// If the file cannot be read.
pub fn properties(args: &SubmitArgs, environment: &Environment) -> Result<Conf> {
    let mut layers = Layers::new();
    add_file(&mut layers, args, environment)?;
    for (key, value) in &args.conf {
        layers.add(Origin::Conf, key, value.as_str());
    }
    let mut conf = layers.finish().conf;
    conf.set_variables(environment.references());
    Ok(conf)
}

/// `--properties-file`, which replaces the defaults, or `spark-defaults.conf` if there is one.
fn add_file(
    layers: &mut Layers,
    args: &SubmitArgs,
    environment: &Environment,
) -> Result<Option<PathBuf>> {
    let given = args.value("--properties-file").map(|file| environment.current_dir.join(file));
    let default = || {
        let conf_dir = environment.get("SPARK_CONF_DIR").map(PathBuf::from);
        let conf_dir = conf_dir
            .or_else(|| Some(PathBuf::from(environment.get("SPARK_HOME")?).join("conf")))?;
        Some(conf_dir.join("spark-defaults.conf")).filter(|file| file.is_file())
    };
    let file = given.or_else(default);
    if let Some(file) = &file {
        layers.add_file(file)?;
    }
    Ok(file)
}

fn place(layers: &mut Layers, environment: &Environment) -> Result<(MasterUrl, DeployMode)> {
    layers.add(Origin::Derived, "spark.master", "local[*]");
    layers.add(Origin::Derived, "spark.submit.deployMode", "client");
    let text = layers.get("spark.master").unwrap_or_default();
    let master: MasterUrl = text.parse()?;
    let deploy_mode = match layers.get("spark.submit.deployMode") {
        Some("cluster") => DeployMode::Cluster,
        Some("client") => DeployMode::Client,
        other => {
            return Err(Error::invalid(format!(
                "Deploy mode must be either client or cluster, not {:?}",
                other.unwrap_or_default()
            )));
        }
    };
    if matches!(master, MasterUrl::Yarn)
        && environment.get("HADOOP_CONF_DIR").is_none()
        && environment.get("YARN_CONF_DIR").is_none()
    {
        return Err(Error::invalid(
            "When running with master 'yarn' either HADOOP_CONF_DIR or YARN_CONF_DIR must be set in \
             the environment.",
        )
        .with_hint("export HADOOP_CONF_DIR=the directory of yarn-site.xml"));
    }
    Ok((master, deploy_mode))
}

/// Options that stand for properties, where they have an effect.
fn assign(
    layers: &mut Layers,
    args: &SubmitArgs,
    manager: Manager,
    mode: DeployMode,
    current_dir: &Path,
) {
    for assignment in ASSIGNMENTS.iter().filter(|assignment| assignment.applies(manager, mode)) {
        let Some(value) = args.value(assignment.option) else { continue };
        let mut value = match assignment.option {
            "--jars" | "--files" | "--archives" | "--py-files" => to_uris(value, current_dir),
            _ => value.to_owned(),
        };
        if assignment.merged
            && let Some(before) = layers.get(assignment.key).filter(|before| !before.is_empty())
        {
            value = format!("{before},{value}");
        }
        layers.add(Origin::Flag(assignment.option), assignment.key, value);
    }
    let supervisable = matches!(manager, Manager::Standalone | Manager::Mesos);
    if supervisable && mode == DeployMode::Cluster {
        let supervise = args.has("--supervise").to_string();
        layers.add(Origin::Flag("--supervise"), "spark.driver.supervise", supervise);
    }
}

fn check_place(
    manager: Manager,
    mode: DeployMode,
    resource: &Resource,
    main_class: Option<&str>,
    layers: &Layers,
) -> Result<()> {
    if *resource == Resource::Shell {
        return Err(if mode == DeployMode::Cluster {
            Error::invalid("Cluster deploy mode is not applicable to Spark shells.")
        } else {
            Error::unsupported("shells are started by Spark's own scripts")
                .with_hint("run bin/spark-shell, bin/pyspark or bin/sparkR")
        });
    }
    if mode == DeployMode::Client {
        return Ok(());
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
        _ => match main_class {
            Some("org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver") => {
                Err(Error::invalid("Cluster deploy mode is not applicable to Spark SQL shell."))
            }
            Some("org.apache.spark.sql.hive.thriftserver.HiveThriftServer2") => {
                Err(Error::invalid("Cluster deploy mode is not applicable to Spark Thrift server."))
            }
            Some("org.apache.spark.sql.connect.service.SparkConnectServer") => Err(Error::invalid(
                "Cluster deploy mode is not applicable to Spark Connect server.",
            )),
            _ => Ok(()),
        },
    }
}

/// The application's name: given, else (on YARN) of the environment, else the class, else the file.
fn name(
    layers: &mut Layers,
    manager: Manager,
    main_class: Option<&str>,
    primary: &str,
    environment: &Environment,
) {
    if let Some(name) = environment.get("SPARK_YARN_APP_NAME").filter(|_| manager == Manager::Yarn)
    {
        layers.add(Origin::Environment("SPARK_YARN_APP_NAME"), "spark.app.name", name);
    }
    let file = primary.rsplit('/').next().filter(|file| !file.is_empty()).unwrap_or(primary);
    layers.add(Origin::Derived, "spark.app.name", main_class.unwrap_or(file));
}

/// What Spark adds for an application of its own.
fn finish_spark(
    layers: &mut Layers,
    language: SparkLanguage,
    manager: Manager,
    mode: DeployMode,
    primary: &str,
    current_dir: &Path,
) {
    let on_yarn = manager == Manager::Yarn;
    let append = |layers: &mut Layers, key: &str, more: &str| {
        let before = layers.get(key).unwrap_or_default().to_owned();
        let value = if before.is_empty() { more.to_owned() } else { format!("{before},{more}") };
        layers.remove(key);
        layers.add(Origin::Derived, key, value);
    };
    if language == SparkLanguage::Java && !(on_yarn && mode == DeployMode::Cluster) {
        append(layers, "spark.jars", primary);
    }
    let python = layers.get("spark.submit.pyFiles").unwrap_or_default().to_owned();
    if !python.is_empty() && mode == DeployMode::Client && !on_yarn {
        append(layers, "spark.files", &python);
    }
    if mode == DeployMode::Cluster {
        layers.remove("spark.driver.host");
    }
    for key in ["spark.jars", "spark.files", "spark.archives", "spark.submit.pyFiles"] {
        if let Some(value) = layers.get(key) {
            let uris = to_uris(value, current_dir);
            layers.replace(key, uris);
        }
    }
    if mode == DeployMode::Client {
        let uris = to_uris(&python, current_dir);
        let path = |uri: &str| uri.strip_prefix("file:").unwrap_or(uri).to_owned();
        let paths: Vec<_> = uris.split(',').map(path).collect();
        layers.replace("spark.submit.pyFiles", paths.join(","));
    }
    layers.add(Origin::Derived, "spark.submit.pyFiles", "");
}

/// What Spark refuses, and what it would only fail on later.
fn check_values(conf: &Conf, args: &SubmitArgs) -> Result<()> {
    if args.value("--proxy-user").is_some() && args.value("--principal").is_some() {
        return Err(Error::invalid("Only one of --proxy-user or --principal can be provided."));
    }
    // The option even where it has no effect: who writes it means it.
    for (option, what) in
        [("--driver-memory", "Driver memory"), ("--executor-memory", "Executor memory")]
    {
        if let Some(text) = args.value(option) {
            let key = if option == "--driver-memory" {
                &keys::DRIVER_MEMORY
            } else {
                &keys::EXECUTOR_MEMORY
            };
            let given: Conf = [(key.info.name, text)].into_iter().collect();
            if given.read(key).map_err(|error| error.context(option))? == 0 {
                return Err(Error::invalid(format!(
                    "{what} must be a positive number ({option} {text})"
                )));
            }
        }
    }
    let dynamic = conf.read(&keys::DYNAMIC_ALLOCATION)?;
    for (option, what, needed) in [
        ("--executor-cores", "Executor cores", true),
        ("--total-executor-cores", "Total executor cores", true),
        ("--num-executors", "Number of executors", !dynamic),
    ] {
        if let Some(text) = args.value(option).filter(|_| needed)
            && !text.trim().parse::<i64>().is_ok_and(|number| number > 0)
        {
            return Err(Error::invalid(format!(
                "{what} must be a positive number ({option} {text})"
            )));
        }
    }
    for key in [&keys::DRIVER_MEMORY, &keys::EXECUTOR_MEMORY] {
        conf.read(key)?;
    }
    conf.read_optional(&keys::EXECUTOR_INSTANCES)?;
    for key in [&keys::DRIVER_JAVA_OPTIONS, &keys::DRIVER_DEFAULT_JAVA_OPTIONS] {
        if let Some(options) = conf.read_optional(key)?.filter(|options| options.contains("-Xmx")) {
            return Err(Error::invalid(format!(
                "Not allowed to specify max heap(Xmx) memory settings through java options (was \
                 {options})."
            ))
            .with_hint("use --driver-memory, or spark.driver.memory"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
