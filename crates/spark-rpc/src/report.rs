//! What a driver is told of an executor. No I/O.
//!
//! By the state, the exit code and the host a driver decides whose fault an end was: an exit code is the
//! application's, a host that is gone is not (Spark 3.5, `StandaloneAppClient` and
//! `StandaloneSchedulerBackend.executorRemoved`).

use anymaster_core::model::{Cause, ExecutorId, KilledBy, ResourceProfile};
use anymaster_spark_wire::messages::{ExecutorState, ToDriver};

/// An executor as its driver knows it: Spark's numbers are `int`s.
fn number(id: ExecutorId) -> i32 {
    i32::try_from(id.0).unwrap_or(i32::MAX)
}

/// An executor has a place. `host`: where.
pub(crate) fn added(
    id: ExecutorId,
    profile: &ResourceProfile,
    cluster: &str,
    host: &str,
) -> ToDriver {
    let whole = |amount: u64| i32::try_from(amount).unwrap_or(i32::MAX);
    ToDriver::ExecutorAdded {
        id: number(id),
        worker_id: worker(cluster, host),
        host_port: format!("{host}:0"),
        cores: profile.cores as i32,
        memory_mib: whole(profile.memory_mib),
    }
}

/// An executor runs.
pub(crate) fn running(id: ExecutorId) -> ToDriver {
    ToDriver::ExecutorUpdated {
        id: number(id),
        state: ExecutorState::Running,
        message: None,
        exit_status: None,
        worker_host: None,
    }
}

/// What runs executors on a host, in the words of the driver's log.
pub(crate) fn worker(cluster: &str, host: &str) -> String {
    format!("{cluster}-{host}")
}

/// An executor ended. `was_given_up`: the driver had asked for it, and has forgotten it.
pub(crate) fn ended(
    id: ExecutorId,
    cause: &Cause,
    was_given_up: bool,
    cluster: &str,
    host: &str,
) -> Vec<ToDriver> {
    let told = |state, message, exit_status, worker_host: Option<&str>| ToDriver::ExecutorUpdated {
        id: number(id),
        state,
        message: Some(message),
        exit_status,
        worker_host: worker_host.map(str::to_owned),
    };
    let exited =
        |code: i32, message: String| vec![told(ExecutorState::Exited, message, Some(code), None)];
    match cause {
        Cause::Killed { by: KilledBy::DriverEnd } => Vec::new(),
        Cause::Killed { .. } if was_given_up => Vec::new(),
        // Somebody wished it: the application did nothing wrong.
        Cause::Killed { .. } => {
            vec![told(ExecutorState::Killed, cause.to_string(), None, Some(host))]
        }
        Cause::Finished | Cause::Exited { .. } | Cause::Signaled { .. } => {
            let code = cause.exit_code();
            exited(code, format!("Command exited with code {code}"))
        }
        Cause::OutOfMemory { .. } => exited(cause.exit_code(), cause.to_string()),
        Cause::CouldNotStart { .. } => {
            vec![told(ExecutorState::Failed, cause.to_string(), None, None)]
        }
        Cause::Lost { why } => {
            let message = format!("worker lost: {why}");
            vec![
                told(ExecutorState::Lost, message.clone(), None, Some(host)),
                ToDriver::WorkerRemoved {
                    id: worker(cluster, host),
                    host: host.to_owned(),
                    message,
                },
            ]
        }
        // Evicted, preempted, and what a later version of the contract may add.
        _ => vec![told(ExecutorState::Lost, cause.to_string(), None, Some(host))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(cause: Cause) -> (ExecutorState, Option<i32>, bool) {
        match &ended(ExecutorId(3), &cause, false, "local", "h")[0] {
            ToDriver::ExecutorUpdated { id: 3, state, exit_status, worker_host, .. } => {
                (*state, *exit_status, worker_host.is_some())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_driver_is_told_whose_fault_it_was() {
        let why = || "gone".into();
        assert_eq!(fault(Cause::Finished), (ExecutorState::Exited, Some(0), false));
        assert_eq!(fault(Cause::Exited { code: 1 }), (ExecutorState::Exited, Some(1), false));
        assert_eq!(fault(Cause::Signaled { signal: 9 }), (ExecutorState::Exited, Some(137), false));
        let memory = Cause::OutOfMemory { limit_mib: Some(1) };
        assert_eq!(fault(memory), (ExecutorState::Exited, Some(137), false));
        assert_eq!(fault(Cause::Lost { why: why() }), (ExecutorState::Lost, None, true));
        assert_eq!(fault(Cause::Evicted { why: why() }), (ExecutorState::Lost, None, true));
        assert_eq!(fault(Cause::Preempted { why: why() }), (ExecutorState::Lost, None, true));
        let killed = Cause::Killed { by: KilledBy::Request };
        assert_eq!(fault(killed), (ExecutorState::Killed, None, true));
    }

    #[test]
    fn a_lost_node_is_told_with_what_it_held() {
        let told = ended(ExecutorId(1), &Cause::Lost { why: "x".into() }, false, "mesos", "h");
        assert!(matches!(&told[1], ToDriver::WorkerRemoved { host, .. } if host == "h"));
    }

    #[test]
    fn what_the_driver_gave_up_is_not_told_again() {
        let killed = Cause::Killed { by: KilledBy::ScaleDown };
        assert_eq!(ended(ExecutorId(1), &killed, true, "local", "h"), []);
        // It died before it could be killed.
        assert_eq!(ended(ExecutorId(1), &Cause::Exited { code: 1 }, true, "local", "h").len(), 1);
    }
}
