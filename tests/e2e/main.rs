//! The built program, as its users run it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[expect(dead_code, reason = "it is more than is needed here")]
mod bytes;
mod daemon;
mod drop_in;
mod example;
mod home;
mod hostile;
mod layers;
mod local_application;
mod mistakes;
mod pi;
mod run_verb;
mod scarce;
mod serve;
mod shown;
mod spark_submit;
mod standalone;
mod stopping;
mod traces;
