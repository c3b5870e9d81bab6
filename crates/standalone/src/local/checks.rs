//! Checks of this machine for `local` masters: the shell, free ports, cores.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anymaster_core::{Check, MasterUrl};

use super::master_url::{Local, Threads};

/// All checks for a master URL.
pub(super) fn all(master: &MasterUrl) -> Vec<Check> {
    vec![shell(), ports(), cores(master)]
}

/// The watchdog, which kills orphaned processes, is a shell.
fn shell() -> Check {
    let path = Path::new("/bin/sh");
    let is_executable =
        |data: std::fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
    match path.metadata().is_ok_and(is_executable) {
        true => Check::ok("shell", "/bin/sh, which cleans up when a run is killed"),
        false => Check::missing(
            "shell",
            "/bin/sh does not exist; it cleans up when a run is killed",
            "install a POSIX shell as /bin/sh (Debian: apt install dash)",
        ),
    }
}

fn ports() -> Check {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(_) => Check::ok("ports", "free ports are available on 127.0.0.1"),
        Err(error) => Check::missing(
            "ports",
            format!("no port can be bound on 127.0.0.1: {error}"),
            "ip link set lo up",
        ),
    }
}

fn cores(master: &MasterUrl) -> Check {
    let here = u64::from(Threads::All.count());
    let wanted = match Local::parse(master) {
        Ok(Local::Threads { cores, .. }) => u64::from(cores.count()),
        Ok(Local::Workers { count, cores, .. }) => u64::from(count) * u64::from(cores),
        Err(error) => return Check::missing("cores", error.to_string(), "write local[*]"),
    };
    if wanted <= here {
        return Check::ok("cores", format!("{wanted} of this machine's {here}"));
    }
    Check::optional(
        "cores",
        format!("{master} promises {wanted}, but this machine has {here}"),
        "executors will share cores; use local[*] for as many as the machine has",
    )
}
