//! What can be seen of a daemon from outside.

use std::path::Path;

use crate::target::Target;
use anymaster_test_support::home::eventually;

/// By how much the memory of a daemon may grow at most, in MiB: what strangers may have of it, twice, as
/// buffers grow by halves; answers that were not read; and what the allocator keeps of it.
const PEAK: u64 = 96;
/// How much of that may be left when the attack is over.
const LEFT: u64 = 64;

/// A daemon as it was before.
pub(crate) struct Before {
    memory: u64,
    descriptors: usize,
}

impl Before {
    pub(crate) fn of(target: &Target) -> Self {
        let id = target.daemon.id();
        Self { memory: memory_mib(id, "VmRSS:"), descriptors: descriptors(id) }
    }

    /// It is as well as it was.
    #[expect(clippy::print_stderr, reason = "figures, for those who look")]
    pub(crate) fn is_as_before(&self, target: &Target, attack: &str) {
        for port in &target.ports {
            port.is_well(&format!("after {attack}"));
        }
        let id = target.daemon.id();
        eventually(&format!("descriptors are closed after {attack}"), || {
            (descriptors(id) <= self.descriptors + 2).then_some(())
        });
        let [peak, left] = ["VmHWM:", "VmRSS:"].map(|which| memory_mib(id, which));
        eprintln!("{attack}: {} MiB before, {left} MiB after, {peak} MiB at most", self.memory);
        assert!(peak <= self.memory + PEAK, "{attack}: {peak} MiB at most, {} before", self.memory);
        assert!(left <= self.memory + LEFT, "{attack}: {left} MiB, {} before", self.memory);
        let log = std::fs::read_to_string(&target.log).unwrap();
        assert!(
            !log.contains("panicked") && !log.contains("the task of a connection failed"),
            "{attack}: {log}"
        );
        assert!(log.len() < 64 << 10, "{attack}: the log has {} KiB", log.len() >> 10);
    }
}

fn memory_mib(process: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

fn descriptors(process: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")).unwrap().count()
}
