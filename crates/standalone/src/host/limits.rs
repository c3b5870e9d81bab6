//! What the kernel lets us do to processes that we start: keep them together, and limit their memory.

use std::process;

use anymaster_core::MemoryLimit;

use super::cgroup::{Hierarchy, Kernel, Version, make_room};

/// The v1 hierarchies in which groups cost least, in the order in which they are tried. That of memory
/// takes a hundred times as long to make one.
const CHEAP: [&str; 3] = ["freezer", "pids", "name=systemd"];

/// How processes are kept together, and their memory limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// Where groups with a limit are made. `None`: `RLIMIT_DATA` limits each process by itself;
    /// allocations beyond it fail, and nobody else is told.
    pub(super) memory: Option<Hierarchy>,
    /// Where groups without a limit are made. `None`: processes are known by a mark that they inherit.
    pub(super) plain: Option<Hierarchy>,
}

impl Enforcement {
    /// What this process may use. Tries it out: makes groups and removes them.
    pub fn detect() -> Self {
        let kernel = Kernel::read();
        let limited = [kernel.v1("memory"), kernel.v2().filter(Hierarchy::has_memory)];
        let memory = limited.into_iter().flatten().find(|found| found.is_usable(64));
        if let Some(memory) = &memory {
            memory.sweep();
        }
        let cheap = || CHEAP.iter().filter_map(|controller| kernel.v1(controller));
        let plain = match &memory {
            Some(memory) if memory.version == Version::V2 => Some(memory.clone()),
            _ => cheap()
                .find(|found| found.is_usable(0))
                .or_else(|| memory.clone())
                .or_else(|| kernel.v2().filter(|found| found.is_usable(0))),
        };
        Self { memory, plain }
    }

    /// The same for a daemon, which may arrange the group that it alone was given; it warns where no
    /// limit is kept by the kernel.
    pub fn of_daemon() -> Self {
        let own = Kernel::read().v2_own();
        let made = own.map_or(Ok(()), |own| make_room(&own, process::id()));
        let found = Self::detect();
        if found.memory.is_none() {
            let why = made.err().map(|error| format!(" ({error})")).unwrap_or_default();
            tracing::warn!(
                "no cgroup with a memory limit may be made here{why}: a process at its limit is not \
                 ended; what it allocates fails"
            );
        }
        found
    }

    /// What happens to a process that uses too much.
    pub fn effect(&self) -> MemoryLimit {
        match &self.memory {
            Some(_) => MemoryLimit::Enforced,
            None => MemoryLimit::AllocationFails,
        }
    }

    /// The hierarchy for a process with this limit, in MiB; 0: none.
    pub(super) fn hierarchy(&self, limit_mib: u64) -> Option<&Hierarchy> {
        self.memory.as_ref().filter(|_| limit_mib > 0).or(self.plain.as_ref())
    }

    /// All hierarchies in which groups may be.
    pub(super) fn hierarchies(&self) -> impl Iterator<Item = &Hierarchy> {
        let plain = self.plain.as_ref().filter(|plain| self.memory.as_ref() != Some(plain));
        self.memory.iter().chain(plain)
    }
}
