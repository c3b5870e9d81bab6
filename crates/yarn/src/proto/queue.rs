//! The messages about queues that are used, by their fields (Hadoop 3.4, `yarn_protos.proto`,
//! `yarn_service_protos.proto`). Fields that nobody reads are left out.

use prost::{Enumeration, Message};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueueRequest {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) with_applications: Option<bool>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) with_children: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(crate) recursive: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueueResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) queue: Option<QueueInfo>,
}

/// A queue. Its shares are those of the queue that it is in.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueueInfo {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub(crate) capacity: Option<f32>,
    #[prost(float, optional, tag = "3")]
    pub(crate) maximum_capacity: Option<f32>,
    /// How much of its capacity is used.
    #[prost(float, optional, tag = "4")]
    pub(crate) current_capacity: Option<f32>,
    #[prost(enumeration = "QueueState", optional, tag = "5")]
    pub(crate) state: Option<i32>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) children: Vec<QueueInfo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum QueueState {
    Stopped = 1,
    Running = 2,
    Draining = 3,
}

impl QueueState {
    /// As Hadoop writes it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Running => "RUNNING",
            Self::Draining => "DRAINING",
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueueAclsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) queues: Vec<QueueUserAcls>,
}

/// What the caller may do with a queue.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueueUserAcls {
    #[prost(string, optional, tag = "1")]
    pub(crate) queue: Option<String>,
    #[prost(enumeration = "QueueAcl", repeated, packed = "false", tag = "2")]
    pub(crate) acls: Vec<i32>,
}

impl QueueUserAcls {
    pub(crate) fn may_submit(&self) -> bool {
        self.acls.contains(&(QueueAcl::SubmitApplications as i32))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum QueueAcl {
    SubmitApplications = 1,
    AdministerQueue = 2,
}
