//! For tests of programs that use this crate.
