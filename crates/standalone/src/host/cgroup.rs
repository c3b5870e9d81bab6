//! Control groups (cgroups v1 and v2). A process stays in the cgroup in which it was started, whatever its
//! session or environment, so that all its descendants can be found, limited and killed.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, process};

use rustix::process::{Pid, Signal};

use super::identity::PidFd;

/// The prefix of the names of all cgroups created here.
pub(super) const GROUP_PREFIX: &str = "anymaster-";
/// The prefix of the name of a cgroup created to test permissions; followed by the creator's pid.
const PROBE_PREFIX: &str = "anymaster-probe-";
/// The v2 cgroup into which a daemon moves itself, below the one delegated to it: a cgroup that contains
/// processes cannot have children with limits (the "no internal processes" rule).
pub(super) const DAEMON_GROUP: &str = "anymaster-daemon";

/// How many times the processes of a cgroup are killed: those that fork meanwhile need another round.
const KILL_ROUNDS: u32 = 20;
/// How long each round waits for killed processes to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between attempts to remove a cgroup whose last process is still exiting.
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

/// The version of a cgroup hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One hierarchy per controller; single threads can be in a cgroup.
    V1,
    /// One hierarchy for all controllers; only whole processes can be in a cgroup.
    V2,
}

/// A cgroup below which others are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(super) parent: PathBuf,
    pub(super) version: Version,
    /// This process is in a cgroup that another `anymaster` process created, and which that one may kill.
    pub(super) is_nested: bool,
}

/// The kernel's files about cgroup hierarchies and this process's cgroups.
#[derive(Debug, Default)]
pub(super) struct CgroupFiles {
    /// `/proc/self/cgroup`.
    pub(super) groups: String,
    /// `/proc/self/mounts`.
    pub(super) mounts: String,
}

impl CgroupFiles {
    /// Reads the files; empty where they do not exist.
    pub(super) fn read() -> Self {
        // A mount of somebody else may have a path that is not UTF-8.
        let read = |file| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        Self { groups: read("/proc/self/cgroup"), mounts: read("/proc/self/mounts") }
    }

    /// The v1 hierarchy of a controller, or of a name (`name=systemd`).
    pub(super) fn v1(&self, controller: &str) -> Option<Hierarchy> {
        let own = self.groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let has = fields.next()?.split(',').any(|known| known == controller);
            has.then(|| fields.next())?
        })?;
        let own = resolve_group(self.mount("cgroup", Some(controller))?, own)?;
        Some(Hierarchy::around(&own, Version::V1))
    }

    /// The v2 hierarchy.
    pub(super) fn v2(&self) -> Option<Hierarchy> {
        Some(Hierarchy::around(&self.v2_own()?, Version::V2))
    }

    /// The v2 cgroup of this process.
    pub(super) fn v2_own(&self) -> Option<PathBuf> {
        let own = self.groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        resolve_group(self.mount("cgroup2", None)?, own)
    }

    fn mount(&self, kind: &str, option: Option<&str>) -> Option<PathBuf> {
        self.mounts.lines().find_map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let has = option.is_none_or(|option| {
                fields.get(3).is_some_and(|all| all.split(',').any(|one| one == option))
            });
            (*fields.get(2)? == kind && has).then(|| PathBuf::from(fields[1]))
        })
    }
}

/// The directory of this process's cgroup. In a container whose mount shows another part of the tree,
/// the mount itself.
fn resolve_group(root: PathBuf, own: &str) -> Option<PathBuf> {
    let own = root.join(own.trim_start_matches('/'));
    [own, root].into_iter().find(|dir| dir.is_dir())
}

/// The innermost enclosing cgroup that `anymaster` did not create. What a driver starts goes beside the
/// driver's cgroup, not into it: there it would share the driver's limit, and v2 allows no limits below a
/// cgroup that contains processes.
pub(super) fn delegated_group(own: &Path) -> &Path {
    let is_made_here = |dir: &&Path| {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == DAEMON_GROUP || is_managed_name(name)
    };
    own.ancestors().find(|dir| !is_made_here(dir)).unwrap_or(own)
}

