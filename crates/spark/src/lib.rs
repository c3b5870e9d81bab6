//! What a `spark-submit` line means (Spark 3.5, `SparkSubmitArguments` and `SparkSubmit`), without
//! running it.
//!
//! [`parse`] reads the line with the table of [`flags`]; [`resolve`] brings in the properties file,
//! the environment and the defaults, and checks it all; [`client_command`] is the JVM that runs a
//! Spark driver in client mode. Nothing here reads the process' own environment: [`Environment`] is
//! handed in.

mod archive;
mod client;
mod doubt;
mod environment;
pub mod flags;
mod help;
mod home;
mod manifest;
mod mapping;
mod parse;
mod releases;
mod resolve;
mod resource;
mod spark_env;
mod verbose;

pub use client::{ClientCommand, client_command, spark_launcher};
pub use environment::Environment;
pub use help::{help, help_of};
pub use home::{SparkHome, find_java, find_spark, spark_of_program};
pub use parse::{Action, SubmitArgs, parse};
pub use resolve::{Submission, properties, resolve};
pub use resource::Resource;
pub use spark_env::Surroundings;
pub use verbose::{parsed_arguments, resolved};
