//! `anymaster operator`: SparkApplications of kubeflow/spark-operator.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anymaster_core::{Error, Result};
use anymaster_operator::preview;
use anymaster_spark::Environment;
use anymaster_submitter::{Limits, Submitter};
use clap::Args;

use crate::args::{Connection, NAMESPACE, Output};
use crate::context::Context;
use crate::exit::{Exit, Outcome};

/// The largest manifest, in bytes: the API server stores none that is larger.
const MAX_MANIFEST: u64 = 3 * 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Manifests are of sparkoperator.k8s.io/v1beta2, kind SparkApplication. Nothing is sent to the cluster.")]
pub(crate) struct Arguments {
    /// Print the objects that each application would create; applications are not run yet
    #[arg(long, required = true)]
    dry_run: bool,
    /// A manifest, YAML or JSON, of one or several applications; - is standard input
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let master = arguments.connection.master(context)?;
    let conf = arguments.connection.properties(None)?;
    let namespace = conf.get(NAMESPACE).filter(|name| *name != "*").unwrap_or("default").to_owned();
    let manifest = read(&arguments.filename)?;
    let options = context.connect_options(&master, conf)?.multi_tenant();
    let cluster = context.registry.connect(options).await?;
    let (backends, environment) = (context.registry.clone(), Environment::of_process());
    let url = master.to_string();
    let submitter = Submitter::new(cluster, master, backends, environment, Limits::default())?;
    let previews = preview(&manifest, &namespace, &url, &submitter).await?;
    let format = context.format(arguments.output.output).document();
    for preview in &previews {
        for warning in &preview.warnings {
            context.printer.warn(format!("{}: {warning}", preview.application));
        }
    }
    match previews.as_slice() {
        [one] => context.printer.value(format, &one.objects)?,
        several => {
            let all: Vec<_> = several.iter().map(|preview| &preview.objects).collect();
            context.printer.value(format, &all)?;
        }
    }
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let unreadable =
        |error| Error::invalid(format!("--filename: cannot read {shown}")).with_source(error);
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(unreadable)?),
    };
    source.take(MAX_MANIFEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_MANIFEST {
        return Err(Error::invalid(format!(
            "--filename: {shown} is larger than {} MiB",
            MAX_MANIFEST / 1024 / 1024
        )));
    }
    Ok(text)
}
