//! Derives the cause of a task's end from its last status update: from the reason, and from the messages of the
//! command and Docker executors (Mesos 1.11), such as `Command exited with status 9` and `Command terminated
//! with signal Killed`.

use anymaster_core::model::{Cause, KilledBy, StartFailure};
use anymaster_core::text::{MAX_MESSAGE, clipped};

use crate::model::{TaskState, TaskStatus};

/// The cause of a task's end, or of its loss. `asked`: who requested its end, if anybody.
///
/// The exit codes 126 and 127 mean that the program could not be started, as in every shell.
pub fn cause(status: &TaskStatus, asked: Option<KilledBy>) -> Cause {
    let reason = status.reason.as_deref().unwrap_or_default();
    match status.state {
        TaskState::TaskFinished => Cause::Finished,
        TaskState::TaskKilled => killed(status, reason, asked),
        TaskState::TaskFailed => failed(status, reason, asked),
        TaskState::TaskError => could_not(StartFailure::Other, status),
        // Also states that are not final: the task is considered lost.
        _ => Cause::Lost { why: words(status) },
    }
}

/// The message, or else the reason or state.
fn words(status: &TaskStatus) -> Box<str> {
    let message = status.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let text = match (message, status.reason.as_deref()) {
        (Some(message), _) => message.to_owned(),
        (None, Some(reason)) => format!("{:?}, {reason}", status.state),
        (None, None) => format!("{:?}", status.state),
    };
    clipped(&text, MAX_MESSAGE).into_owned().into()
}

fn could_not(failure: StartFailure, status: &TaskStatus) -> Cause {
    Cause::CouldNotStart { failure, why: words(status) }
}

fn killed(status: &TaskStatus, reason: &str, asked: Option<KilledBy>) -> Cause {
    match (asked, reason) {
        (Some(by), _) => Cause::Killed { by },
        (None, "REASON_AGENT_DRAINING" | "REASON_SLAVE_DRAINING") => {
            Cause::Evicted { why: words(status) }
        }
        // By an operator, or by another scheduler of the framework.
        (None, _) => Cause::Killed { by: KilledBy::Request },
    }
}

fn failed(status: &TaskStatus, reason: &str, asked: Option<KilledBy>) -> Cause {
    let message = status.message.as_deref().unwrap_or_default();
    // Checked before the exit code: fetchers and launchers have exit codes too.
    match reason {
        "REASON_CONTAINER_LIMITATION_MEMORY" => {
            return Cause::OutOfMemory { limit_mib: limit_mib(message) };
        }
        "REASON_CONTAINER_PREEMPTED" => return Cause::Preempted { why: words(status) },
        "REASON_AGENT_DRAINING" | "REASON_SLAVE_DRAINING" => {
            return Cause::Evicted { why: words(status) };
        }
        "REASON_CONTAINER_LAUNCH_FAILED"
        | "REASON_CONTAINER_UPDATE_FAILED"
        | "REASON_EXECUTOR_REGISTRATION_TIMEOUT" => return never_ran(status, message, asked),
        _ if reason.starts_with("REASON_CONTAINER_LIMITATION") => {
            return Cause::Evicted { why: words(status) };
        }
        _ => {}
    }
    if message.contains("Failed to fetch") || message.starts_with("Failed to launch") {
        return never_ran(status, message, asked);
    }
    let is_docker = message.starts_with("Container ");
    match (ended(message), asked) {
        (Some(Ended::By(_)), Some(by)) => Cause::Killed { by },
        // A shell reports a signal of its child as 128 + N.
        (Some(Ended::With(129..=192)), Some(by)) => Cause::Killed { by },
        (Some(Ended::By(signal)), None) => Cause::Signaled { signal },
        (Some(Ended::With(126 | 127)), _) => could_not(StartFailure::BadCommand, status),
        // Docker reports a signal as exit code 128 + N, like shells; 137 is also the OOM killer.
        (Some(Ended::With(code @ 129..=192)), None) if is_docker => {
            Cause::Signaled { signal: code - 128 }
        }
        // The exit code of `docker run` itself.
        (Some(Ended::With(125)), _) if is_docker => {
            let why = format!("{}: docker run failed; its standard error says why", words(status));
            Cause::CouldNotStart { failure: StartFailure::Other, why: why.into() }
        }
        (Some(Ended::With(code)), _) => Cause::Exited { code },
        (None, Some(by)) => Cause::Killed { by },
        // "Abnormal executor termination": the cause is lost with the executor.
        (None, None) => Cause::Lost { why: words(status) },
    }
}

