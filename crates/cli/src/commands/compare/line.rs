//! The line of a job: of `run`, or of `submit`.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anymaster::WorkSource;
use anymaster_compare::{Candidate, Job, Prices, Shapes};
use anymaster_core::conf::Conf;
use anymaster_core::model::{DeployMode, ResourceProfile};
use anymaster_core::{BackendInfo, DriverPlacement, Error, MasterUrl, Result, SubmissionIdForm};
use anymaster_spark::{Action, Environment, Resource, SubmitArgs};

use crate::args::{self, Verb};
use crate::commands::run::plan::Plan;
use crate::commands::submit::program;
use crate::commands::{run, submit};
use crate::context::Context;
use crate::exit::Outcome;
use crate::settings;

/// How long a submitted driver has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

const DEPLOY_MODE: &str = "--deploy-mode";

/// A job as it was given.
pub(super) enum Line {
    Run(Box<run::Arguments>),
    Submit(Box<SubmitArgs>),
}

impl Line {
    /// Reads it: `run …`, `submit …`, or the same after `anymaster`, or `spark-submit …`. Clap's own answer, if
    /// it is a line of `run` that asks for help or is none.
    ///
    /// # Errors
    /// If it is a line of neither, or has what is not one job's.
    pub(super) fn parse(
        context: &Context,
        words: &[OsString],
    ) -> Result<std::result::Result<Self, Outcome>> {
        let words = match words.split_first() {
            Some((first, rest)) if first == "anymaster" => rest,
            _ => words,
        };
        match words.split_first() {
            Some((verb, _)) if verb == "run" => {
                let line: Vec<OsString> =
                    std::iter::once("anymaster".into()).chain(words.iter().cloned()).collect();
                match args::parse(&line) {
                    Ok(args::CommandLine { verb: Verb::Run(arguments), .. }) => {
                        Self::of_run(context, arguments).map(Ok)
                    }
                    Ok(_) => Err(not_a_job()),
                    Err(answer) => Ok(Err(args::show(&line, answer))),
                }
            }
            Some((verb, rest)) if verb == "submit" || verb == "spark-submit" => {
                let line = submit::as_java_reads_it(context, rest.to_vec());
                let args = anymaster_spark::parse(&line)?;
                if args.action != Action::Submit || args.has("--dry-run") {
                    return Err(not_a_job());
                }
                if args.value("--submission-id").is_some() {
                    return Err(id_given());
                }
                if args.value("--master").or_else(|| args.conf("spark.master")).is_some() {
                    warn_of_master(context);
                }
                Ok(Ok(Self::Submit(Box::new(args))))
            }
            _ => Err(not_a_job()),
        }
    }

    fn of_run(context: &Context, mut arguments: run::Arguments) -> Result<Self> {
        if arguments.dry_run {
            return Err(not_a_job());
        }
        if arguments.submission_id.is_some() {
            return Err(id_given());
        }
        if arguments.cluster.master.is_some() {
            warn_of_master(context);
        }
        if arguments.executor_logs {
            context.printer.warn(
                "--executor-logs has no effect: what runs print is not shown; anymaster logs ID prints it",
            );
        }
        arguments.properties_file = arguments.properties_file.or_else(settings::spark_defaults);
        Ok(Self::Run(Box::new(arguments)))
    }

    /// The job's name: that of the first cluster that can run it, else the verb.
    pub(super) fn name(&self, candidates: &[Candidate]) -> String {
        let known = candidates.iter().find_map(|candidate| candidate.job.as_ref().ok());
        match (known, self) {
            (Some(job), _) => job.app.name.clone(),
            (None, Self::Run(_)) => "run".to_owned(),
            (None, Self::Submit(_)) => "submit".to_owned(),
        }
    }

