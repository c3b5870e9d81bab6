//! What has to survive a master of an application whose driver speaks Spark's RPC: what the driver said, in its own
//! bytes.

use std::collections::BTreeSet;
use std::fmt;

use anymaster_core::model::ExecutorId;
use anymaster_core::{Error, Result};
use anymaster_spark_wire::messages::{self, RegisterApplication, ResourceProfile, ToMaster};
use anymaster_spark_wire::{Dialect, Limits, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::connection::broken;

/// The format of records that this program writes and reads.
const FORMAT: u32 = 1;

/// An application as it is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// By which the driver's Spark is known.
    question: Message,
    registration: Message,
    /// The totals that the driver declared last.
    totals: Option<Message>,
    /// Executors that it gave up, and that have not ended yet.
    given_up: BTreeSet<ExecutorId>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("given_up", &self.given_up).finish_non_exhaustive()
    }
}

/// A message of a driver: a Java object stream.
#[derive(Clone, PartialEq)]
struct Message(Vec<u8>);

impl Message {
    fn stream(&self) -> Result<Stream> {
        Stream::read(&self.0, Limits::default()).map_err(broken)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a record says.
pub(crate) struct Restored {
    pub(crate) dialect: Dialect,
    pub(crate) registration: RegisterApplication,
    pub(crate) totals: Option<Vec<(ResourceProfile, u32)>>,
    pub(crate) given_up: BTreeSet<ExecutorId>,
}

impl Record {
    /// Of a driver that has asked this question, and registered itself by this message.
    pub(crate) fn new(question: &[u8], registration: &[u8]) -> Self {
        Self {
            format: FORMAT,
            question: Message(question.to_vec()),
            registration: Message(registration.to_vec()),
            totals: None,
            given_up: BTreeSet::new(),
        }
    }

    /// The driver has declared its totals by this message.
    pub(crate) fn set_totals(&mut self, message: &[u8]) {
        self.totals = Some(Message(message.to_vec()));
    }

    /// The record, with the executors that the driver has given up.
    pub(crate) fn with_given_up(&self, given_up: BTreeSet<ExecutorId>) -> Self {
        Self { given_up, ..self.clone() }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// None are known.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::protocol("a record that cannot be written").with_source(error))
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// If it was not stored by this release or one before.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |error| {
            Error::protocol("what was stored of a Spark driver is not of this release")
                .with_source(error)
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format > FORMAT {
            return Err(Error::protocol(format!(
                "what was stored of a Spark driver has format {format}; this release reads {FORMAT}"
            )));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// Reads what the driver said.
    ///
    /// # Errors
    /// If that is not what a driver says.
    pub(crate) fn restore(&self) -> Result<Restored> {
        let unexpected =
            || Error::protocol("what was stored of a Spark driver is not what one says");
        let mut dialect = Dialect::of_question(&self.question.stream()?).map_err(broken)?;
        let stream = self.registration.stream()?;
        dialect.learn(&stream);
        let ToMaster::RegisterApplication(registration) =
            messages::read(&stream).map_err(broken)?
        else {
            return Err(unexpected());
        };
        let totals = match &self.totals {
            None => None,
            Some(message) => match messages::read(&message.stream()?).map_err(broken)? {
                ToMaster::RequestExecutors { totals, .. } => Some(totals),
                _ => return Err(unexpected()),
            },
        };
        let given_up = self.given_up.clone();
        Ok(Restored { dialect, registration: *registration, totals, given_up })
    }
}