/// The cause for a task that ended before its program was started.
fn never_ran(status: &TaskStatus, message: &str, asked: Option<KilledBy>) -> Cause {
    // If a container is destroyed while it is created, Mesos reports that it could not be launched.
    if let Some(by) = asked {
        return Cause::Killed { by };
    }
    let lower = message.to_ascii_lowercase();
    // Messages of registries are passed on: "… docker.sock pull NAME': … manifest unknown",
    // "Unexpected HTTP response '404 Not Found' when trying to get the manifest".
    let is_image =
        ["image", " pull ", "manifest", "registry"].iter().any(|word| lower.contains(word));
    let failure = match is_image {
        true => StartFailure::Image,
        false => StartFailure::Other,
    };
    could_not(failure, status)
}

enum Ended {
    With(i32),
    By(i32),
}

/// Parses an executor's message about the end of its command.
fn ended(message: &str) -> Option<Ended> {
    if let Some((_, rest)) = message.split_once("exited with status ") {
        let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        return rest[..digits].parse().ok().map(Ended::With);
    }
    let (_, rest) = message.split_once("terminated with signal ")?;
    let name = rest.trim().trim_end_matches("(core dumped)").trim_end();
    SIGNALS.iter().find(|(_, text)| *text == name).map(|(number, _)| Ended::By(*number)).or_else(
        || {
            let (_, number) = name.rsplit_once(' ')?;
            // The C library reserves the first two for threads.
            let first = if name.starts_with("Real-time signal") { 34 } else { 0 };
            Some(Ended::By(number.parse::<i32>().ok()? + first))
        },
    )
}

