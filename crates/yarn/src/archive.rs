//! The logs of an application that has ended: each NodeManager has left those of its containers in a file.

use std::collections::BTreeSet;
use std::time::Duration;

use anymaster_core::{Error, Result};
use anymaster_hadoop::rpc::Caller;
use anymaster_hadoop::{Configuration, FileSystem, Location};
use tokio::time::Instant;

use crate::proto::ApplicationId;
use crate::tfile::{self, ContainerLogs};

/// How long NodeManagers have to leave their files, and how often is looked for them.
const PATIENCE: Duration = Duration::from_secs(25);
const INTERVAL: Duration = Duration::from_millis(500);
/// The longest file that is read.
const MAX_FILE: u64 = 256 << 20;
/// What the name of a file ends with that is not yet whole.
const UNFINISHED: &str = ".tmp";

/// The directory with the logs of an application.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    files: FileSystem,
    directory: Location,
}

impl Archive {
    /// That of an application of this user; `None` where the cluster keeps none.
    pub(crate) fn of(
        configuration: &Configuration,
        caller: &Caller,
        user: &str,
        app: ApplicationId,
    ) -> Result<Option<Self>> {
        if !configuration.is_true("yarn.log-aggregation-enable") {
            return Ok(None);
        }
        let get = |key: &str, default: &str| {
            configuration
                .get(&format!("yarn.nodemanager.{key}"))
                .unwrap_or_else(|| default.to_owned())
        };
        let root =
            Location::parse(&get("remote-app-log-dir", "/tmp/logs"))?.resolved(configuration)?;
        let suffix = get("remote-app-log-dir-suffix", "logs").to_lowercase();
        let files = FileSystem::of(configuration, &root, caller)?;
        let directory = root
            .join(user)
            .join(&format!("bucket-{suffix}-tfile"))
            .join(&format!("{:04}", app.id % 10_000))
            .join(&app.to_string());
        Ok(Some(Self { files, directory }))
    }

    /// The logs of a container by their names, when its NodeManager has left them.
    pub(crate) async fn logs_of(&self, container: &str) -> Result<ContainerLogs> {
        let (deadline, mut searched) = (Instant::now() + PATIENCE, BTreeSet::new());
        let mut unreadable = None;
        loop {
            for file in self.files.list(&self.directory.path).await? {
                if file.name.ends_with(UNFINISHED) || searched.contains(&file.name) {
                    continue;
                }
                let path = self.directory.join(&file.name).path;
                let bytes = self.files.read(&path, MAX_FILE).await?;
                match tfile::logs_of(&bytes, container) {
                    Ok(Some(logs)) => return Ok(logs),
                    Ok(None) => {}
                    // Another node's may have them.
                    Err(error) => unreadable = Some(error.context(&file.name)),
                }
                searched.insert(file.name);
            }
            if Instant::now() >= deadline {
                if let Some(error) = unreadable {
                    return Err(error);
                }
                return Err(Error::not_found(format!(
                    "{} has no logs of {container}",
                    self.directory
                ))
                .with_hint("its NodeManager may not have left them yet: try again later"));
            }
            // Nobody tells when they are there.
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
