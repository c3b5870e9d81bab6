//! What a process may ask for: what no machine has is a mistake, and is refused when it is asked for.

use anymaster_core::model::ResourceProfile;
use anymaster_core::{Error, Result};

/// The most cores of one process.
const MOST_CORES: f64 = 65_536.0;
/// The most memory of one process, in MiB: a PiB.
const MOST_MIB: u64 = 1 << 30;
/// The most of any other resource.
const MOST_UNITS: u64 = 65_536;

/// A standalone cluster gives whole cores.
///
/// # Errors
/// [`Unsupported`](anymaster_core::ErrorKind::Unsupported) for others.
pub(crate) fn whole_cores(who: &str, profile: &ResourceProfile) -> Result<()> {
    let cores = profile.cores;
    if cores.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&cores) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "a standalone cluster gives whole cores, at least one, and not {cores} as {who} needs"
    ))
    .with_hint("set spark.executor.cores and spark.driver.cores to whole numbers"))
}

/// Refuses what no machine has.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with what is too much.
pub(crate) fn check(who: &str, profile: &ResourceProfile) -> Result<()> {
    let ResourceProfile { cores, memory_mib, overhead_mib, extra, .. } = profile;
    let too_much = |what: String, most: String| {
        Err(Error::invalid(format!("{who} needs {what}, and no process gets more than {most}"))
            .with_hint("ask for less; spark.driver.memory=1g is a GiB"))
    };
    // Not a number is not in the range either.
    if !(0.0..=MOST_CORES).contains(cores) {
        return too_much(format!("{cores} cores"), MOST_CORES.to_string());
    }
    let memory = memory_mib.saturating_add(*overhead_mib);
    if memory > MOST_MIB {
        return too_much(format!("{memory} MiB of memory"), format!("{MOST_MIB} MiB"));
    }
    match extra.iter().find(|(_, amount)| **amount > MOST_UNITS) {
        Some((name, amount)) => too_much(format!("{amount} {name}"), MOST_UNITS.to_string()),
        None => Ok(()),
    }
}
