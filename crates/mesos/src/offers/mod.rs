//! What is done with offers: which agents may be used, and what of an offer goes to whom. No I/O.

pub mod constraints;
pub mod place;
pub mod resources;
