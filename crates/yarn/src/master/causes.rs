//! Why a container ended, from its exit status and what its NodeManager says of it (Hadoop 3.4,
//! `ContainerExitStatus`, `ContainerLaunch`).

use anymaster_core::model::{Cause, KilledBy, Outcome, StartFailure};
use anymaster_core::text::{MAX_MESSAGE, clipped};

/// What stands before the end of a container's stderr.
const LAST_LINES: &str = "Last 4096 bytes of stderr :";
/// What the shell that starts a program says when it cannot.
const SHELL: &str = "/bin/bash: line";
/// What a NodeManager that was started again says of a container that it does not find any more (`ExitCode.LOST`). Of
/// a program's own exit with this code it says that there was an exception (Hadoop 3.4, `ContainerLaunch`).
const LOST: i32 = 154;
const OWN_EXIT: &str = "Exception from container-launch";
/// Signals that end a process by itself, as shells count them.
const FATAL: [i32; 9] = [132, 134, 135, 136, 137, 139, 141, 143, 152];

/// How a container ended. `asked`: why we asked it to end, if we did; `limit_mib`: the memory that it had.
pub(super) fn outcome(
    status: i32,
    diagnostics: &str,
    asked: Option<KilledBy>,
    limit_mib: u64,
) -> Outcome {
    let said = diagnostics.trim();
    let why = || -> Box<str> { clipped(first_line(said), MAX_MESSAGE).into() };
    let stderr = said.split_once(LAST_LINES).map(|(_, text)| text.trim());
    let never_ran = |failure, why| Cause::CouldNotStart { failure, why };
    let cause = match (status, asked) {
        (_, Some(by)) => Cause::Killed { by },
        (0, None) => Cause::Finished,
        (-1000, None) => never_ran(StartFailure::Other, why()),
        (-100, None) if said.contains("expired since it was unused") => {
            never_ran(StartFailure::Other, why())
        }
        (-100 | -101, None) => Cause::Lost { why: why() },
        (-102, None) => Cause::Preempted { why: why() },
        (-103 | -104, None) => Cause::OutOfMemory { limit_mib: Some(limit_mib) },
        (-106 | -107, None) => Cause::Killed { by: KilledBy::DriverEnd },
        (-105, None) => Cause::Killed { by: KilledBy::Request },
        (-108 | -109, None) => Cause::Evicted { why: why() },
        (LOST, None) if !said.contains(OWN_EXIT) => {
            Cause::Lost { why: "its NodeManager was started again, and did not find it".into() }
        }
        (126 | 127, None) if stderr.is_some_and(|text| text.starts_with(SHELL)) => {
            let text = stderr.unwrap_or_default();
            never_ran(StartFailure::BadCommand, clipped(first_line(text), MAX_MESSAGE).into())
        }
        (code, None) if FATAL.contains(&code) => Cause::Signaled { signal: code - 128 },
        (code @ 1.., None) => Cause::Exited { code },
        (other, None) => {
            Cause::Lost { why: format!("its container ended with {other}: {}", why()).into() }
        }
    };
    let is_told = matches!(cause, Cause::Exited { .. } | Cause::Signaled { .. });
    let last_lines = stderr.filter(|text| is_told && !text.is_empty());
    Outcome { cause, last_lines: last_lines.map(|text| clipped(text, MAX_MESSAGE).into()) }
}

/// The first line, without the time that it may begin with.
fn first_line(text: &str) -> &str {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((time, rest)) if time.contains(':') && !rest.trim().is_empty() => rest.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(status: i32, diagnostics: &str) -> Cause {
        outcome(status, diagnostics, None, 64).cause
    }

    #[test]
    fn each_exit_status_is_a_cause() {
        assert_eq!(cause(0, ""), Cause::Finished);
        assert_eq!(cause(9, "Exception from container-launch."), Cause::Exited { code: 9 });
        let killed = "[2026-11-28 00:00:00.000]Container killed on request. Exit code is 137";
        assert_eq!(cause(137, killed), Cause::Signaled { signal: 9 });
        assert_eq!(cause(139, "Exception"), Cause::Signaled { signal: 11 });
        assert_eq!(cause(-104, "beyond"), Cause::OutOfMemory { limit_mib: Some(64) });
        let lost = "[x:1]Container released on a *lost* node";
        assert_eq!(
            cause(-100, lost),
            Cause::Lost { why: "Container released on a *lost* node".into() }
        );
        let forgotten = "[2026-11-28 00:00:00.000]Container exited with a non-zero exit code 154. ";
        assert!(matches!(cause(154, forgotten), Cause::Lost { .. }));
        assert_eq!(
            cause(154, "[x:1]Exception from container-launch."),
            Cause::Exited { code: 154 }
        );
        assert!(matches!(cause(-102, "Container preempted"), Cause::Preempted { .. }));
        assert!(matches!(cause(-109, "logs"), Cause::Evicted { .. }));
        assert!(matches!(
            cause(-1000, "File hdfs://x does not exist"),
            Cause::CouldNotStart { failure: StartFailure::Other, .. }
        ));
        let asked = outcome(143, killed, Some(KilledBy::ScaleDown), 64).cause;
        assert_eq!(asked, Cause::Killed { by: KilledBy::ScaleDown });
    }

    #[test]
    fn a_program_that_is_not_there_could_not_start_and_one_that_says_so_exited() {
        let text = |stderr: &str| {
            format!(
                "[x:1]Exception from container-launch.\nExit code: 127\n[x:1]{LAST_LINES}\n{stderr}\n\n"
            )
        };
        let missing = text("/bin/bash: line 1: /no/such: No such file or directory");
        let Cause::CouldNotStart { failure: StartFailure::BadCommand, why } = cause(127, &missing)
        else {
            panic!("{:?}", cause(127, &missing))
        };
        assert_eq!(&*why, "/bin/bash: line 1: /no/such: No such file or directory");
        let own = outcome(127, &text("it says so itself"), None, 64);
        assert_eq!(own.cause, Cause::Exited { code: 127 });
        assert_eq!(own.last_lines.as_deref(), Some("it says so itself"));
    }
}
