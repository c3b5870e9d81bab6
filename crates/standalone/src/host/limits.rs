//! Memory limits, as far as the kernel lets us: cgroup v1 or v2 where we may make groups, else
//! `RLIMIT_DATA`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, process};

use anymaster_core::MemoryLimit;
use rustix::process::{Pid, Resource, Rlimit};

/// The name of a group that is made to see whether one may; followed by the maker's process id.
const PROBE: &str = "anymaster-probe-";
/// The v2 group below the one that a daemon was given, in which it is itself: where processes are, none
/// of the groups below may have limits.
const DAEMON: &str = "anymaster-daemon";

/// How memory limits are put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    /// A group of the v1 memory controller for each process, below this directory.
    CgroupV1(PathBuf),
    /// A v2 group for each process, below this directory.
    CgroupV2(PathBuf),
    /// `RLIMIT_DATA`: allocations beyond it fail; nobody else is told.
    Rlimit,
}

impl Enforcement {
    /// What this process may use. Tries it out: makes a group and removes it.
    pub fn detect() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let candidates = [
            v1_parent(&groups, &mounts).map(Self::CgroupV1),
            v2_parent(&groups, &mounts).map(Self::CgroupV2),
        ];
        candidates
            .into_iter()
            .flatten()
            .find(|candidate| {
                // Another thread of this process may try as well.
                let probe = format!("{PROBE}{}-{:08x}", std::process::id(), rand::random::<u32>());
                candidate.group(&probe, 64).is_some_and(|group| group.remove())
            })
            .inspect(Self::sweep)
            .unwrap_or(Self::Rlimit)
    }

    /// The same for a daemon, which may arrange the group that it alone was given; it warns where no
    /// limit is kept by the kernel.
    pub fn of_daemon() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let made = v2_own(&groups, &mounts).map_or(Ok(()), |own| make_room(&own, process::id()));
        let found = Self::detect();
        if found == Self::Rlimit {
            let why = made.err().map(|error| format!(" ({error})")).unwrap_or_default();
            tracing::warn!(
                "no cgroup may be made here{why}: a process at its memory limit is not ended; what it \
                 allocates fails"
            );
        }
        found
    }

    /// What happens to a process that uses too much.
    pub fn effect(&self) -> MemoryLimit {
        match self {
            Self::CgroupV1(_) | Self::CgroupV2(_) => MemoryLimit::Enforced,
            Self::Rlimit => MemoryLimit::AllocationFails,
        }
    }

    /// In words, for `doctor`.
    pub fn describe(&self) -> String {
        match self {
            Self::CgroupV1(dir) => format!("cgroup v1 groups below {}", dir.display()),
            Self::CgroupV2(dir) => format!("cgroup v2 groups below {}", dir.display()),
            Self::Rlimit => "RLIMIT_DATA only: no cgroup may be made here".to_owned(),
        }
    }

    /// Removes what processes left that ended while they tried.
    fn sweep(&self) {
        let entries = self.parent().and_then(|dir| fs::read_dir(dir).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(PROBE));
            let pid = rest.and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another process may sweep as well.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// The directory in which groups are made.
    pub(crate) fn parent(&self) -> Option<&Path> {
        match self {
            Self::CgroupV1(dir) | Self::CgroupV2(dir) => Some(dir),
            Self::Rlimit => None,
        }
    }

    /// A group of this name with a limit, to be joined by one process. `None` where there are none.
    pub(crate) fn group(&self, name: &str, limit_mib: u64) -> Option<Group> {
        let dir = self.parent()?.join(name);
        let v2 = matches!(self, Self::CgroupV2(_));
        let bytes = limit_mib.saturating_mul(1 << 20).to_string();
        fs::create_dir(&dir).ok()?;
        let group = Group { dir, v2 };
        let set = if v2 {
            // Without swap of its own, a process at its limit ends and does not crawl.
            let _ = group.write("memory.swap.max", "0");
            group.write("memory.max", &bytes)
        } else {
            let limited = group.write("memory.limit_in_bytes", &bytes);
            let _ = group.write("memory.memsw.limit_in_bytes", &bytes);
            limited
        };
        if set {
            Some(group)
        } else {
            group.remove();
            None
        }
    }
}

/// Limits a process that has no group.
pub(crate) fn set_rlimit(pid: i32, limit_mib: u64) {
    let bytes = Some(limit_mib.saturating_mul(1 << 20));
    let limit = Rlimit { current: bytes, maximum: bytes };
    if let Err(error) = rustix::process::prlimit(Pid::from_raw(pid), Resource::Data, limit) {
        tracing::debug!(pid, %error, "cannot limit the memory of a process");
    }
}

/// One group, for one process and what it starts.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    v2: bool,
}

impl Group {
    fn write(&self, file: &str, value: &str) -> bool {
        put(&self.dir.join(file), value).is_ok()
    }

