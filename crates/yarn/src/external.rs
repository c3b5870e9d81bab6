//! Applications whose driver somebody else runs: their application master is this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::model::{AppId, Cause, ExternalDriver, KilledBy, Outcome, SubmissionId};
use anymaster_core::{Error, Launched, Result};
use tokio::sync::watch;

use crate::cluster::{Cluster, PAUSE, age};
use crate::master::{Master, Options, listen};
use crate::native::{Native, Secrets};
use crate::proto::{
    ApplicationId, ApplicationReport, ApplicationState, ContainerLaunchContext, Resource,
    TokenMessage,
};
use crate::resource_manager::ResourceManager;
use crate::staging::{caller, remove_staging};
use crate::status;
use crate::tags::OwnTags;

/// The applications that this process is the master of.
#[derive(Debug, Default)]
pub(crate) struct Externals(Arc<Mutex<HashMap<AppId, External>>>);

#[derive(Debug, Clone)]
struct External {
    master: Arc<Master>,
    /// Its driver has ended.
    ended: watch::Sender<Option<Cause>>,
    /// All of it has.
    over: watch::Receiver<bool>,
}

impl Externals {
    fn get(&self, app: &AppId) -> Option<External> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(app).cloned()
    }

    /// The master of an application, if it is in this process.
    pub(crate) fn master(&self, app: &AppId) -> Option<Arc<Master>> {
        self.get(app).map(|external| external.master)
    }

    /// As a launch that was asked for.
    pub(crate) async fn launched(
        &self,
        cluster: &Arc<Cluster>,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<Launched> {
        driver.check()?;
        let own = OwnTags::of(id, &driver.digest()?);
        if let Some(existing) = cluster.existing(id, &own).await? {
            return Ok(Launched::existing(existing));
        }
        let report = self.register(cluster, &own, id, driver).await?;
        let is_ours = AppId::new(id.as_str()).is_ok_and(|app| self.get(&app).is_some());
        match is_ours {
            true => Ok(Launched::new(status::driver(&report)?)),
            false => cluster.existing(id, &own).await?.map(Launched::existing).ok_or_else(|| {
                Error::unavailable(format!("{id} is being registered by somebody else"))
            }),
        }
    }

    /// Submits an application, and becomes its master. An application of this id that there is already wins.
    async fn register(
        &self,
        cluster: &Arc<Cluster>,
        own: &OwnTags,
        id: &SubmissionId,
        driver: &ExternalDriver,
    ) -> Result<ApplicationReport> {
        let app = AppId::new(id.as_str())?;
        let listener = listen(&driver.host).await?;
        let Cluster { submitter, configuration, manager, .. } = &**cluster;
        let native = Native::new(id, own, &driver.conf, submitter, configuration).await?;
        let (application, _) = manager.new_application().await?;
        let secrets = Secrets::new();
        let staged = async {
            let secret = native.stage_secrets(application, &secrets).await?;
            let resource = Resource { memory: Some(1), virtual_cores: Some(1), others: Vec::new() };
            // The ResourceManager wants a container that it does not start.
            let none = ContainerLaunchContext::default();
            let context = native.context(application, &driver.name, none, resource, true)?;
            manager.submit(context).await?;
            let report = cluster.accepted(application).await?;
            let token = token(cluster, application, report).await?;
            Ok((secret, token))
        };
        // What was done is undone, whatever is missing.
        let undo = async |error| {
            if let Err(error) = manager.kill(application).await {
                tracing::warn!(%application, %error, "the application cannot be killed");
            }
            native.remove(application).await;
            error
        };
        let (secret, token) = match staged.await {
            Ok(staged) => staged,
            Err(error) => return Err(undo(error).await),
        };
        // Another call with this id may have been faster.
        let first = match cluster.find(id).await {
            Ok(first) => first,
            Err(error) => return Err(undo(error).await),
        };
        if age(&first).1 != application {
            while !manager.kill(application).await? {
                tokio::time::sleep(PAUSE).await;
            }
            native.remove(application).await;
            return Ok(first);
        }
        let options = Options {
            app: app.clone(),
            conf: &driver.conf,
            configuration,
            cluster: ResourceManager::new(configuration, caller(submitter, None))?,
            token: token.into(),
            key: secrets.key.into_bytes(),
            driver: (driver.host.clone(), driver.port),
            listener,
            host: driver.host.clone(),
            secret: secret.resource(),
        };
        let master = match Master::start(options).await {
            Ok(master) => master,
            Err(error) => return Err(undo(error).await),
        };
        let (over, is_over) = watch::channel(false);
        let ended = watch::Sender::new(None);
        let external =
            External { master: Arc::clone(&master), ended: ended.clone(), over: is_over };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(app.clone(), external);
        let (all, cluster, ended) = (Arc::clone(&self.0), Arc::clone(cluster), ended.subscribe());
        tokio::spawn(async move {
            attend(cluster, application, master, ended).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&app);
            over.send_replace(true);
        });
        manager.report(application).await
    }

    /// Says how a driver ended, and waits until all of its application has. `None`: it is not one of this process.
    pub(crate) async fn unregister(&self, app: &AppId, cause: &Cause) -> Option<()> {
        let mut external = self.get(app)?;
        external.ended.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| cause.clone());
            is_first
        });
        // An error says that nobody follows it any more: it is over.
        let _ = external.over.wait_for(|over| *over).await;
        Some(())
    }
}

/// The token of an application master outside of the cluster, when there is one.
async fn token(
    cluster: &Cluster,
    id: ApplicationId,
    mut report: ApplicationReport,
) -> Result<TokenMessage> {
    loop {
        match report.state() {
            ApplicationState::Finished | ApplicationState::Failed | ApplicationState::Killed => {
                let driver = status::driver(&report)?;
                let why = driver.state.end().map(|end| end.cause.to_string()).unwrap_or_default();
                return Err(Error::invalid(format!("YARN refused the application: {why}")));
            }
            _ => {}
        }
        if let Some(token) = report.am_rm_token {
            return Ok(token);
        }
        tokio::time::sleep(PAUSE).await;
        report = cluster.manager.report(id).await?;
    }
}

/// Follows an application until its driver ends, somebody wants its end, or YARN ends it.
async fn attend(
    cluster: Arc<Cluster>,
    application: ApplicationId,
    master: Arc<Master>,
    mut ended: watch::Receiver<Option<Cause>>,
) {
    let mut kills = master.kill_requests();
    let outcome: Option<Outcome> = tokio::select! {
        ended = ended.wait_for(Option::is_some) => {
            let cause = ended.ok().and_then(|cause| cause.clone());
            Some(cause.unwrap_or(Cause::Lost { why: "nobody follows it any more".into() }).into())
        }
        _ = kills.wait_for(Option::is_some) => Some(Cause::Killed { by: KilledBy::Request }.into()),
        why = master.until_over() => {
            tracing::warn!(%application, %why, "YARN has ended the application");
            None
        }
    };
    let cause = outcome.unwrap_or_else(|| Cause::Killed { by: KilledBy::Request }.into());
    if let Err(error) = master.finish(&cause).await {
        tracing::warn!(%application, %error, "YARN could not be told of the end");
    }
    let Cluster { submitter, configuration, conf, .. } = &*cluster;
    if let Err(error) = remove_staging(submitter, configuration, conf, application).await {
        tracing::warn!(%application, %error, "the files of the application cannot be removed");
    }
}
