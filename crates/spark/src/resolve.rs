//! Resolves a parsed line into a submission: merges properties from all sources, applies defaults,
//! validates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Conf, Layers, Loaded, Origin, keys};
use anymaster_core::model::{
    ApplicationSpec, DeployMode, Payload, ResourceProfile, SparkJob, SparkLanguage,
};
use anymaster_core::{Error, MasterUrl, Registry, Result};

use crate::flags::FLAGS;
use crate::home::{SparkHome, find_spark};
use crate::manifest;
use crate::mapping::{ASSIGNMENTS, Manager, PROGRAM_OPTIONS};
use crate::parse::{NO_RESOURCE, Script};
use crate::resource::{has_scheme, to_uri, to_uris};
use crate::{Environment, Resource, SubmitArgs};

mod checks;
mod sources;

use checks::{
    check_application, check_deploy_mode, check_values, missing_application, missing_class,
};
use sources::{add_files, check_options, place};

/// A resolved and validated submission.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The master URL.
    pub master: MasterUrl,
    /// Where the driver runs.
    pub deploy_mode: DeployMode,
    /// The kind of application.
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
    /// The origin of each property.
    pub origins: BTreeMap<String, Origin>,
    /// The properties file that was read.
    pub properties_file: Option<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// The application as given on the line.
    pub(crate) primary_as_given: String,
    /// The options for Spark's JVM.
    pub(crate) passed: Vec<String>,
    /// The script that the line comes from.
    pub(crate) script: Script,
    /// The line for Spark's own launcher.
    whole: Vec<String>,
    /// Properties given on the line, in order.
    given: Vec<(String, String)>,
}

impl Submission {
    /// The local file of a Spark application, if it was given as a path.
    pub fn application_file(&self, current_dir: &Path) -> Option<PathBuf> {
        let path = self.primary_as_given.split('#').next().unwrap_or_default();
        let is_path =
            matches!(self.resource, Resource::Spark(_)) && !has_scheme(&self.primary_as_given);
        is_path.then(|| current_dir.join(path))
    }

    /// The arguments of Spark's JVM: options, the application, its arguments.
    pub(crate) fn line(&self) -> Vec<String> {
        let primary = std::iter::once(&self.primary_as_given);
        self.passed.iter().chain(primary).chain(&self.args).cloned().collect()
    }

    /// The arguments of Spark's own launcher.
    pub(crate) fn launcher_line(&self) -> Vec<String> {
        self.whole.clone()
    }

    /// The last value of a property on the line, not in a file.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.given.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
    /// The job of Spark's driver; `None` for shells and other programs.
    pub fn spark_job(&self) -> Option<SparkJob> {
        let language = match self.resource {
            Resource::Spark(language) => language,
            Resource::Internal => SparkLanguage::Java,
            Resource::Shell | Resource::Program => return None,
        };
        Some(SparkJob {
            language,
            primary_resource: self.primary_resource.clone(),
            main_class: self.main_class.clone(),
            args: self.args.clone(),
            proxy_user: self.proxy_user.clone(),
        })
    }

    /// The specification of the application.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for an invalid size or flag.
    pub fn application(&self, payload: Payload) -> Result<ApplicationSpec> {
        let mut resources = ResourceProfile::new(1.0, 0);
        // Kubernetes' quantities have their own syntax, which its backend parses.
        let is_kubernetes = Manager::of(&self.master) == Manager::Kubernetes;
        if self.deploy_mode == DeployMode::Cluster && !is_kubernetes {
            resources.cores = self.conf.read(&keys::DRIVER_CORES)?;
            if matches!(payload, Payload::Spark(_)) {
                resources.memory_mib = self.conf.read(&keys::DRIVER_MEMORY)?;
            }
        }
        // A program's memory is limited only if configured.
        if let Some(memory) = self.conf.read_optional(&keys::DRIVER_MEMORY)? {
            resources.memory_mib = memory;
            let overhead = self.conf.read_optional(&keys::DRIVER_MEMORY_OVERHEAD)?;
            resources.overhead_mib = overhead.unwrap_or(0);
        }
        let mut app = ApplicationSpec::new(self.name.as_str(), payload)
            .with_driver_resources(resources)
            .with_conf(self.conf.clone());
        app.driver.supervise = self.conf.read(&keys::DRIVER_SUPERVISE)?;
        app.check()?;
        Ok(app)
    }
}

