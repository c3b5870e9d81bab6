//! Why a container ended, of an executor or of a driver, from its exit status and what is said of it (Hadoop 3.4,
//! `ContainerExitStatus`, `ContainerExecutor.ExitCode`, `ContainerLaunch`).

use anymaster_core::model::{Cause, KilledBy, Outcome, StartFailure};
use anymaster_core::text::{MAX_MESSAGE, clipped};

/// What stands before the end of a file of a container, behind the number of its bytes; the name of the file that
/// matters ends like this.
const LAST_BYTES: &str = " bytes of ";
const STDERR: &str = "stderr";
/// What stands behind it: all of it comes twice.
const AGAIN: &str = "]Container exited with a non-zero exit code";
/// What the shell that starts a program says when it cannot.
const SHELL: &str = "/bin/bash: line";
/// What a NodeManager that was started again says of a container that it does not find any more (`ExitCode.LOST`). Of
/// a program's own exit with this code it says that there was an exception (Hadoop 3.4, `ContainerLaunch`).
const LOST: i32 = 154;
const OWN_EXIT: &str = "Exception from container-launch";
/// Signals that end a process by itself, as shells count them.
const FATAL: [i32; 9] = [132, 134, 135, 136, 137, 139, 141, 143, 152];

/// What the ResourceManager says of a container that was given to an application and not started.
const UNUSED: &str = "expired since it was unused";

/// How a container ended. `asked`: why we asked it to end, if we did; `limit_mib`: the memory that it had, if that is
/// known.
pub(crate) fn outcome(
    status: i32,
    diagnostics: &str,
    asked: Option<KilledBy>,
    limit_mib: Option<u64>,
) -> Outcome {
    if let Some(by) = asked {
        return Cause::Killed { by }.into();
    }
    let said = diagnostics.trim();
    let stderr = stderr_of(said);
    let cause = cause(status, said, stderr.unwrap_or_default(), limit_mib);
    let is_told = matches!(cause, Cause::Exited { .. } | Cause::Signaled { .. });
    let last_lines = stderr.filter(|text| is_told && !text.is_empty());
    Outcome { cause, last_lines: last_lines.map(|text| clipped(text, MAX_MESSAGE).into()) }
}

/// The numbers below zero are those of `ContainerExitStatus`.
fn cause(status: i32, said: &str, stderr: &str, limit_mib: Option<u64>) -> Cause {
    let why = || -> Box<str> { clipped(first_line(said), MAX_MESSAGE).into() };
    let never_ran = |failure, why| Cause::CouldNotStart { failure, why };
    match status {
        0 => Cause::Finished,
        // INVALID: its files could not be fetched, or its node could not make its directories.
        -1000 => never_ran(StartFailure::Other, why()),
        // ABORTED: also what the ResourceManager gives to containers that it has nothing better to say of.
        -100 if said.contains(UNUSED) => never_ran(StartFailure::Other, why()),
        // DISKS_FAILED: those of its node.
        -100 | -101 => Cause::Lost { why: why() },
        // PREEMPTED.
        -102 => Cause::Preempted { why: why() },
        // KILLED_EXCEEDED_VMEM, KILLED_EXCEEDED_PMEM.
        -103 | -104 => Cause::OutOfMemory { limit_mib: limit_told(said).or(limit_mib) },
        // KILLED_BY_APPMASTER.
        -105 => Cause::Killed { by: KilledBy::Request },
        // KILLED_BY_RESOURCEMANAGER, KILLED_AFTER_APP_COMPLETION.
        -106 | -107 => Cause::Killed { by: KilledBy::DriverEnd },
        // KILLED_BY_CONTAINER_SCHEDULER: of a node that has too many; KILLED_FOR_EXCESS_LOGS.
        -108 | -109 => Cause::Evicted { why: why() },
        LOST if !said.contains(OWN_EXIT) => {
            Cause::Lost { why: "its NodeManager was started again, and did not find it".into() }
        }
        126 | 127 if stderr.starts_with(SHELL) => {
            never_ran(StartFailure::BadCommand, clipped(first_line(stderr), MAX_MESSAGE).into())
        }
        code if FATAL.contains(&code) => Cause::Signaled { signal: code - 128 },
        code @ 1.. => Cause::Exited { code },
        other => Cause::Lost { why: format!("its container ended with {other}: {}", why()).into() },
    }
}

