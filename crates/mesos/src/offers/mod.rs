//! Offers, without I/O: which agents may be used, and pieces of what they offer.

pub mod constraints;
pub mod resources;
