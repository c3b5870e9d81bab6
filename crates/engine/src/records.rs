//! The records of what survives a master.

use std::collections::BTreeMap;

use anymaster_core::model::{DriverSpec, DriverStatus, ExecutorId, ExecutorTarget, KilledBy, Stop};
use anymaster_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::amount::Amount;
use crate::app::App;
use crate::driver::DriverPlacement;
use crate::engine::SubmissionSeq;
use crate::model::Application;

/// What the names of records of other parts of the daemon begin with.
pub(crate) const EXTENSION: &str = "beside/";
/// The record of the workers that there are.
pub(crate) const WORKERS: &str = "workers";

/// The format of records that this program writes. It reads this one and all before; records that do not say which they
/// have are of format 0.
const FORMAT: u32 = 1;

/// The format of a record, and the release that has written it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Format {
    #[serde(rename = "format", default)]
    version: u32,
    #[serde(rename = "program", default)]
    release: String,
}

impl Format {
    /// The one that this program writes.
    fn own() -> Self {
        Self { version: FORMAT, release: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Refuses the record of a newer format. `name`: the record's.
    ///
    /// # Errors
    /// [`Protocol`](anymaster_core::ErrorKind::Protocol), with the release that is needed.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        let Self { version, release } = self;
        if *version <= FORMAT {
            return Ok(());
        }
        Err(Error::protocol(format!(
            "{name} has format {version}, of release {release}; this is release {}, which reads format {FORMAT} \
             and those before",
            env!("CARGO_PKG_VERSION")
        ))
        .with_hint(format!("use release {release} or a newer one; nothing was changed")))
    }
}

/// An application as it is stored.
#[derive(Serialize, Deserialize)]
pub(crate) struct ApplicationRecord {
    #[serde(flatten)]
    format: Format,
    #[serde(rename = "turn")]
    pub(crate) seq: SubmissionSeq,
    pub(crate) driver: DriverStatus,
    #[serde(rename = "place")]
    pub(crate) placement: PlacementRecord,
    pub(crate) shared: Application,
    pub(crate) digest: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) registration: String,
    pub(crate) asked: Option<Stop>,
    pub(crate) target: Option<ExecutorTarget>,
    pub(crate) most_wanted: u64,
    /// Ids up to this one may have been given.
    pub(crate) reserved: u64,
    /// How often its driver was started again.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// Which executors were asked to end, and have not yet.
    #[serde(default)]
    pub(crate) stops: BTreeMap<ExecutorId, Stop>,
    /// Lost workers, and up to which id executors there have ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lost_workers: BTreeMap<String, u64>,
    /// Where its driver is, or was.
    #[serde(default)]
    pub(crate) driver_worker: Option<String>,
    #[serde(default)]
    pub(crate) driver_attempt: Option<u32>,
    #[serde(default)]
    pub(crate) driver_need: Amount,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PlacementRecord {
    #[serde(rename = "waiting")]
    Queued { spec: Box<DriverSpec> },
    /// It may have been started there.
    #[serde(rename = "on")]
    Assigned {
        worker: String,
        need: Amount,
        port: Option<u16>,
        #[serde(default)]
        host: Option<String>,
        spec: Option<Box<DriverSpec>>,
    },
    #[serde(rename = "outside")]
    External { port: u16 },
    #[serde(rename = "nowhere")]
    None,
}

/// The name of an application's record.
pub(crate) fn name(app: &App) -> String {
    format!("app/{}", app.id())
}

pub(crate) fn json(record: &impl Serialize) -> Vec<u8> {
    // There is nothing in a record that JSON does not know.
    serde_json::to_vec(record).unwrap_or_default()
}

impl App {
    pub(crate) fn record(&self, seq: SubmissionSeq) -> ApplicationRecord {
        let placement = match &self.placement {
            DriverPlacement::Queued(spec) => PlacementRecord::Queued { spec: spec.clone() },
            DriverPlacement::Assigned(is) => match &is.spec {
                // It is started when it is recorded that it may have been.
                Some(spec) if !is.has_begun => PlacementRecord::Queued { spec: spec.clone() },
                spec => PlacementRecord::Assigned {
                    worker: is.worker.clone(),
                    need: is.need.clone(),
                    port: is.port,
                    host: is.host.clone(),
                    spec: spec.clone(),
                },
            },
            DriverPlacement::External { port, .. } => PlacementRecord::External { port: *port },
            DriverPlacement::None => PlacementRecord::None,
        };
        let is_requested = |(_, stop): &(&ExecutorId, &Stop)| stop.by == KilledBy::Request;
        ApplicationRecord {
            format: Format::own(),
            seq,
            driver: self.driver.clone(),
            placement,
            shared: self.shared.clone(),
            digest: self.digest.clone(),
            registration: self.registration.clone(),
            asked: self.asked,
            target: self.wanted.as_ref().map(|wanted| wanted.target.clone()),
            most_wanted: self.most_wanted,
            reserved: self.reserved,
            attempts: self.attempts,
            // Which ones are too many is found out anew.
            stops: self.stops.iter().filter(is_requested).map(|(id, stop)| (*id, *stop)).collect(),
            lost_workers: self.lost_workers.clone(),
            driver_worker: self.driver_worker.clone(),
            driver_attempt: Some(self.driver_attempt),
            driver_need: self.driver_need.clone(),
        }
    }
}