    /// The job for a cluster, or why it cannot run there.
    ///
    /// # Errors
    /// If this program lacks a place for its state.
    pub(super) fn candidate(
        &self,
        context: &Context,
        master: &MasterUrl,
        prices: Option<&Prices>,
    ) -> Result<Candidate> {
        let info = context.info(master)?;
        let job = match self {
            Self::Run(arguments) => job_of_run(context, arguments, master, info),
            Self::Submit(args) => job_of_submission(context, args, master, info),
        };
        // What says how to connect is among the job's properties.
        let conf = job.as_ref().map_or_else(|_| Conf::new(), |job| job.app.conf.clone());
        Ok(Candidate {
            master: master.clone(),
            title: info.title.to_owned(),
            registry: context.registry.clone(),
            connect: context.connect_options(master, conf)?,
            job,
            price: prices.and_then(|prices| prices.of(master.as_str())),
        })
    }
}

fn not_a_job() -> Error {
    Error::invalid("what follows -- is not a job").with_hint(
        "write a line of anymaster run or anymaster submit: -- run --driver '…' --executor '…'",
    )
}

fn warn_of_master(context: &Context) {
    context.printer.warn("the master of the line has no effect: compare has its own");
}

fn id_given() -> Error {
    Error::invalid("--submission-id: each run of a comparison has an id of its own")
        .with_hint("leave it out")
}

/// What executors look like whose shape is not requested by us.
fn shapes(driver: ResourceProfile, info: &BackendInfo, conf: &Conf) -> Result<Shapes> {
    Ok(Shapes { driver, executor: (info.executor_profile)(conf)? })
}

fn job_of_run(
    context: &Context,
    arguments: &run::Arguments,
    master: &MasterUrl,
    info: &BackendInfo,
) -> Result<Job> {
    let plan = Plan::new(arguments, master.clone(), info, std::env::current_dir().ok())?;
    for warning in &plan.warnings {
        context.printer.warn(format!("{master}: {warning}"));
    }
    let shared = |hook| Arc::new(hook) as Arc<dyn WorkSource>;
    Ok(Job {
        shapes: shapes(plan.app.driver.resources.clone(), info, &plan.app.conf)?,
        app: plan.app,
        target: plan.target,
        dynamic: plan.dynamic.map(|(policy, source)| (policy, shared(source))),
        ids: SubmissionIdForm::Application,
        grace: arguments.grace,
    })
}

fn job_of_submission(
    context: &Context,
    args: &SubmitArgs,
    master: &MasterUrl,
    info: &BackendInfo,
) -> Result<Job> {
    let mut args = args.clone();
    args.values.insert("--master", master.to_string());
    args.conf.retain(|(name, _)| name != "spark.master");
    let is_given =
        args.value(DEPLOY_MODE).is_some() || args.conf("spark.submit.deployMode").is_some();
    if !is_given && info.drivers != DriverPlacement::ThisMachine {
        args.values.insert(DEPLOY_MODE, "cluster".to_owned());
    }
    let environment = Environment::of_process();
    let submission = anymaster_spark::resolve(&args, &environment, &context.registry)?;
    let is_spark = submission.resource != Resource::Program;
    let is_here = info.drivers == DriverPlacement::ThisMachine;
    if submission.deploy_mode == DeployMode::Client && (is_spark || !is_here) {
        let error = Error::unsupported(format!(
            "a driver in client mode is no process of {}, which so knows nothing of it",
            info.title
        ));
        return Err(match (is_spark, is_here) {
            (true, true) => error.with_hint("give the master URL of a cluster"),
            _ => error.with_hint("write --deploy-mode cluster"),
        });
    }
    for warning in &submission.warnings {
        context.printer.warn(format!("{master}: {warning}"));
    }
    let (app, _) = program::application_there(context, &submission, &environment)?;
    Ok(Job {
        shapes: shapes(app.driver.resources.clone(), info, &app.conf)?,
        app,
        target: None,
        dynamic: None,
        ids: info.submission_ids,
        grace: GRACE,
    })
}
