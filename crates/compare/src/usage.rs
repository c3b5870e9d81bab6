//! What this process itself uses.

use rustix::time::{ClockId, clock_gettime};

/// What the client of a run used for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct ClientUsage {
    /// Seconds of a core.
    pub cpu_seconds: f64,
    /// The most memory that it had at a time, in MiB; unset where the system does not tell.
    pub peak_mib: Option<f64>,
}

/// Measures from now on. One at a time: it is of the whole process.
#[derive(Debug)]
pub(crate) struct Meter {
    cpu: f64,
    /// Whether the peak is of the time since the beginning.
    is_reset: bool,
}

impl Meter {
    pub(crate) fn start() -> Self {
        // Linux forgets the highest use of memory so far (proc_pid_clear_refs(5)).
        let is_reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
        Self { cpu: cpu_seconds(), is_reset }
    }

    pub(crate) fn read(&self) -> ClientUsage {
        ClientUsage {
            cpu_seconds: cpu_seconds() - self.cpu,
            peak_mib: peak_mib().filter(|_| self.is_reset),
        }
    }
}

/// The time that all threads of this process had on a core, in the user's and in the kernel's code.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_measured() {
        let meter = Meter::start();
        let block = vec![1_u8; 64 << 20];
        while meter.read().cpu_seconds < 0.05 {
            std::hint::black_box(block.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        let usage = meter.read();
        assert!(usage.cpu_seconds >= 0.05 && usage.cpu_seconds < 60.0, "{usage:?}");
        assert!(usage.peak_mib.is_none_or(|peak| peak >= 64.0), "{usage:?}");
    }
}
