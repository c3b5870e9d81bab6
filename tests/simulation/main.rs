//! Simulates standalone clusters: the real engine, its real recovery and the real table of a worker's processes, on a
//! simulated network, disk and clock. Everything follows from one seed.
//!
//!   simulation [--seeds N] [--from SEED]     N clusters, each with the next seed; ends with `N seeds passed, M failed`
//!   simulation --seed SEED [--trace]         one cluster; `--trace` prints what happens
//!   --first                                  end with the first cluster that fails
//!
//! It is no test of the usual kind, so that it can be given seeds: `cargo test` runs it with a few.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a test, and a program of its own"
)]

mod apps;
mod checks;
mod faults;
mod masters;
mod network;
mod workers;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use crate::world::World;

/// How many clusters are simulated where nothing else is said.
const SEEDS: u64 = 100;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seeds, mut from, mut one, mut trace, mut first) = (SEEDS, 1, None, false, false);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse::<u64>().ok());
        let value = match arg.as_str() {
            "--seeds" => number().map(|number| seeds = number),
            "--from" => number().map(|number| from = number),
            "--seed" => number().map(|number| one = Some(number)),
            "--trace" => {
                trace = true;
                Some(())
            }
            "--first" => {
                first = true;
                Some(())
            }
            // What `cargo test` gives to all test programs.
            "--list" | "--ignored" => return ExitCode::SUCCESS,
            "--nocapture" | "--quiet" | "-q" => Some(()),
            filter if filter.starts_with('-') => None,
            filter if "simulation".contains(filter) => Some(()),
            _ => return ExitCode::SUCCESS,
        };
        if value.is_none() {
            eprintln!("{arg}: simulation [--seeds N] [--from SEED] | --seed SEED [--trace]");
            return ExitCode::from(2);
        }
    }
    if let Some(seed) = one {
        (from, seeds) = (seed, 1);
    }
    let began = Instant::now();
    let (mut passed, mut failed, mut steps, mut simulated) = (0_u64, 0_u64, 0, 0.0);
    for seed in from..from + seeds {
        let mut world = World::new(seed, trace);
        match world.run() {
            Ok(()) => passed += 1,
            Err(violation) => {
                failed += 1;
                println!("seed {seed}, {:.3} s: {violation}", world.seconds());
                println!(
                    "  again: cargo test -p anymaster-standalone --all-features --test simulation -- \
                     --seed {seed} --trace"
                );
            }
        }
        steps += world.steps();
        simulated += world.seconds();
        if first && failed > 0 {
            break;
        }
    }
    println!(
        "{steps} steps, {:.1} hours of {seeds} clusters in {:.1} s",
        simulated / 3600.0,
        began.elapsed().as_secs_f64()
    );
    println!("{passed} seeds passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
