//! What a caller has to do after it has changed the engine.
//!
//! What follows from a change that has to survive the master is held back until that change is durable: a worker
//! that is told that the end of a process is known forgets it, and one that is told to start a driver starts it. If
//! the master then died before the write, its successor would know nothing of either.

use crate::model::Order;
use crate::supply::Demand;

/// Something that the caller has to do, in the order of the effects.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send an order to a worker, if this is still its session.
    Send {
        /// The worker.
        worker: String,
        /// Its session.
        session: u64,
        /// The order.
        order: Order,
    },
    /// End a worker's session: the worker is taken for lost. It may register again.
    Disconnect {
        /// The worker.
        worker: String,
        /// Its session.
        session: u64,
    },
    /// Tell the driver of an external session that it has to end.
    EndExternalDriver {
        /// The session.
        session: u64,
    },
    /// Subscribers may see the first `count` events of the [event log](crate::Engine::events).
    PublishEvents {
        /// How many events.
        count: u64,
    },
    /// Whether offers are wanted has changed.
    Demand(Demand),
}

/// The effects that the caller has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    ready: Vec<Effect>,
    /// Effects that wait until the changes before them are durable, if the engine is persistent.
    held_back: Option<Vec<Effect>>,
}

impl Effects {
    /// From now on effects wait for writes.
    pub(crate) fn hold_back(&mut self) {
        self.held_back.get_or_insert_default();
    }

    /// Adds an effect that does not wait for a write.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.ready.push(effect);
    }

    /// Adds an effect that waits until everything that was changed so far is durable.
    pub(crate) fn push_durable(&mut self, effect: Effect) {
        self.held_back.as_mut().unwrap_or(&mut self.ready).push(effect);
    }

    /// Takes the effects that the caller may carry out.
    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.ready)
    }

    /// Takes the effects that wait for the write that begins now.
    pub(crate) fn take_held_back(&mut self) -> Vec<Effect> {
        self.held_back.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The write of these effects has succeeded.
    pub(crate) fn release(&mut self, effects: Vec<Effect>) {
        self.ready.extend(effects);
    }

    /// The write of these effects has failed: they wait for the next one, before later effects.
    pub(crate) fn restore(&mut self, mut effects: Vec<Effect>) {
        match &mut self.held_back {
            Some(later) => {
                effects.append(later);
                *later = effects;
            }
            None => self.ready.extend(effects),
        }
    }
}
