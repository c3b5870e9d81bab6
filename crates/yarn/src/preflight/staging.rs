//! The place of submissions' files: whether one can be written there.

use anymaster_core::{Check, Result};
use anymaster_hadoop::Source;

use super::{missing, unique};
use crate::cluster::Cluster;
use crate::staging::{PRIVATE, caller, home, staging_root};

/// What directories are called that only try whether it works.
pub(crate) const PROBE: &str = "anymaster-doctor-";

/// Makes a directory there, writes a file into it, and removes both.
pub(super) async fn check(cluster: &Cluster) -> Check {
    const NAME: &str = "staging directory";
    match probed(cluster).await {
        Ok(place) => Check::ok(NAME, format!("{place} can be written")),
        Err(error) => missing(NAME, &error),
    }
}

async fn probed(cluster: &Cluster) -> Result<String> {
    let caller = caller(&cluster.submitter, None);
    let (files, home) = home(&cluster.conf, &cluster.configuration, &caller).await?;
    let root = staging_root(&home);
    let probe = root.join(&unique(PROBE));
    files.make_dir(&probe.path, PRIVATE).await?;
    let at = probe.join("file");
    let written = files.write(&at.path, &Source::Bytes("probe".into()), None).await;
    let removed = files.remove(&probe.path).await;
    written.and(removed)?;
    Ok(root.to_string())
}
