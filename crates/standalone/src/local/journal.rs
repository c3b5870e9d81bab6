//! The journal of an application: an append-only file of statuses, one JSON object per line. It is the
//! only record of the application's state.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anymaster_core::model::{ExecutorId, State, Status};
use anymaster_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::files;
use crate::host::identity::Process;

/// One line: a status, and the process that it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) process: Option<Process>,
}

impl From<Status> for Line {
    fn from(status: Status) -> Self {
        Self { status, process: None }
    }
}

/// Appends to a journal. Only the holder of the corresponding lock may do so.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let failed = |error| {
            Error::unavailable(format!("cannot open {}", path.display())).with_source(error)
        };
        let mut options = File::options();
        options.create(true).read(true).append(true);
        let mut file = files::open(&path, &mut options).map_err(failed)?;
        // A killed owner may have left an incomplete line: end it, so that the next line is not lost.
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(len - 1))
                .and_then(|_| file.read_exact(&mut last))
                .map_err(failed)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed)?;
            }
        }
        Ok(Self { path, file })
    }

    /// Appends lines with one write.
    pub(crate) fn append(&mut self, lines: &[impl Serialize]) -> Result<()> {
        let mut text = Vec::with_capacity(lines.len() * 256);
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| Error::protocol("cannot write a status").with_source(error))?;
            text.push(b'\n');
        }
        self.file.write_all(&text).map_err(|error| {
            Error::unavailable(format!("cannot write {}", self.path.display())).with_source(error)
        })
    }
}

/// Reads a journal from an offset on, as it grows.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
}

impl Reader {
    pub(crate) fn new(path: PathBuf, offset: u64) -> Self {
        Self { path, file: None, offset }
    }

    /// The offset of the next line.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The complete lines written since the last call. Invalid lines are skipped with a warning.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let failed = |error, path: &Path| {
            Error::unavailable(format!("cannot read {}", path.display())).with_source(error)
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => match files::open(&self.path, File::options().read(true)) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(failed(error, &self.path)),
            },
        };
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut text))
            .map_err(|error| failed(error, &self.path))?;
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.offset += complete as u64;
        let lines = text[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (mut torn, mut last) = (0, None);
        let read = lines
            .filter_map(|line| {
                let line = serde_json::from_slice(line);
                line.map_err(|error| (torn, last) = (torn + 1, Some(error))).ok()
            })
            .collect();
        if let Some(error) = last {
            let path = self.path.display();
            tracing::warn!(%path, lines = torn, %error, "invalid lines of a journal are skipped");
        }
        Ok(read)
    }

    /// Closes the file until there is more to read.
    pub(crate) fn release(&mut self) {
        self.file = None;
    }
}

/// The last line about the driver, each executor and the allocation.
#[derive(Debug, Default)]
pub(crate) struct LatestStatuses {
    pub(crate) driver: Option<Line>,
    pub(crate) executors: BTreeMap<ExecutorId, Line>,
    pub(crate) allocation: Option<Line>,
}

impl LatestStatuses {
    pub(crate) fn add(&mut self, line: Line) {
        match &line.status {
            Status::Executor(status) => {
                self.executors.insert(status.id, line);
            }
            Status::Allocation(_) => self.allocation = Some(line),
            _ => self.driver = Some(line),
        }
    }

    /// Whether the driver and all executors have ended.
    pub(crate) fn is_over(&self) -> bool {
        let has_ended = |line: &Line| line.status.state().is_some_and(State::is_ended);
        self.driver.as_ref().is_some_and(has_ended) && self.executors.values().all(has_ended)
    }

    pub(crate) fn into_statuses(self) -> impl Iterator<Item = Status> {
        let executors = self.executors.into_values();
        self.driver.into_iter().chain(executors).chain(self.allocation).map(|line| line.status)
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::{
        AppId, Cause, End, ExecutorStatus, KilledBy, ProfileId, StartFailure,
    };
    use jiff::Timestamp;

    use super::*;

    fn line(id: u64, state: State) -> Line {
        let app = AppId::new("app-1").unwrap();
        let executor = ExecutorStatus::new(app, ExecutorId(id), ProfileId(0), state);
        let status = Status::Executor(executor.with_since(Timestamp::UNIX_EPOCH).with_host("h"));
        Line { status, process: Some(Process { pid: 7, start: 9 }) }
    }

    fn ended(cause: Cause) -> State {
        End::new(cause, Timestamp::UNIX_EPOCH).with_last_lines("x").into()
    }

    #[test]
    fn every_state_survives_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let lines = [
            line(1, State::Pending { why: None }),
            line(1, State::Pending { why: Some("no core".into()) }),
            line(1, State::Running),
            line(1, State::Ending),
            line(1, ended(Cause::Finished)),
            line(2, ended(Cause::Exited { code: 7 })),
            line(3, ended(Cause::Killed { by: KilledBy::ScaleDown })),
            line(4, ended(Cause::OutOfMemory { limit_mib: Some(64) })),
            line(
                5,
                ended(Cause::CouldNotStart { failure: StartFailure::BadCommand, why: "x".into() }),
            ),
        ];
        Journal::open(path.clone()).unwrap().append(&lines).unwrap();
        let mut reader = Reader::new(path, 0);
        assert_eq!(reader.read::<Line>().unwrap(), lines);
        assert!(reader.read::<Line>().unwrap().is_empty());
    }

    #[test]
    fn an_incomplete_line_loses_no_other_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut reader = Reader::new(path.clone(), 0);
        assert!(reader.read::<Line>().unwrap().is_empty());
        Journal::open(path.clone()).unwrap().append(&[line(1, State::Running)]).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"{\"kind\":\"exec").unwrap();
        assert_eq!(reader.read::<Line>().unwrap().len(), 1);
        assert!(reader.read::<Line>().unwrap().is_empty(), "an unfinished line is not read");
        Journal::open(path).unwrap().append(&[line(2, State::Running)]).unwrap();
        assert_eq!(reader.read::<Line>().unwrap(), [line(2, State::Running)]);
    }
}
