//! Wakes readers: of journals and logs, in this process by a channel, and across processes by
//! inotify.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::model::AppId;
use anymaster_core::{Error, Result};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::broadcast;

/// How many changes a slow reader may be behind before it is told to look at everything.
const CAPACITY: usize = 1024;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// There may be a new application.
    Store,
    /// A journal of this application.
    Journal(AppId),
    /// Output of one of its processes.
    Log(AppId),
}

/// Where changes are announced.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    root: PathBuf,
    changes: broadcast::Sender<Changed>,
    inotify: Arc<Mutex<Inotify>>,
}

#[derive(Debug, Default)]
struct Inotify {
    watcher: Option<RecommendedWatcher>,
    /// How many want to hear of each directory.
    watched: HashMap<PathBuf, usize>,
}

/// As long as this lives, changes in a directory by other processes are announced as well.
#[derive(Debug)]
pub(crate) struct Watching {
    dir: PathBuf,
    inotify: Arc<Mutex<Inotify>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut inotify = self.inotify.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = inotify.watched.get_mut(&self.dir) else { return };
        *count -= 1;
        if *count == 0 {
            inotify.watched.remove(&self.dir);
            if let Some(watcher) = &mut inotify.watcher {
                // The directory may be gone, and the watch with it.
                let _ = watcher.unwatch(&self.dir);
            }
        }
    }
}

impl Hub {
    pub(crate) fn new(root: &Path) -> Self {
        let (changes, _) = broadcast::channel(CAPACITY);
        Self { root: root.to_owned(), changes, inotify: Arc::default() }
    }

    /// Announces a change made by this process.
    pub(crate) fn tell(&self, changed: Changed) {
        // Nobody listens: nobody needs to know.
        let _ = self.changes.send(changed);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// Announces changes in this directory by other processes, too.
    pub(crate) fn watch(&self, dir: &Path) -> Result<Watching> {
        let mut inotify = self.inotify.lock().unwrap_or_else(PoisonError::into_inner);
        let watching = Watching { dir: dir.to_owned(), inotify: Arc::clone(&self.inotify) };
        if let Some(count) = inotify.watched.get_mut(dir) {
            *count += 1;
            return Ok(watching);
        }
        let failed = |error| {
            Error::unavailable(format!("cannot watch {}", dir.display()))
                .with_source(error)
                .with_hint("raise fs.inotify.max_user_instances and max_user_watches")
        };
        let watcher = match &mut inotify.watcher {
            Some(watcher) => watcher,
            None => {
                let (root, changes) = (self.root.clone(), self.changes.clone());
                let watcher = notify::recommended_watcher(move |event| {
                    for changed in translate(&root, event) {
                        // Nobody listens: nobody needs to know.
                        let _ = changes.send(changed);
                    }
                });
                inotify.watcher.insert(watcher.map_err(failed)?)
            }
        };
        watcher.watch(dir, RecursiveMode::NonRecursive).map_err(failed)?;
        inotify.watched.insert(dir.to_owned(), 1);
        Ok(watching)
    }
}

fn translate(root: &Path, event: notify::Result<notify::Event>) -> Vec<Changed> {
    let Ok(event) = event else { return vec![Changed::Store] };
    if matches!(event.kind, notify::EventKind::Access(_)) {
        return Vec::new();
    }
    if event.need_rescan() {
        return vec![Changed::Store];
    }
    event
        .paths
        .iter()
        .filter_map(|path| {
            let mut parts = path.strip_prefix(root).ok()?.iter();
            let app = AppId::new(parts.next()?.to_str()?).ok()?;
            Some(match parts.next() {
                None => Changed::Store,
                Some(name) if Path::new(name).extension().is_some_and(|end| end == "journal") => {
                    Changed::Journal(app)
                }
                Some(_) => Changed::Log(app),
            })
        })
        .collect()
}
