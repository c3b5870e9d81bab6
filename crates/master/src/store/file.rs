//! A store in a directory of this machine: one log, written anew when little of it is still needed.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::{Error, Result};
use async_trait::async_trait;

use super::log::{self, End};
use super::{ACCEPT_LOSS, Change, Record, Store};

const LOG: &str = "state.log";
const NEW: &str = "state.new";
/// Held for as long as a master uses the directory.
const LOCK: &str = "lock";
/// What a log of a former, never published release was called.
const FORMER: &str = "anymaster.redb";
/// The shortest log that is written anew, in bytes.
const SHORT: u64 = 4 << 20;
/// And how much longer it is then than what is needed.
const SURPLUS: u64 = 4;
/// How much goes into a frame when a log is written anew.
const AT_ONCE: usize = 1 << 20;

/// A store in a directory.
///
/// `accepted`: the number of the last change that was acknowledged, if what cannot be read up to there
/// may be lost.
///
/// # Errors
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the directory cannot be used, or another
/// master uses it.
pub(crate) fn open(directory: &Path, accepted: Option<u64>) -> Result<Arc<dyn Store>> {
    let failed = |error: &dyn fmt::Display| {
        Error::unavailable(format!("cannot use {}: {error}", directory.display()))
            .with_hint("it is spark.deploy.recoveryDirectory; does another master use it?")
    };
    fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    if directory.join(FORMER).exists() {
        return Err(failed(&format!("{FORMER} is of a release that this one does not read"))
            .with_hint("use another directory, or remove that file and lose what is in it"));
    }
    let lock = lock(directory).map_err(|error| failed(&error))?;
    let device = fs::metadata(directory).map_err(|error| failed(&error))?.dev();
    let place = Place { directory: directory.to_owned(), device, accepted };
    Ok(Arc::new(FileStore(Arc::new(Mutex::new(Inner { place, _lock: lock, open: None })))))
}

/// Makes the directory its user's only, as secrets of applications are in it, and locks it.
fn lock(directory: &Path) -> io::Result<fs::File> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    let mut options = fs::File::options();
    let lock = options.create(true).truncate(false).write(true).mode(0o600);
    let lock = lock.open(directory.join(LOCK))?;
    lock.try_lock()?;
    Ok(lock)
}

struct FileStore(Arc<Mutex<Inner>>);

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").finish_non_exhaustive()
    }
}

/// Where the log is.
struct Place {
    directory: PathBuf,
    /// Of the directory.
    device: u64,
    accepted: Option<u64>,
}

struct Inner {
    place: Place,
    _lock: fs::File,
    /// `None` until it has been read.
    open: Option<Open>,
}

/// The log.
struct Open {
    file: fs::File,
    end: End,
    live: Live,
}

/// A log that was opened, and what is in it.
type Loaded = (Open, Vec<Record>);

/// Which records there are: the number of the frame that has each, and how long it is.
#[derive(Default)]
struct Live {
    records: HashMap<String, (u64, u64)>,
    bytes: u64,
}

impl Live {
    fn note(&mut self, frame: u64, name: &str, value: Option<usize>) {
        let length = value.map(|value| (name.len() + value) as u64);
        let before = match length {
            Some(length) => self.records.insert(name.to_owned(), (frame, length)),
            None => self.records.remove(name),
        };
        self.bytes = self.bytes + length.unwrap_or(0) - before.map_or(0, |(_, length)| length);
    }
}

/// What has become of the file where it should be.
enum There {
    Same,
    Missing,
    Other,
}

impl Place {
    fn log(&self) -> PathBuf {
        self.directory.join(LOG)
    }

    fn look(&self, file: &fs::File) -> io::Result<There> {
        let ours = file.metadata()?;
        match fs::metadata(self.log()) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(There::Same),
            Ok(_) => Ok(There::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(There::Missing),
            Err(error) => Err(error),
        }
    }

