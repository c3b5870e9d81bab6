//! An example of a backend: how one is written, and what comes for free.
//!
//! Its cluster is a directory of this machine, `dir:///a/directory`: each application is a directory in it,
//! each process a shell that starts it and writes down how it ended. Any process that knows the directory
//! sees all of it. It is a toy: it asks again and again instead of being told, limits no memory, and whoever
//! ends its shells is not noticed.
//!
//! What a backend has to bring is in three files:
//! - here, [`Backend`]: the URLs that it serves, and facts that the program reads;
//! - `manager.rs`, [`ClusterManager`]: what the program and the library
//!   call; and `Launcher`, from which core's reconciler makes `request_executors`;
//! - `tests/conformance.rs`: the promises of every backend, tested.
//!
//! `main.rs` registers it in one line.

mod manager;
mod process;
mod store;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anymaster_core::{
    Backend, BackendInfo, ClusterManager, ConnectOptions, DriverPlacement, MasterUrl, Result,
};
use async_trait::async_trait;

pub use manager::DirectoryManager;

/// The backend `directory`, for a registry.
pub const DIRECTORY: Directory = Directory;

const INFO: BackendInfo = {
    let mut info = BackendInfo::new(
        "directory",
        &[("dir", "dir:///a/directory")],
        "an example: processes of this machine, kept in a directory: dir:///a/directory",
    );
    info.title = "a directory";
    info.drivers = DriverPlacement::ThisMachine;
    info
};

/// The backend `directory`.
#[derive(Debug, Clone, Copy)]
pub struct Directory;

#[async_trait]
impl Backend for Directory {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn check_url(&self, master: &MasterUrl) -> Result<MasterUrl> {
        directory(master).map(|_| master.clone())
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Arc<dyn ClusterManager>> {
        Ok(Arc::new(DirectoryManager::open(options.master)?))
    }
}

/// The directory that a URL names.
fn directory(master: &MasterUrl) -> Result<PathBuf> {
    let path = Path::new(master.rest());
    if !path.is_absolute() {
        let error = master.wrong(master.rest(), "it is not an absolute path");
        return Err(INFO.with_example("dir", error));
    }
    Ok(path.to_owned())
}
