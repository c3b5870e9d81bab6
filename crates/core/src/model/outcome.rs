//! How processes are stopped, and how they end.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cause, End, KilledBy, StartFailure, State};
use crate::Error;

/// A request to end a process: SIGTERM first, SIGKILL after `grace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Who asked.
    pub by: KilledBy,
    /// How long it has after SIGTERM.
    pub grace: Duration,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended.
    pub cause: Cause,
    /// What it wrote last to its standard error.
    pub last_lines: Option<Box<str>>,
}

impl Outcome {
    /// It never ran.
    pub fn could_not_start(error: &Error) -> Self {
        Cause::CouldNotStart { failure: StartFailure::Other, why: error.to_string().into() }.into()
    }

    /// The state of something that ended just now.
    pub fn into_state(self) -> State {
        let Self { cause, last_lines } = self;
        State::Ended(Box::new(End { cause, at: Timestamp::now(), last_lines })).bounded()
    }
}

impl From<Cause> for Outcome {
    fn from(cause: Cause) -> Self {
        Self { cause, last_lines: None }
    }
}
