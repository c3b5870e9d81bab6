//! Watches: events read from the journals of one application, or of all, as they grow.

use std::collections::{BTreeMap, VecDeque};

use anymaster_core::model::{AppId, Cursor, Event, Status, Unreadable};
use anymaster_core::{Error, EventStream, Result};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::journal::{LatestStatuses, Line, Reader};
use super::lock::Lock;
use super::notifier::{Changed, Notifier};
use super::recovery::recover_orphans;
use super::store::{Part, Store};
use crate::host::directories::WatchGuard;
use crate::host::identity::Process;

const PARTS: [Part; 2] = [Part::Driver, Part::Executors];

/// The offsets of a watch in the journals; a cursor is this as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    apps: BTreeMap<AppId, [u64; 2]>,
}

/// The state of one watch.
pub(crate) struct Watcher {
    store: Store,
    notifier: Notifier,
    only: Option<AppId>,
    changes: broadcast::Receiver<Changed>,
    apps: BTreeMap<AppId, FollowedApp>,
    /// The last status sent for each application that cannot be read.
    unreadable: BTreeMap<AppId, Status>,
    ready: VecDeque<Event>,
    /// Complete when owners exit: their applications are recovered then.
    owners: FuturesUnordered<BoxFuture<'static, (AppId, Process)>>,
    _root: Option<WatchGuard>,
}

struct FollowedApp {
    readers: [Reader; 2],
    owners: [Option<Process>; 2],
    driver_ended: bool,
    _watching: Option<WatchGuard>,
}

