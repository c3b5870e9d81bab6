//! Clusters that need nothing else.
//!
//! [`local`] runs drivers and executors as processes of this machine: `local`, `local[N]`,
//! `local[*]`, `local[N,F]`, `local-cluster[n,c,m]`.

pub mod local;
