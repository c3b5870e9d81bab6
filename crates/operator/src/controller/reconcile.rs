//! The steps of one application.

use std::time::Duration;

use anymaster_core::{Error, Result};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use kube::runtime::controller::Action as Next;
use serde_json::Value;

use super::memory::Written;
use super::{Controller, in_words, key};
use crate::notice::Notice;
use crate::pods::{AppPods, DriverPod, Key};
use crate::state::{self, Action, Seen, Step};
use crate::translate::Identity;
use crate::v1beta2::{self, Map, Read, State, Status};

/// How many steps are taken at once: more would be a loop.
const MAX_STEPS: usize = 16;

/// An application under reconciliation.
pub(super) struct Work<'a> {
    pub(super) app: &'a DynamicObject,
    pub(super) key: Key,
    pub(super) identity: Identity,
    /// The specification as it is written.
    pub(super) source: Value,
    /// The specification, or why it cannot be read.
    pub(super) read: Result<Read>,
    /// The version of the object with [`written`](Self::written).
    version: String,
    /// The status that the cluster has.
    written: Status,
    /// The status as of the last step.
    pub(super) status: Status,
    /// What is told when the status is written.
    notices: Vec<Notice>,
}

impl Controller {
    /// Takes the steps of an application that can be taken now. Returns when to look again.
    pub(super) async fn reconcile(&self, app: &DynamicObject) -> Result<Next> {
        self.pods.complete().await;
        // Its objects go with it.
        if app.metadata.deletion_timestamp.is_some() {
            return Ok(Next::await_change());
        }
        let Some(mut work) = self.begin(app).await else { return Ok(Next::await_change()) };
        let next = self.take_steps(&mut work).await?;
        self.memory.succeeded(&work.key);
        Ok(match next {
            None => Next::await_change(),
            Some(at) => {
                let wait = at.duration_since(Timestamp::now());
                Next::requeue(Duration::try_from(wait).unwrap_or_default())
            }
        })
    }

    /// Reads an application. One whose status cannot be read is left alone, and told so.
    async fn begin<'a>(&self, app: &'a DynamicObject) -> Option<Work<'a>> {
        let key = key(app);
        let uid = app.uid().unwrap_or_default();
        let version = app.resource_version().unwrap_or_default();
        let (version, status) = match self.memory.newer(&key, &uid, &version) {
            Some(Written { version, status, .. }) => (version, status),
            None => match read_status(app) {
                Ok(status) => (version, status),
                Err(error) => {
                    let why = in_words(&error);
                    if self.memory.is_new(&key, &why) {
                        self.cluster.tell(app, &Notice::StatusUnreadable(why)).await;
                    }
                    return None;
                }
            },
        };
        let source = app.data.get("spec").cloned().unwrap_or_default();
        let labels: Map = app.labels().clone();
        let (namespace, name) = key.clone();
        Some(Work {
            read: v1beta2::read(&source),
            identity: Identity { namespace, name, uid, labels },
            app,
            key,
            source,
            version,
            written: status.clone(),
            status,
            notices: Vec::new(),
        })
    }

    async fn take_steps(&self, work: &mut Work<'_>) -> Result<Option<Timestamp>> {
        for _ in 0..MAX_STEPS {
            let pods = self.pods.of(&work.key);
            let seen = self.see(work, &pods);
            let mut next = state::step(&seen);
            if let Some(action) = next.action.take() {
                if work.status != work.written {
                    // What leads to an action is known before.
                    self.write(work).await?;
                }
                let seen = self.see(work, &pods);
                match self.act(work, &seen, action).await? {
                    Some(step) => next = step,
                    // A change of the pods, or of the application, comes next.
                    None => return Ok(next.at),
                }
            }
            work.notices.append(&mut next.notices);
            let is_same = next.status == work.status;
            work.status = next.status;
            if is_same {
                return Ok(next.at);
            }
            if !work.status.application_state.state.is_passing() {
                self.write(work).await?;
            }
        }
        Err(Error::protocol(format!(
            "{}/{} does not come to rest in state {:?}",
            work.key.0, work.key.1, work.status.application_state.state
        )))
    }

    fn see<'a>(&self, work: &'a Work<'_>, pods: &'a AppPods) -> Seen<'a> {
        let uid = &work.identity.uid;
        let own = |driver: &&DriverPod| driver.owner == *uid;
        let of_submission = |driver: &&DriverPod| driver.submission_id == work.status.submission_id;
        let drivers = || pods.drivers.values().filter(own);
        Seen {
            spec: work.read.as_ref().ok().map(|read| &read.spec),
            source: &work.source,
            uid,
            status: &work.status,
            driver: drivers().find(of_submission).or_else(|| drivers().next()),
            last_driver: pods.last_driver.as_ref().filter(own),
            executors: &pods.executors,
            settings: self.settings,
            now: Timestamp::now(),
        }
    }

    /// Does what is to be done. Returns the status that follows, unless the cluster will tell.
    async fn act(&self, work: &Work<'_>, seen: &Seen<'_>, action: Action) -> Result<Option<Step>> {
        match action {
            Action::Submit { id } => self.submit(work, seen, &id).await.map(Some),
            Action::DeleteDriver { name, uid } => {
                self.cluster.delete_pod(&work.key.0, &name, &uid).await?;
                Ok(None)
            }
            Action::DeleteApplication => {
                tracing::info!(
                    namespace = work.key.0,
                    name = work.key.1,
                    "its time to live is over"
                );
                self.cluster.delete_application(work.app).await?;
                Ok(None)
            }
        }
    }

    /// Writes the status, and tells what led to it.
    async fn write(&self, work: &mut Work<'_>) -> Result<()> {
        let version = self.cluster.write_status(work.app, &work.version, &work.status).await?;
        work.version = version;
        let written = Written {
            uid: work.identity.uid.clone(),
            version: work.version.clone(),
            status: work.status.clone(),
        };
        self.memory.wrote(&work.key, written);
        self.metrics.moved(work.app, &work.written, &work.status, &work.notices);
        work.written = work.status.clone();
        self.remove_ui(work).await;
        for notice in std::mem::take(&mut work.notices) {
            self.cluster.tell(work.app, &notice).await;
        }
        Ok(())
    }

    /// The service of a web page goes with its driver.
    async fn remove_ui(&self, work: &Work<'_>) {
        let state = work.written.application_state.state;
        let service = &work.written.driver_info.web_ui_service_name;
        let is_needed = matches!(state, State::Submitted | State::Running | State::Unknown);
        if is_needed || service.is_empty() {
            return;
        }
        let removed = self.cluster.delete_service(&work.key.0, service, &work.identity.uid);
        if let Err(error) = removed.await {
            tracing::warn!("{error}; it is left over until the application is deleted");
        }
    }
}

fn read_status(app: &DynamicObject) -> Result<Status> {
    let Some(status) = app.data.get("status").filter(|status| !status.is_null()) else {
        return Ok(Status::default());
    };
    serde_path_to_error::deserialize(status).map_err(|error| {
        let path = error.path().to_string();
        Error::invalid(format!("status.{path}: {}", error.inner()))
    })
}
