//! What is said only when it is durable: messages to workers wait here until the state that they follow
//! from has been written.
//!
//! A worker that is told that the master knows how a process ended forgets it; one that is told to start
//! a driver starts it. If the master then died before the write, its successor would know nothing of
//! either.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::worker::Messages;
use crate::wire::ToWorker;

/// A message, and where it goes.
type Letter = (Messages, ToWorker);

/// Puts messages into the outbox.
pub(super) type Sender = mpsc::UnboundedSender<Letter>;

/// Messages that wait for a write. At most a few for each change that waits for the same write.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: Sender,
    new: mpsc::UnboundedReceiver<Letter>,
    /// Those of a write that failed: they go before the new ones.
    back: VecDeque<Letter>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        let (sender, new) = mpsc::unbounded_channel();
        Self { sender, new, back: VecDeque::new() }
    }

    pub(super) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Takes out all messages, in order.
    pub(super) fn take(&mut self) -> VecDeque<Letter> {
        let mut all = std::mem::take(&mut self.back);
        while let Ok(letter) = self.new.try_recv() {
            all.push_back(letter);
        }
        all
    }

    /// Puts messages back that may not be sent yet.
    pub(super) fn put_back(&mut self, mut letters: VecDeque<Letter>) {
        letters.append(&mut self.back);
        self.back = letters;
    }
}

/// Sends messages whose time has come.
pub(super) fn post(letters: VecDeque<Letter>) {
    for (messages, message) in letters {
        messages.send(message);
    }
}
