//! Notifications of changes in directories, by inotify. If the kernel's limit of inotify instances or
//! watches is reached, directories are polled. Several watches of one directory share one source.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anymaster_core::{Error, Result};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use super::snapshot::Snapshot;

/// The interval at which directories without inotify are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A notification.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DirEvent<'a> {
    /// A change of an entry of a directory, or of the directory itself.
    Changed(&'a Path, Option<&'a OsStr>),
    /// The kernel's queue overflowed: anything may have changed.
    Overflow,
}

/// What is watched in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Its list of entries.
    Entries,
    /// Also the contents of its files.
    Files,
}

/// The watched directories.
#[derive(Debug, Clone)]
pub(crate) struct Directories {
    inner: Arc<Inner>,
}

struct Inner {
    notify: Box<dyn Fn(DirEvent<'_>) + Send + Sync>,
    state: Mutex<State>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    inotify: Option<Inotify>,
    dirs: HashMap<PathBuf, Dir>,
    /// The task that polls, while there are directories to poll.
    poller: JoinSet<()>,
}

/// A watched directory.
#[derive(Debug)]
struct Dir {
    /// The number of watches.
    readers: usize,
    depth: Depth,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// By inotify, with this watch descriptor.
    Inotify(i32),
    /// By polling; what was found last.
    Polled(Snapshot),
}

#[derive(Debug)]
struct Inotify {
    fd: Arc<OwnedFd>,
    /// By watch descriptor.
    watched: HashMap<i32, PathBuf>,
    reader: JoinSet<()>,
}

/// A watch of a directory. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct WatchGuard {
    dir: PathBuf,
    inner: Arc<Inner>,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.inner.state().forget(&self.dir);
    }
}

impl Directories {
    /// `notify` is called for every change. It must not add a watch.
    pub(crate) fn new(notify: impl Fn(DirEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { inner: Arc::new(Inner { notify: Box::new(notify), state: Mutex::default() }) }
    }

    /// Watches a directory from now on. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it does not exist or cannot be read.
    pub(crate) fn watch(&self, dir: &Path, depth: Depth) -> Result<WatchGuard> {
        self.inner.state().add(&self.inner, dir, depth).map_err(|errno| {
            Error::unavailable(format!("cannot watch {}", dir.display()))
                .with_source(std::io::Error::from(errno))
        })?;
        // Created after the lock is released: its drop takes the lock.
        Ok(WatchGuard { dir: dir.to_owned(), inner: Arc::clone(&self.inner) })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls once. False when there is nothing left to poll.
    fn poll(&self) -> bool {
        let polled = self.state().polled();
        for (dir, depth) in &polled {
            let now = Snapshot::of(dir, *depth == Depth::Entries);
            let before = match self.state().dirs.get_mut(dir).map(|dir| &mut dir.source) {
                Some(Source::Polled(before)) => std::mem::replace(before, now.clone()),
                _ => continue,
            };
            for name in now.differences(&before) {
                (self.notify)(DirEvent::Changed(dir, name.as_deref()));
            }
        }
        !polled.is_empty()
    }
}

impl State {
    fn add(&mut self, inner: &Arc<Inner>, dir: &Path, depth: Depth) -> Result<(), Errno> {
        if self.inotify.as_mut().is_some_and(|inotify| inotify.reader.try_join_next().is_some()) {
            // Its runtime was shut down.
            self.inotify = None;
            self.dirs.clear();
        }
        if let Some(known) = self.dirs.get_mut(dir) {
            known.readers += 1;
            return Ok(());
        }
        let source = match self.watch(inner, dir) {
            Ok(descriptor) => Source::Inotify(descriptor),
            Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS)) => return Err(errno),
            Err(_) if !dir.is_dir() => return Err(Errno::NOENT),
            Err(errno) => {
                tracing::debug!(dir = %dir.display(), %errno, "no inotify watch available: polling");
                self.start_polling(inner);
                Source::Polled(Snapshot::of(dir, depth == Depth::Entries))
            }
        };
        self.dirs.insert(dir.to_owned(), Dir { readers: 1, depth, source });
        Ok(())
    }

    fn watch(&mut self, inner: &Arc<Inner>, dir: &Path) -> Result<i32, Errno> {
        let inotify = match &mut self.inotify {
            Some(inotify) => inotify,
            None => self.inotify.insert(Inotify::start(inner)?),
        };
        let what = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let descriptor = inotify::add_watch(&*inotify.fd, dir, what)?;
        inotify.watched.insert(descriptor, dir.to_owned());
        Ok(descriptor)
    }

    fn start_polling(&mut self, inner: &Arc<Inner>) {
        while self.poller.try_join_next().is_some() {}
        if self.poller.is_empty() {
            let inner = Arc::downgrade(inner);
            self.poller.spawn(async move {
                loop {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    if !inner.upgrade().is_some_and(|inner| inner.poll()) {
                        return;
                    }
                }
            });
        }
    }

    fn polled(&mut self) -> Vec<(PathBuf, Depth)> {
        let is_polled = |(path, dir): (&PathBuf, &Dir)| {
            matches!(dir.source, Source::Polled(_)).then(|| (path.clone(), dir.depth))
        };
        let polled: Vec<_> = self.dirs.iter().filter_map(is_polled).collect();
        if polled.is_empty() {
            // The poller ends now; the next directory to poll starts another one.
            self.poller.detach_all();
        }
        polled
    }

