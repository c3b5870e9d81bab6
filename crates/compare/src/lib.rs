//! One job on several clusters, measured side by side.
//!
//! [`compare`] runs a [`Job`] on each [`Candidate`], in turn, and returns a [`Comparison`]: what each
//! cluster can do, whether the job would run there, and what its runs took. [`page`] makes a web page of it
//! that needs nothing else; of an application that ran otherwise, too, by its [`Timeline`]. [`translate`]
//! says what becomes of a `spark-submit` line on another cluster.
//!
//! Nothing here knows a backend, prints, or handles signals.

mod candidate;
mod comparison;
mod follow;
mod measure;
pub mod page;
mod preflight;
mod prices;
mod recorder;
mod rows;
mod stop;
mod timeline;
mod translate;
mod usage;

pub use candidate::{Candidate, Job};
pub use comparison::{
    Column, CompareOptions, Comparison, Obstacle, Progress, ProgressObserver, Spread, compare,
};
pub use follow::follow;
pub use measure::{Limits, MeasuredEnd, MeasuredOutcome, Measurement};
pub use preflight::{capabilities_in_words, missing, preflight};
pub use prices::{Price, Prices, Shapes};
pub use rows::{Row, seconds};
pub use stop::Stop;
pub use timeline::{Bar, Marks, Phase, Timeline};
pub use translate::{Fate, Given, Lines, Translation, translate};
pub use usage::ClientUsage;
