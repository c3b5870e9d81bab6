//! Drivers and executors on any cluster manager, chosen by the master URL.
