//! A driver that the cluster starts: any program; or Spark's own, in cluster mode.

use std::path::{Path, PathBuf};

use anymaster::RunOutput;
use anymaster_core::conf::Origin;
use anymaster_core::model::{ApplicationSpec, CommandLine, DeployMode, Payload, SubmissionId};
use anymaster_core::{Backend, DriverPlacement, Error, MasterUrl, Result, SubmitDialect};
use anymaster_spark::{Environment, Submission};
use jiff::Timestamp;
use serde_json::json;

use super::rest_dialect;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::follow;
use crate::printer::Format;
use crate::session;
use crate::signals::Interrupts;

pub(super) fn run(
    context: &Context,
    submission: &Submission,
    environment: &Environment,
    id: Option<SubmissionId>,
    dry_run: bool,
    verbose: bool,
    format: Format,
) -> Outcome {
    let backend = context.registry.find(&submission.master)?;
    let master = &submission.master;
    let (app, launcher) = application_there(context, submission, environment)?;
    let info = context.info(&launcher)?;
    let id = id.map_or_else(|| info.submission_ids.generate(Timestamp::now()), Ok)?;
    // What is not valid is said before anything is started, and by a dry run, too.
    let is_waited_for = match backend.info().wait {
        Some(key) => submission.conf.read(key)?,
        None => true,
    };
    let name = submission.name.clone();
    let options = follow::Options::of(&submission.conf, name, launcher.clone(), info, verbose)?;
    if dry_run {
        return context.block_on(async {
            let options = context.connect_options(master, app.conf.clone())?;
            let preview = backend.preview(&options, &id, &app).await?.unwrap_or_else(|| {
                let application = app.redacted();
                let launch =
                    json!({ "launch_driver": { "submission": id, "application": application } });
                json!({ "master": master, "requests": [launch] })
            });
            context.printer.value(format.document(), &preview)?;
            Ok(Exit::Success)
        });
    }
    context.block_on(async {
        let mut interrupts = Interrupts::new(context.printer)?;
        let launching = session::launch(context, &launcher, &id, &app, &mut interrupts);
        let run = match launching.await? {
            Ok(run) => run,
            Err(exit) => return Ok(exit),
        };
        if !run.cluster().capabilities().detached_drivers {
            // A driver of its own knows what to do when too many executors fail.
            let run = run.with_output(RunOutput::Driver);
            return session::wait(run, context.printer, &mut interrupts).await;
        }
        if is_waited_for {
            return follow::wait(run, options, context.printer, &mut interrupts).await;
        }
        match info.dialect {
            SubmitDialect::Rest => {
                rest_dialect::submitted(context.printer, &launcher, run.driver(), verbose);
            }
            SubmitDialect::ApplicationReport => {
                let driver = run.driver();
                if let Some(report) = &driver.report {
                    context.printer.message_lines(follow::application_report(driver, report));
                }
            }
            _ => {
                let whole = follow::whole(&submission.name, run.driver());
                let (title, printer) = (info.title, context.printer);
                printer.message(format!("Deployed Spark application {whole} into {title}"));
            }
        }
        Ok(Exit::Success)
    })
}

/// The application of a submission, and the master that starts its driver.
///
/// # Errors
/// If no backend serves the submission's master, or it cannot start such a driver.
pub(crate) fn application_there(
    context: &Context,
    submission: &Submission,
    environment: &Environment,
) -> Result<(ApplicationSpec, MasterUrl)> {
    // Before anything is looked up: is there a backend at all?
    let backend = context.registry.find(&submission.master)?;
    let master = &submission.master;
    Ok(match (backend.info().drivers, submission.deploy_mode) {
        (DriverPlacement::ByDeployMode, DeployMode::Client) => {
            (here(submission, environment, backend)?, context.registry.parse("local")?)
        }
        (DriverPlacement::Cluster, DeployMode::Client) => {
            (there(submission, environment, backend.info().title)?, master.clone())
        }
        (drivers, _) => {
            let is_here = drivers == DriverPlacement::ThisMachine;
            (application(submission, environment, is_here)?, master.clone())
        }
    })
}

/// A driver on this machine, which asks the cluster for executors itself.
fn here(
    submission: &Submission,
    environment: &Environment,
    backend: &dyn Backend,
) -> Result<ApplicationSpec> {
    let mut app = application(submission, environment, true)?;
    app.conf.set("spark.master", submission.master.to_string());
    app.conf.set("spark.submit.deployMode", "client");
    if app.conf.get("spark.driver.host").is_none() {
        app.conf.set("spark.driver.host", backend.local_address(&submission.master)?);
    }
    Ok(app)
}

/// A driver in a pod, unless the line asks for one here: executors would share no secret with that.
fn there(
    submission: &Submission,
    environment: &Environment,
    title: &str,
) -> Result<ApplicationSpec> {
    const MODE: &str = "spark.submit.deployMode";
    if submission.origins.get(MODE).is_some_and(|origin| *origin != Origin::Derived) {
        return Err(Error::invalid(format!(
            "{} cannot be a driver on this machine with executors on {title}",
            submission.primary_resource
        ))
        .with_hint(
            "write --deploy-mode cluster to run it there; anymaster run does, and keeps its executors \
             from here",
        ));
    }
    let mut app = application(submission, environment, false)?;
    app.conf.set(MODE, "cluster");
    Ok(app)
}

fn application(
    submission: &Submission,
    environment: &Environment,
    local: bool,
) -> Result<ApplicationSpec> {
    let payload = match submission.spark_job() {
        Some(job) => Payload::Spark(job),
        None => {
            let name = &submission.primary_resource;
            let program = if local { find(name, environment)? } else { name.clone() };
            Payload::Command(CommandLine::new(program).args(submission.args.iter().cloned()))
        }
    };
    let mut app = submission.application(payload)?;
    app.driver.working_dir = local.then(|| environment.current_dir.clone());
    Ok(app)
}

/// A program of this machine: a path from here, or a name in `PATH`.
fn find(name: &str, environment: &Environment) -> Result<String> {
    let here: PathBuf = environment.current_dir.join(name).components().collect();
    if here.is_file() {
        return Ok(here.display().to_string());
    }
    let path = environment.get("PATH").unwrap_or_default();
    let known = |dir: PathBuf| dir.join(name).is_file();
    if !name.contains('/') && std::env::split_paths(path).any(known) {
        return Ok(name.to_owned());
    }
    if name.contains('/') {
        check_is_file(&here)?;
    }
    Err(Error::invalid(format!("there is no application {name}")).with_hint(
        "the application follows the options: a jar, a .py or .R file, or a program here or in PATH",
    ))
}

/// An error, unless an application is there.
pub(super) fn check_is_file(path: &Path) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let error = Error::invalid(format!("there is no application {}", path.display()));
    Err(match path.parent().map(Path::is_dir) {
        Some(false) => error.with_hint("neither is there the directory that it should be in"),
        _ => error.with_hint("is it built, and the path right?"),
    })
}
