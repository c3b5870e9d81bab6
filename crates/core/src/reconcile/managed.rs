//! The applications whose executors this process manages, for backends that create executors one by one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};

use super::Reconciler;
use crate::model::{AllocationStatus, AppId, ExecutorTarget};
use crate::{Error, Result};

/// What a backend keeps of one application whose executors it manages.
#[async_trait]
pub trait ManagedExecutors: Send + Sync + 'static {
    /// Refuses a target that this application cannot have.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, _target: &ExecutorTarget) -> Result<()> {
        Ok(())
    }

    /// Stops the reconciler, then the executors, as the driver has ended.
    ///
    /// # Errors
    /// Executors may be left.
    async fn remove(&self, reconciler: Reconciler) -> Result<()>;
}

#[async_trait]
impl<T: ManagedExecutors> ManagedExecutors for Arc<T> {
    fn check(&self, target: &ExecutorTarget) -> Result<()> {
        (**self).check(target)
    }

    async fn remove(&self, reconciler: Reconciler) -> Result<()> {
        (**self).remove(reconciler).await
    }
}

/// The applications whose executors this process manages, each with its [`Reconciler`]. Clones share them.
pub struct ManagedApps<T>(Arc<Mutex<HashMap<AppId, Arc<ManagedApp<T>>>>>);

/// One application whose executors this process manages.
pub struct ManagedApp<T> {
    executors: T,
    allocation: watch::Receiver<AllocationStatus>,
    /// Taken when its executors are removed.
    reconciler: Mutex<Option<Reconciler>>,
}

impl<T: ManagedExecutors> ManagedApps<T> {
    /// Sets the target of an application. If this process does not manage it yet, `start` makes it do so.
    ///
    /// # Errors
    /// Those of `start` and of [`check`](ManagedExecutors::check); [`Conflict`](crate::ErrorKind::Conflict)
    /// while its executors are being removed.
    pub async fn request(
        &self,
        app: &AppId,
        target: &ExecutorTarget,
        start: impl Future<Output = Result<(T, Reconciler)>>,
    ) -> Result<()> {
        let mut apps = self.0.lock().await;
        let managed = match apps.get(app) {
            Some(managed) => Arc::clone(managed),
            None => {
                let (executors, reconciler) = start.await?;
                let allocation = reconciler.allocation();
                let reconciler = Mutex::new(Some(reconciler));
                let managed = Arc::new(ManagedApp { executors, allocation, reconciler });
                apps.insert(app.clone(), Arc::clone(&managed));
                managed
            }
        };
        managed.executors.check(target)?;
        let has_ended = || Error::conflict(format!("{app} has ended"));
        // A locked reconciler is being stopped.
        let reconciler = managed.reconciler.try_lock().map_err(|_| has_ended())?;
        reconciler.as_ref().ok_or_else(has_ended)?.set_target(target.clone());
        Ok(())
    }

    /// One of them.
    pub async fn get(&self, app: &AppId) -> Option<Arc<ManagedApp<T>>> {
        self.0.lock().await.get(app).cloned()
    }

    /// Removes the executors of an application whose driver has ended, if they are managed here. Goes on if
    /// the future is dropped; a second call waits for the first.
    ///
    /// # Errors
    /// As [`ManagedExecutors::remove`].
    pub async fn remove(&self, app: &AppId) -> Result<()> {
        let (apps, app) = (self.clone(), app.clone());
        let removal = tokio::spawn(async move {
            let Some(managed) = apps.get(&app).await else { return Ok(()) };
            let result = managed.remove().await;
            let mut apps = apps.0.lock().await;
            if apps.get(&app).is_some_and(|now| Arc::ptr_eq(now, &managed)) {
                apps.remove(&app);
            }
            result
        });
        removal.await.unwrap_or_else(|error| {
            Err(Error::unavailable("removing executors failed").with_source(error))
        })
    }

    /// A reference that does not keep the applications managed.
    pub fn downgrade(&self) -> WeakManagedApps<T> {
        WeakManagedApps(Arc::downgrade(&self.0))
    }
}

impl<T: ManagedExecutors> ManagedApp<T> {
    /// What the backend keeps of it.
    pub fn executors(&self) -> &T {
        &self.executors
    }

    /// How far it is on the way to its target.
    pub fn allocation(&self) -> watch::Receiver<AllocationStatus> {
        self.allocation.clone()
    }

    async fn remove(&self) -> Result<()> {
        let mut reconciler = self.reconciler.lock().await;
        match reconciler.take() {
            Some(reconciler) => self.executors.remove(reconciler).await,
            None => Ok(()),
        }
    }
}

/// A reference to [`ManagedApps`] for tasks that end with them.
pub struct WeakManagedApps<T>(std::sync::Weak<Mutex<HashMap<AppId, Arc<ManagedApp<T>>>>>);

impl<T> WeakManagedApps<T> {
    /// The applications, while somebody manages them.
    pub fn upgrade(&self) -> Option<ManagedApps<T>> {
        self.0.upgrade().map(ManagedApps)
    }
}

impl<T> Clone for ManagedApps<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for ManagedApps<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for ManagedApps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedApps").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for WeakManagedApps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakManagedApps").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ManagedApp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedApp").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::ErrorKind;
    use crate::model::{CommandLine, ExecutorTemplate, ResourceProfile};
    use crate::reconcile::AllocationPolicy;
    use crate::testing::FakeCluster;

    /// Removes its executors when it is let to.
    struct Kept {
        removals: Arc<AtomicUsize>,
        may_end: Arc<Semaphore>,
    }

    #[async_trait]
    impl ManagedExecutors for Kept {
        async fn remove(&self, reconciler: Reconciler) -> Result<()> {
            reconciler.shutdown().await;
            self.may_end
                .acquire()
                .await
                .map_err(|error| Error::unavailable("the test ended").with_source(error))?
                .forget();
            self.removals.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn target(executors: u32) -> ExecutorTarget {
        let template = ExecutorTemplate::new(CommandLine::new("sleep"));
        ExecutorTarget::new(template, ResourceProfile::default(), executors)
    }

    #[tokio::test]
    async fn an_application_is_managed_once_and_not_while_its_executors_are_removed() {
        let (removals, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (apps, app) = (ManagedApps::default(), AppId::new("app-1").unwrap());
        let starts = AtomicUsize::new(0);
        let start = async || {
            starts.fetch_add(1, Ordering::Relaxed);
            let launcher = Arc::new(FakeCluster::new());
            let reconciler = Reconciler::spawn(launcher, app.clone(), AllocationPolicy::default());
            let (removals, may_end) = (Arc::clone(&removals), Arc::clone(&may_end));
            Ok((Kept { removals, may_end }, reconciler))
        };
        for executors in [1, 2] {
            apps.request(&app, &target(executors), start()).await.unwrap();
        }
        assert_eq!(starts.load(Ordering::Relaxed), 1);

        // Whoever is no longer waiting does not stop the removal.
        let removal = tokio::spawn({
            let (apps, app) = (apps.clone(), app.clone());
            async move { apps.remove(&app).await }
        });
        while apps.get(&app).await.unwrap().reconciler.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        removal.abort();
        let error = apps.request(&app, &target(3), start()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        may_end.add_permits(1);
        apps.remove(&app).await.unwrap();
        assert_eq!(removals.load(Ordering::Relaxed), 1);
        assert!(apps.get(&app).await.is_none());
    }
}
