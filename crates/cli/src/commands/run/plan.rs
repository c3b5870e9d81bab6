//! What a `run` line asks of the cluster.

use std::path::{Path, PathBuf};

use anymaster_core::conf::{Layers, Origin, Redaction, keys};
use anymaster_core::dynamic_allocation::DynamicAllocationPolicy;
use anymaster_core::model::{
    ApplicationSpec, CommandLine, ExecutorTarget, ExecutorTemplate, ResourceProfile, SubmissionId,
};
use anymaster_core::native::Placeholder;
use anymaster_core::{
    BackendInfo, DriverPlacement, Error, MasterUrl, Result, SubmissionIdForm, native,
};
use anymaster_spark::Environment;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Arguments;
use super::work::Hook;

/// How many executors there are when nothing says so: Spark's number.
const DEFAULT_EXECUTORS: u32 = 2;

/// The calls that a run makes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) master: MasterUrl,
    pub(crate) id: SubmissionId,
    pub(crate) app: ApplicationSpec,
    pub(crate) target: Option<ExecutorTarget>,
    /// The number of executors follows the work.
    pub(crate) dynamic: Option<(DynamicAllocationPolicy, Hook)>,
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    /// Understands a command line.
    ///
    /// # Errors
    /// Says which part is not valid.
    pub(crate) fn new(
        arguments: &Arguments,
        master: MasterUrl,
        info: &BackendInfo,
        current_dir: Option<PathBuf>,
    ) -> Result<Self> {
        let id = match &arguments.submission_id {
            Some(id) => SubmissionId::new(id)?,
            None => SubmissionIdForm::Application.generate(Timestamp::now())?,
        };
        // On this machine, commands mean what they mean in the user's shell, where they stand.
        let working_dir = current_dir.filter(|_| info.drivers == DriverPlacement::ThisMachine);
        let driver = command("--driver", &arguments.driver, false, working_dir.as_deref())?;
        let executor = arguments
            .executor
            .as_deref()
            .map(|text| command("--executor", text, true, working_dir.as_deref()))
            .transpose()?;
        let loaded = properties(arguments, &master, &driver)?.finish();
        let (mut conf, mut warnings) = (loaded.conf, loaded.warnings);
        conf.set_variables(Environment::of_process().references());

        let mut driver_resources = ResourceProfile::new(1.0, 0);
        if let Some(memory) = conf.read_optional(&keys::DRIVER_MEMORY)? {
            driver_resources.memory_mib = memory;
            driver_resources.overhead_mib =
                conf.read_optional(&keys::DRIVER_MEMORY_OVERHEAD)?.unwrap_or(0);
        }
        let policy = DynamicAllocationPolicy::from_conf(&conf)?;
        let hook = arguments.pending_work.as_deref().map(Hook::parse).transpose()?;
        if executor.is_some() && policy.is_some() && hook.is_none() {
            warnings.push(format!(
                "{} has no effect without --pending-work, which names the document of pending work",
                keys::DYNAMIC_ALLOCATION.info.name
            ));
        }
        let dynamic = policy.zip(hook);
        let target = match executor {
            None => None,
            Some(command) => {
                let mut template = ExecutorTemplate::new(command).env_of(&conf);
                template.working_dir.clone_from(&working_dir);
                let number = match &dynamic {
                    Some((policy, _)) => policy.initial,
                    None => {
                        conf.read_optional(&keys::EXECUTOR_INSTANCES)?.unwrap_or(DEFAULT_EXECUTORS)
                    }
                };
                let profile = (info.executor_profile)(&conf)?;
                Some(ExecutorTarget::new(template, profile, number))
            }
        };
        let mut app = ApplicationSpec::new(conf.read(&keys::APP_NAME)?, driver)
            .with_driver_resources(driver_resources)
            .with_conf(conf);
        app.driver.working_dir = working_dir;
        app.check()?;
        target.iter().try_for_each(ExecutorTarget::check)?;
        Ok(Self { master, id, app, target, dynamic, warnings })
    }

    /// The calls as they may be shown.
    pub(crate) fn dry_run(&self) -> Value {
        let app = self.app.redacted();
        let mut requests = vec![json!({
            "launch_driver": { "submission": self.id, "application": app }
        })];
        if let Some(target) = &self.target {
            // A pattern that is none was refused when the plan was made.
            let redaction = Redaction::from_conf(&self.app.conf).unwrap_or_default();
            let mut target = target.clone();
            let command = &mut target.template.command;
            command.args = redaction.show_args(&command.args);
            for (name, value) in &mut target.template.env {
                *value = redaction.show(name, value).into_owned();
            }
            requests.push(json!({ "request_executors": target }));
        }
        if let Some((policy, hook)) = &self.dynamic {
            requests.push(json!({ "dynamic_allocation": {
                "pending_work": hook.to_string(), "min": policy.min, "max": policy.max
            }}));
        }
        json!({ "master": self.master, "requests": requests })
    }
}

