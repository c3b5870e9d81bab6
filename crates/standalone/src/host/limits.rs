//! Detects how processes can be grouped and limited on this machine: by cgroups, or by resource limits.

use std::process;

use anymaster_core::MemoryLimit;

use super::cgroup::{CgroupFiles, Hierarchy, Version, enable_memory_controller};

/// The v1 hierarchies in which creating a cgroup is cheap, in the order in which they are tried. In the
/// memory hierarchy it takes a hundred times as long.
const CHEAP_CONTROLLERS: [&str; 3] = ["freezer", "pids", "name=systemd"];

/// How processes are grouped and their memory is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// Where cgroups with a memory limit are created. `None`: `RLIMIT_DATA` limits each process by itself,
    /// and allocations beyond it fail.
    pub(super) memory: Option<Hierarchy>,
    /// Where cgroups without a limit are created. `None`: processes are found by a mark that descendants
    /// inherit (see [`PreExec`](super::spawn::PreExec)).
    pub(super) plain: Option<Hierarchy>,
}

impl Enforcement {
    /// Detects what this process may use, by creating cgroups and removing them.
    pub fn detect() -> Self {
        let kernel = CgroupFiles::read();
        let limited = [kernel.v1("memory"), kernel.v2().filter(Hierarchy::has_memory)];
        let memory = limited.into_iter().flatten().find(|found| found.is_usable(64));
        if let Some(memory) = &memory {
            memory.remove_stale_probes();
        }
        let cheap = || CHEAP_CONTROLLERS.iter().filter_map(|controller| kernel.v1(controller));
        let plain = match &memory {
            Some(memory) if memory.version == Version::V2 => Some(memory.clone()),
            _ => cheap()
                .find(|found| found.is_usable(0))
                .or_else(|| memory.clone())
                .or_else(|| kernel.v2().filter(|found| found.is_usable(0))),
        };
        Self { memory, plain }
    }

    /// As [`detect`](Self::detect), for a daemon: if the daemon is alone in its cgroup, it first enables
    /// memory limits there. Logs a warning where cgroups cannot limit memory.
    pub fn of_daemon() -> Self {
        let own = CgroupFiles::read().v2_own();
        let made = own.map_or(Ok(()), |own| enable_memory_controller(&own, process::id()));
        let found = Self::detect();
        if found.memory.is_none() {
            let why = made.err().map(|error| format!(" ({error})")).unwrap_or_default();
            tracing::warn!(
                "cannot create cgroups with a memory limit{why}: a process at its limit is not \
                 killed; its allocations fail"
            );
        }
        found
    }

    /// What happens to a process that exceeds its memory limit.
    pub fn effect(&self) -> MemoryLimit {
        match &self.memory {
            Some(_) => MemoryLimit::Enforced,
            None => MemoryLimit::AllocationFails,
        }
    }

    /// The hierarchy for a process with this limit in MiB; 0: no limit.
    pub(super) fn hierarchy(&self, limit_mib: u64) -> Option<&Hierarchy> {
        self.memory.as_ref().filter(|_| limit_mib > 0).or(self.plain.as_ref())
    }

    /// All hierarchies in which cgroups are created.
    pub(super) fn hierarchies(&self) -> impl Iterator<Item = &Hierarchy> {
        let plain = self.plain.as_ref().filter(|plain| self.memory.as_ref() != Some(plain));
        self.memory.iter().chain(plain)
    }
}
