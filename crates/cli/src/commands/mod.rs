//! One file per verb.

pub(crate) mod application_master;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod definition;
pub(crate) mod dispatcher;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod janitor;
pub(crate) mod kill;
pub(crate) mod leaks;
pub(crate) mod local_worker;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod master;
pub(crate) mod ps;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod shuffle;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod watch;
pub(crate) mod worker;
