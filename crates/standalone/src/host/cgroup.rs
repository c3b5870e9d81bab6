//! Groups of processes that the kernel keeps together (cgroups v1 and v2): what is started in one stays
//! in it, in whatever session and environment, and can be found, limited and ended by it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, process};

use rustix::process::{Pid, Signal};

use super::identity::PidFd;

/// The beginning of the names of groups that are made here.
pub(super) const OURS: &str = "anymaster-";
/// The name of a group that is made to see whether one may; followed by the maker's process id.
const PROBE: &str = "anymaster-probe-";
/// The v2 group below the one that a daemon was given, in which it is itself: where processes are, none
/// of the groups below may have limits.
pub(super) const DAEMON: &str = "anymaster-daemon";

/// How often what is in a group is killed: what forks meanwhile needs another round, and cannot run away
/// for ever.
const ROUNDS: u32 = 20;
/// How long killed processes are waited for in each round.
const ROUND: Duration = Duration::from_secs(1);
/// Between attempts to remove a group whose last process is on its way out.
const PAUSE: Duration = Duration::from_millis(5);

/// The two kinds of hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One for each controller; a single thread may be in a group.
    V1,
    /// One for all controllers; processes are in groups as a whole.
    V2,
}

/// Where groups are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(super) parent: PathBuf,
    pub(super) version: Version,
    /// We are in a group below, which another of us ends with all that is in it.
    pub(super) is_kept: bool,
}

/// What the kernel says of hierarchies and of the own place in them.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// `/proc/self/cgroup`.
    pub(super) groups: String,
    /// `/proc/self/mounts`.
    pub(super) mounts: String,
}

impl Kernel {
    /// Without cgroups, nothing is found in it.
    pub(super) fn read() -> Self {
        // A path of somebody else's that is not UTF-8 hides no group.
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
        let own = below(self.mount("cgroup", Some(controller))?, own)?;
        Some(Hierarchy::around(&own, Version::V1))
    }

    /// The v2 hierarchy.
    pub(super) fn v2(&self) -> Option<Hierarchy> {
        Some(Hierarchy::around(&self.v2_own()?, Version::V2))
    }

