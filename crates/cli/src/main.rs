//! The program `anymaster`, with all backends of this workspace.

use std::process::ExitCode;

// That of musl has one lock for all threads: it takes half as long again to share out offers.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    anymaster_cli::run(anymaster_cli::backends())
}
