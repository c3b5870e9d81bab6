//! The built program, as its users run it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod compare;
mod drop_in;
mod gateway;
mod hostile;
mod layers;
mod local_application;
mod mistakes;
mod operator;
mod pi;
mod run_verb;
mod scarce;
mod serve;
mod shown;
mod shuffle;
mod spark_submit;
mod staging;
mod standalone;
mod stopping;
mod traces;