    /// Our own v2 group.
    pub(super) fn v2_own(&self) -> Option<PathBuf> {
        let own = self.groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        below(self.mount("cgroup2", None)?, own)
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

/// Our own group below the mount; in a container that sees another part of the tree, the mount.
fn below(root: PathBuf, own: &str) -> Option<PathBuf> {
    let own = root.join(own.trim_start_matches('/'));
    [own, root].into_iter().find(|dir| dir.is_dir())
}

/// The group that we were given: not one that another of us made. What a driver starts is beside it, not
/// in it: else it would share the driver's limit, and v2 has no limits below processes.
pub(super) fn outside(own: &Path) -> &Path {
    let is_made_here = |dir: &&Path| {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == DAEMON || is_ours(name)
    };
    own.ancestors().find(|dir| !is_made_here(dir)).unwrap_or(own)
}

/// Whether a group has a name that hosts give: with their token of 16 digits.
pub(super) fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix(OURS).and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(token, _)| {
        token.len() == 16 && token.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

impl Hierarchy {
    fn around(own: &Path, version: Version) -> Self {
        let parent = outside(own);
        let is_kept = own != parent && !own.ends_with(DAEMON);
        Self { parent: parent.to_owned(), version, is_kept }
    }

    /// Whether the groups of this hierarchy can limit memory.
    pub(super) fn has_memory(&self) -> bool {
        match self.version {
            Version::V1 => self.parent.join("memory.limit_in_bytes").exists(),
            Version::V2 => has_memory(&self.parent, "cgroup.subtree_control"),
        }
    }

    /// Tries it out: makes a group and removes it.
    pub(super) fn is_usable(&self, limit_mib: u64) -> bool {
        // With v2, who goes from one group to another needs a right to the one above both.
        let gate = self.parent.join("cgroup.procs");
        if self.version == Version::V2 && fs::OpenOptions::new().write(true).open(gate).is_err() {
            return false;
        }
        // Another thread of this process may try as well.
        let probe = format!("{PROBE}{}-{:08x}", process::id(), rand::random::<u32>());
        self.group(&probe, limit_mib).is_ok_and(|group| group.remove())
    }

    /// Removes what processes left that ended while they tried.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(PROBE));
            let pid = rest.and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another process may sweep as well.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// A group of this name. `limit_mib`: the memory of all that is in it; 0: as much as there is.
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

/// One group, for one process and what it starts.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    version: Version,
    /// It was made here, and ends with this.
    is_owned: bool,
}

impl Group {
    /// One that is there already; dropping this does nothing to it.
    pub(super) fn at(dir: PathBuf) -> Self {
        // Only v2 has this file.
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
                // Without swap of its own, a process at its limit ends and does not crawl.
                let _ = self.put("memory.swap.max", "0");
                self.put("memory.max", &bytes)?;
            }
        }
        Ok(())
    }

    fn put(&self, file: &str, value: &str) -> io::Result<()> {
        put(&self.dir.join(file), value)
    }

    /// Puts the calling thread in, and so what it starts from now on; for good, so that it had better be
    /// about to end. `None` with v2, where the process to be started has to [enter](Self::door) itself.
    pub(super) fn enter(&self) -> Option<io::Result<()>> {
        (self.version == Version::V1).then(|| self.put("tasks", "0"))
    }

    /// The file by which a process enters: it writes 0 into it. `None` with v1.
    pub(super) fn door(&self) -> Option<PathBuf> {
        (self.version == Version::V2).then(|| self.dir.join("cgroup.procs"))
    }

    /// How often the kernel killed in it for lack of memory.
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

    /// What is in it; without ourselves, of whom a thread may be in it for a moment.
    pub(super) fn processes(&self) -> Vec<i32> {
        let own = process::id().cast_signed();
        let processes = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        processes
            .lines()
            .filter_map(|pid| pid.trim().parse().ok())
            .filter(|pid| *pid > 0 && *pid != own)
            .collect()
    }

    /// Kills everything in it, and says what that was.
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

    /// Kills everything in it, waits until that is gone, and removes it.
    pub(super) async fn end(self) {
        for _ in 0..ROUNDS {
            let killed = self.kill();
            if killed.is_empty() && self.remove() {
                return;
            }
            // One that cannot be opened is gone.
            let ends = killed.iter().filter_map(|pid| PidFd::open(*pid).ok());
            let all = futures::future::join_all(ends.map(|fd| async move { fd.ended().await }));
            let _ = tokio::time::timeout(ROUND, all).await;
            if killed.is_empty() || !self.remove() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if self.dir.exists() {
            tracing::warn!(group = %self.dir.display(), "processes are left that do not end");
        }
    }

    /// Removes it. False if something is still in it.
    fn remove(&self) -> bool {
        match fs::remove_dir(&self.dir) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was killed just now may take the kernel a moment; the watchdog removes the rest.
        if self.is_owned && !self.remove() {
            self.kill();
            self.remove();
        }
    }
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
pub(super) fn make_room(own: &Path, pid: u32) -> io::Result<()> {
    let base = outside(own);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(groups: &str, mounts: &str) -> Kernel {
        Kernel { groups: groups.to_owned(), mounts: mounts.to_owned() }
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
    fn what_a_driver_starts_is_beside_it() {
        let outside = |own| outside(Path::new(own)).to_str().unwrap().to_owned();
        assert_eq!(outside("/sys/memory/a/anymaster-0123456789abcdef-0-1-app"), "/sys/memory/a");
        assert_eq!(outside("/sys/a/anymaster-daemon"), "/sys/a");
        assert_eq!(outside("/sys/a/anymaster-docker"), "/sys/a/anymaster-docker");
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
        let limits =
            |groups: &str| parent(kernel(groups, &mounts).v2().filter(Hierarchy::has_memory));

        group(dir.path(), "7\n", "cpu memory pids\n");
        make_room(dir.path(), 7).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        assert_eq!(read("anymaster-daemon/cgroup.procs"), "7");
        // As the kernel says it then, of both groups.
        fs::write(dir.path().join("cgroup.subtree_control"), "memory\n").unwrap();
        let parent = Some(dir.path().to_owned());
        assert_eq!(limits("0::/\n"), parent);
        assert_eq!(limits("0::/anymaster-daemon\n"), parent);
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
        assert_eq!(limits("0::/\n"), None);
    }
}
