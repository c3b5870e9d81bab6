//! Object stores and directories for uploads, logs and remote pod templates.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::{Conf, places};
use anymaster_core::{Error, Result};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::submitter_env::SubmitterEnv;

/// The buffer of an upload.
const CHUNK: usize = 8 * 1024 * 1024;

/// The largest file that is read: the limit of a config map.
const MAX_READ: usize = 1 << 20;
/// The time-out of reading a file.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Properties of Hadoop's S3 client, and the options of the object store for them.
const S3_PROPERTIES: [(&str, &str); 5] = [
    ("spark.hadoop.fs.s3a.access.key", "aws_access_key_id"),
    ("spark.hadoop.fs.s3a.secret.key", "aws_secret_access_key"),
    ("spark.hadoop.fs.s3a.session.token", "aws_session_token"),
    ("spark.hadoop.fs.s3a.endpoint", "aws_endpoint"),
    ("spark.hadoop.fs.s3a.endpoint.region", "aws_region"),
];

/// A directory in an object store or in a file system.
#[derive(Clone)]
pub(crate) struct Store {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

impl Store {
    /// Opens the directory at a URL: `s3://`, `s3a://`, `gs://`, `abfss://`, `file://`, or a path.
    ///
    /// Credentials come from `spark.hadoop.fs.s3a.*` and from the environment (`AWS_…`, `GOOGLE_…`,
    /// `AZURE_…`), as for the stores' own tools. `property` is named in errors.
    pub(crate) fn open(
        property: &str,
        text: &str,
        conf: &Conf,
        submitter: &SubmitterEnv,
    ) -> Result<Self> {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(_) => Url::from_file_path(submitter.path(text))
                .map_err(|()| invalid(property, text, &"it is neither a URL nor a path"))?,
        };
        if url.scheme() == "file" {
            let path =
                url.to_file_path().map_err(|()| invalid(property, text, &"it is not a path"))?;
            std::fs::create_dir_all(&path).map_err(|error| {
                Error::invalid(format!("{property}: cannot make the directory {}", path.display()))
                    .with_source(error)
            })?;
        }
        Self::at(property, text, &url, conf, submitter)
    }

    fn at(
        property: &str,
        text: &str,
        url: &Url,
        conf: &Conf,
        submitter: &SubmitterEnv,
    ) -> Result<Self> {
        if matches!(url.scheme(), "hdfs" | "viewfs" | "webhdfs") {
            return Err(Error::unsupported(format!(
                "{property}: Hadoop's file system cannot be reached without Java"
            ))
            .with_hint("name an object store; hdfs dfs -put and -get copy files"));
        }
        let (store, root) = object_store::parse_url_opts(url, options(url, conf, submitter))
            .map_err(|error| invalid(property, text, &error))?;
        Ok(Self { store: Arc::from(store), root })
    }

    /// Reads a remote file: from an object store, with the credentials of uploads, or from an
    /// `http://` or `https://` URL.
    ///
    /// # Errors
    /// If it cannot be read within 20 seconds, does not exist, or has more than 1 MiB.
    pub(crate) async fn read(
        property: &str,
        text: &str,
        conf: &Conf,
        submitter: &SubmitterEnv,
    ) -> Result<Vec<u8>> {
        let url = Url::parse(text).map_err(|error| invalid(property, text, &error))?;
        let reading = async {
            if matches!(url.scheme(), "http" | "https") {
                return get(url.clone()).await;
            }
            let Self { store, root } = Self::at(property, text, &url, conf, submitter)?;
            let found = store.get(&root).await.map_err(unreadable)?;
            if found.meta.size > MAX_READ as u64 {
                return Err(too_large());
            }
            Ok(found.bytes().await.map_err(unreadable)?.to_vec())
        };
        let read = tokio::time::timeout(READ_TIMEOUT, reading).await;
        let read = read.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("it cannot be reached within {READ_TIMEOUT:?}"))
                .with_hint("check the network and the credentials of the store"))
        });
        read.map_err(|error| error.context(format!("{property}: cannot read {}", places(text))))
    }

    /// Whether a URL is not on this machine.
    pub(crate) fn is_remote(text: &str) -> bool {
        Url::parse(text).is_ok_and(|url| url.scheme() != "file")
    }

    /// Checks a URL without connecting.
    pub(crate) fn check(property: &str, text: &str) -> Result<()> {
        match Url::parse(text) {
            Ok(url) if url.scheme() != "file" => {
                Self::open(property, text, &Conf::new(), &SubmitterEnv::default()).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Copies a local file to a name below the directory.
    pub(crate) async fn put_file(&self, from: &FilePath, name: &str) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("cannot upload {} to {name}", from.display()))
                .with_source(error)
        };
        let to = self.path(name)?;
        let mut file = tokio::fs::File::open(from).await.map_err(|error| {
            Error::invalid(format!("cannot read {}", from.display())).with_source(error)
        })?;
        let mut writer = BufWriter::with_capacity(Arc::clone(&self.store), to, CHUNK);
        match tokio::io::copy(&mut file, &mut writer).await {
            Ok(_) => writer.shutdown().await.map_err(failed),
            Err(error) => {
                // Leave no partial object.
                let _ = writer.abort().await;
                Err(failed(error))
            }
        }
    }

    /// A writer to a name below the directory. The object appears when the writer is shut down.
    pub(crate) fn writer(&self, name: &str) -> Result<BufWriter> {
        Ok(BufWriter::with_capacity(Arc::clone(&self.store), self.path(name)?, CHUNK))
    }

    /// Deletes an object, if it exists.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                Err(Error::unavailable(format!("cannot remove {name}")).with_source(error))
            }
        }
    }

    fn path(&self, name: &str) -> Result<Path> {
        let separator = if self.root.as_ref().is_empty() { "" } else { "/" };
        Path::parse(format!("{}{separator}{name}", self.root)).map_err(|error| {
            Error::invalid(format!("{name:?} cannot be the name of an object")).with_source(error)
        })
    }
}

