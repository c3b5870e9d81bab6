//! Writing what has to survive the master: changes are collected, written together, and what follows from them is done
//! when they are durable.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use anymaster_core::model::AppId;

use crate::app::App;
use crate::effects::Effect;
use crate::engine::{Engine, SubmissionSeq};
use crate::records::{EXTENSION, WORKERS, json, name};

/// What becomes of the record of this name; `None`: it is deleted.
pub type Change = (String, Option<Vec<u8>>);

/// How many ids of executors are reserved at once.
const RESERVED: u64 = 1_000;

/// What has changed since the last write.
#[derive(Debug, Default)]
pub(crate) struct DirtySet {
    apps: BTreeSet<SubmissionSeq>,
    /// Names of the records of applications that are forgotten.
    forgotten: Vec<String>,
    workers: bool,
    /// Names of extensions.
    extensions: BTreeSet<String>,
}

/// A write that is under way.
pub struct Flush {
    /// What is to be written, each change whole or not at all.
    pub changes: Arc<[Change]>,
    what: DirtySet,
    /// Up to where the ids of executors are reserved then.
    reserved: Vec<(SubmissionSeq, u64)>,
    /// What may be done then.
    effects: Vec<Effect>,
    /// How many events may be published then.
    events: u64,
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes it persistent: from now on, what has to survive has to be written, and effects wait for that.
    pub fn persist(&mut self) {
        self.dirty.get_or_insert_default();
        self.effects.hold_back();
    }

    /// The record of an application has changed.
    pub(crate) fn mark(&mut self, seq: SubmissionSeq) {
        if let Some(dirty) = &mut self.dirty {
            dirty.apps.insert(seq);
        }
    }

    /// The record of workers has changed, if there is one.
    pub(crate) fn mark_workers(&mut self) {
        if let Some(dirty) = &mut self.dirty {
            dirty.workers |= self.supply.reports_by_worker();
        }
    }

    /// The record of an application has to be deleted.
    pub(crate) fn mark_forgotten(&mut self, app: &App) {
        if let Some(dirty) = &mut self.dirty {
            dirty.forgotten.push(name(app));
        }
    }

    /// How long the record of an application is, in bytes.
    pub(crate) fn record_size(&self, app: &App) -> usize {
        json(&app.record(SubmissionSeq::MAX)).len()
    }

    /// Whether the next executor may have its id: one that may have been given before is not given again.
    pub(crate) fn may_assign_id(&mut self, seq: SubmissionSeq) -> bool {
        let Some(dirty) = &mut self.dirty else { return true };
        let Some(app) = self.apps.get_mut(&seq) else { return false };
        if app.last_id < app.written {
            return true;
        }
        app.reserved = app.last_id + RESERVED;
        dirty.apps.insert(seq);
        false
    }

    /// Takes what has to be written now, if anything. One write at a time; it is followed by
    /// [`flushed`](Self::flushed), [`flush_failed`](Self::flush_failed) or [`flush_undone`](Self::flush_undone). If there is nothing to
    /// write, effects that waited are ready.
    pub fn begin_flush(&mut self) -> Option<Flush> {
        let what = std::mem::take(self.dirty.as_mut()?);
        let effects = self.effects.take_held_back();
        let events = self.events.count();
        let (mut changes, mut reserved) = (Vec::new(), Vec::new());
        changes.extend(what.forgotten.iter().map(|name| (name.clone(), None)));
        for seq in &what.apps {
            if let Some(app) = self.apps.get(seq) {
                changes.push((name(app), Some(json(&app.record(*seq)))));
                reserved.push((*seq, app.reserved));
            }
        }
        if what.workers {
            let present = self.workers.values().filter(|worker| worker.is_present());
            // The next master has to wait for those as well if it takes over before they are back.
            let awaited = self.recovery.iter().flat_map(|recovery| recovery.awaited());
            let ids: BTreeSet<_> = present.map(|worker| &worker.info.id).chain(awaited).collect();
            changes.push((WORKERS.to_owned(), Some(json(&ids))));
        }
        for name in &what.extensions {
            changes.push((format!("{EXTENSION}{name}"), self.extensions.get(name).cloned()));
        }
        if changes.is_empty() {
            self.effects.release(effects);
            self.publish(events);
            return None;
        }
        Some(Flush { changes: changes.into(), what, reserved, effects, events })
    }

    /// The write has succeeded: its changes are durable.
    pub fn flushed(&mut self, flush: Flush) {
        for (seq, reserved) in flush.reserved {
            let Some(app) = self.apps.get_mut(&seq) else { continue };
            if app.written < reserved {
                app.written = reserved;
                self.wanting.retry(seq);
                self.is_due = true;
            }
            if !std::mem::replace(&mut app.is_written, true) {
                self.waiting.retry(seq);
                self.is_due = true;
            }
        }
        self.effects.release(flush.effects);
        self.publish(flush.events);
    }

    /// The write has failed: applications that were new in it are not accepted, and forgotten; whoever submitted them
    /// has to be told. The rest is written again.
    pub fn flush_failed(&mut self, flush: Flush) {
        let is_new = |seq: &&SubmissionSeq| self.apps.get(seq).is_some_and(|app| !app.is_written);
        let new: Vec<SubmissionSeq> = flush.what.apps.iter().filter(is_new).copied().collect();
        self.flush_undone(flush);
        for seq in new {
            // Nothing of it runs, as nothing is started before it is durable; nobody has seen it.
            if let Some(app) = self.apps.get(&seq) {
                self.events.withdraw(app.id());
            }
            self.forget(seq);
        }
    }

    /// It is unknown whether the write has succeeded: it has to be repeated.
    pub fn flush_undone(&mut self, flush: Flush) {
        if let Some(dirty) = &mut self.dirty {
            let DirtySet { apps, forgotten, workers, extensions } = flush.what;
            dirty.extensions.extend(extensions);
            dirty.apps.extend(apps);
            dirty.forgotten.extend(forgotten);
            dirty.workers |= workers;
        }
        self.effects.restore(flush.effects);
    }

    /// Whether an application survives the master, if anything does.
    pub(crate) fn is_app_durable(&self, app: &App) -> bool {
        app.is_written || self.dirty.is_none()
    }

    /// Whether an application is known, and survives the master.
    pub fn is_durable(&self, app: &AppId) -> bool {
        self.app(app).is_some_and(|app| self.is_app_durable(app))
    }

    /// A record of another part of the daemon.
    pub fn extension(&self, name: &str) -> Option<&[u8]> {
        self.extensions.get(name).map(Vec::as_slice)
    }

    /// The records of other parts of the daemon whose names begin so.
    pub fn extensions<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> + 'a {
        let from_first =
            self.extensions.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from_first
            .map(|(name, value)| (&**name, &**value))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Stores a record of another part of the daemon.
    pub fn set_extension(&mut self, name: &str, value: Vec<u8>) {
        self.extensions.insert(name.to_owned(), value);
        self.mark_extension(name);
    }

    /// Deletes a record of another part of the daemon.
    pub fn remove_extension(&mut self, name: &str) {
        if self.extensions.remove(name).is_some() {
            self.mark_extension(name);
        }
    }

    fn mark_extension(&mut self, name: &str) {
        if let Some(dirty) = &mut self.dirty {
            dirty.extensions.insert(name.to_owned());
        }
    }
}
