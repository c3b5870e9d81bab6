//! Where the output of drivers and executors is, and how long there can be more of it.

use std::sync::Arc;

use anymaster_core::model::{AppId, Event, ExecutorId, Status, SubmissionId};
use anymaster_core::{Error, LogOptions, LogStream, Result};
use futures::stream::{self, StreamExt as _};

use crate::archive::Archive;
use crate::cluster::{Cluster, PAUSE};
use crate::control::{Answer, Request};
use crate::logs::{Life, Logs, Place};
use crate::proto::ApplicationReport;
use crate::staging::caller;
use crate::status;
use crate::watch;

/// The output of a driver.
pub(crate) async fn of_driver(
    cluster: &Arc<Cluster>,
    id: &SubmissionId,
    options: &LogOptions,
) -> Result<LogStream> {
    let report = cluster.find(id).await?;
    let application = report.application_id.unwrap_or_default();
    let life = {
        let cluster = Arc::clone(cluster);
        move || {
            let cluster = Arc::clone(&cluster);
            async move {
                let report = cluster.manager.report(application).await?;
                let has_ended = status::driver(&report)?.state.is_ended();
                Ok(if has_ended { Life::Over } else { Life::Runs })
            }
        }
    };
    logs_of(cluster, &report)?.of_driver(application, options, life).await
}

/// The output of an executor.
pub(crate) async fn of_executor(
    cluster: &Arc<Cluster>,
    app: &AppId,
    id: ExecutorId,
    options: &LogOptions,
) -> Result<LogStream> {
    let report = cluster.report(app).await?;
    if !status::is_native(&report) {
        return Err(Error::unsupported(
            "of Spark's applications, only the driver's output is shown",
        ));
    }
    let place = if status::driver(&report)?.state.is_ended() {
        let kept = status::epilogue(&report).map(|it| it.executors).unwrap_or_default();
        let kept = kept.into_iter().find(|kept| kept.status.id == id);
        let container = kept.and_then(|kept| kept.container).ok_or_else(|| {
            Error::not_found(format!("nothing is known of executor {id} of {app} any more"))
        })?;
        Place { node: String::new(), container }
    } else {
        let place = loop {
            match cluster.ask_when_running(app, &Request::Place(id)).await? {
                Answer::Place(Some(place)) => break place,
                Answer::Place(None) if options.follow => tokio::time::sleep(PAUSE).await,
                _ => return Ok(stream::empty().boxed()),
            }
        };
        Place { node: format!("http://{}", place.node), container: place.container }
    };
    let life = {
        let (cluster, app) = (Arc::clone(cluster), app.clone());
        move || life_of_executor(Arc::clone(&cluster), app.clone(), id)
    };
    Ok(logs_of(cluster, &report)?.of_container(place, options, life))
}

fn logs_of(cluster: &Cluster, report: &ApplicationReport) -> Result<Logs> {
    let Cluster { submitter, configuration, web, .. } = cluster;
    let user = report.user.as_deref().unwrap_or(&submitter.user);
    let application = report.application_id.unwrap_or_default();
    let archive = Archive::of(configuration, &caller(submitter, None), user, application)?;
    Logs::new(web.clone(), &submitter.user, archive)
}

async fn life_of_executor(cluster: Arc<Cluster>, app: AppId, id: ExecutorId) -> Result<Life> {
    let mut events = watch::open(cluster, Some(app), false).await?;
    let mut life = Life::Ended;
    while let Some(event) = events.next().await {
        match event? {
            Event::Changed(Status::Driver(driver)) if driver.state.is_ended() => {
                return Ok(Life::Over);
            }
            Event::Changed(Status::Executor(executor)) if executor.id == id => {
                life = if executor.state.is_ended() { Life::Ended } else { Life::Runs };
            }
            Event::Synced(_) => break,
            _ => {}
        }
    }
    Ok(life)
}
