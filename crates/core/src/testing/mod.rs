//! For tests of programs that use this crate: a mock to be told what to answer, and a cluster in
//! memory that behaves.
//!
//! ```
//! use anymaster_core::ClusterManager;
//! use anymaster_core::testing::MockClusterManager;
//!
//! let mut mock = MockClusterManager::new();
//! mock.expect_name().return_const("mock");
//! let cluster: &dyn ClusterManager = &mock;
//! assert_eq!(cluster.name(), "mock");
//! ```

mod backend;
mod fake;
mod mock;

pub use backend::FakeBackend;
pub use fake::FakeCluster;
pub use mock::MockClusterManager;
