//! The directories of applications: `<state_dir>/local/<application id>/`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anymaster_core::conf::{Conf, read_properties, write_properties};
use anymaster_core::model::{AppId, ExecutorId, State, Status, Subject};
use anymaster_core::text::hex;
use anymaster_core::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journal::{Journal, LatestStatuses, Line, Reader};
use super::lock::Lock;
use super::summary;
use crate::host::files;
use crate::host::prepare::{DRIVER_RECORDS, EXECUTOR_RECORDS};

/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 1 << 20;
const MAX_PROPERTIES: u64 = 64 << 20;

/// The applications of one user on this machine, one directory each.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// The facts about an application that never change (`application.json`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) master: String,
    pub(crate) submitted: Timestamp,
    /// SHA-256 of the whole specification, including secrets: tells whether two submissions are equal.
    pub(crate) digest: String,
    pub(crate) driver_host: String,
    pub(crate) driver_port: u16,
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let message = format!("cannot {what} {}", path.display());
    move |error| {
        let hint = (error.kind() == std::io::ErrorKind::PermissionDenied)
            .then_some("set ANYMASTER_STATE_DIR to a directory that you own");
        let error = Error::unavailable(message).with_source(error);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

/// Writes a file that only the user may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed("write", path))
}

impl Store {
    pub(crate) fn open(state_dir: &Path) -> Result<Self> {
        let root = state_dir.join("local");
        make_dir(&root)?;
        let root = root.canonicalize().map_err(failed("open", &root))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of an application, which need not exist.
    pub(crate) fn dir(&self, app: &AppId) -> AppDir {
        AppDir { app: app.clone(), path: self.root.join(app.as_str()) }
    }

    /// The directory of an application that exists.
    pub(crate) fn find(&self, app: &AppId) -> Result<AppDir> {
        let dir = self.dir(app);
        if !dir.is_gone() {
            return Ok(dir);
        }
        Err(Error::not_found(format!("no application {app} on this machine"))
            .with_hint(format!("known ones are in {}", self.root.display())))
    }

    /// The ids of all applications, sorted, including those whose files cannot be read.
    pub(crate) fn apps(&self) -> Result<Vec<AppId>> {
        let entries = fs::read_dir(&self.root).map_err(failed("read", &self.root))?;
        let mut apps: Vec<_> = entries
            .filter_map(|entry| AppId::new(entry.ok()?.file_name().to_str()?).ok())
            .collect();
        apps.sort();
        Ok(apps)
    }

    /// Creates an application's directory atomically, with the first line of its driver's journal, and
    /// takes its driver's lock. `None` if the id exists.
    pub(crate) fn create(
        &self,
        app: &AppId,
        record: &Record,
        conf: &Conf,
        driver: Line,
    ) -> Result<Option<(AppDir, Lock)>> {
        let dir = self.dir(app);
        // Ids do not begin with a dot, so this is not taken for an application.
        let draft = self.root.join(format!(".{app}-{:016x}", rand::random::<u64>()));
        make_dir(&draft)?;
        let made = || {
            let lock = Lock::try_take(&draft.join("driver.lock"))?
                .ok_or_else(|| Error::conflict(format!("{} is locked", draft.display())))?;
            let text = serde_json::to_string_pretty(record)
                .map_err(|error| Error::protocol("cannot write the record").with_source(error))?;
            write_private(&draft.join("application.json"), &text)?;
            write_private(&draft.join("application.properties"), &write_properties(conf.iter()))?;
            let secret: [u8; 32] = rand::random();
            write_private(&draft.join("secret"), &hex(&secret))?;
            Journal::open(draft.join("driver.journal"))?.append(&[driver])?;
            make_dir(&draft.join("driver"))?;
            make_dir(&draft.join("executors"))?;
            Ok(lock)
        };
        let lock = made().inspect_err(|_| drop(fs::remove_dir_all(&draft)))?;
        match fs::rename(&draft, &dir.path) {
            Ok(()) => Ok(Some((dir, lock))),
            Err(error) => {
                let _ = fs::remove_dir_all(&draft);
                if dir.path.exists() { Ok(None) } else { Err(failed("make", &dir.path)(error)) }
            }
        }
    }
}

/// Follows the state of one driver or executor in its journal.
#[derive(Debug)]
pub(crate) struct StateReader {
    subject: Subject,
    reader: Reader,
    last: Option<State>,
}

impl StateReader {
    pub(crate) fn new(dir: &AppDir, subject: &Subject) -> Self {
        let part = match subject {
            Subject::Driver(_) => Part::Driver,
            Subject::Executor(..) => Part::Executors,
        };
        Self { subject: subject.clone(), reader: Reader::new(dir.journal(part), 0), last: None }
    }

    /// The last known state. Reads only what was appended since the last call.
    pub(crate) fn last(&mut self) -> Result<Option<State>> {
        let subject = &self.subject;
        let is_about = |status: &Status| match (subject, status) {
            (Subject::Driver(_), Status::Driver(_)) => true,
            (Subject::Executor(_, id), Status::Executor(executor)) => executor.id == *id,
            _ => false,
        };
        let lines = self.reader.read::<Line>()?;
        if let Some(line) = lines.iter().rev().find(|line| is_about(&line.status)) {
            self.last = line.status.state().cloned();
        }
        Ok(self.last.clone())
    }
}

/// One application's directory.
#[derive(Debug, Clone)]
pub(crate) struct AppDir {
    pub(crate) app: AppId,
    pub(crate) path: PathBuf,
}

/// The two parts of an application, each with a journal, a lock and an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Driver,
    Executors,
}