/// The end of a container's standard error, where its NodeManager tells it.
fn stderr_of(said: &str) -> Option<&str> {
    let mut rest = said;
    loop {
        let (_, after) = rest.split_once(LAST_BYTES)?;
        let (name, text) = after.split_once(" :").unwrap_or((after, ""));
        if name.ends_with(STDERR) && !name.contains('\n') {
            let end = text.find(AGAIN).map_or(text.len(), |at| text[..at].rfind('[').unwrap_or(at));
            return Some(text[..end].trim());
        }
        rest = after;
    }
}

/// The limit that a NodeManager says was exceeded, in MiB: `608.5 MB of 128 MB physical memory used`.
fn limit_told(said: &str) -> Option<u64> {
    let kind = if said.contains("'VIRTUAL'") { "virtual" } else { "physical" };
    let (before, _) = said.split_once(&format!(" {kind} memory used"))?;
    let (_, limit) = before.rsplit_once(" of ")?;
    let (number, unit) = limit.trim().split_once(' ')?;
    let mib = match unit {
        "KB" => 1.0 / 1024.0,
        "MB" => 1.0,
        "GB" => 1024.0,
        "TB" => 1024.0 * 1024.0,
        _ => return None,
    };
    let limit = number.parse::<f64>().ok()? * mib;
    (limit.is_finite() && (0.0..1e12).contains(&limit)).then_some(limit as u64)
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
        outcome(status, diagnostics, None, Some(64)).cause
    }

    /// A cause as its kind, and what a user reads of it.
    fn told(status: i32, said: &str) -> (&'static str, String) {
        let cause = cause(status, said);
        let kind = match &cause {
            Cause::Finished => "finished",
            Cause::Exited { .. } => "exited",
            Cause::Signaled { .. } => "signaled",
            Cause::Killed { .. } => "killed",
            Cause::OutOfMemory { .. } => "out of memory",
            Cause::Evicted { .. } => "evicted",
            Cause::Preempted { .. } => "preempted",
            Cause::Lost { .. } => "lost",
            Cause::CouldNotStart { .. } => "could not start",
            _ => "other",
        };
        (kind, cause.to_string())
    }

    /// All of `ContainerExitStatus` and of `ContainerExecutor.ExitCode`, with what Hadoop 3.4.1 says of each.
    #[test]
    fn each_exit_status_is_a_cause() {
        const LAUNCH: &str = "[2026-11-27 23:45:09.592]Exception from container-launch.\nContainer id: c\nExit code: 7\n";
        const PHYSICAL: &str = "[2026-11-27 23:54:05.765]Container [pid=20369,containerID=c] is running 503795712B beyond the \
             'PHYSICAL' memory limit. Current usage: 608.5 MB of 128 MB physical memory used; 612.2 MB of 268.8 MB \
             virtual memory used. Killing container.\nDump of the process-tree for c :\n";
        const VIRTUAL: &str = "[2026-11-27 23:54:05.765]Container [pid=1,containerID=c] is running 1B beyond the 'VIRTUAL' memory \
             limit. Current usage: 1.2 MB of 1 GB physical memory used; 2.2 GB of 2.1 GB virtual memory used. Killing";
        const KILLED: &str = "[2026-11-28 00:00:00.000]Container killed on request. Exit code is 137\n\
             [2026-11-28 00:00:00.001]Container exited with a non-zero exit code 137. ";
        let table = [
            (0, "", "finished", "finished"),
            (7, LAUNCH, "exited", "exited with code 7"),
            (
                -1000,
                "[2026-11-27 23:45:10.631]File file:/x does not exist\njava.io.FileNotFoundException: x",
                "could not start",
                "could not start: File file:/x does not exist",
            ),
            (
                -100,
                "Container released on a *lost* node",
                "lost",
                "lost: Container released on a *lost* node",
            ),
            (
                -100,
                "Container released by application",
                "lost",
                "lost: Container released by application",
            ),
            (
                -100,
                "Container expired since it was unused",
                "could not start",
                "could not start: Container expired since it was unused",
            ),
            (
                -101,
                "Most of the disks failed. 1/1 local-dirs are bad: /d",
                "lost",
                "lost: Most of the disks failed. 1/1 local-dirs are bad: /d",
            ),
            (
                -102,
                "Container preempted by scheduler",
                "preempted",
                "preempted: Container preempted by scheduler",
            ),
            (-103, VIRTUAL, "out of memory", "out of memory: used more than its 2150 MiB"),
            (-104, PHYSICAL, "out of memory", "out of memory: used more than its 128 MiB"),
            (-104, "beyond", "out of memory", "out of memory: used more than its 64 MiB"),
            (-105, "Container killed by the ApplicationMaster.", "killed", "killed on request"),
            (
                -106,
                "Container Killed by ResourceManager",
                "killed",
                "stopped because the driver ended",
            ),
            (
                -107,
                "Container killed on application-finish event",
                "killed",
                "stopped because the driver ended",
            ),
            (
                -108,
                "Container Killed to make room for Guaranteed Container.",
                "evicted",
                "evicted: Container Killed to make room for Guaranteed Container.",
            ),
            (
                -109,
                "Container exceeded its limit of logs",
                "evicted",
                "evicted: Container exceeded its limit of logs",
            ),
            (-7, "new", "lost", "lost: its container ended with -7: new"),
            (137, KILLED, "signaled", "ended by SIGKILL"),
            (143, KILLED, "signaled", "ended by SIGTERM"),
            (139, LAUNCH, "signaled", "ended by SIGSEGV"),
            (
                154,
                "[2026-11-28 00:00:00.000]Container exited with a non-zero exit code 154. ",
                "lost",
                "lost: its NodeManager was started again, and did not find it",
            ),
            (154, LAUNCH, "exited", "exited with code 154"),
        ];
        for (status, said, kind, words) in table {
            assert_eq!(told(status, said), (kind, words.to_owned()), "{status}: {said}");
        }
        let asked = outcome(143, KILLED, Some(KilledBy::ScaleDown), None).cause;
        assert_eq!(asked, Cause::Killed { by: KilledBy::ScaleDown });
    }

    /// As a NodeManager of Hadoop 3.4.1 says it: all of it twice.
    fn with_stderr(code: i32, file: &str, text: &str) -> String {
        let told = format!(
            "[2026-11-27 23:45:09.653]Container exited with a non-zero exit code {code}. Error file: prelaunch.err.\n\
             Last 4096 bytes of prelaunch.err :\nLast 4096 bytes of {file} :\n{text}\n\n\n"
        );
        let begin = "[2026-11-27 23:45:09.592]Exception from container-launch.\nContainer id: c\n";
        format!("{begin}Exit code: {code}\n\n{told}{told}")
    }

    #[test]
    fn a_program_that_is_not_there_could_not_start_and_one_that_says_so_exited() {
        let line = "/bin/bash: line 1: /no/such: No such file or directory";
        for file in ["stderr", "application-master.stderr"] {
            let missing = cause(127, &with_stderr(127, file, line));
            let Cause::CouldNotStart { failure: StartFailure::BadCommand, why } = missing else {
                panic!("{missing:?}")
            };
            assert_eq!(&*why, line);
        }
        let own = outcome(127, &with_stderr(127, "stderr", "it says [so]\nitself"), None, None);
        assert_eq!(own.cause, Cause::Exited { code: 127 });
        assert_eq!(own.last_lines.as_deref(), Some("it says [so]\nitself"));
        let silent = outcome(7, &with_stderr(7, "stderr", ""), None, None);
        assert_eq!((silent.cause, silent.last_lines), (Cause::Exited { code: 7 }, None));
    }
}
