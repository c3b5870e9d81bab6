//! The words of the contract: applications, drivers, executors, targets, and what happens to them.

mod app;
mod application;
mod check;
mod deploy_mode;
mod executor;
mod id;
mod outcome;
mod status;

pub use app::{
    ApplicationSpec, CommandLine, DriverSpec, ExternalDriver, Payload, SparkJob, SparkLanguage,
    Templates,
};
pub use application::{Application, Applications};
pub use check::{check_name, check_text};
pub use deploy_mode::DeployMode;
pub use executor::{
    ExecutorTarget, ExecutorTemplate, ProfileTarget, ResourceProfile, SparkVersions,
};
pub use id::{AppId, Cursor, ExecutorId, ProfileId, SubmissionId};
pub use outcome::{Outcome, Stop};
pub use status::{
    AllocationPhase, AllocationStatus, Cause, DriverStatus, End, Event, ExecutorStatus, Filter,
    KilledBy, Report, StartFailure, State, Status, Subject, Unreadable,
};