impl AppDir {
    pub(crate) fn journal(&self, part: Part) -> PathBuf {
        self.path.join(match part {
            Part::Driver => "driver.journal",
            Part::Executors => "executors.journal",
        })
    }

    pub(crate) fn lock(&self, part: Part) -> PathBuf {
        self.path.join(match part {
            Part::Driver => "driver.lock",
            Part::Executors => "executors.lock",
        })
    }

    /// The path prefix of the [process records](crate::host::process_record) of a part.
    pub(crate) fn process_records(&self, part: Part) -> PathBuf {
        self.path.join(match part {
            Part::Driver => DRIVER_RECORDS,
            Part::Executors => EXECUTOR_RECORDS,
        })
    }

    /// The requests of other processes to the owners.
    pub(crate) fn requests(&self) -> PathBuf {
        self.path.join("requests.journal")
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.path.join("secret")
    }

    pub(crate) fn properties(&self) -> PathBuf {
        self.path.join("application.properties")
    }

    pub(crate) fn driver_dir(&self) -> PathBuf {
        self.path.join("driver")
    }

    pub(crate) fn executor_dir(&self, id: ExecutorId) -> PathBuf {
        self.path.join("executors").join(id.to_string())
    }

    /// The state directory, as it is in the environment of processes.
    pub(crate) fn state_dir(&self) -> &Path {
        self.path.ancestors().nth(2).unwrap_or(&self.path)
    }

    pub(crate) fn record_path(&self) -> PathBuf {
        self.path.join("application.json")
    }

    pub(crate) fn record(&self) -> Result<Record> {
        let path = self.record_path();
        let text = files::read(&path, MAX_RECORD).map_err(failed("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| {
            Error::protocol(format!("{} is not a valid application record", path.display()))
                .with_source(error)
        })
    }

    /// The properties with which the application was submitted.
    pub(crate) fn conf(&self) -> Result<Vec<(String, String)>> {
        let path = self.properties();
        let bytes = files::read(&path, MAX_PROPERTIES).map_err(failed("read", &path))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            Error::protocol(format!("{} is not UTF-8", path.display())).with_source(error)
        })?;
        read_properties(&text).map_err(|error| error.context(path.display().to_string()))
    }

    /// Whether the directory does not exist.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            fs::symlink_metadata(&self.path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound
        )
    }

    /// Removes the directory; renamed first, so that it disappears atomically.
    pub(crate) fn remove(&self) {
        let removed =
            self.path.with_file_name(format!(".{}-{:016x}", self.app, rand::random::<u64>()));
        let result = fs::rename(&self.path, &removed).and_then(|()| fs::remove_dir_all(&removed));
        // Another process may remove it at the same time.
        if let Err(error) = result
            && !self.is_gone()
        {
            tracing::warn!(app = %self.app, %error, "cannot remove an ended application");
        }
    }

    /// Reads the journals. That of the driver always has at least one line.
    pub(crate) fn fold(&self) -> Result<LatestStatuses> {
        let mut latest = LatestStatuses::default();
        for part in [Part::Driver, Part::Executors] {
            for line in Reader::new(self.journal(part), 0).read()? {
                latest.add(line);
            }
        }
        self.check(latest.driver.as_ref())?;
        Ok(latest)
    }

    /// Refuses journals without a driver, or of another application.
    pub(crate) fn check(&self, driver: Option<&Line>) -> Result<()> {
        let fault = match driver {
            None => "has no line about the driver",
            Some(line) if *line.status.app() != self.app => "is about another application",
            Some(_) => return Ok(()),
        };
        let journal = self.journal(Part::Driver);
        Err(Error::protocol(format!("{} {fault}; it is damaged", journal.display()))
            .with_hint(format!("remove {} if none of its processes run", self.path.display())))
    }

    /// The last status of its driver. The journal of the executors, which may be long, is not read.
    pub(crate) fn driver(&self) -> Result<Option<Status>> {
        let lines = Reader::new(self.journal(Part::Driver), 0).read::<Line>()?;
        Ok(lines.into_iter().next_back().map(|line| line.status))
    }

    /// Whether its driver has ended.
    pub(crate) fn driver_ended(&self) -> Result<bool> {
        Ok(self.driver()?.is_some_and(|driver| driver.state().is_some_and(State::is_ended)))
    }

    /// The last known state of a subject of this application.
    pub(crate) fn state(&self, subject: &Subject) -> Result<Option<State>> {
        StateReader::new(self, subject).last()
    }

    /// Whether a living process owns the driver or the executors.
    pub(crate) fn has_owner(&self) -> bool {
        [Part::Driver, Part::Executors].iter().any(|part| Lock::holder(&self.lock(*part)).is_some())
    }

    /// Whether its driver has ended and no process owns any part of it.
    pub(crate) fn has_ended(&self) -> bool {
        summary::read(self).is_some() || self.driver_ended().unwrap_or(false) && !self.has_owner()
    }
}
