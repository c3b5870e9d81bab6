//! The priorities of a dispatcher's queues (Spark 3.5, `MesosClusterScheduler`).

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};

use crate::keys;

/// The default queue, whose priority is 0.
const DEFAULT: &str = "default";

/// The priority of a driver's queue.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a queue that the dispatcher does not have, or
/// whose priority is not a number.
pub(super) fn priority(dispatcher: &Conf, driver: &Conf) -> Result<f64> {
    let queue: String = driver.read(&keys::DISPATCHER_QUEUE)?;
    let key = format!("{}.{queue}", keys::DISPATCHER_QUEUE.info.name);
    match dispatcher.get(&key) {
        Some(text) => text.trim().parse().map_err(|_| {
            Error::invalid(format!("{key}: {text:?} is not a priority")).with_hint("write a number")
        }),
        None if queue == DEFAULT => Ok(0.0),
        None => Err(Error::invalid(format!(
            "{}: this dispatcher has no queue {queue:?}",
            keys::DISPATCHER_QUEUE.info.name
        ))
        .with_hint(format!("start it with {key}=1.0, or leave the queue out"))),
    }
}

/// Checks the priorities of all queues of a dispatcher.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for one that is not a number.
pub(super) fn check(dispatcher: &Conf) -> Result<()> {
    for (queue, _) in dispatcher.with_prefix("spark.mesos.dispatcher.queue.") {
        let driver: Conf = [(keys::DISPATCHER_QUEUE.info.name, queue)].into_iter().collect();
        priority(dispatcher, &driver)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_priorities() {
        let conf = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Conf>();
        let dispatcher = conf(&[
            ("spark.mesos.dispatcher.queue.urgent", "10.5"),
            ("spark.mesos.dispatcher.queue.bad", "high"),
        ]);
        let of = |queue| priority(&dispatcher, &conf(&[("spark.mesos.dispatcher.queue", queue)]));
        assert_eq!(priority(&dispatcher, &conf(&[])).unwrap(), 0.0);
        assert_eq!(of("urgent").unwrap(), 10.5);
        assert!(of("other").unwrap_err().message().contains("no queue \"other\""));
        assert!(check(&dispatcher).unwrap_err().message().contains("queue.bad"));
    }
}
