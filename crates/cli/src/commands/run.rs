//! `anymaster run`: any program as a driver with executors, although it knows nothing of us.

pub(crate) mod plan;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anymaster::RunOutput;
use clap::Args;

use self::plan::Plan;
use crate::args::{Cluster, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::session;
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

With --pending-work, executors are added while work waits (1, 2, 4 … a second) and removed when they
have been idle for a minute; spark.dynamicAllocation.minExecutors, .maxExecutors, .executorIdleTimeout
and so on set the bounds and times. The document is read once a second: {\"pending\": 12,
\"running\": 3, \"tasksPerExecutor\": 4, \"executors\": {\"7\": \"idle\"}}; all but pending may be
left out. Executors are busy, idle, cached or shuffle (idle, with data); those that are not named are
busy while anything waits or runs.

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
    /// As many executors as there is work for, by what this file or URL says: {"pending": 12, "running": 3}
    #[arg(long, value_name = "FILE|URL", requires = "executor")]
    pending_work: Option<String>,
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
    pub(crate) properties_file: Option<PathBuf>,
    /// Its id; the same id and command again attach to what runs [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) submission_id: Option<String>,
    /// Print the executors' output, too, on standard error
    #[arg(long, requires = "executor")]
    pub(crate) executor_logs: bool,
    /// How long the driver has to end by itself after Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// Only print what would be asked of the cluster
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
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
    let output = match arguments.executor_logs {
        true => RunOutput::All,
        false => RunOutput::Driver,
    };
    context.block_on(execute(context, plan, arguments.grace, output))
}

async fn execute(context: &Context, plan: Plan, grace: Duration, output: RunOutput) -> Outcome {
    // From here on Ctrl-C is ours: it must not leave half a run behind.
    let mut interrupts = Interrupts::new(context.printer)?;
    let launching = session::launch(context, &plan.master, &plan.id, &plan.app, &mut interrupts);
    let mut run = match launching.await? {
        Ok(run) => run.with_grace(grace).with_output(output),
        Err(exit) => return Ok(exit),
    };
    if let Some(target) = plan.target {
        run = run.with_executors(target);
    }
    if let Some((policy, hook)) = plan.dynamic {
        run = run.with_dynamic_allocation(policy, Arc::new(hook));
    }
    session::wait(run, context.printer, &mut interrupts).await
}
