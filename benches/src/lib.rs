//! What the benchmarks share: taking turns, and the middle of what was measured.

pub mod daemons;
pub mod mesos;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

// As in the program.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The median; zero of nothing.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The medians of several things, measured in turns so that a busy moment hits all of them.
pub fn in_turns<const N: usize>(
    rounds: usize,
    mut measure: [&mut dyn FnMut() -> Duration; N],
) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (times, measure) in times.iter_mut().zip(&mut measure) {
            times.push(measure());
        }
    }
    times.map(median)
}

/// How long a command takes; its output is dropped.
///
/// # Panics
/// If it fails: what fails has no time worth knowing.
pub fn time(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let took = began.elapsed();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
    took
}

/// The largest memory that any finished child of this process had resident, in bytes.
pub fn peak_memory_of_children() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let kib = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0) * 1024
}

/// The CPU time of all finished children of this process.
pub fn cpu_of_children() -> Duration {
    cpu_of(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
}

/// The CPU time of this process.
pub fn cpu_time() -> Duration {
    cpu_of(nix::sys::resource::UsageWho::RUSAGE_SELF)
}

fn cpu_of(whose: nix::sys::resource::UsageWho) -> Duration {
    use nix::sys::time::TimeValLike as _;
    let micros = nix::sys::resource::getrusage(whose).map_or(0, |usage| {
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
    });
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The most memory that a process has had resident, in bytes.
pub fn peak_memory_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

/// The value below which so many of a hundred are; zero of nothing.
pub fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// The memory that this process has resident now, in bytes.
pub fn resident_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

/// The program as it is given out: `deploy/build` makes it.
///
/// # Panics
/// If it is not there.
pub fn program() -> std::path::PathBuf {
    let bench = std::env::current_exe().unwrap_or_default();
    // target/release/deps/name-hash
    let target = bench.ancestors().nth(3).unwrap_or(&bench);
    let program = target.join("x86_64-unknown-linux-musl/release/anymaster");
    assert!(program.exists(), "{} is not there: deploy/build", program.display());
    program
}

/// A new namespace of a Kubernetes cluster, with the service account that pods need.
///
/// # Errors
/// As the API server's.
pub async fn namespace(client: &Client, name: &str) -> kube::Result<()> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    while accounts.get_opt("default").await?.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
