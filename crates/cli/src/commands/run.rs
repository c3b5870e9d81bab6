//! `anymaster run`: any program as a driver with executors, although it knows nothing of us.

mod plan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::ClusterManager;
use anymaster_core::model::{AppId, Subject, SubmissionId};
use clap::Args;

use self::plan::Plan;
use crate::args::{Cluster, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::session::{self, Options, Session};
use crate::settings;
use crate::signals::Interrupts;
use crate::text::duration;

#[derive(Debug, Args)]
#[command(
    after_help = "The run ends when the driver ends, with its exit code; executors end with it.",
    after_long_help = "\
Commands are split as a shell does it, but no shell runs them: for pipes and variables, write
sh -c '…'. In both commands and in the environment of both these are replaced:
  {{app.id}}                      the application's id
  {{driver.host}} {{driver.port}} where executors reach the driver; the port is free
  {{work.dir}}                    a directory of this process alone
and for executors:
  {{executor.id}} {{executor.cores}} {{executor.memory}} {{executor.profile}}
  {{executor.host}} {{executor.port}} {{executor.port.NAME}}
                                  its address, and free ports, another one for each NAME
The same is in ANYMASTER_APPLICATION_ID, ANYMASTER_DRIVER_HOST, ANYMASTER_DRIVER_PORT,
ANYMASTER_EXECUTOR_ID and so on.

Example:
  anymaster run --master 'local[4]' --executors 4 \\
    --driver 'scheduler --port {{driver.port}}' \\
    --executor 'worker --scheduler {{driver.host}}:{{driver.port}} --name {{executor.id}}'

The run ends when the driver ends, with its exit code; executors end with it. Ctrl-C asks all of it
to end, a second one ends it at once. When too many executors fail, the run ends with code 11."
)]
pub(crate) struct Arguments {
    /// What the driver runs
    #[arg(long, value_name = "CMD")]
    driver: String,
    /// What each executor runs; without it, there are none
    #[arg(long, value_name = "CMD")]
    executor: Option<String>,
    /// How many executors [default: spark.executor.instances, else 2]
    #[arg(long, visible_alias = "num-executors", value_name = "N", requires = "executor")]
    executors: Option<u32>,
    /// Cores of each executor [default: 1]
    #[arg(long, value_name = "C", requires = "executor")]
    executor_cores: Option<String>,
    /// Memory of each executor, for example 512m or 2g [default: 1g]
    #[arg(long, value_name = "M", requires = "executor")]
    executor_memory: Option<String>,
    /// Memory of the driver [default: not limited]
    #[arg(long, value_name = "M")]
    driver_memory: Option<String>,
    /// The application's name [default: the driver's program]
    #[arg(long)]
    name: Option<String>,
    /// A property; may be given several times
    #[arg(short, long = "conf", value_name = "PROP=VALUE")]
    conf: Vec<String>,
    /// A file with properties [default: spark-defaults.conf of $SPARK_CONF_DIR or $SPARK_HOME/conf]
    #[arg(long, value_name = "FILE")]
    properties_file: Option<PathBuf>,
    /// Its id; the same id and command again attach to what runs [default: a new one]
    #[arg(long, value_name = "ID")]
    submission_id: Option<String>,
    /// Print the executors' output, too, on standard error
    #[arg(long, requires = "executor")]
    executor_logs: bool,
    /// How long the driver has to end by itself after Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    grace: Duration,
    /// Only print what would be asked of the cluster
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(context: &Context, mut arguments: Arguments) -> Outcome {
    arguments.properties_file = arguments.properties_file.or_else(settings::spark_defaults);
    let master = context.master(arguments.cluster.master.as_deref())?;
    let info = context.info(&master)?;
    let plan = Plan::new(&arguments, master, info, std::env::current_dir().ok())?;
    for warning in &plan.warnings {
        context.printer.warn(warning);
    }
    if arguments.dry_run {
        let format = context.format(arguments.output.output).document();
        context.printer.value(format, &plan.dry_run())?;
        return Ok(Exit::Success);
    }
    let options = Options {
        grace: arguments.grace,
        executor_logs: arguments.executor_logs,
        end_when_given_up: true,
    };
    context.block_on(execute(context, plan, options))
}

async fn execute(context: &Context, plan: Plan, options: Options) -> Outcome {
    // From here on Ctrl-C is ours: it must not leave half a run behind.
    let mut interrupts = Interrupts::new(context.printer)?;
    let launching = session::launch(context, &plan.master, &plan.id, &plan.app);
    let (cluster, driver) = match interrupts.or(launching).await {
        Ok(launched) => launched?,
        Err(signal) => return Ok(session::interrupted(context.printer, &plan.id, signal)),
    };
    context.printer.talk(format!("submission id: {}", driver.submission));
    let session = |cluster, driver| Session::new(cluster, driver, options, context.printer);
    if let Some(target) = plan.target.filter(|_| !driver.state.is_ended()) {
        let requesting = cluster.request_executors(&driver.app, &target);
        let requested = match interrupts.or(requesting).await {
            Ok(requested) => requested,
            Err(signal) => {
                return session(cluster, driver).end(signal).wait(&mut interrupts).await;
            }
        };
        // A driver that has ended already wants none; how it ended is what there is to say.
        if let Err(error) = requested
            && !has_ended(&*cluster, &driver.app).await
        {
            give_back(&cluster, &plan.id, options.grace, context).await;
            return Err(error.into());
        }
    }
    session(cluster, driver).wait(&mut interrupts).await
}

/// Whether the cluster knows that the driver has ended.
async fn has_ended(cluster: &dyn ClusterManager, app: &AppId) -> bool {
    let driver = super::status::fetch(cluster, app).await.ok().and_then(|found| found.driver);
    driver.is_some_and(|driver| driver.state.is_ended())
}

/// Ends a driver whose executors were refused.
async fn give_back(
    cluster: &Arc<dyn ClusterManager>,
    id: &SubmissionId,
    grace: Duration,
    context: &Context,
) {
    let subject = Subject::Driver(id.clone());
    if let Err(error) = cluster.kill(&subject, grace).await {
        context.printer.warn(format!("the driver of {id} could not be ended: {error}"));
    }
}
