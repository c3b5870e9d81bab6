//! Change notifications for journals and logs: from this process through a channel, from other
//! processes by watching directories.

use std::path::{Path, PathBuf};

use anymaster_core::Result;
use anymaster_core::model::AppId;
use tokio::sync::broadcast;

use crate::host::directories::{Depth, DirEvent, Directories, WatchGuard};

/// How many changes a slow reader may lag behind; after that it has to read everything.
const CAPACITY: usize = 1024;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// An application may have been added.
    Store,
    /// A journal of this application.
    Journal(AppId),
    /// Output of one of its processes.
    Log(AppId),
}

/// Sends changes to all subscribers.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    root: PathBuf,
    changes: broadcast::Sender<Changed>,
    directories: Directories,
}

impl Notifier {
    pub(crate) fn new(root: &Path) -> Self {
        let (changes, _) = broadcast::channel(CAPACITY);
        let (announce, above) = (changes.clone(), root.to_owned());
        let directories = Directories::new(move |event| {
            let changed = match event {
                DirEvent::Overflow => Some(Changed::Store),
                DirEvent::Changed(dir, None) => translate(&above, dir),
                DirEvent::Changed(dir, Some(name)) => translate(&above, &dir.join(name)),
            };
            if let Some(changed) = changed {
                // Fails only without subscribers.
                let _ = announce.send(changed);
            }
        });
        Self { root: root.to_owned(), changes, directories }
    }

    /// Notifies all subscribers of a change made by this process.
    pub(crate) fn notify(&self, changed: Changed) {
        // Fails only without subscribers.
        let _ = self.changes.send(changed);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// Also notifies of changes that other processes make in this directory, until the result is
    /// dropped. Must be called within a Tokio runtime.
    pub(crate) fn watch(&self, dir: &Path) -> Result<WatchGuard> {
        let depth = if dir == self.root { Depth::Entries } else { Depth::Files };
        self.directories.watch(dir, depth)
    }
}

/// Which change a changed path stands for.
fn translate(root: &Path, path: &Path) -> Option<Changed> {
    if path == root {
        return Some(Changed::Store);
    }
    let mut parts = path.strip_prefix(root).ok()?.iter();
    let app = AppId::new(parts.next()?.to_str()?).ok()?;
    Some(match parts.next() {
        None => Changed::Store,
        Some(name) if Path::new(name).extension().is_some_and(|end| end == "journal") => {
            Changed::Journal(app)
        }
        Some(_) => Changed::Log(app),
    })
}
