//! Where a master keeps what has to survive it (`spark.deploy.recoveryMode`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anymaster_core::{Error, Result};
use async_trait::async_trait;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// A record by its name; `None`: it is to go.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// A place for records.
#[async_trait]
pub(crate) trait Store: fmt::Debug + Send + Sync + 'static {
    /// All of them.
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>>;

    /// Writes the changes, each whole or not at all. When it returns, they are safe; after an error,
    /// some of them may be.
    async fn write(&self, changes: &Arc<[Change]>) -> Result<()>;

    /// The longest record that it takes, in bytes.
    fn max_record(&self) -> usize {
        usize::MAX
    }
}

/// A store in a directory of this machine.
///
/// # Errors
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be opened.
pub(crate) fn file(directory: &Path) -> Result<Arc<dyn Store>> {
    File::open(directory).map(|file| Arc::new(file) as _)
}

/// One file, in which a change is whole or not at all.
struct File(Arc<Opened>);

struct Opened {
    path: PathBuf,
    /// `None` after a failure: a database that has seen one is to be opened anew.
    database: Mutex<Option<Database>>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl File {
    fn open(directory: &Path) -> Result<Self> {
        let failed = |error: &dyn fmt::Display| {
            Error::unavailable(format!(
                "cannot open what was kept in {}: {error}",
                directory.display()
            ))
            .with_hint("does another master use that directory?")
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        private(directory).map_err(|error| failed(&error))?;
        let path = directory.join("anymaster.redb");
        let database = create(&path).map_err(|error| failed(&error))?;
        Ok(Self(Arc::new(Opened { path, database: Mutex::new(Some(database)) })))
    }
}

/// With its table: reading that is never an error.
fn create(path: &Path) -> std::result::Result<Database, redb::Error> {
    let database = Database::create(path)?;
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(database)
}

/// Secrets of applications are in it.
fn private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

impl Opened {
    /// Does something with the database, which is opened first if need be.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> std::result::Result<T, redb::Error>,
    ) -> std::result::Result<T, redb::Error> {
        let mut open = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match open.take() {
            Some(database) => database,
            None => create(&self.path)?,
        };
        let done = work(&database)?;
        *open = Some(database);
        Ok(done)
    }
}

/// Away from the threads that serve connections.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::unavailable("what was to be kept was broken off").with_source(error))
    })
}

#[async_trait]
impl Store for File {
    async fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let opened = Arc::clone(&self.0);
        apart(move || {
            opened
                .with(load)
                .map_err(|error| Error::unavailable("cannot read what was kept").with_source(error))
        })
        .await
    }

    async fn write(&self, changes: &Arc<[Change]>) -> Result<()> {
        let (opened, changes) = (Arc::clone(&self.0), Arc::clone(changes));
        apart(move || {
            opened.with(|database| write(database, &changes)).map_err(|error| {
                Error::unavailable("the master cannot write down what it is to remember")
                    .with_source(error)
                    .with_hint("is its disk full?")
            })
        })
        .await
    }
}

fn load(database: &Database) -> std::result::Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(TABLE)?;
    let mut records = Vec::new();
    for record in table.iter()? {
        let (name, value) = record?;
        records.push((name.value().to_owned(), value.value().to_owned()));
    }
    Ok(records)
}

fn write(database: &Database, changes: &[Change]) -> std::result::Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        for (name, value) in changes {
            match value {
                Some(value) => table.insert(name.as_str(), value.as_slice())?,
                None => table.remove(name.as_str())?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let set = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        {
            let store = File::open(directory.path()).unwrap();
            assert!(store.load().await.unwrap().is_empty());
            store.write(&[set("a", "1"), set("b", "2")].into()).await.unwrap();
            store.write(&[set("a", "3"), ("b".to_owned(), None)].into()).await.unwrap();
            let second = File::open(directory.path()).unwrap_err();
            assert!(second.hint().unwrap().contains("another master"), "{second}");
        }
        let store = File::open(directory.path()).unwrap();
        assert_eq!(store.load().await.unwrap(), [("a".to_owned(), b"3".to_vec())]);
    }
}
