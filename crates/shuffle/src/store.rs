//! What outlives the service: registrations, and directories that are to be removed, in a database. One thread
//! writes; what waits together becomes durable together.

use std::fs::File;
use std::thread;

use anymaster_core::{Error, Result};
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::roots::{OWN, Root};

/// Executors by application and id.
const EXECUTORS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("executors");
/// Local directories of applications that have ended, by application and a number.
const REMOVALS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("removals");
/// How many changes wait at most.
const QUEUE: usize = 8192;
/// The memory of the database, in bytes.
const CACHE: usize = 1 << 20;

/// Where the blocks of an executor are, as it has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) local_dirs: Vec<String>,
    pub(crate) sub_dirs: u32,
    /// The class of its shuffle manager.
    pub(crate) shuffle_manager: String,
    /// When, in seconds since 1970.
    pub(crate) registered: u64,
}

/// Directories that are to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) app: String,
    pub(crate) number: u64,
    pub(crate) local_dirs: Vec<String>,
}

/// What changes.
#[derive(Debug)]
pub(crate) enum Change {
    /// An executor is registered.
    Register { app: String, executor: String, registration: Registration },
    /// An application has ended: its executors are forgotten, their directories are to be removed.
    End(Removal),
    /// The directories are removed.
    Removed { app: String, number: u64 },
}

/// What was there when the service began.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) executors: Vec<(String, String, Registration)>,
    pub(crate) removals: Vec<Removal>,
}

/// The way to the database.
#[derive(Debug)]
pub(crate) struct Store(mpsc::Sender<(Change, oneshot::Sender<Result<()>>)>);

/// A change that is on its way to the disk.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Result<()>>);

impl Pending {
    /// Waits until it is durable.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be written.
    pub(crate) async fn durable(self) -> Result<()> {
        self.0.await.unwrap_or_else(|_| Err(Error::unavailable("the service ends")))
    }
}

fn failed(error: impl Into<redb::Error>) -> Error {
    Error::unavailable("cannot use the registrations of the shuffle service")
        .with_source(error.into())
        .with_hint(
            "is the disk full, or another service at work with the same address and directory?",
        )
}

impl Store {
    /// Opens the database of this name in the service's own directory below a root, or makes it, and reads it.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be used, and
    /// [`Protocol`](anymaster_core::ErrorKind::Protocol) if there is something else in it.
    pub(crate) fn open(root: &Root, name: &str) -> Result<(Self, Loaded)> {
        let file = own_file(root, &format!("{name}.redb"))?;
        let mut builder = Database::builder();
        let database = builder
            .set_cache_size(CACHE)
            .create_with_backend(FileBackend::new(file).map_err(failed)?)
            .map_err(failed)?;
        let writing = database.begin_write().map_err(failed)?;
        writing.open_table(EXECUTORS).map_err(failed)?;
        writing.open_table(REMOVALS).map_err(failed)?;
        writing.commit().map_err(failed)?;
        let loaded = load(&database)?;
        let (sender, queue) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("shuffle-store".to_owned())
            .spawn(move || serve(&database, queue))
            .map_err(|error| Error::unavailable("cannot start a thread").with_source(error))?;
        Ok((Self(sender), loaded))
    }

    /// Puts a change behind those that wait.
    ///
    /// # Errors
    /// [`Quota`](anymaster_core::ErrorKind::Quota) if too many wait.
    pub(crate) fn write(&self, change: Change) -> Result<Pending> {
        let (done, pending) = oneshot::channel();
        self.0.try_send((change, done)).map_err(|_| {
            Error::new(anymaster_core::ErrorKind::Quota, "too many registrations wait for the disk")
        })?;
        Ok(Pending(pending))
    }
}

/// Opens a file of the service's own, which only its user may read, or makes it.
pub(crate) fn own_file(root: &Root, name: &str) -> Result<File> {
    let failed = |error: std::io::Error| {
        let path = root.path().join(OWN).join(name);
        Error::unavailable(format!("cannot use {}", path.display())).with_source(error)
    };
    let directory = root.open_below(".".as_ref(), OFlags::DIRECTORY, ResolveFlags::empty());
    let directory = directory.map_err(failed)?;
    match mkdirat(&directory, OWN, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(failed(error.into())),
    }
    let own = root.open_below(OWN.as_ref(), OFlags::DIRECTORY, ResolveFlags::empty());
    let own = File::from(own.map_err(failed)?).metadata().map_err(failed)?;
    if std::os::unix::fs::MetadataExt::uid(&own) != rustix::process::geteuid().as_raw() {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            "its directory belongs to another user",
        )));
    }
    let path = std::path::Path::new(OWN).join(name);
    let flags = OFlags::RDWR | OFlags::CREATE;
    root.open_below(&path, flags, ResolveFlags::empty()).map(File::from).map_err(failed)
}

