//! Carries out the effects of the engine: orders go into the queues of connections, events wake their subscribers.

use std::collections::HashMap;
use std::sync::Arc;

use anymaster_core::model::AppId;
use anymaster_engine::{Demand, Effect, Engine, Order};
use tokio::sync::{Notify, mpsc, watch};

/// How many orders may wait for a worker that does not read.
const MAX_UNREAD: usize = 100_000;
/// From how many subscriptions on it is looked for those that nobody holds any more.
const MANY_TOPICS: usize = 64;

/// Where orders for a worker go.
#[derive(Debug)]
pub(super) enum OrderQueue {
    /// Of one connection. If it is full, the connection is told that its worker does not read.
    Connection { orders: mpsc::Sender<Order>, overflow: Arc<Notify> },
    /// Of all agents, with the name of the one that is meant. Whoever makes offers takes all orders after each pass,
    /// so there are never more than fit on the offers of one pass.
    Agents(Arc<str>, mpsc::UnboundedSender<(Arc<str>, Order)>),
}

/// The orders for one connection.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) orders: mpsc::Receiver<Order>,
    /// Notified when there are too many.
    pub(super) overflow: Arc<Notify>,
}

/// A queue of orders for a connection.
pub(super) fn order_queue() -> (OrderQueue, Orders) {
    let (sender, orders) = mpsc::channel(MAX_UNREAD);
    let overflow = Arc::new(Notify::new());
    let queue = OrderQueue::Connection { orders: sender, overflow: Arc::clone(&overflow) };
    (queue, Orders { orders, overflow })
}

impl OrderQueue {
    /// Whether it has room.
    fn send(&self, order: Order) -> bool {
        match self {
            Self::Connection { orders, overflow } => match orders.try_send(order) {
                // Closed: the connection has just ended, which is reported by itself.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    overflow.notify_one();
                    false
                }
            },
            Self::Agents(agent, orders) => {
                // An error: the framework has ended, which is reported by itself.
                let _ = orders.send((Arc::clone(agent), order));
                true
            }
        }
    }
}

/// Who is woken by events: subscribers to one application by its own, others by all.
#[derive(Debug, Default)]
struct Topics {
    all: watch::Sender<u64>,
    apps: HashMap<AppId, watch::Sender<u64>>,
    published: u64,
    purge_at: usize,
}

impl Topics {
    fn subscribe(&mut self, app: Option<&AppId>) -> watch::Receiver<u64> {
        let Some(app) = app else { return self.all.subscribe() };
        if self.apps.len() >= self.purge_at.max(MANY_TOPICS) {
            self.apps.retain(|_, topic| topic.receiver_count() > 0);
            self.purge_at = self.apps.len() * 2;
        }
        self.apps.entry(app.clone()).or_default().subscribe()
    }

    /// Wakes those to whom one of the events matters that are new.
    fn publish(&mut self, engine: &Engine, count: u64) {
        if self.published < engine.events().dropped() {
            // Whose events are not known any more.
            for topic in self.apps.values() {
                topic.send_replace(count);
            }
        }
        for app in engine.events().apps_between(self.published, count) {
            if let Some(topic) = self.apps.get(app) {
                topic.send_replace(count);
            }
        }
        self.published = self.published.max(count);
        self.all.send_replace(count);
    }
}

/// Where effects go.
#[derive(Debug, Default)]
pub(super) struct Routes {
    workers: HashMap<String, (u64, OrderQueue)>,
    /// External drivers by session: turn to `true` when the driver has to end.
    drivers: HashMap<u64, watch::Sender<bool>>,
    topics: Topics,
    demand: watch::Sender<Demand>,
    last_session: u64,
}

impl Routes {
    fn new_session(&mut self) -> u64 {
        self.last_session += 1;
        self.last_session
    }

    /// A session of a worker. The one before, if any, gets no orders any more.
    pub(super) fn add_worker(&mut self, worker: String, queue: OrderQueue) -> u64 {
        let session = self.new_session();
        self.workers.insert(worker, (session, queue));
        session
    }

    /// The session of a worker has ended.
    pub(super) fn remove_worker(&mut self, worker: &str, session: u64) {
        if self.workers.get(worker).is_some_and(|(known, _)| *known == session) {
            self.workers.remove(worker);
        }
    }

    /// A session of an external driver; the receiver turns to `true` when the driver has to end.
    pub(super) fn add_driver(&mut self) -> (u64, watch::Receiver<bool>) {
        let session = self.new_session();
        let (sender, receiver) = watch::channel(false);
        self.drivers.insert(session, sender);
        (session, receiver)
    }

    /// The session of an external driver has ended.
    pub(super) fn remove_driver(&mut self, session: u64) {
        self.drivers.remove(&session);
    }

    /// Changes when there is something new, of one application or of any.
    pub(super) fn subscribe(&mut self, app: Option<&AppId>) -> watch::Receiver<u64> {
        self.topics.subscribe(app)
    }

    /// Changes with whether offers are wanted.
    pub(super) fn demand(&self) -> watch::Receiver<Demand> {
        self.demand.subscribe()
    }

    /// Carries out all effects. Nothing here waits.
    pub(super) fn carry_out(&mut self, engine: &mut Engine) {
        for effect in engine.take_effects() {
            match effect {
                Effect::Send { worker, session, order } => {
                    if let Some((known, queue)) = self.workers.get(&worker)
                        && *known == session
                        && !queue.send(order)
                    {
                        self.workers.remove(&worker);
                    }
                }
                Effect::Disconnect { worker, session } => self.remove_worker(&worker, session),
                Effect::EndExternalDriver { session } => {
                    if let Some(driver) = self.drivers.get(&session) {
                        driver.send_replace(true);
                    }
                }
                Effect::PublishEvents { count } => self.topics.publish(engine, count),
                Effect::Demand(demand) => {
                    self.demand
                        .send_if_modified(|known| std::mem::replace(known, demand) != demand);
                }
            }
        }
    }
}
