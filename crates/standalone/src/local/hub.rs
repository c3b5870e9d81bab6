//! Wakes readers: of journals and logs, in this process by a channel, and across processes by changes
//! in directories.

use std::path::{Path, PathBuf};

use anymaster_core::Result;
use anymaster_core::model::AppId;
use tokio::sync::broadcast;

use crate::host::directories::{Depth, Directories, Happened, Watching};

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
    directories: Directories,
}

impl Hub {
    pub(crate) fn new(root: &Path) -> Self {
        let (changes, _) = broadcast::channel(CAPACITY);
        let (announce, above) = (changes.clone(), root.to_owned());
        let directories = Directories::new(move |happened| {
            let changed = match happened {
                Happened::TooMuch => Some(Changed::Store),
                Happened::In(dir, None) => translate(&above, dir),
                Happened::In(dir, Some(name)) => translate(&above, &dir.join(name)),
            };
            if let Some(changed) = changed {
                // Nobody listens: nobody needs to know.
                let _ = announce.send(changed);
            }
        });
        Self { root: root.to_owned(), changes, directories }
    }

    /// Announces a change made by this process.
    pub(crate) fn tell(&self, changed: Changed) {
        // Nobody listens: nobody needs to know.
        let _ = self.changes.send(changed);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// Announces changes in this directory by other processes, too. Must be called within a runtime.
    pub(crate) fn watch(&self, dir: &Path) -> Result<Watching> {
        let depth = if dir == self.root { Depth::Entries } else { Depth::Files };
        self.directories.watch(dir, depth)
    }
}

/// What it means that something at this path changed.
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