/// Whether a cgroup has a name given by a host: the prefix and a token of 16 hexadecimal digits.
pub(super) fn is_managed_name(name: &str) -> bool {
    let rest = name.strip_prefix(GROUP_PREFIX).and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(token, _)| {
        token.len() == 16 && token.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

impl Hierarchy {
    fn around(own: &Path, version: Version) -> Self {
        let parent = delegated_group(own);
        let is_nested = own != parent && !own.ends_with(DAEMON_GROUP);
        Self { parent: parent.to_owned(), version, is_nested }
    }

    /// Whether cgroups of this hierarchy can limit memory.
    pub(super) fn has_memory(&self) -> bool {
        match self.version {
            Version::V1 => self.parent.join("memory.limit_in_bytes").exists(),
            Version::V2 => has_memory(&self.parent, "cgroup.subtree_control"),
        }
    }

    /// Tests it by creating a cgroup and removing it.
    pub(super) fn is_usable(&self, limit_mib: u64) -> bool {
        // With v2, moving a process needs write access to `cgroup.procs` of the common ancestor.
        let gate = self.parent.join("cgroup.procs");
        if self.version == Version::V2 && fs::OpenOptions::new().write(true).open(gate).is_err() {
            return false;
        }
        // Another thread of this process may test at the same time.
        let probe = format!("{PROBE_PREFIX}{}-{:08x}", process::id(), rand::random::<u32>());
        self.group(&probe, limit_mib).is_ok_and(|group| group.remove())
    }

    /// Removes test cgroups of processes that ended during the test.
    pub(super) fn remove_stale_probes(&self) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(PROBE_PREFIX));
            let pid = rest.and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another process may remove it at the same time.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// Creates a cgroup. `limit_mib`: the memory limit of all processes in it, in MiB; 0: none.
    pub(super) fn group(&self, name: &str, limit_mib: u64) -> io::Result<Group> {
        let dir = self.parent.join(name);
        fs::create_dir(&dir)?;
        let group = Group { dir, version: self.version, is_owned: true };
        if limit_mib > 0
            && let Err(error) = group.limit(limit_mib)
        {
            group.remove();
            return Err(error);
        }
        Ok(group)
    }
}

/// A cgroup for one process and its descendants.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    version: Version,
    /// It was created here, and is removed on drop.
    is_owned: bool,
}

impl Group {
    /// An existing cgroup; it is not removed on drop.
    pub(super) fn at(dir: PathBuf) -> Self {
        // This file exists in v2 only.
        let is_v2 = dir.join("cgroup.events").exists();
        let version = if is_v2 { Version::V2 } else { Version::V1 };
        Self { dir, version, is_owned: false }
    }

    fn limit(&self, limit_mib: u64) -> io::Result<()> {
        let bytes = limit_mib.saturating_mul(1 << 20).to_string();
        match self.version {
            Version::V1 => {
                self.put("memory.limit_in_bytes", &bytes)?;
                // Not every kernel counts swap.
                let _ = self.put("memory.memsw.limit_in_bytes", &bytes);
            }
            Version::V2 => {
                // Without swap, a process at its limit is killed instead of slowing down.
                let _ = self.put("memory.swap.max", "0");
                self.put("memory.max", &bytes)?;
            }
        }
        Ok(())
    }

    fn put(&self, file: &str, value: &str) -> io::Result<()> {
        put(&self.dir.join(file), value)
    }

    /// Moves the calling thread into the cgroup, for good: its children start there. `None` with v2, where
    /// the child has to [move itself](Self::procs_file).
    pub(super) fn add_current_thread(&self) -> Option<io::Result<()>> {
        (self.version == Version::V1).then(|| self.put("tasks", "0"))
    }

    /// The file `cgroup.procs`, to which a process writes 0 to move itself. `None` with v1.
    pub(super) fn procs_file(&self) -> Option<PathBuf> {
        (self.version == Version::V2).then(|| self.dir.join("cgroup.procs"))
    }

    /// How many processes in it the kernel's OOM killer has killed.
    pub(super) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// The pids in it, except this process, one of whose threads may be in it briefly.
    pub(super) fn processes(&self) -> Vec<i32> {
        let own = process::id().cast_signed();
        let processes = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        processes
            .lines()
            .filter_map(|pid| pid.trim().parse().ok())
            .filter(|pid| *pid > 0 && *pid != own)
            .collect()
    }

    /// Kills all processes in it, and returns their pids.
    pub(super) fn kill(&self) -> Vec<i32> {
        let processes = self.processes();
        if processes.is_empty()
            || self.version == Version::V2 && self.put("cgroup.kill", "1").is_ok()
        {
            return processes;
        }
        for pid in processes.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        processes
    }

    /// Kills all processes in it, waits until they have ended, and removes it.
    pub(super) async fn end(self) {
        for _ in 0..KILL_ROUNDS {
            let killed = self.kill();
            if killed.is_empty() && self.remove() {
                return;
            }
            // A process that cannot be opened has ended.
            let ends = killed.iter().filter_map(|pid| PidFd::open(*pid).ok());
            let all = futures::future::join_all(ends.map(|fd| async move { fd.ended().await }));
            let _ = tokio::time::timeout(KILL_TIMEOUT, all).await;
            if killed.is_empty() || !self.remove() {
                tokio::time::sleep(REMOVE_PAUSE).await;
            }
        }
        if self.dir.exists() {
            tracing::warn!(group = %self.dir.display(), "processes do not end after SIGKILL");
        }
    }

    /// Removes it. False if it still contains processes.
    fn remove(&self) -> bool {
        match fs::remove_dir(&self.dir) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Killed processes may take a moment to exit; the watchdog removes the cgroup later.
        if self.is_owned && !self.remove() {
            self.kill();
            self.remove();
        }
    }
}

