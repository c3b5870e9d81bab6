//! The command line: verbs here, what each takes beside what it does.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::sync::Arc;

use anymaster_core::conf::{Conf, Layers};
use anymaster_core::text::printable;
use anymaster_core::{ClusterManager, MasterUrl, Result};
use anymaster_spark::Environment;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::log::LogFormat;
use crate::printer::Format;
use crate::settings;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold())
    .valid(AnsiColor::Cyan.on_default().bold());

/// Drivers and executors on any cluster manager, chosen by the master URL.
///
/// Called by the name spark-submit, it takes the command line of spark-submit.
#[derive(Debug, Parser)]
#[command(
    name = "anymaster",
    version,
    styles = STYLES,
    max_term_width = 100,
    after_help = "Exit codes and settings: anymaster --help",
    after_long_help = concat_help(),
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct CommandLine {
    /// Log more to standard error: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How log lines are written [default: the setting `log_format`, else text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

fn concat_help() -> String {
    format!("{}\n\n{}", crate::exit::HELP, crate::settings::HELP)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Submit an application, with the options of spark-submit
    #[command(disable_help_flag = true)]
    Submit(commands::submit::Arguments),
    /// Run any program as a driver with executors
    Run(commands::run::Arguments),
    /// List applications
    #[command(visible_alias = "list")]
    Ps(commands::ps::Arguments),
    /// Show an application and its executors
    Status(commands::status::Arguments),
    /// End applications, or one executor
    Kill(commands::kill::Arguments),
    /// Print the output of a driver or an executor
    Logs(commands::logs::Arguments),
    /// Print what happens as it happens, a line per event
    Watch(commands::watch::Arguments),
    /// Say in words why an application is pending or dead, and what to do
    Explain(commands::explain::Arguments),
    /// Run the same job on several clusters, and show it side by side
    Compare(commands::compare::Arguments),
    /// Make a web page of an application: when its driver and executors began and ended, and why
    Report(commands::report::Arguments),
    /// Check what works with a master, and what is missing
    Doctor(commands::doctor::Arguments),
    /// List what no living application owns, and delete it if asked to
    Leaks(commands::leaks::Arguments),
    /// Take submissions over HTTP, for operators
    Serve(commands::serve::Arguments),
    /// Run SparkApplications of kubeflow's operator, or show what they would create
    Operator(commands::operator::Arguments),
    /// Start the master of a standalone cluster
    Master(commands::master::Arguments),
    /// Start a worker of a standalone cluster
    Worker(commands::worker::Arguments),
    /// Start a dispatcher: it takes drivers in, and starts them on Mesos
    Dispatcher(commands::dispatcher::Arguments),
    /// Start a gateway: a master for unmodified Spark drivers, with executors on any cluster
    Gateway(commands::gateway::Arguments),
    /// Start a shuffle service: it keeps blocks of Spark's executors readable when these have ended
    Shuffle(commands::shuffle::Arguments),
    /// Start a staging server: submitters upload files to it, and drivers fetch them
    Staging(commands::staging::Arguments),
    /// Print the token of a cluster: for its page, and for its REST port
    Token(commands::token::Arguments),
    /// Print a script that completes command lines in a shell
    Completions(commands::completions::Arguments),
    /// Write the man pages
    Man(commands::man::Arguments),
    /// A worker of a local cluster; started by anymaster itself
    #[command(hide = true)]
    LocalWorker(commands::local_worker::Arguments),
    /// Beside a driver on YARN; started by YARN
    #[command(hide = true)]
    ApplicationMaster(commands::application_master::Arguments),
    /// Beside a driver on Kubernetes
    #[command(hide = true)]
    Janitor(commands::janitor::Arguments),
}

/// The property by which a part of a cluster is meant; where there are no parts, nobody reads it.
pub(crate) const NAMESPACE: &str = "spark.kubernetes.namespace";

/// Which cluster is meant.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// Where the cluster is [default: the setting `master`, else local]
    #[arg(long, value_name = "URL")]
    pub(crate) master: Option<String>,
}

/// Which cluster is meant, and how it is reached.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The namespace (Kubernetes) [default: the kubeconfig's]
    #[arg(long, value_name = "NS", conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// All namespaces (Kubernetes)
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// A property, of those that say how to connect; may be given several times [default: those of spark-defaults.conf of $SPARK_CONF_DIR or $SPARK_HOME/conf]
    #[arg(short, long, value_name = "PROP=VALUE", value_parser = property)]
    pub(crate) conf: Vec<(String, String)>,
}

pub(crate) fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("there is no '=' in it")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Connection {
    /// To this master, with these properties.
    pub(crate) fn new(master: &MasterUrl, conf: &Conf) -> Self {
        Self {
            cluster: Cluster { master: Some(master.to_string()) },
            namespace: None,
            all_namespaces: false,
            conf: conf.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }

    /// The master that is meant.
    ///
    /// # Errors
    /// If it is not a master URL.
    pub(crate) fn master(&self, context: &Context) -> Result<MasterUrl> {
        context.master(self.cluster.master.as_deref())
    }

    /// The properties that say how to connect: those of `spark-defaults.conf`, and those that are given.
    /// An id that begins with a namespace says where to look.
    ///
    /// # Errors
    /// If there is such a file and it cannot be read.
    pub(crate) fn properties(&self, id: Option<&str>) -> Result<Conf> {
        let mut layers = Layers::new();
        if let Some(file) = settings::spark_defaults() {
            layers.add_file(&file)?;
        }
        // What is wrong with it is the business of those who submit.
        let mut conf = layers.finish().conf;
        conf.set_variables(Environment::of_process().references());
        self.conf.iter().for_each(|(key, value)| conf.set(key, value));
        let of_id = id.and_then(|id| id.split_once(':')).map(|(namespace, _)| namespace);
        let namespace = if self.all_namespaces { Some("*") } else { self.namespace.as_deref() };
        if let Some(namespace) = namespace.or(of_id) {
            conf.set(NAMESPACE, namespace);
        }
        Ok(conf)
    }

    /// Connects, to look for an application if an id is given.
    ///
    /// # Errors
    /// As the backend's.
    pub(crate) async fn open(
        &self,
        context: &Context,
        id: Option<&str>,
    ) -> Result<Arc<dyn ClusterManager>> {
        context.connect(&self.master(context)?, self.properties(id)?).await
    }
}

/// How data is shown.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How to show it [default: the setting `output`, else text]
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<Format>,
}

/// Reads a command line.
pub(crate) fn parse(line: &[OsString]) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(line)
}

/// Prints what clap has to say: help and the version as data, mistakes as messages.
pub(crate) fn show(line: &[OsString], answer: clap::Error) -> Outcome {
    if !answer.use_stderr() {
        answer.print()?;
        io::stdout().flush()?;
        return Ok(Exit::Success);
    }
    // It quotes the line: without what a terminal would act on, it is the same mistake.
    let words = line.iter().map(|word| printable(&word.to_string_lossy()).into_owned());
    let answer =
        CommandLine::try_parse_from(words).err().filter(clap::Error::use_stderr).unwrap_or(answer);
    // Talk has nowhere to complain to when standard error is closed.
    let _ = answer.print();
    Ok(Exit::Usage)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