fn load(database: &Database) -> Result<Loaded> {
    let damaged = |what: &str, error: serde_json::Error| {
        Error::protocol(format!("the registration of {what} cannot be read")).with_source(error)
    };
    let reading = database.begin_read().map_err(failed)?;
    let mut loaded = Loaded::default();
    for entry in reading.open_table(EXECUTORS).map_err(failed)?.iter().map_err(failed)? {
        let (key, value) = entry.map_err(failed)?;
        let (app, executor) = key.value();
        let registration =
            serde_json::from_slice(value.value()).map_err(|error| damaged(app, error))?;
        loaded.executors.push((app.to_owned(), executor.to_owned(), registration));
    }
    for entry in reading.open_table(REMOVALS).map_err(failed)?.iter().map_err(failed)? {
        let (key, value) = entry.map_err(failed)?;
        let (app, number) = key.value();
        let local_dirs =
            serde_json::from_slice(value.value()).map_err(|error| damaged(app, error))?;
        loaded.removals.push(Removal { app: app.to_owned(), number, local_dirs });
    }
    Ok(loaded)
}

/// Writes until nobody has anything to write any more.
fn serve(database: &Database, mut queue: mpsc::Receiver<(Change, oneshot::Sender<Result<()>>)>) {
    while let Some(first) = queue.blocking_recv() {
        let mut together = vec![first];
        while let Ok(next) = queue.try_recv() {
            together.push(next);
        }
        let written = write(database, together.iter().map(|(change, _)| change));
        if let Err(error) = &written {
            tracing::error!("{error}");
        }
        for (_, done) in together {
            // Whoever asked may be gone.
            let _ = done.send(written.clone());
        }
    }
}

fn write<'a>(database: &Database, changes: impl Iterator<Item = &'a Change>) -> Result<()> {
    let encode = |value: serde_json::Result<Vec<u8>>| {
        value
            .map_err(|error| Error::protocol("a registration cannot be written").with_source(error))
    };
    let writing = database.begin_write().map_err(failed)?;
    {
        let mut executors = writing.open_table(EXECUTORS).map_err(failed)?;
        let mut removals = writing.open_table(REMOVALS).map_err(failed)?;
        for change in changes {
            match change {
                Change::Register { app, executor, registration } => {
                    let value = encode(serde_json::to_vec(registration))?;
                    let key = (app.as_str(), executor.as_str());
                    executors.insert(key, value.as_slice()).map_err(failed)?;
                }
                Change::End(Removal { app, number, local_dirs }) => {
                    // Of this application: from its first executor to the first one of the next application.
                    let next = format!("{app}\0");
                    let all = (app.as_str(), "")..(next.as_str(), "");
                    executors.retain_in(all, |_, _| false).map_err(failed)?;
                    let value = encode(serde_json::to_vec(local_dirs))?;
                    removals.insert((app.as_str(), *number), value.as_slice()).map_err(failed)?;
                }
                Change::Removed { app, number } => {
                    removals.remove((app.as_str(), *number)).map_err(failed)?;
                }
            }
        }
    }
    writing.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(dir: &str) -> Registration {
        Registration {
            local_dirs: vec![dir.to_owned()],
            sub_dirs: 64,
            shuffle_manager: "sort".to_owned(),
            registered: 7,
        }
    }

    fn register(app: &str, executor: &str, dir: &str) -> Change {
        let (app, executor) = (app.to_owned(), executor.to_owned());
        Change::Register { app, executor, registration: registration(dir) }
    }

    #[tokio::test]
    async fn registrations_are_there_after_a_restart_and_an_end_is_of_one_application() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::open(place.path()).unwrap();
        let (store, loaded) = Store::open(&root, "here").unwrap();
        assert!(loaded.executors.is_empty());
        for (app, executor) in [("app", "1"), ("app", "2"), ("app2", "1"), ("ap", "1")] {
            store.write(register(app, executor, "/a")).unwrap().durable().await.unwrap();
        }
        store.write(register("app2", "1", "/b")).unwrap().durable().await.unwrap();
        let removal =
            Removal { app: "app".to_owned(), number: 3, local_dirs: vec!["/a".to_owned()] };
        store.write(Change::End(removal.clone())).unwrap().durable().await.unwrap();
        // Another service of the same name is refused while this one lives.
        assert!(Store::open(&root, "here").is_err());
        drop(store);
        let open = || Store::open(&root, "here").ok();
        let mut opened = open();
        while opened.is_none() {
            // The thread that writes has to end first.
            tokio::task::yield_now().await;
            opened = open();
        }
        let (store, loaded) = opened.unwrap();
        let known: Vec<_> = loaded
            .executors
            .iter()
            .map(|(app, id, it)| (&**app, &**id, &*it.local_dirs[0]))
            .collect();
        assert_eq!(known, [("ap", "1", "/a"), ("app2", "1", "/b")]);
        assert_eq!(loaded.removals, [removal]);
        let removed = Change::Removed { app: "app".to_owned(), number: 3 };
        store.write(removed).unwrap().durable().await.unwrap();
    }

    #[test]
    fn what_belongs_to_the_service_is_for_its_user_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = tempfile::tempdir().unwrap();
        let root = Root::open(place.path()).unwrap();
        own_file(&root, "token").unwrap();
        let mode = |path: &str| {
            place.path().join(OWN).join(path).metadata().unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("."), mode("token")), (0o700, 0o600));
        let planted = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", planted.path().join(OWN)).unwrap();
        assert!(own_file(&Root::open(planted.path()).unwrap(), "passwd").is_err());
    }
}