/// Whether the memory controller is in a list file of a cgroup.
fn has_memory(group: &Path, list: &str) -> bool {
    fs::read_to_string(group.join(list))
        .is_ok_and(|list| list.split_ascii_whitespace().any(|controller| controller == "memory"))
}

fn put(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// Enables the memory controller for children of the delegated cgroup. If this process is alone in that
/// cgroup, it first moves itself into a child.
pub(super) fn enable_memory_controller(own: &Path, pid: u32) -> io::Result<()> {
    let base = delegated_group(own);
    if has_memory(base, "cgroup.subtree_control") || !has_memory(base, "cgroup.controllers") {
        return Ok(());
    }
    let (pid, leaf) = (pid.to_string(), base.join(DAEMON_GROUP));
    if base == own {
        let there = fs::read_to_string(own.join("cgroup.procs"))?;
        if there.split_ascii_whitespace().any(|other| other != pid) {
            return Err(io::Error::other("its cgroup contains other processes"));
        }
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => put(&leaf.join("cgroup.procs"), &pid)?,
        }
    }
    let enabled = put(&base.join("cgroup.subtree_control"), "+memory");
    if enabled.is_err() && base == own {
        // Undo.
        let _ = put(&own.join("cgroup.procs"), &pid);
        let _ = fs::remove_dir(&leaf);
    }
    enabled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(groups: &str, mounts: &str) -> CgroupFiles {
        CgroupFiles { groups: groups.to_owned(), mounts: mounts.to_owned() }
    }

    fn parent(hierarchy: Option<Hierarchy>) -> Option<PathBuf> {
        hierarchy.map(|found| found.parent)
    }

    #[test]
    fn a_controller_is_found_among_the_others() {
        let groups = "9:name=systemd:/\n4:memory:/no/such/group\n3:cpu,cpuacct:/\n0::/\n";
        let mounts = "tmpfs /sys tmpfs rw 0 0\ncgroup /proc cgroup rw,cpu 0 0\n\
                      cgroup /tmp cgroup rw,relatime,memory 0 0\n\
                      cgroup /var cgroup rw,xattr,name=systemd 0 0\n";
        let found = kernel(groups, mounts);
        assert_eq!(parent(found.v1("memory")), Some(PathBuf::from("/tmp")));
        assert_eq!(parent(found.v1("cpuacct")), None);
        assert_eq!(parent(found.v1("name=systemd")), Some(PathBuf::from("/var")));
        assert_eq!(found.v2(), None);
        assert_eq!(kernel("", mounts).v1("memory"), None);
    }

    #[test]
    fn cgroups_made_by_a_driver_are_siblings_of_its_own() {
        let group_of = |own| delegated_group(Path::new(own)).to_str().unwrap().to_owned();
        assert_eq!(group_of("/sys/memory/a/anymaster-0123456789abcdef-0-1-app"), "/sys/memory/a");
        assert_eq!(group_of("/sys/a/anymaster-daemon"), "/sys/a");
        assert_eq!(group_of("/sys/a/anymaster-docker"), "/sys/a/anymaster-docker");
    }

    /// Imitates a cgroup directory.
    fn group(dir: &Path, processes: &str, controllers: &str) {
        fs::create_dir_all(dir.join(DAEMON_GROUP)).unwrap();
        fs::write(dir.join("cgroup.procs"), processes).unwrap();
        fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
        fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
        fs::write(dir.join(DAEMON_GROUP).join("cgroup.procs"), "").unwrap();
    }

    #[test]
    fn a_daemon_alone_in_its_cgroup_moves_into_a_child() {
        let dir = tempfile::tempdir().unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        let leaf = dir.path().join(DAEMON_GROUP);
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", dir.path().display());
        let limits =
            |groups: &str| parent(kernel(groups, &mounts).v2().filter(Hierarchy::has_memory));

        group(dir.path(), "7\n", "cpu memory pids\n");
        enable_memory_controller(dir.path(), 7).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        assert_eq!(read("anymaster-daemon/cgroup.procs"), "7");
        // As the kernel then shows it for both cgroups.
        fs::write(dir.path().join("cgroup.subtree_control"), "memory\n").unwrap();
        let parent = Some(dir.path().to_owned());
        assert_eq!(limits("0::/\n"), parent);
        assert_eq!(limits("0::/anymaster-daemon\n"), parent);
        enable_memory_controller(&leaf, 7).unwrap();

        // A process already in the child only has to enable the controller.
        group(dir.path(), "", "memory\n");
        enable_memory_controller(&leaf, 7).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory");

        // With other processes in the cgroup, nothing is moved.
        group(dir.path(), "7\n8\n", "memory\n");
        assert!(enable_memory_controller(dir.path(), 7).is_err());
        assert_eq!(read("cgroup.subtree_control") + &read("anymaster-daemon/cgroup.procs"), "");
        group(dir.path(), "7\n", "cpu\n");
        enable_memory_controller(dir.path(), 7).unwrap();
        assert_eq!(read("anymaster-daemon/cgroup.procs"), "");
        assert_eq!(limits("0::/\n"), None);
    }
}