    /// Writes a log with these records in the place of the one that there is, or of none.
    fn write_anew(
        &self,
        before: u64,
        replaces: bool,
        fill: impl FnOnce(&fs::File, End) -> io::Result<(End, Live)>,
    ) -> io::Result<Open> {
        let new = self.directory.join(NEW);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::File::options();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&new)?;
        let end = log::begin(&file, before)?;
        let (end, live) = fill(&file, end)?;
        log::mark(&file, end)?;
        file.sync_all()?;
        match replaces {
            true => fs::rename(&new, self.log())?,
            // Whatever has come there meanwhile is not replaced.
            false => {
                fs::hard_link(&new, self.log())?;
                fs::remove_file(&new)?;
            }
        }
        fs::File::open(&self.directory)?.sync_all()?;
        Ok(Open { file, end, live })
    }

    /// Opens the log, and reads it.
    fn load(&self) -> Result<Loaded> {
        let failed = |error: io::Error| {
            Error::unavailable(format!("cannot read {}", self.log().display())).with_source(error)
        };
        let file = match fs::File::options().read(true).write(true).open(self.log()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let nothing = |_: &fs::File, end| Ok((end, Live::default()));
                return Ok((self.write_anew(0, false, nothing).map_err(failed)?, Vec::new()));
            }
            Err(error) => return Err(failed(error)),
        };
        let (found, records, live) = read(&file, false).map_err(failed)?;
        if !found.is_whole {
            return self.salvage(&file, &found).map_err(failed)?;
        }
        if let Some(at) = found.fault {
            tracing::warn!(
                "{}: from byte {at} on there is what was never acknowledged: it is cut off",
                self.log().display()
            );
        }
        let open = Open { file, end: found.end, live };
        log::mark(&open.file, open.end).map_err(failed)?;
        open.file.set_len(open.end.length).map_err(failed)?;
        Ok((open, records))
    }

    /// A log of which something that was acknowledged cannot be read: it is refused, or what can be read
    /// is written anew, if that was accepted.
    fn salvage(&self, file: &fs::File, found: &log::Found) -> io::Result<Result<Loaded>> {
        let number = found.acknowledged.map_or(found.end.number, |end| end.number);
        let log = self.log();
        if self.accepted != Some(number) {
            return Ok(Err(refusal(&log, number, found)));
        }
        let (_, records, _) = read(file, true)?;
        let aside = self.directory.join(format!("state.damaged-{number}"));
        // A copy: until the new one is there, the old one stays in its place.
        fs::copy(&log, &aside)?;
        let open = self.write_anew(number, true, |file, end| {
            let all = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            write_all(file, end, all)
        })?;
        tracing::warn!(
            "{} was damaged: what could be read of it, {} records, goes on; the damaged one is {}",
            log.display(),
            records.len(),
            aside.display()
        );
        Ok(Ok((open, records)))
    }
}

fn refusal(log: &Path, number: u64, found: &log::Found) -> Error {
    let at = found.fault.unwrap_or(found.end.length);
    let what = match found.acknowledged {
        Some(_) => format!("its change {} cannot be read, and {number} was acknowledged", {
            (found.end.number + 1).min(number)
        }),
        None => format!("its header cannot be read; behind it there are changes up to {number}"),
    };
    Error::protocol(format!("{} is damaged at byte {at}: {what}", log.display())).with_hint(
        format!(
            "put back a copy of its directory; or lose what cannot be read, once, with --conf \
         {ACCEPT_LOSS}={number}"
        ),
    )
}

/// What can be read of a log: the records, and which there are.
fn read(file: &fs::File, salvage: bool) -> io::Result<(log::Found, Vec<Record>, Live)> {
    let (mut records, mut live, mut frame) = (HashMap::new(), Live::default(), 0);
    let found = log::read(file, salvage, |changes| {
        frame += 1;
        for (name, value) in changes {
            live.note(frame, &name, value.as_ref().map(Vec::len));
            match value {
                Some(value) => records.insert(name, value),
                None => records.remove(&name),
            };
        }
    })?;
    Ok((found, records.into_iter().collect(), live))
}

