//! Simulated workers for benchmarks (feature `simulation`). They register with a master and report every
//! driver and executor as running, and as ended when asked to stop it; no process is started.

use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::Cause;
use anymaster_core::{Error, HostPort, Result};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use anymaster_engine::{ExecutorSpec, Progress, Task, TaskReport, WorkerInfo};
use anymaster_native::keys;
use anymaster_native::wire::{Credentials, FromWorker, Role, ToWorker, connect};

/// Simulated workers. Dropping this disconnects them.
#[derive(Debug)]
pub struct Simulated(JoinSet<Result<()>>);

impl Simulated {
    /// Registers `many` workers, each with this many cores and 1 GiB per core, with a master.
    ///
    /// # Errors
    /// If the master refuses one.
    pub async fn register(master: &HostPort, conf: &Conf, many: u32, cores: u32) -> Result<Self> {
        let role = Role::Worker;
        let tls = anymaster_net::Tls::of(conf)?;
        let credentials = Credentials { role, secret: keys::secret(conf)?, tls };
        let mut workers = JoinSet::new();
        for number in 0..many {
            let mut channel = connect(&master.to_string(), &credentials).await?;
            let worker = WorkerInfo {
                id: format!("worker-{number}"),
                host: format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255),
                port: 1,
                web: "http://0.0.0.0:0".to_owned(),
                cores,
                memory_mib: u64::from(cores) << 10,
                sparks: Vec::new(),
                resources: Default::default(),
            };
            let register = FromWorker::Register { worker, reports: Vec::new(), leaving: false };
            channel.send(&register).await?;
            let ToWorker::Registered { heartbeat, .. } = channel.expect().await? else {
                return Err(Error::protocol("a master did not answer a registration"));
            };
            workers.spawn(work(channel, heartbeat));
        }
        Ok(Self(workers))
    }

    /// How many are still connected.
    pub fn left(&mut self) -> usize {
        while self.0.try_join_next().is_some() {}
        self.0.len()
    }
}

async fn work(mut channel: anymaster_native::wire::Channel, heartbeat: Duration) -> Result<()> {
    let mut ticks = tokio::time::interval(heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = channel.receive() => message?,
            _ = ticks.tick() => {
                channel.send(&FromWorker::Heartbeat).await?;
                continue;
            }
        };
        let Some(message) = message else { return Ok(()) };
        let (app, task, progress, spec) = match message {
            ToWorker::StartDriver(order) => {
                let (app, attempt) = (order.app, order.attempt);
                channel.send(&FromWorker::Accepted { app, attempt }).await?;
                continue;
            }
            ToWorker::StartExecutor(order) => {
                let spec = ExecutorSpec {
                    profile_id: order.profile_id,
                    profile: order.profile,
                    resources: order.resources,
                };
                let running = Progress::Running { port: None, host: None };
                (order.app, Task::Executor(order.id), running, Some(Box::new(spec)))
            }
            ToWorker::Confirmed { app, .. } => {
                (app, Task::Driver, Progress::Running { port: Some(1), host: None }, None)
            }
            ToWorker::Stop { app, task, stop } => {
                let ended = Progress::Ended(Cause::Killed { by: stop.by }.into());
                (app, task, ended, None)
            }
            _ => continue,
        };
        channel.send(&FromWorker::Report(TaskReport { app, task, progress, spec })).await?;
    }
}