/// Resolves a parsed line with files, environment and defaults, and validates it.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) with Spark's message where it has one,
/// and a hint. Master URLs are parsed by the backends of `masters`.
pub fn resolve(
    args: &SubmitArgs,
    environment: &Environment,
    masters: &Registry,
) -> Result<Submission> {
    let example;
    let args = match args.script {
        Script::RunExample => {
            example = self::example(args, environment)?;
            &example
        }
        _ => args,
    };
    let mut layers = Layers::new();
    let properties_file = add_files(&mut layers, args, environment)?;
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
    let (master, deploy_mode) = place(&mut layers, environment, masters)?;
    layers.replace("spark.master", master.to_string());
    let manager = Manager::of(&master);
    assign(&mut layers, args, manager, deploy_mode, &environment.current_dir);

    check_options(&layers, args, environment)?;

    let primary = args.primary_resource.as_deref().ok_or_else(|| missing_application(args))?;
    let main_class = args.value("--class").map(str::to_owned);
    let resource = Resource::of(primary, main_class.is_some(), &environment.current_dir);
    let primary_resource = match &resource {
        Resource::Spark(_) => to_uri(primary, &environment.current_dir),
        _ => primary.to_owned(),
    };
    check_application(args, &resource, primary, main_class.as_deref())?;
    check_deploy_mode(manager, deploy_mode, &resource, main_class.as_deref(), &layers)?;
    name(&mut layers, manager, main_class.as_deref(), primary, environment);
    let language = match resource {
        Resource::Spark(language) => Some(language),
        Resource::Internal => Some(SparkLanguage::Java),
        Resource::Shell | Resource::Program => None,
    };
    if let Some(language) = language {
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
        for (option, key) in PROGRAM_OPTIONS {
            if let Some(value) = args.value(option) {
                layers.add(Origin::Flag(option), key, value);
            }
        }
        let of_spark = FLAGS.iter().filter(|flag| flag.is_for_spark_alone());
        let given = of_spark.filter(|flag| args.value(flag.name).is_some());
        without_effect.extend(given.map(|flag| {
            format!("{} has no effect: {primary} is not an application of Spark", flag.name)
        }));
    }
    let is_jar = resource == Resource::Spark(SparkLanguage::Java);
    let application = environment.current_dir.join(primary);
    let main_class = match main_class {
        // In client mode Spark's JVM reads the manifest.
        None if is_jar && deploy_mode == DeployMode::Cluster && application.is_file() => {
            Some(manifest::main_class(&application).map_err(|error| missing_class(args, error))?)
        }
        given => given,
    };
    let Loaded { mut conf, origins, warnings } = layers.finish();
    conf.set_variables(environment.references());
    check_values(&conf, args, manager, &resource)?;
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
        primary_as_given: primary.to_owned(),
        passed: args.passed.clone(),
        script: args.script,
        whole: args.for_spark(),
        given: args.conf.clone(),
    })
}

/// Converts the line of an example into one with its jar, and all jars of the examples unless the
/// line has `--jars`.
fn example(args: &SubmitArgs, environment: &Environment) -> Result<SubmitArgs> {
    let class = args.value("--class").ok_or_else(|| {
        Error::invalid("Missing example class name.").with_hint("write run-example SparkPi")
    })?;
    let (jars, main) = SparkHome::of(find_spark(environment)?).examples()?;
    let jars: Vec<_> = jars.iter().map(|jar| jar.display().to_string()).collect();
    let first = ["--jars".to_owned(), jars.join(","), "--class".to_owned(), class.to_owned()];
    let mut args = args.clone();
    args.passed.splice(0..0, first);
    args.values.entry("--jars").or_insert_with(|| jars.join(","));
    args.primary_resource = Some(main.display().to_string());
    Ok(args)
}

/// The properties of a line without an application: from its file and `--conf`.
///
/// # Errors
/// If the file cannot be read.
pub fn properties(args: &SubmitArgs, environment: &Environment) -> Result<Conf> {
    let mut layers = Layers::new();
    add_files(&mut layers, args, environment)?;
    for (key, value) in &args.conf {
        layers.add(Origin::Conf, key, value.as_str());
    }
    let mut conf = layers.finish().conf;
    conf.set_variables(environment.references());
    Ok(conf)
}

/// Sets the properties of options that have an effect on this cluster manager and deploy mode.
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

/// Sets the application's name: as given, else from the environment (YARN), else the class, else
/// the file.
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

/// Sets the properties that Spark adds for a Spark application.
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
    if language == SparkLanguage::Java
        && primary != NO_RESOURCE
        && !(on_yarn && mode == DeployMode::Cluster)
    {
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

#[cfg(test)]
mod tests;
