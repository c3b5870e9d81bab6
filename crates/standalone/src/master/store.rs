//! Where a master keeps what has to survive it (`spark.deploy.recoveryMode`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::keys;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// A record by its name; `None`: it is to go.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// A place for records. Calls block.
pub(crate) trait Store: fmt::Debug + Send + Sync + 'static {
    /// All of them.
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>>;

    /// Writes all of the changes, or none. When it returns, they are safe.
    fn write(&self, changes: &[Change]) -> Result<()>;
}

/// The store that properties name.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for a mode that there is not, and
/// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if the store cannot be opened.
pub(crate) fn open(conf: &Conf) -> Result<Option<Arc<dyn Store>>> {
    let mode = conf.read(&keys::RECOVERY_MODE)?;
    match mode.to_ascii_uppercase().as_str() {
        "NONE" => Ok(None),
        "FILESYSTEM" => {
            let directory = conf.read_optional(&keys::RECOVERY_DIRECTORY)?;
            let directory =
                directory.filter(|directory| !directory.is_empty()).ok_or_else(|| {
                    Error::invalid(format!(
                        "{} FILESYSTEM needs a directory",
                        keys::RECOVERY_MODE.info.name
                    ))
                    .with_hint(format!("set {}", keys::RECOVERY_DIRECTORY.info.name))
                })?;
            File::open(Path::new(&directory)).map(|file| Some(Arc::new(file) as _))
        }
        _ => Err(Error::unsupported(format!(
            "{}: there is no mode {mode:?}",
            keys::RECOVERY_MODE.info.name
        ))
        .with_hint("write NONE or FILESYSTEM")),
    }
}

/// One file, in which a change is whole or not at all.
struct File(Database);

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("File")
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
        let database =
            Database::create(directory.join("anymaster.redb")).map_err(|error| failed(&error))?;
        // The table is there from the beginning: reading it is never an error.
        let begin = || -> std::result::Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            transaction.open_table(TABLE)?;
            transaction.commit()?;
            Ok(())
        };
        begin().map_err(|error| failed(&error))?;
        Ok(Self(database))
    }
}

/// Secrets of applications are in it.
fn private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

impl Store for File {
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let load = || -> std::result::Result<Vec<_>, redb::Error> {
            let transaction = self.0.begin_read()?;
            let table = transaction.open_table(TABLE)?;
            let mut records = Vec::new();
            for record in table.iter()? {
                let (name, value) = record?;
                records.push((name.value().to_owned(), value.value().to_owned()));
            }
            Ok(records)
        };
        load().map_err(|error| Error::unavailable("cannot read what was kept").with_source(error))
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        let write = || -> std::result::Result<(), redb::Error> {
            let transaction = self.0.begin_write()?;
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
        };
        write().map_err(|error| {
            Error::unavailable("the master cannot write down what it is to remember")
                .with_source(error)
                .with_hint("is its disk full?")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let set = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        {
            let store = File::open(directory.path()).unwrap();
            assert!(store.load().unwrap().is_empty());
            store.write(&[set("a", "1"), set("b", "2")]).unwrap();
            store.write(&[set("a", "3"), ("b".to_owned(), None)]).unwrap();
            let second = File::open(directory.path()).unwrap_err();
            assert!(second.hint().unwrap().contains("another master"), "{second}");
        }
        let store = File::open(directory.path()).unwrap();
        assert_eq!(store.load().unwrap(), [("a".to_owned(), b"3".to_vec())]);
    }

    #[test]
    fn modes_that_there_are_not_are_refused() {
        let open = |pairs: &[(&str, &str)]| open(&pairs.iter().copied().collect());
        assert!(open(&[]).unwrap().is_none());
        assert!(open(&[("spark.deploy.recoveryMode", "none")]).unwrap().is_none());
        let error = open(&[("spark.deploy.recoveryMode", "FILESYSTEM")]).unwrap_err();
        assert!(error.message().contains("needs a directory"), "{error}");
        let error = open(&[("spark.deploy.recoveryMode", "PAPER")]).unwrap_err();
        assert!(error.message().contains("no mode \"PAPER\""), "{error}");
    }
}