/// The limit of "Memory limit exceeded: Requested: 64MB Maximum Used: 65MB …", in MiB.
fn limit_mib(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("Requested: ")?;
    let word = rest.split_whitespace().next()?;
    let unit = word.find(|char: char| char.is_ascii_alphabetic())?;
    let number: f64 = word[..unit].parse().ok()?;
    // Mesos' MB are MiB.
    let mib = match &word[unit..] {
        "B" => number / 1024.0 / 1024.0,
        "KB" => number / 1024.0,
        "MB" => number,
        "GB" => number * 1024.0,
        "TB" => number * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(mib.round() as u64)
}

/// The C library's descriptions of signals (`strsignal`).
const SIGNALS: [(i32, &str); 19] = [
    (1, "Hangup"),
    (2, "Interrupt"),
    (3, "Quit"),
    (4, "Illegal instruction"),
    (5, "Trace/breakpoint trap"),
    (6, "Aborted"),
    (7, "Bus error"),
    (8, "Floating point exception"),
    (9, "Killed"),
    (10, "User defined signal 1"),
    (11, "Segmentation fault"),
    (12, "User defined signal 2"),
    (13, "Broken pipe"),
    (14, "Alarm clock"),
    (15, "Terminated"),
    (16, "Stack fault"),
    (24, "CPU time limit exceeded"),
    (25, "File size limit exceeded"),
    (31, "Bad system call"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Id;

    fn of(state: TaskState, reason: &str, message: &str, asked: Option<KilledBy>) -> Cause {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let status = TaskStatus {
            task_id: Id::new("t"),
            state,
            message: some(message),
            source: None,
            reason: some(reason),
            agent_id: None,
            uuid: None,
            timestamp: None,
            container_status: None,
        };
        cause(&status, asked)
    }

    fn failed(reason: &str, message: &str) -> Cause {
        of(TaskState::TaskFailed, reason, message, None)
    }

    const COMMAND: &str = "REASON_COMMAND_EXECUTOR_FAILED";
    const LAUNCH: &str = "REASON_CONTAINER_LAUNCH_FAILED";

    #[test]
    fn causes_of_ended_programs() {
        assert_eq!(
            of(TaskState::TaskFinished, "", "Command exited with status 0", None),
            Cause::Finished
        );
        assert_eq!(failed(COMMAND, "Command exited with status 9"), Cause::Exited { code: 9 });
        assert_eq!(failed(COMMAND, "Container exited with status 1"), Cause::Exited { code: 1 });
        let docker = failed("", "Container exited with status 137");
        assert_eq!(docker, Cause::Signaled { signal: 9 });
        assert_eq!(failed(COMMAND, "Command exited with status 137"), Cause::Exited { code: 137 });
        for (words, signal) in [
            ("Killed", 9),
            ("Segmentation fault (core dumped)", 11),
            ("Terminated", 15),
            ("Unknown signal 77", 77),
            ("Real-time signal 3", 37),
        ] {
            let message = format!("Command terminated with signal {words}");
            assert_eq!(failed(COMMAND, &message), Cause::Signaled { signal });
        }
    }

    #[test]
    fn causes_of_tasks_that_never_ran() {
        let failure = |cause| match cause {
            Cause::CouldNotStart { failure, why } => {
                assert!(!why.is_empty());
                Some(failure)
            }
            _ => None,
        };
        for (reason, message, expected) in [
            (COMMAND, "Command exited with status 127", StartFailure::BadCommand),
            (COMMAND, "Command exited with status 126", StartFailure::BadCommand),
            ("", "Container exited with status 125", StartFailure::Other),
            (
                LAUNCH,
                "Failed to launch container: Failed to fetch all URIs for container 'x': exited with status 1",
                StartFailure::Other,
            ),
            (
                LAUNCH,
                "Failed to launch container: Unsupported container image type: DOCKER",
                StartFailure::Image,
            ),
            (
                LAUNCH,
                "Failed to launch container: Failed to run 'docker -H unix:///var/run/docker.sock pull \
                 127.0.0.1/no:1': exited with status 1; stderr='Error response from daemon: manifest for \
                 127.0.0.1/no:1 not found: manifest unknown: manifest unknown\n'",
                StartFailure::Image,
            ),
            (
                LAUNCH,
                "Failed to launch container: Unexpected HTTP response '404 Not Found' when trying to get \
                 the manifest",
                StartFailure::Image,
            ),
            (
                LAUNCH,
                "Failed to launch container: Unknown CNI network 'no-such'",
                StartFailure::Other,
            ),
            ("REASON_EXECUTOR_TERMINATED", "Failed to launch: no shell", StartFailure::Other),
            ("REASON_EXECUTOR_REGISTRATION_TIMEOUT", "", StartFailure::Other),
        ] {
            assert_eq!(failure(failed(reason, message)), Some(expected), "{message}");
        }
        let error = of(TaskState::TaskError, "REASON_TASK_INVALID", "Task uses too much", None);
        assert_eq!(failure(error), Some(StartFailure::Other));
    }

    #[test]
    fn causes_of_requested_ends() {
        let by = KilledBy::ScaleDown;
        for (state, reason, message) in [
            (TaskState::TaskKilled, "", "Command terminated with signal Terminated"),
            (TaskState::TaskFailed, COMMAND, "Command terminated with signal Killed"),
            (TaskState::TaskFailed, COMMAND, "Command exited with status 143"),
            (TaskState::TaskFailed, LAUNCH, "Container destroyed during provisioning"),
        ] {
            assert_eq!(of(state, reason, message, Some(by)), Cause::Killed { by }, "{message}");
        }
        // It ended by itself before it was asked to.
        let own = of(TaskState::TaskFailed, COMMAND, "Command exited with status 3", Some(by));
        assert_eq!(own, Cause::Exited { code: 3 });
        let operator = of(TaskState::TaskKilled, "", "", None);
        assert_eq!(operator, Cause::Killed { by: KilledBy::Request });
    }

    #[test]
    fn causes_by_the_cluster() {
        let memory =
            "Memory limit exceeded: Requested: 1.5GB Maximum Used: 1537MB\n\nMEMORY STATISTICS:";
        assert_eq!(
            failed("REASON_CONTAINER_LIMITATION_MEMORY", memory),
            Cause::OutOfMemory { limit_mib: Some(1536) }
        );
        assert_eq!(
            failed("REASON_CONTAINER_LIMITATION_MEMORY", "?"),
            Cause::OutOfMemory { limit_mib: None }
        );
        let disk = failed("REASON_CONTAINER_LIMITATION_DISK", "Disk usage exceeds quota");
        assert_eq!(disk, Cause::Evicted { why: "Disk usage exceeds quota".into() });
        assert!(matches!(failed("REASON_CONTAINER_PREEMPTED", ""), Cause::Preempted { .. }));
        let gone = "Abnormal executor termination: unknown container";
        assert_eq!(failed("REASON_EXECUTOR_TERMINATED", gone), Cause::Lost { why: gone.into() });
        for state in [
            TaskState::TaskLost,
            TaskState::TaskDropped,
            TaskState::TaskUnreachable,
            TaskState::TaskGone,
            TaskState::TaskGoneByOperator,
            TaskState::TaskUnknown,
        ] {
            let cause = of(state, "REASON_SLAVE_REMOVED", "", Some(KilledBy::Request));
            assert!(
                matches!(&cause, Cause::Lost { why } if why.contains("SLAVE_REMOVED")),
                "{cause}"
            );
        }
    }
}