    /// Puts a process in. Its memory counts from here on; between its start and this call it has
    /// run for some microseconds outside.
    pub(crate) fn join(&self, pid: i32) -> bool {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// How often the kernel killed in it for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Kills everything in it.
    pub(crate) fn kill(&self) {
        if self.v2 && self.write("cgroup.kill", "1") {
            return;
        }
        let processes = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Removes it. False if something is still in it.
    pub(crate) fn remove(&self) -> bool {
        fs::remove_dir(&self.dir).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was killed just now may take the kernel a moment; the watchdog removes the rest.
        if !self.remove() && self.dir.exists() {
            self.kill();
            self.remove();
        }
    }
}

fn v1_parent(groups: &str, mounts: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let has = fields.next()?.split(',').any(|controller| controller == "memory");
        has.then(|| fields.next())?
    })?;
    let root = mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let memory = fields.get(3)?.split(',').any(|option| option == "memory");
        (*fields.get(2)? == "cgroup" && memory).then(|| PathBuf::from(fields[1]))
    })?;
    below(root, own)
}

/// Our own group.
fn v2_own(groups: &str, mounts: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        (*fields.get(2)? == "cgroup2").then(|| PathBuf::from(fields[1]))
    })?;
    below(root, own)
}

/// The group below which others are made: our own, or of a daemon the one that it was given.
fn v2_base(own: &Path) -> &Path {
    match own.parent() {
        Some(given) if own.ends_with(DAEMON) => given,
        _ => own,
    }
}

fn v2_parent(groups: &str, mounts: &str) -> Option<PathBuf> {
    let own = v2_own(groups, mounts)?;
    let base = v2_base(&own);
    has_memory(base, "cgroup.subtree_control").then(|| base.to_owned())
}

/// Whether the memory controller is in a list of a group's.
fn has_memory(group: &Path, list: &str) -> bool {
    fs::read_to_string(group.join(list))
        .is_ok_and(|list| list.split_ascii_whitespace().any(|controller| controller == "memory"))
}

fn put(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// Lets groups below our own have limits: goes into one of them itself, if it is alone.
fn make_room(own: &Path, pid: u32) -> io::Result<()> {
    let base = v2_base(own);
    if has_memory(base, "cgroup.subtree_control") || !has_memory(base, "cgroup.controllers") {
        return Ok(());
    }
    let (pid, leaf) = (pid.to_string(), base.join(DAEMON));
    if base == own {
        let there = fs::read_to_string(own.join("cgroup.procs"))?;
        if there.split_ascii_whitespace().any(|other| other != pid) {
            return Err(io::Error::other("the own group has other processes"));
        }
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => put(&leaf.join("cgroup.procs"), &pid)?,
        }
    }
    let enabled = put(&base.join("cgroup.subtree_control"), "+memory");
    if enabled.is_err() && base == own {
        // All as it was.
        let _ = put(&own.join("cgroup.procs"), &pid);
        let _ = fs::remove_dir(&leaf);
    }
    enabled
}

/// Our own group below the mount; in a container that sees another part of the tree, the mount.
fn below(root: PathBuf, own: &str) -> Option<PathBuf> {
    let own = root.join(own.trim_start_matches('/'));
    [own, root].into_iter().find(|dir| dir.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_among_the_others() {
        let groups = "9:name=systemd:/\n4:memory:/no/such/group\n3:cpu,cpuacct:/\n0::/\n";
        let mounts = "tmpfs /sys tmpfs rw 0 0\ncgroup /proc cgroup rw,cpu 0 0\n\
                      cgroup /tmp cgroup rw,relatime,memory 0 0\n";
        assert_eq!(v1_parent(groups, mounts), Some(PathBuf::from("/tmp")));
        assert_eq!(v2_parent(groups, mounts), None);
        assert_eq!(v1_parent("", mounts), None);
    }

    /// What the kernel shows of a group, in a directory that stands in for it.
    fn group(dir: &Path, processes: &str, controllers: &str) {
        fs::create_dir_all(dir.join(DAEMON)).unwrap();
        fs::write(dir.join("cgroup.procs"), processes).unwrap();
        fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
        fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
        fs::write(dir.join(DAEMON).join("cgroup.procs"), "").unwrap();
    }

    #[test]
    fn a_daemon_that_is_alone_in_its_group_makes_room_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        let leaf = dir.path().join(DAEMON);
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", dir.path().display());

        group(dir.path(), "7\n", "cpu memory pids\n");
        make_room(dir.path(), 7).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        assert_eq!(read("anymaster-daemon/cgroup.procs"), "7");
        // As the kernel says it then, of both groups.
        fs::write(dir.path().join("cgroup.subtree_control"), "memory\n").unwrap();
        let parent = Some(dir.path().to_owned());
        assert_eq!(v2_parent("0::/\n", &mounts), parent);
        assert_eq!(v2_parent("0::/anymaster-daemon\n", &mounts), parent);
        make_room(&leaf, 7).unwrap();

        // Who was put there by somebody else has only to switch it on.
        group(dir.path(), "", "memory\n");
        make_room(&leaf, 7).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory");

        // Others stay where they are, and so does it.
        group(dir.path(), "7\n8\n", "memory\n");
        assert!(make_room(dir.path(), 7).is_err());
        assert_eq!(read("cgroup.subtree_control") + &read("anymaster-daemon/cgroup.procs"), "");
        group(dir.path(), "7\n", "cpu\n");
        make_room(dir.path(), 7).unwrap();
        assert_eq!(read("anymaster-daemon/cgroup.procs"), "");
        assert_eq!(v2_parent("0::/\n", &mounts), None);
    }
}
