//! What to do next, by cause.

use anymaster_core::model::{Cause, StartFailure};

/// What something is, as far as advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Driver,
    Executor,
}

impl Role {
    fn memory(self) -> &'static str {
        match self {
            Self::Driver => "--driver-memory (spark.driver.memory)",
            Self::Executor => "--executor-memory (spark.executor.memory)",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Executor => "executor",
        }
    }
}

/// What to do about an end, or nothing when it was meant to be. `logs` prints all of its output.
pub(super) fn after(role: Role, cause: &Cause, logs: &str) -> Option<String> {
    let word = role.word();
    Some(match cause {
        Cause::Finished | Cause::Killed { .. } => return None,
        Cause::Exited { code: 126 } => format!(
            "Exit code 126 usually means that a shell could not execute a program: is it \
             executable? {logs} prints the {word}'s output."
        ),
        Cause::Exited { code: 127 } => format!(
            "Exit code 127 usually means that a shell did not find a program: is it in the PATH of \
             the machine? {logs} prints the {word}'s output."
        ),
        Cause::Exited { .. } => {
            format!("The {word}'s program ended by itself: read its output with {logs}.")
        }
        Cause::Signaled { signal: 9 } => format!(
            "Something outside anymaster sent SIGKILL: often the kernel, when the machine was out \
             of memory (dmesg tells), or a person. If it was memory, lower {} or run fewer \
             executors at once.",
            role.memory()
        ),
        Cause::Signaled { signal: 4 | 6 | 7 | 8 | 11 } => {
            format!(
                "The {word}'s program crashed: read its output with {logs}, and look for a core file."
            )
        }
        Cause::Signaled { .. } => {
            format!(
                "Something outside anymaster sent the signal; {logs} prints the {word}'s output."
            )
        }
        Cause::OutOfMemory { .. } => format!(
            "Give it more memory with {}, or more beside it with {}.",
            role.memory(),
            match role {
                Role::Driver => "spark.driver.memoryOverhead",
                Role::Executor => "spark.executor.memoryOverhead",
            }
        ),
        Cause::Evicted { .. } => {
            "The cluster took its place back. Ask for no more memory and disk \
             than a node has free, or give the application a higher priority."
                .to_owned()
        }
        Cause::Preempted { .. } => {
            "Work of higher priority took its place. Submit again later, or \
             with a higher priority."
                .to_owned()
        }
        Cause::Lost { .. } => match role {
            Role::Driver => "What watched over the driver is gone, so its exit code is unknown. \
                 Submit it again; it can also be submitted with --supervise where the cluster \
                 restarts drivers."
                .to_owned(),
            Role::Executor => {
                "Its machine or worker is gone. Executors are replaced while the application wants \
                 them; nothing needs to be done unless this goes on."
                    .to_owned()
            }
        },
        Cause::CouldNotStart { failure, .. } => match failure {
            StartFailure::BadCommand => {
                "Check the path of the program, that it is there on the machine that runs it, and \
                 that it is executable."
                    .to_owned()
            }
            StartFailure::Image => {
                "Check the image's name and tag, and that the cluster may pull it.".to_owned()
            }
            StartFailure::Quota => {
                "Ask for less, or have the quota raised by who runs the cluster.".to_owned()
            }
            StartFailure::Unschedulable => {
                "No machine is large enough: ask for fewer cores or less memory per executor \
                 (--executor-cores, --executor-memory), or use a larger cluster."
                    .to_owned()
            }
            _ => format!("The reason above says what stood in the way; {logs} may say more."),
        },
        _ => format!("{logs} prints the {word}'s output."),
    })
}

/// What to do while something waits for executors.
pub(super) fn while_blocked(on_this_machine: bool) -> &'static str {
    if on_this_machine {
        "Wait until other executors end, ask for fewer or smaller executors, or use a master with \
         more cores: local[N]."
    } else {
        "Wait until there is room, or ask for fewer or smaller executors."
    }
}

#[cfg(test)]
mod tests {
    use anymaster_core::model::KilledBy;

    use super::*;

    #[test]
    fn every_failure_has_advice_and_what_was_meant_has_none() {
        let why: Box<str> = "x".into();
        let failures = [
            Cause::Exited { code: 1 },
            Cause::Exited { code: 127 },
            Cause::Signaled { signal: 9 },
            Cause::Signaled { signal: 11 },
            Cause::Signaled { signal: 15 },
            Cause::OutOfMemory { limit_mib: Some(1) },
            Cause::Evicted { why: why.clone() },
            Cause::Preempted { why: why.clone() },
            Cause::Lost { why: why.clone() },
            Cause::CouldNotStart { failure: StartFailure::BadCommand, why: why.clone() },
            Cause::CouldNotStart { failure: StartFailure::Unschedulable, why },
        ];
        for role in [Role::Driver, Role::Executor] {
            let advice: Vec<_> =
                failures.iter().map(|cause| after(role, cause, "LOGS").unwrap()).collect();
            insta::assert_snapshot!(format!("advice_{role:?}"), advice.join("\n"));
            assert_eq!(after(role, &Cause::Finished, "LOGS"), None);
            assert_eq!(after(role, &Cause::Killed { by: KilledBy::Request }, "LOGS"), None);
        }
    }
}
