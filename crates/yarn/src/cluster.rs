//! A YARN as clients see it: its applications, and the application masters of those that have one of ours.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, DriverStatus, SubmissionId};
use anymaster_core::{Error, ErrorKind, HostPort, Result, native};
use anymaster_hadoop::Configuration;

use crate::control::{Answer, Connection, Request};
use crate::master::ENV_KEY_FILE;
use crate::native::KEY;
use crate::proto::{ApplicationId, ApplicationReport, ApplicationState};
use crate::resource_manager::ResourceManager;
use crate::staging::{caller, home, staging_dir};
use crate::status::{self, NATIVE};
use crate::submitter::Submitter;
use crate::tags::{OwnTags, submission_tag};
use crate::web::Web;

/// The types of applications that are listed.
const TYPES: [&str; 2] = ["SPARK", NATIVE];
/// Those that have not ended.
const LIVE: [ApplicationState; 5] = [
    ApplicationState::New,
    ApplicationState::NewSaving,
    ApplicationState::Submitted,
    ApplicationState::Accepted,
    ApplicationState::Running,
];
/// How long between two questions whether an application is accepted, or has an application master.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// The longest key that is read.
const MAX_KEY: u64 = 1024;

/// What this process knows of a cluster.
pub(crate) struct Cluster {
    pub(crate) submitter: Submitter,
    pub(crate) configuration: Configuration,
    pub(crate) manager: ResourceManager,
    pub(crate) conf: Conf,
    pub(crate) interval: Duration,
    pub(crate) web: Web,
    /// The keys of applications that were asked for.
    pub(crate) keys: Mutex<HashMap<ApplicationId, Arc<[u8]>>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("manager", &self.manager).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The report of an application.
    pub(crate) async fn report(&self, app: &AppId) -> Result<ApplicationReport> {
        self.find(&SubmissionId::new(app.as_str())?).await
    }

    /// The reports of one application, or of all.
    pub(crate) async fn reports(
        &self,
        app: Option<&AppId>,
        live: bool,
    ) -> Result<Vec<ApplicationReport>> {
        match app {
            Some(app) => self.report(app).await.map(|report| vec![report]),
            None => self.manager.reports(&TYPES, &[], if live { &LIVE } else { &[] }).await,
        }
    }

    /// The application of a submission, by the id of YARN or by the one that its submitter chose. Of several the
    /// first counts.
    pub(crate) async fn find(&self, id: &SubmissionId) -> Result<ApplicationReport> {
        if let Ok(id) = id.as_str().parse::<ApplicationId>() {
            return self.manager.report(id).await;
        }
        let all = self.manager.reports(&[], &[submission_tag(id)], &[]).await?;
        let first = all.into_iter().min_by_key(age);
        first.ok_or_else(|| Error::not_found(format!("there is no application of {id} on YARN")))
    }

    /// The drivers of applications. Of several with one id, which were submitted at once, the first counts.
    pub(crate) fn drivers(&self, reports: &[ApplicationReport]) -> Result<Vec<DriverStatus>> {
        let mut first: BTreeMap<AppId, (&ApplicationReport, DriverStatus)> = BTreeMap::new();
        for report in reports {
            let driver = status::driver(report)?;
            let is_first = first.get(&driver.app).is_none_or(|(other, _)| age(report) < age(other));
            if is_first {
                first.insert(driver.app.clone(), (report, driver));
            }
        }
        Ok(first.into_values().map(|(_, driver)| driver).collect())
    }

    /// What an earlier call with the same id has submitted.
    pub(crate) async fn existing(
        &self,
        id: &SubmissionId,
        own: &OwnTags,
    ) -> Result<Option<DriverStatus>> {
        let report = match self.find(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let driver = status::driver(&report)?;
        match report.tags.contains(&own.application) {
            true => Ok(Some(driver)),
            false => Err(Error::conflict(format!(
                "{id} is another application already: {}",
                report.application_id.unwrap_or_default()
            ))
            .with_existing(driver.submission)),
        }
    }

    /// Waits until the ResourceManager has taken the application, or has refused it.
    pub(crate) async fn accepted(&self, id: ApplicationId) -> Result<ApplicationReport> {
        loop {
            let report = self.manager.report(id).await?;
            match report.state() {
                ApplicationState::New
                | ApplicationState::NewSaving
                | ApplicationState::Submitted => tokio::time::sleep(PAUSE).await,
                _ => return Ok(report),
            }
        }
    }

    /// What those prove to know who speak to an application's application master: a driver finds it beside it,
    /// others among the files of the submission.
    async fn key(&self, report: &ApplicationReport) -> Result<Arc<[u8]>> {
        let id = report.application_id.unwrap_or_default();
        if let Some(key) = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(key));
        }
        let driver = status::driver(report)?;
        let is_own = self.submitter.get(native::ENV_APPLICATION_ID) == Some(driver.app.as_str());
        let key = match self.submitter.get(ENV_KEY_FILE).filter(|_| is_own) {
            Some(file) => std::fs::read(file).map_err(|error| {
                Error::unavailable(format!("cannot read {file}")).with_source(error)
            })?,
            None => self.staged_key(id).await?,
        };
        let key: Arc<[u8]> = key.into();
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&key));
        Ok(key)
    }

    async fn staged_key(&self, id: ApplicationId) -> Result<Vec<u8>> {
        let caller = caller(&self.submitter, None);
        let (files, home) = home(&self.conf, &self.configuration, &caller).await?;
        let at = staging_dir(&home, id).join(KEY);
        let key = files.read(&at.path, MAX_KEY).await.map_err(|error| {
            let hint = "only who submitted an application can change it, with the same spark.yarn.stagingDir";
            error.context(format!("the key of {id}")).with_hint(hint)
        })?;
        Ok(key.to_vec())
    }

    /// A connection to the application master of an application that runs.
    async fn master(&self, report: &ApplicationReport) -> Result<Connection> {
        let address = HostPort {
            host: report.host.clone().unwrap_or_default(),
            port: report.rpc_port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        };
        Connection::open(&address, &self.key(report).await?).await
    }

    /// A connection on which an application master tells what happens.
    pub(crate) async fn watch_master(&self, report: &ApplicationReport) -> Result<Connection> {
        let mut connection = self.master(report).await?;
        connection.send(&Request::Watch).await?;
        Ok(connection)
    }

    /// Asks an application master something.
    pub(crate) async fn ask_master(
        &self,
        report: &ApplicationReport,
        request: &Request,
    ) -> Result<Answer> {
        self.master(report).await?.ask(request).await
    }

    /// Asks an application's master something as soon as it has one. An application that has ended is a conflict.
    pub(crate) async fn ask_when_running(&self, app: &AppId, request: &Request) -> Result<Answer> {
        loop {
            let report = self.report(app).await?;
            match report.state() {
                ApplicationState::Running => match self.ask_master(&report, request).await {
                    // It may have ended in this moment.
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        let report = self.report(app).await?;
                        if report.state() == ApplicationState::Running
                            && !status::is_unregistered(&report)
                        {
                            return Err(error);
                        }
                    }
                    answer => return answer,
                },
                ApplicationState::Finished
                | ApplicationState::Failed
                | ApplicationState::Killed => {
                    return Err(Error::conflict(format!("{app} has ended")));
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// By what applications of one id are ordered: the one that was submitted first stays.
pub(crate) fn age(report: &ApplicationReport) -> (i64, ApplicationId) {
    (report.start_time.unwrap_or(i64::MAX), report.application_id.unwrap_or_default())
}
