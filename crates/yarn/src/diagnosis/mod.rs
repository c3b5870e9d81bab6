//! Why an application does not run, or has not all of its executors, from what the ResourceManager reports of it, of its
//! queue and of the nodes.

mod driver;
mod placement;
mod reports;
mod size;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anymaster_core::model::AppId;
use anymaster_core::{ErrorKind, Finding, Result};

use self::placement::{For, Surroundings};
use self::reports::{App, AppFound, AttemptsFound, Node, NodesFound, Scheduler, SchedulerFound};
use crate::cluster::Cluster;
use crate::proto::QueueUserAcls;
use crate::web::Web;

/// What bears on an application: the most important first.
pub(crate) async fn diagnose(cluster: &Cluster, app: &AppId) -> Result<Vec<Finding>> {
    let id = cluster.report(app).await?.application_id.unwrap_or_default();
    let web = &cluster.web;
    let AppFound { app } = match web.get(&format!("apps/{id}")).await {
        // It was forgotten between two questions.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    if !is_of_interest(&app) {
        return Ok(Vec::new());
    }
    let attempts = format!("apps/{id}/appattempts");
    let (scheduler, nodes, excluded) = futures::join!(
        web.get::<SchedulerFound>("scheduler"),
        web.get::<NodesFound>("nodes"),
        excluded(web, &attempts),
    );
    let scheduler = scheduler?.scheduler.scheduler_info;
    let nodes = nodes?.nodes.unwrap_or_default().node;
    let allowed = match app.state.as_str() {
        "FAILED" => allowed(cluster).await,
        _ => None,
    };
    Ok(findings(&app, &scheduler, &nodes, &excluded, allowed.as_ref()))
}

/// The queues that we may submit to.
async fn allowed(cluster: &Cluster) -> Option<BTreeSet<String>> {
    match cluster.manager.queue_acls().await {
        Ok(acls) => {
            let may = acls.into_iter().filter(QueueUserAcls::may_submit);
            Some(may.filter_map(|acl| acl.queue).collect())
        }
        Err(error) => {
            tracing::info!(%error, "it is not known which queues may be used");
            None
        }
    }
}

/// The nodes on which an application gets nothing. Without them, the rest is told.
async fn excluded(web: &Web, attempts: &str) -> BTreeSet<String> {
    match web.get::<AttemptsFound>(attempts).await {
        Ok(found) => found.excluded(),
        Err(error) => {
            tracing::info!(%error, "the attempts of the application are not known");
            BTreeSet::new()
        }
    }
}

/// Whether anything may stand in an application's way.
fn is_of_interest(app: &App) -> bool {
    match app.state.as_str() {
        "RUNNING" => app.asked().next().is_some(),
        "FAILED" => driver::is_refused(&app.diagnostics),
        "FINISHED" | "KILLED" | "FINISHING" | "KILLING" => false,
        _ => true,
    }
}

/// What stands in the way of an application.
fn findings(
    app: &App,
    scheduler: &Scheduler,
    nodes: &[Node],
    excluded: &BTreeSet<String>,
    allowed: Option<&BTreeSet<String>>,
) -> Vec<Finding> {
    let queues = scheduler.path(&app.queue);
    let around = Surroundings { scheduler, queues, user: &app.user, nodes, excluded };
    let mut findings = match app.state.as_str() {
        "FAILED" => return driver::refused(app, scheduler, allowed).into_iter().collect(),
        "RUNNING" => app.asked().flat_map(|it| around.why(For::Executors, it)).collect(),
        _ => driver::why(app, &around),
    };
    if !driver::is_starting(app) {
        findings.extend(around.in_numbers());
    }
    findings
}
