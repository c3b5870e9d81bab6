//! One suite of tests for every cluster manager.
