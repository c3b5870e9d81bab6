//! What only some clusters can do for those who look after them.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::Result;
use crate::model::AppId;

/// What only some clusters can do: checks before a submission, what is left over, time to live.
///
/// [`ClusterManager::administration`](crate::ClusterManager::administration) says whether a cluster has
/// it.
#[async_trait]
pub trait Administration: Send + Sync {
    /// Looks at what a submission by this user will need: rights, quotas, nodes. A failure is a
    /// [`Check`] like others.
    async fn preflight(&self) -> Vec<Check>;

    /// What no living application owns, and is older than `older_than`: younger ones may belong to a
    /// submission that is under way.
    ///
    /// # Errors
    /// As the cluster's.
    async fn leaks(&self, older_than: Duration) -> Result<Vec<Leak>>;

    /// Removes what [`leaks`](Self::leaks) found. Gone already is success.
    ///
    /// # Errors
    /// As the cluster's.
    async fn remove_leak(&self, leak: &Leak) -> Result<()>;

    /// Removes the executors that an application's driver has left behind.
    ///
    /// # Errors
    /// As the cluster's.
    async fn sweep(&self, app: &AppId) -> Result<()>;

    /// Removes each driver when its time to live is over, until this future is dropped; its log is saved
    /// before, where its submission says so. Several processes may do so at once. What fails is logged, and
    /// tried again later.
    async fn remove_all_expired(&self);
}

/// One thing that a submission needs, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    #[serde(rename = "verdict")]
    pub health: Health,
    /// What was found.
    pub detail: String,
    /// What mends it: a command or a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How something is that a submission needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Submissions work, something else does not.
    Optional,
    /// Submissions do not work.
    Missing,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, health: Health::Ok, detail: detail.into(), remedy: None }
    }

    /// Not there, and not needed by everybody.
    pub fn optional(
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::not_ok(name, Health::Optional, detail, remedy)
    }

    /// Not there, and needed.
    pub fn missing(
        name: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::not_ok(name, Health::Missing, detail, remedy)
    }

    /// Not as it should be.
    pub fn not_ok(
        name: &'static str,
        health: Health,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name, health, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

/// Something that no living application owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// What it is, for example `configmap`.
    pub kind: &'static str,
    /// The namespace, or whatever part of the cluster it is in.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Why it is taken for left over.
    pub why: String,
    /// What tells it from another one of its name, where the cluster has such an id.
    #[serde(skip)]
    pub uid: Option<String>,
}
