//! Identifies processes: by pid and start time, and by environment variables that all processes started
//! here carry. Linux only: both are read from `/proc`.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::{fs, io};

use anymaster_core::model::AppId;
use anymaster_core::native;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The environment variable with the token of the host that started a process.
pub(crate) const ENV_OWNER: &str = "ANYMASTER_OWNER";
/// The environment variable with the state directory of a process's application.
pub(crate) const ENV_STATE_DIR: &str = "ANYMASTER_STATE_DIR";

/// A process that can't be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Its start time, in clock ticks since boot.
    pub(crate) start: u64,
}

impl Process {
    /// The process that has this pid now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        // The name, in parentheses, may contain any bytes.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ended = matches!(*fields.first()?, "Z" | "X");
        let start = fields.get(19)?.parse().ok()?;
        (!ended).then_some(Self { pid, start })
    }

    pub(crate) fn current() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Waits for its end, without polling.
    pub(crate) async fn ended(self) {
        let Ok(fd) = PidFd::open(self.pid) else { return };
        // Compared after opening: if it is still this process, so is the descriptor.
        if self.is_alive() {
            fd.ended().await;
        }
    }
}

/// A pidfd, readable when the process has ended.
#[derive(Debug)]
pub(crate) struct PidFd(AsyncFd<OwnedFd>);

impl PidFd {
    /// Opens the process that has this pid now.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps what it asks for")]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(fd))
    }

    pub(crate) async fn ended(&self) {
        // Fails only if there is nothing to wait for.
        let _ = self.0.readable().await;
    }
}

/// Signals a process group. One that has ended is not an error.
pub(crate) fn signal_group(pgid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pgid) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// The processes that [`find_processes`] finds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrphanFilter<'a> {
    /// The driver and its descendants, except executors.
    Driver(&'a AppId),
    /// The executors and their descendants.
    Executors(&'a AppId),
}

impl<'a> OrphanFilter<'a> {
    /// The id of the application.
    pub(crate) fn application(self) -> &'a str {
        let (Self::Driver(app) | Self::Executors(app)) = self;
        app.as_str()
    }
}

/// The living processes with these environment variables, including those that left their process group.
pub(crate) fn find_processes(filter: OrphanFilter<'_>, state_dir: &Path) -> Vec<Process> {
    let (OrphanFilter::Driver(app) | OrphanFilter::Executors(app)) = filter;
    let dir = format!("{ENV_STATE_DIR}={}", state_dir.display());
    let app = format!("{}={app}", native::ENV_APPLICATION_ID);
    let prefix = format!("{}=", native::ENV_EXECUTOR_ID);
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id().to_string();
    processes
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .filter(|pid| {
            let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
            let has =
                |want: &str| environ.split(|byte| *byte == 0).any(|var| var == want.as_bytes());
            let is_executor =
                environ.split(|byte| *byte == 0).any(|var| var.starts_with(prefix.as_bytes()));
            is_executor == matches!(filter, OrphanFilter::Executors(_)) && has(&app) && has(&dir)
        })
        .filter_map(|pid| Process::of(pid.parse().ok()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_is_identified_by_its_start_time() {
        let own = Process::current().unwrap();
        assert!(own.is_alive());
        assert!(!Process { start: own.start + 1, ..own }.is_alive());
        assert_eq!(Process::of(i32::MAX), None);
    }

    #[tokio::test]
    async fn the_end_of_another_process_is_an_event() {
        let mut child = tokio::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id().unwrap().cast_signed()).unwrap();
        let waiting = tokio::spawn(process.ended());
        child.kill().await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
        process.ended().await;
    }
}