fn properties(arguments: &Arguments, master: &MasterUrl, driver: &CommandLine) -> Result<Layers> {
    let mut layers = Layers::new();
    let program = Path::new(&driver.program).file_name().unwrap_or(driver.program.as_ref());
    layers.add(Origin::Derived, keys::APP_NAME.info.name, program.to_string_lossy());
    if let Some(file) = &arguments.properties_file {
        layers.add_file(file)?;
    }
    for property in &arguments.conf {
        let (key, value) = property.split_once('=').ok_or_else(|| {
            Error::invalid(format!("--conf {property}: there is no '=' in it"))
                .with_hint("for example --conf spark.executor.memoryOverhead=1g")
        })?;
        layers.add(Origin::Conf, key.trim(), value);
    }
    let executors = arguments.executors.map(|number| number.to_string());
    let dynamic = arguments.pending_work.as_ref().map(|_| "true".to_owned());
    let flags = [
        ("--pending-work", &keys::DYNAMIC_ALLOCATION.info, dynamic),
        ("--master", &keys::MASTER.info, Some(master.to_string())),
        ("--name", &keys::APP_NAME.info, arguments.name.clone()),
        ("--executors", &keys::EXECUTOR_INSTANCES.info, executors),
        ("--executor-cores", &keys::EXECUTOR_CORES.info, arguments.executor_cores.clone()),
        ("--executor-memory", &keys::EXECUTOR_MEMORY.info, arguments.executor_memory.clone()),
        ("--driver-memory", &keys::DRIVER_MEMORY.info, arguments.driver_memory.clone()),
    ];
    for (flag, key, value) in flags {
        if let Some(value) = value {
            layers.add(Origin::Flag(flag), key.name, value);
        }
    }
    Ok(layers)
}

/// Splits a command as a shell does it, and checks its placeholders before anything is started.
fn command(
    option: &str,
    text: &str,
    of_executor: bool,
    working_dir: Option<&Path>,
) -> Result<CommandLine> {
    let words = shell_words::split(text).map_err(|error| {
        Error::invalid(format!("{option} {text:?}: {error}"))
            .with_hint("every quote needs its partner; \\' and \\\" stand for the quote itself")
    })?;
    let known = |placeholder: Placeholder<'_>| {
        (of_executor || !placeholder.is_of_executors()).then(String::new)
    };
    for word in &words {
        native::expand(word, known).map_err(|error| error.context(option))?;
    }
    let mut words = words.into_iter();
    let program = words.next().ok_or_else(|| {
        Error::invalid(format!("{option} is empty"))
            .with_hint("it takes a program and its arguments")
    })?;
    // A path is relative to the user's directory; a bare name is looked up in PATH.
    let program = match working_dir {
        Some(directory) if program.contains('/') && !program.starts_with("{{") => {
            directory.join(program).components().collect::<PathBuf>().to_string_lossy().into_owned()
        }
        _ => program,
    };
    Ok(CommandLine::new(program).args(words))
}

#[cfg(test)]
mod tests {
    use anymaster_core::Registry;
    use anymaster_core::model::Payload;
    use anymaster_k8s::KUBERNETES;
    use anymaster_standalone::client::STANDALONE;
    use anymaster_standalone::local::LOCAL;
    use clap::Parser as _;

    use super::*;
    use crate::args::{CommandLine as Cli, Verb};

    fn plan(args: &[&str]) -> Result<Plan> {
        let line = ["anymaster", "run", "--submission-id", "app-1"].iter().chain(args);
        let Verb::Run(arguments) = Cli::try_parse_from(line).unwrap().verb else {
            unreachable!("the verb is run")
        };
        let masters = Registry::new().with(LOCAL).with(STANDALONE).with(KUBERNETES);
        let master = masters.parse(arguments.cluster.master.as_deref().unwrap_or("local[4]"))?;
        let info = masters.find(&master)?.info();
        Plan::new(&arguments, master, info, Some("/here".into()))
    }

    #[test]
    fn a_run_is_two_requests() {
        let plan = plan(&[
            "--driver",
            "./bin/scheduler --port {{driver.port}} 'two words'",
            "--executor",
            "worker {{executor.id}} {{executor.port.grpc}}",
            "--executors",
            "3",
            "--executor-memory",
            "2g",
            "--conf",
            "spark.executor.memory=1g",
            "--conf",
            "spark.executorEnv.RUST_LOG=debug",
            "--conf",
            "spark.executorEnv.API_TOKEN=abc",
            "-c",
            "spark.my.password=abc",
        ]);
        let shown = serde_json::to_string_pretty(&plan.unwrap().dry_run()).unwrap();
        assert!(!shown.contains("abc"));
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn without_executors_there_is_only_the_driver() {
        let plan = plan(&["--driver", "sh -c 'exit 3'"]).unwrap();
        assert_eq!(plan.target, None);
        assert_eq!(plan.app.name, "sh");
        assert_eq!(plan.app.driver.resources.memory_limit_mib(), 0);
    }

    #[test]
    fn elsewhere_paths_are_the_clusters() {
        let plan = plan(&["--master", "spark://h:7077", "--driver", "./d"]).unwrap();
        let Payload::Command(driver) = &plan.app.driver.payload else { unreachable!("a command") };
        assert_eq!((driver.program.as_str(), &plan.app.driver.working_dir), ("./d", &None));
    }

    #[test]
    fn mistakes_are_named_with_their_option() {
        let cases: [&[&str]; 7] = [
            &["--driver", "sh -c 'exit"],
            &["--driver", " "],
            &["--driver", "d {{executor.id}}"],
            &["--driver", "d", "--executor", "e {{executor.nr}}"],
            &["--driver", "d", "--executor", "e", "--executor-memory", "1.5g"],
            &["--driver", "d", "--executor", "e", "--executor-cores", "0"],
            &["--driver", "d", "--conf", "spark.x"],
        ];
        let errors: Vec<_> = cases.iter().map(|args| plan(args).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(errors.join("\n"));
    }
}