/// Writes records in frames of a bearable size.
fn write_all<'a>(
    file: &fs::File,
    mut end: End,
    records: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> io::Result<(End, Live)> {
    let (mut live, mut some, mut frame) = (Live::default(), Vec::new(), 1);
    for (name, value) in records {
        if some.len() + value.len() > AT_ONCE && !some.is_empty() {
            end = log::append(file, end, &std::mem::take(&mut some))?;
            frame += 1;
        }
        some.extend(log::encode([(name, Some(value))])?);
        live.note(frame, name, Some(value.len()));
    }
    if !some.is_empty() {
        end = log::append(file, end, &some)?;
    }
    Ok((end, live))
}

impl Inner {
    fn write(&mut self, changes: &[Change]) -> io::Result<()> {
        self.be_there()?;
        let Self { place, open: Some(open), .. } = self else {
            return Err(io::Error::other("it has not been read yet"));
        };
        let all = changes.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let frame = log::encode(all)?;
        let written = log::append(&open.file, open.end, &frame).and_then(|end| {
            match place.look(&open.file)? {
                There::Same => log::mark(&open.file, end).map(|()| end),
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "it was removed")),
            }
        });
        let end = match written {
            Ok(end) => end,
            Err(error) => {
                // What was refused is not to come up again. An error: it is written over.
                let _ = open.file.set_len(open.end.length);
                return Err(error);
            }
        };
        open.end = end;
        for (name, value) in changes {
            open.live.note(end.number, name, value.as_ref().map(Vec::len));
        }
        if end.length > SHORT && end.length > SURPLUS * open.live.bytes {
            // It is as good as before; later it is tried again.
            if let Err(error) = self.compact(true) {
                tracing::warn!("cannot write a shorter log: {error}");
            }
        }
        Ok(())
    }

    /// Writes a log with no more than what is needed of the present one. That one is read once more, and
    /// each frame checked: what has become unreadable meanwhile is not taken for sound.
    fn compact(&mut self, replaces: bool) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let (found, records, _) = read(&open.file, false)?;
        if found.end != open.end {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has become unreadable"));
        }
        let all = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let number = open.end.number;
        let new = self.place.write_anew(number, replaces, |file, end| write_all(file, end, all))?;
        self.open = Some(new);
        Ok(())
    }

    /// A log that was removed is written anew, from the one that is still open; one that is another now is
    /// left alone.
    fn be_there(&mut self) -> io::Result<()> {
        let gone = |why: &str| Err(io::Error::new(io::ErrorKind::NotFound, why.to_owned()));
        let Some(open) = &self.open else { return Ok(()) };
        match self.place.look(&open.file)? {
            There::Same => return Ok(()),
            There::Other => return gone("another file is in its place"),
            There::Missing => {}
        }
        match fs::metadata(&self.place.directory) {
            Ok(there) if there.dev() != self.place.device => {
                return gone("its directory is on another file system now");
            }
            Ok(_) => {}
            Err(_) => return gone("its directory is gone; make it anew, and it is written again"),
        }
        self._lock = lock(&self.place.directory)?;
        self.compact(false)?;
        tracing::warn!("{} was removed: it is written anew", self.place.log().display());
        Ok(())
    }
}

/// Does something away from the threads that serve connections.
async fn apart<T: Send + 'static>(
    inner: &Arc<Mutex<Inner>>,
    work: impl FnOnce(&mut Inner) -> Result<T> + Send + 'static,
) -> Result<T> {
    let inner = Arc::clone(inner);
    let work = move || work(&mut inner.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::unavailable("what was to be kept was broken off").with_source(error))
    })
}

#[async_trait]
impl Store for FileStore {
    async fn load(&self) -> Result<Vec<Record>> {
        apart(&self.0, |inner| {
            let (open, records) = inner.place.load()?;
            inner.open = Some(open);
            Ok(records)
        })
        .await
    }

    async fn write(&self, changes: &Arc<[Change]>) -> Result<()> {
        let changes = Arc::clone(changes);
        apart(&self.0, move |inner| {
            inner.write(&changes).map_err(|error| {
                Error::unavailable(format!(
                    "the master cannot write down what it is to remember in {}",
                    inner.place.log().display()
                ))
                .with_source(error)
                .with_hint("is its disk full, or not there any more?")
            })
        })
        .await
    }
}
