//! `--status` and `--kill` of clusters that report on drivers, in Spark's words (Spark 3.5, `K8sSubmitOps`).

use std::time::Duration;

use anymaster_core::model::{DriverStatus, Subject};
use anymaster_core::{ClusterManager, Result};

use crate::args::Connection;
use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::follow::block;
use crate::lookup;

/// How long a pod has to end, unless a property says so: as Kubernetes has it.
const GRACE: Duration = Duration::from_secs(30);

pub(super) async fn status(context: &Context, connection: &Connection, id: &str) -> Outcome {
    let (printer, master) = (context.printer, connection.master(context)?);
    printer.message(format!("Submitting a request for the status of submission {id} in {master}."));
    let cluster = connection.open(context, Some(id)).await?;
    let found = find(&*cluster, id).await?;
    for driver in &found {
        let report = driver.report.as_ref().map_or_else(String::new, |report| block(report));
        printer.message_lines(format!("Application status (driver): {report}"));
    }
    Ok(outcome(context, id, &found))
}

pub(super) async fn kill(context: &Context, connection: &Connection, id: &str) -> Outcome {
    let (printer, master) = (context.printer, connection.master(context)?);
    let conf = connection.properties(Some(id))?;
    let key = context.info(&master)?.kill_grace;
    let grace = key.map(|key| conf.read_optional(key)).transpose()?.flatten();
    let shown = grace.map_or_else(|| "not set".to_owned(), |seconds| seconds.to_string());
    printer.message(format!(
        "Submitting a request to kill submission {id} in {master}. Grace period in secs: {shown}."
    ));
    let cluster = connection.open(context, Some(id)).await?;
    let found = find(&*cluster, id).await?;
    let grace = grace.map_or(GRACE, |seconds| Duration::from_secs(seconds.into()));
    for driver in &found {
        if id.ends_with('*') {
            printer.message(format!("Deleting driver pod: {}.", pod_name(driver)));
        }
        cluster.kill(&Subject::Driver(driver.submission.clone()), grace).await?;
    }
    Ok(outcome(context, id, &found))
}

fn outcome(context: &Context, id: &str, found: &[DriverStatus]) -> Exit {
    match (found, id.ends_with('*')) {
        ([], true) => context.printer.message("No applications found."),
        ([], false) => {
            context.printer.message("Application not found.");
            return Exit::Failure;
        }
        _ => {}
    }
    Exit::Success
}

/// Drivers by `[namespace:]name`; a `*` at the end stands for any text.
async fn find(cluster: &dyn ClusterManager, id: &str) -> Result<Vec<DriverStatus>> {
    let name = id.split_once(':').map_or(id, |(_, name)| name);
    let is_meant = |driver: &DriverStatus| match name.strip_suffix('*') {
        Some(beginning) => pod_name(driver).starts_with(beginning),
        None => {
            pod_name(driver) == name
                || driver.chosen.as_ref().is_some_and(|chosen| chosen.as_str() == id)
        }
    };
    Ok(lookup::drivers(cluster, None).await?.drivers.into_iter().filter(is_meant).collect())
}

fn pod_name(driver: &DriverStatus) -> &str {
    let id = driver.submission.as_str();
    id.split_once(':').map_or(id, |(_, name)| name)
}
