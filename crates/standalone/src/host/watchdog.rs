//! Ends what a manager started when the manager itself is killed: a shell that waits for the end of
//! its standard input, which the kernel closes with the manager, however that ends.

use std::path::PathBuf;
use std::process::Stdio;

use anymaster_core::{Error, Result};
use tokio::process::{Child, Command};

use super::cgroup::{DAEMON, OURS};
use super::identity::ENV_OWNER;
use super::limits::Enforcement;

/// `$1`: what is in the environment of what is to end. `$2`: the upper digits of their marks (the soft
/// limit of file locks), or empty. `$3`: the group that the watchdog leaves because it may end with all
/// that is in it, or empty; `$4`: where it goes where it may not be outside of all groups. The rest: where
/// the paths of groups begin. First the polite signal, two seconds later the other one. What was between
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
read -r _
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
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let shell = command.spawn().map_err(|error| {
            Error::unavailable("cannot start /bin/sh, which cleans up if this process is killed")
                .with_source(error)
        })?;
        Ok(Self { _shell: shell })
    }
}
