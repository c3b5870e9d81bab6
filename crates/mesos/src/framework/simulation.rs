//! Offers that nobody made, for measurements (feature `simulation`): a dispatcher takes them for those of
//! a master, and what it says to that master goes nowhere.

use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, HostPort, Result};
use anymaster_dispatcher::master::Order;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Bridge;
use crate::dispatcher::{Dispatcher, DispatcherOptions};
use crate::master_url::MesosMaster;
use crate::model::{Offer, TaskStatus};
use crate::scheduler::{Event, Scheduler};

/// A dispatcher that is given its offers; gone when this is dropped.
pub struct Simulated {
    pub(super) bridge: Bridge,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
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
    /// Begins, with these properties.
    ///
    /// # Errors
    /// As [`Dispatcher::bind`].
    pub async fn start(conf: &Conf) -> Result<Self> {
        let options = DispatcherOptions {
            name: "simulated".to_owned(),
            // Nobody listens there.
            mesos: MesosMaster::Address(HostPort { host: "127.0.0.1".to_owned(), port: 1 }),
            host: "127.0.0.1".to_owned(),
            port: 0,
            web_port: Some(0),
            conf: conf.clone(),
        };
        let Dispatcher { daemon, framework } = Dispatcher::bind(options).await?;
        let MesosMaster::Address(address) = MesosMaster::parse(&daemon.url().parse()?)? else {
            return Err(Error::protocol("a dispatcher without an address"));
        };
        let terms = daemon.terms();
        let serving = tokio::spawn(daemon.serve(std::future::pending()));
        let (agents, orders) = terms.next().await;
        agents.restored();
        let (scheduler, heard) = Scheduler::start(framework.options.clone())?;
        let (acknowledgements, acknowledged) = mpsc::channel(64);
        let mut bridge = Bridge::new(&framework, agents, Arc::new(scheduler), acknowledgements)?;
        bridge.is_restored = true;
        Ok(Self {
            bridge,
            orders,
            address,
            _serving: AbortOnDropHandle::new(serving),
            _heard: heard,
            acknowledged,
        })
    }

    /// Where its clients find it.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// Takes in offers as from a master, and shares them out; how many tasks it would launch.
    pub async fn offer(&mut self, offers: Vec<Offer>) -> usize {
        let before = self.bridge.tasks.len();
        self.bridge.offered(offers, &mut self.orders).await;
        self.bridge.tasks.len() - before
    }
}
