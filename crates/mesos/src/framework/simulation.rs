//! A dispatcher with simulated offers, for benchmarks (feature `simulation`). Its calls to the Mesos master go
//! nowhere.

use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, HostPort, Result};
use anymaster_master::AgentOrder;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::FrameworkDriver;
use crate::dispatcher::{Dispatcher, DispatcherOptions};
use crate::master_url::MesosMaster;
use crate::model::{Offer, TaskStatus};
use crate::scheduler::{Event, Scheduler};

/// A dispatcher that gets its offers from [`offer`](Self::offer). Dropping this stops it.
pub struct Simulated {
    pub(super) driver: FrameworkDriver,
    pub(super) orders: mpsc::UnboundedReceiver<AgentOrder>,
    address: HostPort,
    _serving: AbortOnDropHandle<Result<()>>,
    _heard: mpsc::Receiver<Event>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look at it; others keep it open"))]
    pub(super) acknowledged: mpsc::Receiver<TaskStatus>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Simulated {
    /// Starts it with these properties.
    ///
    /// # Errors
    /// As [`Dispatcher::bind`].
    pub async fn start(conf: &Conf) -> Result<Self> {
        let options = DispatcherOptions {
            name: "simulated".to_owned(),
            // No process listens there.
            mesos: MesosMaster::Address(HostPort { host: "127.0.0.1".to_owned(), port: 1 }),
            host: "127.0.0.1".to_owned(),
            port: 0,
            web_port: Some(0),
            conf: conf.clone(),
        };
        let Dispatcher { daemon, framework } = Dispatcher::bind(options).await?;
        let MesosMaster::Address(address) = MesosMaster::parse(&daemon.url().parse()?)? else {
            return Err(Error::protocol("the dispatcher has no address"));
        };
        let leadership = daemon.leadership();
        let serving = tokio::spawn(daemon.serve(std::future::pending()));
        let (agents, orders) = leadership.next().await;
        agents.recovered();
        let (scheduler, heard) = Scheduler::start(framework.options.clone())?;
        let (acknowledgements, acknowledged) = mpsc::channel(64);
        let mut driver =
            FrameworkDriver::new(&framework, agents, Arc::new(scheduler), acknowledgements)?;
        driver.is_restored = true;
        Ok(Self {
            driver,
            orders,
            address,
            _serving: AbortOnDropHandle::new(serving),
            _heard: heard,
            acknowledged,
        })
    }

    /// Its address for clients.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// Handles offers like those of a master; returns the number of tasks that were launched.
    pub async fn offer(&mut self, offers: Vec<Offer>) -> usize {
        let before = self.driver.tasks.len();
        self.driver.on_offers(offers, &mut self.orders).await;
        self.driver.tasks.len() - before
    }
}
