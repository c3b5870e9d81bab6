//! Applications whose driver runs outside of the cluster, registered by this process: the cluster has
//! nothing of them but their executors. Other processes do not see their drivers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anymaster_core::model::{
    AppId, Cause, DriverStatus, Event, ExternalDriver, Outcome, State, Status, SubmissionId,
};
use anymaster_core::{Error, EventStream, Launched, Result};
use futures::{StreamExt as _, stream};
use tokio::sync::watch;

/// How many that have ended are remembered.
const MAX_ENDED: usize = 1000;

/// The applications that this process has registered. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct ExternalApps(Arc<Mutex<HashMap<AppId, External>>>);

struct External {
    driver: ExternalDriver,
    status: watch::Sender<DriverStatus>,
}

impl fmt::Debug for ExternalApps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalApps({})", self.apps().len())
    }
}

impl ExternalApps {
    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, External>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one known. The same one again is the one that exists.
    pub(crate) fn register(&self, id: &SubmissionId, driver: &ExternalDriver) -> Result<Launched> {
        driver.check()?;
        let app = AppId::new(id.as_str())?;
        let mut apps = self.apps();
        if let Some(known) = apps.get(&app) {
            return match known.driver == *driver {
                true => Ok(Launched::existing(known.status.borrow().clone())),
                false => Err(Error::conflict(format!("{id} was registered with another driver"))),
            };
        }
        let mut status = DriverStatus::new(id.clone(), app.clone(), driver.name.as_str())
            .with_state(State::Running);
        status.host = Some(driver.host.as_str().into());
        let ended = |external: &External| external.status.borrow().state.is_ended();
        if apps.values().filter(|external| ended(external)).count() >= MAX_ENDED {
            apps.retain(|_, external| !ended(external));
        }
        let launched = Launched::new(status.clone());
        let status = watch::Sender::new(status);
        apps.insert(app, External { driver: driver.clone(), status });
        Ok(launched)
    }

    /// Its driver has ended. The first cause counts; `false` if there is no such application.
    pub(crate) fn end(&self, app: &AppId, cause: &Cause) -> bool {
        let apps = self.apps();
        let Some(external) = apps.get(app) else { return false };
        external.status.send_if_modified(|status| {
            let lives = !status.state.is_ended();
            if lives {
                status.state = Outcome::from(cause.clone()).into_state();
            }
            lives
        });
        true
    }

    /// Its driver, as it was registered.
    pub(crate) fn driver(&self, app: &AppId) -> Option<ExternalDriver> {
        self.apps().get(app).map(|external| external.driver.clone())
    }

    /// What is known of the drivers: of one application, or of all.
    pub(crate) fn statuses(&self, app: Option<&AppId>) -> Vec<DriverStatus> {
        let apps = self.apps();
        let meant = apps.iter().filter(|(id, _)| app.is_none_or(|app| app == *id));
        meant.map(|(_, external)| external.status.borrow().clone()).collect()
    }

    /// The events of an application's executors with those of its driver among them.
    pub(crate) fn follow(&self, app: &AppId, executors: EventStream) -> EventStream {
        let Some(mut status) = self.apps().get(app).map(|external| external.status.subscribe())
        else {
            return executors;
        };
        status.mark_unchanged();
        let current = status.clone();
        let told = |status: &DriverStatus| Event::Changed(Status::Driver(status.clone()));
        let executors = executors.flat_map(move |event| {
            let driver = matches!(event, Ok(Event::Restarted)).then(|| Ok(told(&current.borrow())));
            stream::iter([event].into_iter().chain(driver))
        });
        let changes = stream::unfold(status, move |mut status| async move {
            status.changed().await.ok()?;
            let event = told(&status.borrow_and_update());
            Some((Ok(event), status))
        });
        // Without the watch of executors there is nothing to go on from.
        let executors = executors.map(Some).chain(stream::iter([None]));
        let all = stream::select(executors, changes.map(Some));
        all.take_while(|event| std::future::ready(event.is_some()))
            .filter_map(std::future::ready)
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::ErrorKind;
    use anymaster_core::model::Cursor;
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_driver_is_among_its_executors_until_it_ends() {
        let apps = ExternalApps::default();
        let (id, app) = (SubmissionId::new("app-1").unwrap(), AppId::new("app-1").unwrap());
        let driver = ExternalDriver::new("job", "host", 7);
        assert!(!apps.register(&id, &driver).unwrap().existed);
        assert!(apps.register(&id, &driver).unwrap().existed);
        let other = apps.register(&id, &ExternalDriver::new("job", "host", 8)).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict);
        let snapshot = [Event::Restarted, Event::Synced(Cursor("1".to_owned()))].map(Ok);
        let executors = stream::iter(snapshot).chain(stream::pending()).boxed();
        let mut events = apps.follow(&app, executors);
        let mut next = || events.next().now_or_never().flatten().map(Result::unwrap);
        assert_eq!(next(), Some(Event::Restarted));
        let Some(Event::Changed(Status::Driver(running))) = next() else { panic!("no driver") };
        assert_eq!((running.name.as_ref(), running.state), ("job", State::Running));
        assert!(matches!(next(), Some(Event::Synced(_))));
        assert_eq!(next(), None);
        assert!(apps.end(&app, &Cause::Finished));
        assert!(apps.end(&app, &Cause::Exited { code: 1 }), "again is no error");
        let Some(Event::Changed(Status::Driver(ended))) = next() else { panic!("no end") };
        assert_eq!(ended.state.end().unwrap().cause, Cause::Finished);
        assert_eq!(next(), None);
        assert!(!apps.end(&AppId::new("app-2").unwrap(), &Cause::Finished));
    }
}
