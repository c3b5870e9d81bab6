//! Time to live after the end: drivers that have ended are deleted after a configured time, and
//! their logs saved before that.
//!
//! The time is a label of the driver's pod. [`Kubernetes::reap`] deletes expired drivers; several
//! processes may run it.

use std::collections::BTreeMap;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::{AppId, Subject};
use anymaster_core::{ClusterManager as _, Error, ErrorKind, LogOptions, Result};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, watcher};
use tokio::io::AsyncWriteExt as _;

use crate::backend::Kubernetes;
use crate::driver::{Draft, LOGS_ANNOTATION, TTL_LABEL, native};
use crate::executors::delete_executors_and_claims;
use crate::pods::APP_LABEL;
use crate::store::Store;
use crate::{keys, pod, staging};

/// The delay before a failed deletion is retried.
const RETRY_DELAY: Duration = Duration::from_secs(30);

/// Sets the label and annotation of the driver's pod from the properties.
pub(crate) fn apply(draft: &mut Draft<'_>) -> Result<()> {
    let ttl = draft.conf.read_optional(&keys::TTL)?;
    let logs = draft.conf.read_optional(&keys::LOGS_DIR)?.filter(|directory| !directory.is_empty());
    if let Some(directory) = &logs {
        // Checked now, and not when the log is to be saved.
        Store::check(keys::LOGS_DIR.info.name, directory)?;
        if ttl.is_none() {
            draft.objects.warnings.push(format!(
                "{} has no effect without {}",
                keys::LOGS_DIR.info.name,
                keys::TTL.info.name
            ));
        }
    }
    let metadata = &mut draft.pod.metadata;
    if let Some(ttl) = ttl {
        metadata
            .labels
            .get_or_insert_default()
            .insert(TTL_LABEL.to_owned(), ttl.as_secs().to_string());
        if let Some(directory) = logs {
            metadata
                .annotations
                .get_or_insert_default()
                .insert(LOGS_ANNOTATION.to_owned(), directory);
        }
    }
    Ok(())
}

/// When a driver that has ended is to be deleted, if ever.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    let ttl: u64 = pod::label(pod, TTL_LABEL)?.parse().ok()?;
    let end = pod::state(pod).end()?.at;
    end.checked_add(Duration::from_secs(ttl)).ok()
}

impl Kubernetes {
    /// Deletes expired drivers until the future is dropped. Errors are logged and retried.
    pub(crate) async fn reap(&self) {
        let selector = format!("spark-role=driver,{TTL_LABEL}");
        let mut pods =
            watcher(self.pods(), Config::default().labels(&selector)).default_backoff().boxed();
        // By uid: the time of the deletion, and the pod.
        let mut due: BTreeMap<String, (Timestamp, Pod)> = BTreeMap::new();
        loop {
            let next = due.values().map(|(at, _)| *at).min();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep(until(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = pods.next() => match event {
                    None => return,
                    Some(Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                        if let (Some(at), Some(uid)) = (deadline(&pod), pod.uid()) {
                            due.entry(uid).or_insert((at, pod));
                        }
                    }
                    Some(Ok(watcher::Event::Delete(pod))) => {
                        due.remove(&pod.uid().unwrap_or_default());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => tracing::info!(%error, "watching drivers with a time to live"),
                },
                () = sleep => {
                    let now = Timestamp::now();
                    let ready: Vec<String> =
                        due.iter().filter(|(_, (at, _))| *at <= now).map(|(uid, _)| uid.clone()).collect();
                    for uid in ready {
                        let Some((_, pod)) = due.remove(&uid) else { continue };
                        if let Err(error) = self.save_log_and_delete(&pod).await {
                            tracing::warn!("{} cannot be deleted yet: {error}", pod.name_any());
                            let later = now.checked_add(RETRY_DELAY).unwrap_or(now);
                            due.insert(uid, (later, pod));
                        }
                    }
                }
            }
        }
    }

    /// Deletes what is left of an application whose driver was a pod and has ended: its executors,
    /// and the pod itself if its time to live is over.
    pub(crate) async fn clean_up(&self, app: &AppId) -> Result<()> {
        let Some(pod) = self.driver_of(app).await?.filter(|pod| pod::state(pod).is_ended()) else {
            return Ok(());
        };
        staging::end(&pod, app, self.conf(), self.submitter()).await;
        // Spark's driver deletes its executors itself.
        if native::secret_of(&pod).is_some() {
            let namespace = pod.namespace().unwrap_or_default();
            match delete_executors_and_claims(self.connection(), &namespace, app, Duration::ZERO)
                .await
            {
                Err(error) if error.kind() == ErrorKind::Denied => {
                    tracing::info!(%app, %error, "executors are left to the garbage collector");
                }
                deleted => deleted?,
            }
        }
        match deadline(&pod).is_some_and(|at| at <= Timestamp::now()) {
            true => self.save_log_and_delete(&pod).await,
            false => Ok(()),
        }
    }

    /// Saves the log of a driver, then deletes its pod and with that all it owns.
    async fn save_log_and_delete(&self, pod: &Pod) -> Result<()> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        if let Some(directory) = pod.annotations().get(LOGS_ANNOTATION) {
            self.save_log(pod, directory).await?;
        }
        let api = self.pods_of(&namespace);
        self.connection().delete_exactly(&api, &name, pod.uid()).await?;
        if let Some(Ok(app)) = pod::label(pod, APP_LABEL).map(AppId::new) {
            staging::end(pod, &app, self.conf(), self.submitter()).await;
        }
        tracing::info!("{namespace}:{name} has outlived its time to live and is deleted");
        Ok(())
    }

    async fn save_log(&self, pod: &Pod, directory: &str) -> Result<()> {
        let property = keys::LOGS_DIR.info.name;
        // Other users' drivers must not write files of this machine.
        if self.submitter().multi_tenant && !Store::is_remote(directory) {
            return Err(Error::unsupported(format!(
                "{property}: {directory} is not an object store"
            )));
        }
        let id = pod::submission_id(pod).ok_or_else(|| Error::protocol("a pod without a name"))?;
        let store = Store::open(property, directory, &Conf::new(), self.submitter())?;
        let name = format!("{}/{}.log", pod.namespace().unwrap_or_default(), pod.name_any());
        let mut log = self.logs(&Subject::Driver(id), &LogOptions::default()).await?;
        let mut writer = store.writer(&name)?;
        let failed = |error| {
            Error::unavailable(format!("cannot save the log to {directory}/{name}"))
                .with_source(error)
        };
        while let Some(chunk) = log.next().await {
            let written = match chunk {
                Ok(chunk) => writer.write_all(&chunk.bytes).await.map_err(failed),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                // An incomplete log must not look like a complete one.
                let _ = writer.abort().await;
                return Err(error);
            }
        }
        writer.shutdown().await.map_err(failed)
    }
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}
