//! Ends what a manager started when the manager itself is killed: a shell that waits for the end of
//! its standard input, which the kernel closes with the manager, however that ends.

use std::path::Path;
use std::process::Stdio;

use anymaster_core::{Error, Result};
use tokio::process::{Child, Command};

use super::identity::ENV_OWNER;

/// `$1`: the mark in the environment of what is to end. `$2`: the directory of the cgroups, or empty.
/// `$3`: the token in their names. First the polite signal, two seconds later the other one. What was
/// between `fork` and `exec` is seen a round later, so one round without any is not the end.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
read -r _
marked() {
  grep -ls "$1" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do echo "$pid"; done
  [ -n "$2" ] && cat "$2"/anymaster-"$3"-*/cgroup.procs 2>/dev/null
}
signal=TERM round=0 silent=0
while [ "$round" -lt 25 ] && [ "$silent" -lt 2 ]; do
  pids=$(marked "$@")
  [ -z "$pids" ] && silent=$((silent + 1)) || silent=0
  for pid in $pids; do kill -s "$signal" "$pid" 2>/dev/null; done
  round=$((round + 1))
  [ "$round" -ge 10 ] && signal=KILL
  sleep 0.2
done
[ -n "$2" ] && rmdir "$2"/anymaster-"$3"-* 2>/dev/null
exit 0
"#;

/// A running watchdog. It goes on when this is dropped, and ends what carries the token.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Its standard input is what it waits for.
    _shell: Child,
}

impl Watchdog {
    /// Starts one for the processes that carry `token`.
    pub(crate) fn start(token: &str, cgroups: Option<&Path>) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "anymaster-watchdog"])
            .arg(format!("{ENV_OWNER}={token}"))
            .arg(cgroups.unwrap_or(Path::new("")))
            .arg(token)
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