    /// Ends one watch of a directory.
    fn forget(&mut self, path: &Path) {
        let Some(dir) = self.dirs.get_mut(path) else { return };
        dir.readers -= 1;
        if dir.readers > 0 {
            return;
        }
        if let Some(Dir { source: Source::Inotify(descriptor), .. }) = self.dirs.remove(path)
            && let Some(inotify) = &mut self.inotify
            && inotify.watched.remove(&descriptor).is_some()
        {
            // Fails if the directory, and with it the watch, was removed.
            let _ = inotify::remove_watch(&*inotify.fd, descriptor);
        }
    }

    /// The directory of a watch; the kernel has ended the watch if it `is_over`.
    fn watched(&mut self, descriptor: i32, is_over: bool) -> Option<PathBuf> {
        let watched = &mut self.inotify.as_mut()?.watched;
        if !is_over {
            return watched.get(&descriptor).cloned();
        }
        let dir = watched.remove(&descriptor)?;
        // A later directory of the same name gets a new watch.
        self.dirs.remove(&dir);
        Some(dir)
    }
}

impl Inotify {
    fn start(inner: &Arc<Inner>) -> Result<Self, Errno> {
        let fd = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps what it asks for")]
        let events = AsyncFd::with_interest(Arc::clone(&fd), Interest::READABLE)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let mut reader = JoinSet::new();
        reader.spawn(read(events, Arc::downgrade(inner)));
        Ok(Self { fd, watched: HashMap::new(), reader })
    }
}

/// Reads events from the kernel until the watched directories are dropped.
async fn read(events: AsyncFd<Arc<OwnedFd>>, inner: Weak<Inner>) {
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    // Fails when the runtime is shut down.
    while let Ok(mut ready) = events.readable().await {
        let Some(inner) = inner.upgrade() else { return };
        let mut reader = inotify::Reader::new(events.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    (inner.notify)(DirEvent::Overflow);
                }
                Ok(event) => {
                    let is_over = event.events().contains(ReadFlags::IGNORED);
                    let dir = inner.state().watched(event.wd(), is_over);
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    if let Some(dir) = dir.filter(|_| !is_over) {
                        (inner.notify)(DirEvent::Changed(&dir, name));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    tracing::warn!(%errno, "cannot read inotify events");
                    return;
                }
            }
        }
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::sync::mpsc;

    use super::*;

    type Heard = mpsc::UnboundedReceiver<(PathBuf, Option<PathBuf>)>;

    fn directories() -> (Directories, Heard) {
        let (sender, heard) = mpsc::unbounded_channel();
        let directories = Directories::new(move |event| {
            if let DirEvent::Changed(dir, name) = event {
                // The test may be over.
                let _ = sender.send((dir.to_owned(), name.map(PathBuf::from)));
            }
        });
        (directories, heard)
    }

    async fn hear(heard: &mut Heard, dir: &Path, name: Option<&str>) {
        let hears = async {
            loop {
                let (at, what) = heard.recv().await.unwrap();
                if at == dir && (name.is_none() || what.as_deref() == name.map(Path::new)) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), hears).await.unwrap();
    }

    async fn expect_notifications(directories: &Directories, heard: &mut Heard) {
        let root = tempfile::tempdir().unwrap();
        let (root, dir) = (root.path(), root.path().join("one"));
        let whole = directories.watch(root, Depth::Entries).unwrap();
        fs::create_dir(&dir).unwrap();
        hear(heard, root, None).await;

        let watch = || directories.watch(&dir, Depth::Files).unwrap();
        let watching = [watch(), watch()];
        for words in ["a", "ab"] {
            fs::write(dir.join("stdout"), words).unwrap();
            hear(heard, &dir, Some("stdout")).await;
        }
        let readers = |dir: &Path| directories.inner.state().dirs.get(dir).map(|dir| dir.readers);
        assert_eq!(readers(&dir), Some(2));
        drop(watching);
        assert_eq!(readers(&dir), None);
        drop(whole);
        directories.watch(&root.join("gone"), Depth::Files).unwrap_err();
        assert!(directories.inner.state().dirs.is_empty());
    }

    #[tokio::test]
    async fn changes_are_notified_by_inotify() {
        let (directories, mut heard) = directories();
        expect_notifications(&directories, &mut heard).await;
        assert!(directories.inner.state().poller.is_empty());
    }

    /// Regression: a failed watch was dropped while the lock was held that its drop takes.
    #[tokio::test]
    async fn changes_are_notified_by_one_poller_without_inotify() {
        let (directories, mut heard) = directories();
        // Every attempt to add a watch to it fails.
        let full = Arc::new(OwnedFd::from(fs::File::open("/dev/null").unwrap()));
        let inotify = Inotify { fd: full, watched: HashMap::new(), reader: JoinSet::new() };
        directories.inner.state().inotify = Some(inotify);
        expect_notifications(&directories, &mut heard).await;
        assert!(directories.inner.state().poller.len() <= 1);
    }

    #[tokio::test]
    async fn a_recreated_directory_can_be_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("one");
        let (directories, mut heard) = directories();
        for _ in 0..2 {
            fs::create_dir(&dir).unwrap();
            let watching = directories.watch(&dir, Depth::Files).unwrap();
            fs::write(dir.join("stdout"), "words").unwrap();
            hear(&mut heard, &dir, Some("stdout")).await;
            fs::remove_dir_all(&dir).unwrap();
            // The kernel reports the end of the watch.
            let is_known = || directories.inner.state().dirs.contains_key(&dir);
            let forgotten = async {
                while is_known() {
                    tokio::task::yield_now().await
                }
            };
            tokio::time::timeout(Duration::from_secs(30), forgotten).await.unwrap();
            drop(watching);
        }
    }
}
