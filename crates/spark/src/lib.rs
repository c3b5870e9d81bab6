//! Parses and resolves `spark-submit` command lines (Spark 3.5, `SparkSubmitArguments` and
//! `SparkSubmit`), without running them.
//!
//! [`parse`] parses the line with the table of [`flags`]; [`resolve`] adds the properties file, the
//! environment and the defaults, and validates the result; [`client_command`] is the command that
//! runs a Spark driver in client mode. Nothing here reads the process's environment directly: it is
//! passed as [`Environment`].

mod archive;
mod client;
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
mod suspicious_line;
mod verbose;

pub use client::{ClientCommand, client_command, spark_launcher, split_options};
pub use environment::Environment;
pub use help::{help, help_of};
pub use home::{SparkHome, find_java, find_spark, spark_of_program};
pub use mapping::property_of_option;
pub use parse::{Action, SubmitArgs, parse};
pub use releases::jvm_options;
pub use resolve::{Submission, properties, resolve};
pub use resource::Resource;
pub use spark_env::ScriptSetup;
pub use verbose::{parsed_arguments, resolved};