fn invalid(property: &str, text: &str, why: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("{property}: {:?} is not a place for files: {why}", places(text)))
        .with_hint("write for example s3a://bucket/path, gs://bucket/path, abfss://container@account.dfs.core.windows.net/path or file:///path")
}

async fn get(url: Url) -> Result<Vec<u8>> {
    // The client's errors contain the URL, which may contain secrets.
    let failed = |error: reqwest::Error| unreadable(error.without_url());
    let answer = reqwest::get(url).await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(failed)?;
    let mut content = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if content.len() + piece.len() > MAX_READ {
            return Err(too_large());
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("it cannot be fetched").with_source(error)
}

fn too_large() -> Error {
    Error::invalid(format!("it has more than {MAX_READ} bytes"))
}

fn options(url: &Url, conf: &Conf, submitter: &SubmitterEnv) -> Vec<(String, String)> {
    let known =
        |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
    let environment =
        submitter.vars.iter().filter(|(name, value)| known(name) && !value.is_empty());
    let mut options: Vec<_> =
        environment.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    if !matches!(url.scheme(), "s3" | "s3a") {
        return options;
    }
    for (property, option) in S3_PROPERTIES {
        if let Some(value) = conf.get(property).filter(|value| !value.is_empty()) {
            let value = match option {
                // Hadoop's endpoint may lack a scheme.
                "aws_endpoint" if !value.contains("://") => {
                    let plain =
                        conf.get("spark.hadoop.fs.s3a.connection.ssl.enabled") == Some("false");
                    format!("{}://{value}", if plain { "http" } else { "https" })
                }
                _ => value.to_owned(),
            };
            if option == "aws_endpoint" && value.starts_with("http://") {
                options.push(("aws_allow_http".to_owned(), "true".to_owned()));
            }
            options.push((option.to_owned(), value));
        }
    }
    if conf.get("spark.hadoop.fs.s3a.path.style.access") == Some("false") {
        options.push(("aws_virtual_hosted_style_request".to_owned(), "true".to_owned()));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_uploaded_to_a_directory_and_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a/b");
        let store = Store::open(
            "p",
            &format!("file://{}", place.display()),
            &Conf::new(),
            &SubmitterEnv::default(),
        )
        .unwrap();
        let from = directory.path().join("from");
        std::fs::write(&from, "content").unwrap();
        store.put_file(&from, "x/file name.jar").await.unwrap();
        assert_eq!(std::fs::read_to_string(place.join("x/file name.jar")).unwrap(), "content");
        store.remove("x/file name.jar").await.unwrap();
        store.remove("x/file name.jar").await.unwrap();
        assert!(!place.join("x/file name.jar").exists());
        assert!(store.put_file(&directory.path().join("nope"), "y").await.is_err());
        assert!(!place.join("y").exists());
    }

    #[test]
    fn invalid_urls_are_refused_with_the_property() {
        let open = |text| {
            Store::open("spark.x", text, &Conf::new(), &SubmitterEnv::default())
                .map(|_| ())
                .unwrap_err()
        };
        assert!(open("hdfs://n/x").message().contains("without Java"));
        assert!(open("ftp://h/x").message().contains("spark.x"));
    }

    #[test]
    fn hadoops_s3_properties_are_read() {
        let conf: Conf = [
            ("spark.hadoop.fs.s3a.endpoint", "minio:9000"),
            ("spark.hadoop.fs.s3a.connection.ssl.enabled", "false"),
            ("spark.hadoop.fs.s3a.access.key", "k"),
        ]
        .into_iter()
        .collect();
        let url = Url::parse("s3a://b/x").unwrap();
        let options = options(&url, &conf, &SubmitterEnv::default());
        let get = |key: &str| {
            options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
        };
        assert_eq!(get("aws_endpoint"), Some("http://minio:9000"));
        assert_eq!(get("aws_allow_http"), Some("true"));
        assert_eq!(get("aws_access_key_id"), Some("k"));
    }
}
