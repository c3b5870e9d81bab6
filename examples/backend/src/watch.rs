//! What happens, found out by asking again and again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anymaster_core::model::{AppId, Cursor, Event, ExecutorId, Status};
use anymaster_core::{ErrorKind, EventStream, Result};
use futures::stream::{self, StreamExt as _};

use crate::store::{App, Store};

/// How often it is looked.
pub(crate) const PACE: Duration = Duration::from_millis(50);

/// What a status is about.
#[derive(PartialEq, Eq, Hash)]
enum About {
    Driver(AppId),
    Executor(AppId, ExecutorId),
    Allocation(AppId),
}

struct Watch {
    store: Store,
    app: Option<AppId>,
    known: HashMap<About, Status>,
    ready: VecDeque<Event>,
}

/// Begins with the state, whatever was seen before: cursors are not kept.
pub(crate) fn open(store: Store, app: Option<AppId>) -> Result<EventStream> {
    let mut watch = Watch { store, app, known: HashMap::new(), ready: VecDeque::new() };
    watch.ready.push_back(Event::Restarted);
    watch.look()?;
    watch.ready.push_back(synced());
    Ok(stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        loop {
            if let Some(event) = watch.ready.pop_front() {
                return Some((Ok(event), Some(watch)));
            }
            tokio::time::sleep(PACE).await;
            match watch.look() {
                Ok(()) if watch.ready.is_empty() => {}
                Ok(()) => watch.ready.push_back(synced()),
                Err(error) => return Some((Err(error), None)),
            }
        }
    })
    .boxed())
}

fn synced() -> Event {
    Event::Synced(Cursor("now".to_owned()))
}

impl Watch {
    /// Notes what has changed since it was looked last.
    fn look(&mut self) -> Result<()> {
        for app in self.apps()? {
            let statuses = match app.statuses() {
                // Removed in this moment.
                Err(error) if self.app.is_none() && error.kind() == ErrorKind::Unavailable => {
                    continue;
                }
                statuses => statuses?,
            };
            for status in statuses {
                let about = match &status {
                    Status::Driver(driver) => About::Driver(driver.app.clone()),
                    Status::Executor(executor) => {
                        About::Executor(executor.app.clone(), executor.id)
                    }
                    _ => About::Allocation(status.app().clone()),
                };
                let is_news = self.known.get(&about).is_none_or(|known| match status.state() {
                    // The time of a directory changes more often than the state of a process.
                    Some(state) => known.state() != Some(state),
                    None => *known != status,
                });
                if is_news {
                    self.known.insert(about, status.clone());
                    self.ready.push_back(Event::Changed(status));
                }
            }
        }
        Ok(())
    }

    fn apps(&self) -> Result<Vec<App>> {
        match &self.app {
            Some(app) => Ok(vec![self.store.find(app)?]),
            None => self.store.apps(),
        }
    }
}
