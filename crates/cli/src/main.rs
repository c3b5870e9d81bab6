//! The anymaster program.
fn main() {}
