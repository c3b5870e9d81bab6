//! A watch: the journals of one application or of all, read as they grow, by whichever process.

use std::collections::{BTreeMap, VecDeque};

use anymaster_core::model::{AppId, Cursor, Event, Status, Unreadable};
use anymaster_core::{Error, EventStream, Result};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::hub::{Changed, Hub};
use super::journal::{Folded, Line, Reader};
use super::lock::Lock;
use super::settle::settle;
use super::store::{Part, Store};
use crate::host::directories::Watching;
use crate::host::identity::Process;

const PARTS: [Part; 2] = [Part::Driver, Part::Executors];

/// Where in its journals a watch is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    apps: BTreeMap<AppId, [u64; 2]>,
}

/// One watch.
pub(crate) struct Watcher {
    store: Store,
    hub: Hub,
    only: Option<AppId>,
    changes: broadcast::Receiver<Changed>,
    apps: BTreeMap<AppId, Followed>,
    /// What was told of those that cannot be read.
    unreadable: BTreeMap<AppId, Status>,
    ready: VecDeque<Event>,
    /// Ends of owners: what they left is settled then.
    owners: FuturesUnordered<BoxFuture<'static, (AppId, Process)>>,
    _root: Option<Watching>,
}

struct Followed {
    readers: [Reader; 2],
    owners: [Option<Process>; 2],
    driver_ended: bool,
    _watching: Option<Watching>,
}

impl Watcher {
    pub(crate) async fn open(
        store: Store,
        hub: Hub,
        only: Option<&AppId>,
        from: Option<Cursor>,
    ) -> Result<EventStream> {
        // Listening comes first: what changes while the rest is read is not missed.
        let changes = hub.listen();
        let root = only.is_none().then(|| hub.watch(store.root())).transpose()?;
        let mut watcher = Self {
            store,
            hub,
            only: only.cloned(),
            changes,
            apps: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            ready: VecDeque::new(),
            owners: FuturesUnordered::new(),
            _root: root,
        };
        watcher.begin(from.and_then(|cursor| serde_json::from_str(&cursor.0).ok())).await?;
        let events = stream::unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(event) => Some((Ok(event), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(events.boxed())
    }

    fn wanted(&self) -> Result<Vec<AppId>> {
        match &self.only {
            Some(app) => self.store.find(app).map(|dir| vec![dir.app]),
            None => self.store.apps(),
        }
    }

    async fn begin(&mut self, place: Option<Place>) -> Result<()> {
        let place = place.filter(|place| self.still_holds(place));
        if place.is_none() {
            self.ready.push_back(Event::Restarted);
        }
        for app in self.wanted()? {
            let from =
                place.as_ref().map(|place| place.apps.get(&app).copied().unwrap_or_default());
            let begun = self.begin_one(&app, from).await;
            self.told(&app, begun)?;
        }
        self.synced()
    }

    async fn begin_one(&mut self, app: &AppId, from: Option<[u64; 2]>) -> Result<()> {
        settle(&self.store, &self.hub, app).await?;
        self.follow(app, from.unwrap_or_default())?;
        if from.is_some() {
            return self.read(app);
        }
        let mut folded = Folded::default();
        for line in self.lines(app)? {
            folded.add(line);
        }
        self.ready.extend(folded.into_statuses().map(Event::Changed));
        Ok(())
    }

    /// Among others, one that cannot be read is told of, once; the others go on.
    fn told(&mut self, app: &AppId, result: Result<()>) -> Result<()> {
        match result {
            Ok(()) => drop(self.unreadable.remove(app)),
            Err(error) if self.only.is_some() => return Err(error),
            // It was removed in the meantime.
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

    /// Whether the journals that a cursor speaks of are still the same.
    fn still_holds(&self, place: &Place) -> bool {
        place.apps.iter().all(|(app, offsets)| {
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
        let watching = live.then(|| self.hub.watch(&dir.path)).transpose()?;
        let followed =
            Followed { readers, owners: [None; 2], driver_ended: false, _watching: watching };
        self.apps.insert(app.clone(), followed);
        Ok(())
    }

    /// What is new of an application, and who writes it.
    fn lines(&mut self, app: &AppId) -> Result<Vec<Line>> {
        let dir = self.store.dir(app);
        let Some(followed) = self.apps.get_mut(app) else { return Ok(Vec::new()) };
        let mut lines: Vec<Line> = Vec::new();
        // Executors first: their ends are written before their driver's.
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
            // Of ten thousand that ended, no files stay open.
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

    fn synced(&mut self) -> Result<()> {
        let offsets = |followed: &Followed| {
            let mut at = followed.readers.iter().map(Reader::offset);
            [at.next().unwrap_or_default(), at.next().unwrap_or_default()]
        };
        let apps =
            self.apps.iter().map(|(app, followed)| (app.clone(), offsets(followed))).collect();
        let cursor = serde_json::to_string(&Place { apps })
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
                    let settled = settle(&self.store, &self.hub, &app).await.map(drop);
                    let read = settled.and_then(|()| self.read(&app));
                    self.told(&app, read)?;
                }
            }
            if !self.ready.is_empty() {
                self.synced()?;
            }
        }
    }

    /// Reads what is new, also of one that was not known before.
    fn read_on(&mut self, app: &AppId, may_be_new: bool) -> Result<()> {
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
                let read = self.read_on(&app, is_new);
                self.told(&app, read)?;
            }
            // Something is new, or more happened than there was room for: a look at everything.
            Ok(Changed::Store) | Err(RecvError::Lagged(_)) => {
                for app in self.wanted().or_else(gone_is_none)? {
                    let read = self.read_on(&app, true);
                    self.told(&app, read)?;
                }
            }
            Err(RecvError::Closed) => {
                return Err(Error::unavailable("the local cluster was closed"));
            }
        }
        Ok(())
    }
}

/// A watched application may be removed when it has ended.
fn gone_is_none(error: Error) -> Result<Vec<AppId>> {
    match error.kind() {
        anymaster_core::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(error),
    }
}

/// What is told of an application that cannot be read.
pub(crate) fn unreadable(app: AppId, error: &Error) -> Status {
    Status::Unreadable(Unreadable { app, why: error.to_string().into() })
}