impl Watcher {
    pub(crate) async fn open(
        store: Store,
        notifier: Notifier,
        only: Option<&AppId>,
        from: Option<Cursor>,
    ) -> Result<EventStream> {
        // Subscribe first, so that changes during the first read are not missed.
        let changes = notifier.subscribe();
        let root = only.is_none().then(|| notifier.watch(store.root())).transpose()?;
        let mut watcher = Self {
            store,
            notifier,
            only: only.cloned(),
            changes,
            apps: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            ready: VecDeque::new(),
            owners: FuturesUnordered::new(),
            _root: root,
        };
        watcher.start(from.and_then(|cursor| serde_json::from_str(&cursor.0).ok())).await?;
        let events = stream::unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(event) => Some((Ok(event), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(events.boxed())
    }

    fn watched_apps(&self) -> Result<Vec<AppId>> {
        match &self.only {
            Some(app) => self.store.find(app).map(|dir| vec![dir.app]),
            None => self.store.apps(),
        }
    }

    async fn start(&mut self, position: Option<Position>) -> Result<()> {
        let position = position.filter(|position| self.is_valid(position));
        if position.is_none() {
            self.ready.push_back(Event::Restarted);
        }
        for app in self.watched_apps()? {
            let from = position
                .as_ref()
                .map(|position| position.apps.get(&app).copied().unwrap_or_default());
            let started = self.start_app(&app, from).await;
            self.report(&app, started)?;
        }
        self.push_synced()
    }

    async fn start_app(&mut self, app: &AppId, from: Option<[u64; 2]>) -> Result<()> {
        recover_orphans(&self.store, &self.notifier, app).await?;
        self.follow(app, from.unwrap_or_default())?;
        if from.is_some() {
            return self.read(app);
        }
        let mut latest = LatestStatuses::default();
        for line in self.lines(app)? {
            latest.add(line);
        }
        self.ready.extend(latest.into_statuses().map(Event::Changed));
        Ok(())
    }

    /// In a watch of all applications, one that cannot be read is reported once, and the watch goes on.
    fn report(&mut self, app: &AppId, result: Result<()>) -> Result<()> {
        match result {
            Ok(()) => drop(self.unreadable.remove(app)),
            Err(error) if self.only.is_some() => return Err(error),
            // The application was removed in the meantime.
            Err(_) if self.store.dir(app).is_gone() => {}
            Err(error) => {
                let status = unreadable(app.clone(), &error);
                if self.unreadable.insert(app.clone(), status.clone()).as_ref() != Some(&status) {
                    self.ready.push_back(Event::Changed(status));
                }
            }
        }
        Ok(())
    }

    /// Whether the journals have at least the lengths that a cursor names.
    fn is_valid(&self, position: &Position) -> bool {
        position.apps.iter().all(|(app, offsets)| {
            let dir = self.store.dir(app);
            PARTS.iter().zip(offsets).all(|(part, offset)| {
                let len = std::fs::metadata(dir.journal(*part)).map_or(0, |file| file.len());
                len >= *offset
            })
        })
    }

    fn follow(&mut self, app: &AppId, offsets: [u64; 2]) -> Result<()> {
        let dir = self.store.dir(app);
        let mut at = offsets.into_iter();
        let readers =
            PARTS.map(|part| Reader::new(dir.journal(part), at.next().unwrap_or_default()));
        let live = !dir.has_ended();
        let watching = live.then(|| self.notifier.watch(&dir.path)).transpose()?;
        let followed =
            FollowedApp { readers, owners: [None; 2], driver_ended: false, _watching: watching };
        self.apps.insert(app.clone(), followed);
        Ok(())
    }

    /// The new lines of an application; also begins to watch its owners.
    fn lines(&mut self, app: &AppId) -> Result<Vec<Line>> {
        let dir = self.store.dir(app);
        let Some(followed) = self.apps.get_mut(app) else { return Ok(Vec::new()) };
        let mut lines: Vec<Line> = Vec::new();
        // Executors first: their ends are written before the end of the driver.
        for reader in followed.readers.iter_mut().rev() {
            lines.extend(reader.read::<Line>()?);
        }
        let ended =
            |line: &Line| matches!(&line.status, Status::Driver(driver) if driver.state.is_ended());
        if lines.iter().any(ended) {
            followed.driver_ended = true;
            followed._watching = None;
        }
        if followed.driver_ended {
            // Ended applications, of which there may be thousands, keep no files open.
            followed.readers.iter_mut().for_each(Reader::release);
        }
        for (part, owner) in PARTS.into_iter().zip(&mut followed.owners) {
            if owner.is_none() && !followed.driver_ended {
                *owner = Lock::holder(&dir.lock(part));
                if let Some(owner) = *owner {
                    let app = app.clone();
                    self.owners.push(
                        async move {
                            owner.ended().await;
                            (app, owner)
                        }
                        .boxed(),
                    );
                }
            }
        }
        Ok(lines)
    }

    fn read(&mut self, app: &AppId) -> Result<()> {
        let lines = self.lines(app)?;
        self.ready.extend(lines.into_iter().map(|line| Event::Changed(line.status)));
        Ok(())
    }

    fn push_synced(&mut self) -> Result<()> {
        let offsets = |followed: &FollowedApp| {
            let mut at = followed.readers.iter().map(Reader::offset);
            [at.next().unwrap_or_default(), at.next().unwrap_or_default()]
        };
        let apps =
            self.apps.iter().map(|(app, followed)| (app.clone(), offsets(followed))).collect();
        let cursor = serde_json::to_string(&Position { apps })
            .map_err(|error| Error::protocol("cannot write a cursor").with_source(error))?;
        self.ready.push_back(Event::Synced(Cursor(cursor)));
        Ok(())
    }

    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            tokio::select! {
                changed = self.changes.recv() => self.changed(changed)?,
                Some((app, owner)) = self.owners.next() => {
                    if let Some(followed) = self.apps.get_mut(&app) {
                        for known in &mut followed.owners {
                            known.take_if(|known| *known == owner);
                        }
                    }
                    let recovered = recover_orphans(&self.store, &self.notifier, &app).await.map(drop);
                    let read = recovered.and_then(|()| self.read(&app));
                    self.report(&app, read)?;
                }
            }
            if !self.ready.is_empty() {
                self.push_synced()?;
            }
        }
    }

    /// Reads the new lines of an application, which may itself be new.
    fn read_new(&mut self, app: &AppId, may_be_new: bool) -> Result<()> {
        if may_be_new && !self.apps.contains_key(app) {
            self.follow(app, [0; 2])?;
        }
        self.read(app)
    }

    fn changed(&mut self, changed: Result<Changed, RecvError>) -> Result<()> {
        match changed {
            Ok(Changed::Log(_)) => {}
            Ok(Changed::Journal(app)) => {
                let is_new = self.only.is_none() && self.store.find(&app).is_ok();
                let read = self.read_new(&app, is_new);
                self.report(&app, read)?;
            }
            // An application may be new, or notifications were lost: read everything.
            Ok(Changed::Store) | Err(RecvError::Lagged(_)) => {
                for app in self.watched_apps().or_else(ignore_not_found)? {
                    let read = self.read_new(&app, true);
                    self.report(&app, read)?;
                }
            }
            Err(RecvError::Closed) => {
                return Err(Error::unavailable("the local cluster was closed"));
            }
        }
        Ok(())
    }
}

/// A watched application may be removed after it has ended: that is not an error.
fn ignore_not_found(error: Error) -> Result<Vec<AppId>> {
    match error.kind() {
        anymaster_core::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(error),
    }
}

/// The status of an application that cannot be read.
pub(crate) fn unreadable(app: AppId, error: &Error) -> Status {
    Status::Unreadable(Unreadable::new(app, error.to_string()))
}
