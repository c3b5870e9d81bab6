//! Ends what a manager started when the manager itself is killed: a shell that waits for the end of
//! its standard input, which the kernel closes with the manager, however that ends.

use std::io::{self, PipeWriter, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use anymaster_core::{Error, Result};
use rustix::fs::OFlags;
use tokio::process::{Child, Command};

use super::cgroup::{DAEMON, OURS};
use super::identity::ENV_OWNER;
#[cfg(test)]
use super::identity::Process;
use super::limits::Enforcement;

/// `$1`: what is in the environment of what is to end. `$2`: the upper digits of their marks (the soft
/// limit of file locks), or empty. `$3`: the group that the watchdog leaves because it may end with all
/// that is in it, or empty; `$4`: where it goes where it may not be outside of all groups. The rest: where
/// the paths of groups begin. Its standard input says whether there is anything to end, so that a machine
/// on which many managers end well is not looked through by each. First the polite signal, two seconds later the other one. What was between
/// `fork` and `exec` is seen a round later, so one round without any is not the end.
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

/// A running watchdog. It goes on when this is dropped, and ends what carries the token.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Its standard input is what it waits for.
    input: PipeWriter,
    _shell: Child,
}

impl Watchdog {
    /// Starts one for the processes of a host: by its token, in groups or in the environment, and by the
    /// upper digits of their marks.
    pub(super) fn start(
        token: &str,
        enforcement: &Enforcement,
        marks: Option<u64>,
    ) -> Result<Self> {
        let leaves = enforcement.hierarchies().filter(|found| found.is_kept);
        let leaves: Vec<_> = leaves.map(|found| found.parent.display().to_string()).collect();
        let begin = format!("{OURS}{token}-");
        let groups: Vec<PathBuf> =
            enforcement.hierarchies().map(|found| found.parent.join(&begin)).collect();
        let failed = |error| {
            Error::unavailable("cannot start /bin/sh, which cleans up if this process is killed")
                .with_source(error)
        };
        let (reader, input) = io::pipe().map_err(failed)?;
        // One that stands still keeps nobody waiting.
        let flags = rustix::fs::fcntl_getfl(&input).map_err(|error| failed(error.into()))?;
        rustix::fs::fcntl_setfl(&input, flags | OFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "anymaster-watchdog"])
            .arg(format!("{ENV_OWNER}={token}"))
            .arg(marks.map_or_else(String::new, |marks| marks.to_string()))
            .args([&leaves.join(":"), DAEMON])
            .args(groups)
            // Nothing of ours in its environment: it must not find itself.
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

    /// From now on there may be something to end.
    ///
    /// # Errors
    /// If it cannot be told. One that was killed need not be: whoever finds the traces ends what is left.
    pub(super) fn is_busy(&self) -> io::Result<()> {
        match (&self.input).write_all(b"busy\n") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// There is nothing to end any more.
    pub(super) fn is_idle(&self) {
        // An error: then it looks once more than it need.
        let _ = (&self.input).write_all(b"idle\n");
    }
}
