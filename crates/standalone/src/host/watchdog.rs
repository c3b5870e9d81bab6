//! The watchdog of a host: a shell that ends the host's processes when the host itself is killed. It waits
//! for the end of its standard input, which the kernel closes when the host exits.

use std::io::{self, PipeWriter, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use anymaster_core::{Error, Result};
use rustix::fs::OFlags;
use tokio::process::{Child, Command};

use super::cgroup::{DAEMON_GROUP, GROUP_PREFIX};
use super::identity::ENV_OWNER;
#[cfg(test)]
use super::identity::Process;
use super::limits::Enforcement;

/// The script of the watchdog.
///
/// - `$1`: the environment variable of the processes to end.
/// - `$2`: the upper digits of their marks (the soft limit of file locks), or empty.
/// - `$3`: the cgroups that the watchdog leaves, because they may be killed as a whole; separated by colons.
/// - `$4`: the child cgroup to use where it may not enter the parent itself.
/// - The rest: path prefixes of cgroups.
///
/// The last word on its standard input, `busy` or `idle`, says whether there is anything to end; if not, the
/// scan of all processes is skipped. Processes get SIGTERM, and SIGKILL two seconds later. A process between
/// fork and `exec` is found one round later, so the script ends only after two rounds without any.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
mine=$1 marks=$2 leaves=$3 room=$4
shift 4
ulimit -S -w unlimited 2>/dev/null || ulimit -S -x unlimited 2>/dev/null
IFS=:
for above in $leaves; do
  echo 0 2>/dev/null >"$above/cgroup.procs" || echo 0 2>/dev/null >"$above/$room/cgroup.procs"
done
unset IFS
said=idle
while read -r word; do said=$word; done
[ "$said" = idle ] && exit 0
pids() { while IFS=/ read -r _ _ pid _; do echo "$pid"; done; }
all() {
  grep -ls "$mine" /proc/[0-9]*/environ | pids
  [ -n "$marks" ] && grep -ls "^Max file locks  *$marks[0-9]\{6\} " /proc/[0-9]*/limits | pids
  for begin in "$@"; do cat "$begin"*/cgroup.procs 2>/dev/null; done
}
signal=TERM round=0 silent=0
while [ "$round" -lt 25 ] && [ "$silent" -lt 2 ]; do
  left=$(all "$@")
  [ -z "$left" ] && silent=$((silent + 1)) || silent=0
  for pid in $left; do kill -s "$signal" "$pid" 2>/dev/null; done
  round=$((round + 1))
  [ "$round" -ge 10 ] && signal=KILL
  sleep 0.2
done
for begin in "$@"; do rmdir "$begin"* 2>/dev/null; done
exit 0
"#;

/// A running watchdog. When this is dropped, it ends the processes of the host, and then itself.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Its standard input.
    input: PipeWriter,
    _shell: Child,
}

impl Watchdog {
    /// Starts a watchdog for the processes of a host: those with its token in their environment or in the
    /// name of their cgroup, and those whose marks have these upper digits.
    pub(super) fn start(
        token: &str,
        enforcement: &Enforcement,
        marks: Option<u64>,
    ) -> Result<Self> {
        let leaves = enforcement.hierarchies().filter(|found| found.is_nested);
        let leaves: Vec<_> = leaves.map(|found| found.parent.display().to_string()).collect();
        let begin = format!("{GROUP_PREFIX}{token}-");
        let groups: Vec<PathBuf> =
            enforcement.hierarchies().map(|found| found.parent.join(&begin)).collect();
        let failed = |error| {
            Error::unavailable("cannot start /bin/sh, which cleans up if this process is killed")
                .with_source(error)
        };
        let (reader, input) = io::pipe().map_err(failed)?;
        // A stopped watchdog must not block the host.
        let flags = rustix::fs::fcntl_getfl(&input).map_err(|error| failed(error.into()))?;
        rustix::fs::fcntl_setfl(&input, flags | OFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "anymaster-watchdog"])
            .arg(format!("{ENV_OWNER}={token}"))
            .arg(marks.map_or_else(String::new, |marks| marks.to_string()))
            .args([&leaves.join(":"), DAEMON_GROUP])
            .args(groups)
            // Without the token in its environment, so that it does not find itself.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Ok(Self { _shell: command.spawn().map_err(failed)?, input })
    }

    #[cfg(test)]
    pub(super) fn process(&self) -> Option<Process> {
        Process::of(self._shell.id()?.cast_signed())
    }

    /// Tells the watchdog that there may be processes to end.
    ///
    /// # Errors
    /// If the watchdog cannot be told. One that was killed is not an error: orphans are found by the process
    /// records then.
    pub(super) fn set_busy(&self) -> io::Result<()> {
        match (&self.input).write_all(b"busy\n") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells the watchdog that there is nothing to end any more.
    pub(super) fn set_idle(&self) {
        // If this fails, the watchdog does a needless scan.
        let _ = (&self.input).write_all(b"idle\n");
    }
}
