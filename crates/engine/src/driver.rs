//! Where a driver is, and how that may change.

use std::collections::BTreeMap;

use anymaster_core::model::DriverSpec;

use crate::amount::Amount;

/// A driver that was given to a worker.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) worker: String,
    pub(crate) need: Amount,
    /// The addresses of the resources that it was given.
    pub(crate) given: BTreeMap<String, Vec<String>>,
    /// Its port, once it runs.
    pub(crate) port: Option<u16>,
    /// Its own host, if it is not reached at its worker's.
    pub(crate) host: Option<String>,
    /// With what it is placed again: if it is supervised, when it is lost; in any case, when it turns out that it was
    /// not started.
    pub(crate) spec: Option<Box<DriverSpec>>,
    /// It may have been started there.
    pub(crate) has_begun: bool,
}

/// Where a driver is.
#[derive(Debug)]
pub(crate) enum DriverPlacement {
    /// It waits for a worker.
    Queued(Box<DriverSpec>),
    /// It was given to a worker.
    Assigned(Box<Assignment>),
    /// It attached itself, and is none of the cluster's processes.
    External {
        port: u16,
        /// Which of its connections counts.
        session: u64,
    },
    /// It has ended.
    None,
}

/// What may happen to the placement of a driver.
#[derive(Debug)]
pub(crate) enum DriverEvent {
    /// It is given to a worker.
    Assign(Box<Assignment>),
    /// Its worker is told to start it.
    Confirm,
    /// It runs. What is `None` is not new.
    Running { port: Option<u16>, host: Option<String> },
    /// It can never start: it is not placed again.
    NeverAgain,
    /// It is placed again.
    Requeue,
    /// It has connected itself again.
    Reattach { session: u64 },
    /// It has ended.
    End,
}

/// An event that is not possible where a driver is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IllegalTransition;

impl DriverPlacement {
    /// The one function by which it changes. Returns what it was assigned to and is not any more.
    ///
    /// # Errors
    /// If that cannot happen to a driver that is where this one is; then nothing is changed.
    pub(crate) fn apply(
        &mut self,
        event: DriverEvent,
    ) -> Result<Option<Box<Assignment>>, IllegalTransition> {
        match (&mut *self, event) {
            (Self::Queued(_), DriverEvent::Assign(assignment)) => {
                *self = Self::Assigned(assignment);
                Ok(None)
            }
            (Self::Assigned(assignment), DriverEvent::Confirm) => {
                if std::mem::replace(&mut assignment.has_begun, true) {
                    return Err(IllegalTransition);
                }
                Ok(None)
            }
            (Self::Assigned(assignment), DriverEvent::Running { port, host }) => {
                assignment.port = port.or(assignment.port);
                assignment.host = host.or(assignment.host.take());
                assignment.has_begun = true;
                // It is there: it is not placed again unless it is supervised.
                assignment.spec = assignment.spec.take().filter(|spec| spec.supervise);
                Ok(None)
            }
            (Self::Assigned(assignment), DriverEvent::NeverAgain) => {
                assignment.spec = None;
                Ok(None)
            }
            (Self::Assigned(assignment), DriverEvent::Requeue) => {
                let spec = assignment.spec.take().ok_or(IllegalTransition)?;
                Ok(std::mem::replace(self, Self::Queued(spec)).into_assignment())
            }
            (Self::External { session: known, .. }, DriverEvent::Reattach { session }) => {
                *known = session;
                Ok(None)
            }
            (Self::Queued(_) | Self::Assigned(_) | Self::External { .. }, DriverEvent::End) => {
                Ok(std::mem::replace(self, Self::None).into_assignment())
            }
            _ => Err(IllegalTransition),
        }
    }

    fn into_assignment(self) -> Option<Box<Assignment>> {
        match self {
            Self::Assigned(assignment) => Some(assignment),
            _ => None,
        }
    }

    /// What it is assigned to.
    pub(crate) fn assignment(&self) -> Option<&Assignment> {
        match self {
            Self::Assigned(assignment) => Some(assignment),
            _ => None,
        }
    }

    /// Whether it waits for a worker.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self, Self::Queued(_))
    }
}
