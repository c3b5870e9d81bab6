//! What an application master in a container finds of its application: a file beside it, which is its user's only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anymaster_core::model::{AppId, ApplicationSpec};
use anymaster_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::proto::{LocalResource, LocalResourceType, NamedResource, Url, Visibility};

/// Its name in the container.
pub(crate) const APPLICATION: &str = "anymaster-application.json";

/// An application, as its application master needs it.
#[derive(Serialize, Deserialize)]
pub(crate) struct ApplicationFile {
    pub(crate) app: AppId,
    pub(crate) spec: ApplicationSpec,
    /// Whom the cluster is told.
    pub(crate) user: String,
    /// Hadoop's configuration, as the submitter had it.
    pub(crate) configuration: BTreeMap<String, String>,
    /// What others prove to be heard.
    pub(crate) key: String,
    /// The file with the secret of driver and executors.
    pub(crate) secret: StagedFile,
    /// The directory that is to be removed at the end, unless it is to stay.
    pub(crate) staging: Option<String>,
}

impl fmt::Debug for ApplicationFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationFile").field("app", &self.app).finish_non_exhaustive()
    }
}

impl ApplicationFile {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|error| {
            Error::invalid(format!("cannot read {}: this is started by YARN", path.display()))
                .with_source(error)
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            Error::protocol(format!("{} is not understood", path.display())).with_source(error)
        })
    }
}

/// A file that containers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    /// Its name in the container.
    pub(crate) link: String,
    pub(crate) scheme: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: i32,
    pub(crate) path: String,
    pub(crate) size: i64,
    /// In milliseconds since 1970.
    pub(crate) modified: i64,
    /// Who may use what a node keeps of it.
    pub(crate) visibility: Visibility,
}

impl StagedFile {
    pub(crate) fn resource(&self) -> NamedResource {
        let resource = LocalResource {
            url: Some(Url {
                scheme: self.scheme.clone(),
                host: self.host.clone(),
                port: Some(self.port),
                file: Some(self.path.clone()),
            }),
            size: Some(self.size),
            timestamp: Some(self.modified),
            kind: Some(LocalResourceType::File as i32),
            visibility: Some(self.visibility as i32),
        };
        NamedResource { name: Some(self.link.clone()), resource: Some(resource) }
    }
}
