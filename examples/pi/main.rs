//! Pi by throwing darts, on any cluster: a driver that hands work over TCP to executors, and survives
//! the loss of one.
//!
//! ```text
//! anymaster submit --master 'local[2]' --conf spark.executor.instances=2 target/release/examples/pi 200
//! ```
//!
//! Driver and executors are this same program. [`anymaster::role`] tells which one a process is.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to people")]

mod driver;
mod executor;
mod protocol;

use anymaster::Role;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    match anymaster::role()? {
        Role::Executor(context) => executor::run(&context),
        Role::Driver(context) => {
            let millions: u64 = match std::env::args().nth(1) {
                None => 200,
                Some(text) => text.parse().map_err(|_| {
                    format!("usage: pi [MILLIONS OF DARTS]; {text:?} is not a whole number")
                })?,
            };
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(driver::run(context, millions.max(1)))
        }
    }
}
