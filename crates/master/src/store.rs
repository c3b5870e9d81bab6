//! Where a master keeps what has to survive it (`spark.deploy.recoveryMode`).

mod file;
mod log;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use anymaster_core::Result;
use async_trait::async_trait;

pub(super) use self::file::open as file;
use anymaster_native::keys;

/// By which loss is accepted, as errors name it.
pub(super) const ACCEPT_LOSS: &str = keys::ACCEPT_LOSS.info.name;

/// A record: its name, and what it is.
pub(crate) type Record = (String, Vec<u8>);
/// What becomes of the record of this name; `None`: it is to go.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// A place for records.
#[async_trait]
pub(crate) trait Store: fmt::Debug + Send + Sync + 'static {
    /// All of them.
    ///
    /// # Errors
    /// [`Protocol`](anymaster_core::ErrorKind::Protocol) if something that was acknowledged is missing or
    /// damaged, with how to go on; nothing is changed then.
    async fn load(&self) -> Result<Vec<Record>>;

    /// Writes the changes, each whole or not at all. When it returns, they are durable; after an error,
    /// some of them may be.
    ///
    /// # Errors
    /// If they cannot be written, or the store is not where it was.
    async fn write(&self, changes: &Arc<[Change]>) -> Result<()>;

    /// Confirms that nobody else can have written since this master began to lead.
    ///
    /// # Errors
    /// [`NotLeader`](anymaster_core::ErrorKind::NotLeader) if another may, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if that cannot be found out.
    async fn confirm(&self) -> Result<()> {
        Ok(())
    }

    /// The longest record that it takes, in bytes.
    fn max_record(&self) -> usize {
        usize::MAX
    }
}
