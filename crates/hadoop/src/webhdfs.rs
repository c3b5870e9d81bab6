//! HDFS by its HTTP interface (Hadoop 3.4, WebHDFS).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use reqwest::header::LOCATION;
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use crate::Configuration;
use crate::file_system::{FileStatus, Source};
use crate::http::{body, checked, unreachable};
use crate::remedy::with_remedy;
use crate::rpc::Caller;

/// The ports of a name node's pages, without and with TLS.
const HTTP_PORT: u16 = 9870;
const HTTPS_PORT: u16 = 9871;
/// How long a server has to accept a connection, and to go on with an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How much is read of a file of this machine at once.
const CHUNK: usize = 256 << 10;
/// The longest answer about files: a directory of 10,000 files is some three megabytes.
const MAX_ANSWER: u64 = 256 << 20;
/// Whose answers they are, in errors.
const HDFS: &str = "HDFS";

/// One HDFS, by all its name nodes.
#[derive(Clone)]
pub struct WebHdfs {
    http: reqwest::Client,
    /// `http://host:9870`.
    name_nodes: Arc<[String]>,
    caller: Caller,
    /// The name node that answered last.
    active: Arc<AtomicUsize>,
}

impl fmt::Debug for WebHdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebHdfs").field("name_nodes", &self.name_nodes).finish_non_exhaustive()
    }
}

impl WebHdfs {
    /// The HDFS of this authority: a host with a port, or the name of a group of name nodes.
    pub(crate) fn new(
        configuration: &Configuration,
        authority: &str,
        caller: &Caller,
    ) -> Result<Self> {
        let name_nodes = name_nodes(configuration, authority)?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| Error::invalid("cannot create an HTTP client").with_source(error))?;
        Ok(Self {
            http,
            name_nodes: name_nodes.into(),
            caller: caller.clone(),
            active: Arc::default(),
        })
    }

    pub(crate) async fn home(&self) -> Result<String> {
        let home: Home = self.json(Method::GET, "/", "GETHOMEDIRECTORY", &[]).await?;
        Ok(home.path)
    }

    pub(crate) async fn make_dir(&self, path: &str, mode: u32) -> Result<()> {
        let mode = format!("{mode:o}");
        let made: Boolean =
            self.json(Method::PUT, path, "MKDIRS", &[("permission", &mode)]).await?;
        made.check("make the directory", path)?;
        // One that was there has kept its mode.
        self.done(Method::PUT, path, "SETPERMISSION", &[("permission", &mode)]).await
    }

    pub(crate) async fn write(
        &self,
        path: &str,
        source: &Source,
        mode: u32,
        replication: Option<u32>,
    ) -> Result<()> {
        let (mode, replication) = (format!("{mode:o}"), replication.map(|it| it.to_string()));
        let mut parameters = vec![("overwrite", "true"), ("permission", mode.as_str())];
        parameters.extend(replication.as_deref().map(|it| ("replication", it)));
        let to = self.redirection(Method::PUT, path, "CREATE", &parameters).await?;
        let body = match source {
            Source::Bytes(bytes) => reqwest::Body::from(bytes.clone()),
            Source::File(from) => {
                let file = tokio::fs::File::open(from).await.map_err(|error| {
                    Error::invalid(format!("cannot read {}", from.display())).with_source(error)
                })?;
                reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, CHUNK))
            }
        };
        let writing = self.http.put(to.clone()).body(body).send().await;
        let written = writing.map_err(|error| unreachable(HDFS, to.as_str(), error))?;
        checked(HDFS, written)
            .await
            .map(drop)
            .map_err(|error| with_remedy(error.context(format!("cannot write {path}")), path))
    }

    pub(crate) async fn status(&self, path: &str) -> Result<Option<FileStatus>> {
        let found: Result<Found> = self.json(Method::GET, path, "GETFILESTATUS", &[]).await;
        missing_is_none(found.map(|found| found.file_status.status()))
    }

    pub(crate) async fn list(&self, path: &str) -> Result<Vec<FileStatus>> {
        let listed: Result<Listed> = self.json(Method::GET, path, "LISTSTATUS", &[]).await;
        let all = missing_is_none(listed)?.map(|listed| listed.file_statuses.file_status);
        Ok(all.unwrap_or_default().iter().map(Status::status).collect())
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let renamed: Boolean =
            self.json(Method::PUT, from, "RENAME", &[("destination", to)]).await?;
        renamed.check("rename", from)
    }

    pub(crate) async fn remove(&self, path: &str) -> Result<()> {
        // False: there was none.
        let _: Boolean =
            self.json(Method::DELETE, path, "DELETE", &[("recursive", "true")]).await?;
        Ok(())
    }

    pub(crate) async fn read(&self, path: &str, max: u64) -> Result<Bytes> {
        let length = (max + 1).to_string();
        let from = self.redirection(Method::GET, path, "OPEN", &[("length", &length)]).await?;
        let answer = self.http.get(from.clone()).send().await;
        let answer =
            checked(HDFS, answer.map_err(|error| unreachable(HDFS, from.as_str(), error))?).await?;
        match body(HDFS, answer, max).await {
            Err(error) if error.kind() == ErrorKind::Protocol => {
                Err(Error::invalid(format!("{path} is longer than {max} bytes")))
            }
            read => read,
        }
    }

    async fn json<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T> {
        let answer = self.ask(method, path, operation, parameters).await?;
        let bytes = body(HDFS, answer, MAX_ANSWER).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::protocol(format!("WebHDFS: the answer to {operation} is not understood"))
                .with_source(error)
        })
    }

    async fn done(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<()> {
        self.ask(method, path, operation, parameters).await.map(drop)
    }

    /// Where the name node sends those who read or write data.
    async fn redirection(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Url> {
        let answer = self.ask(method, path, operation, parameters).await?;
        let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        to.and_then(|to| answer.url().join(to).ok()).ok_or_else(|| {
            Error::protocol(format!("WebHDFS: the answer to {operation} names no data node"))
        })
    }

    /// Asks the active name node.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Response> {
        let (first, count) = (self.active.load(Ordering::Relaxed), self.name_nodes.len());
        let mut last = None;
        for at in (0..count).map(|step| (first + step) % count) {
            let node = &self.name_nodes[at];
            match self.ask_one(node, method.clone(), path, operation, parameters).await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotLeader | ErrorKind::Unavailable) =>
                {
                    last = Some(error);
                }
                answered => {
                    self.active.store(at, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::invalid("no name node is known")))
    }

    async fn ask_one(
        &self,
        node: &str,
        method: Method,
        path: &str,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Response> {
        let mut url = Url::parse(node).map_err(|error| {
            Error::invalid(format!("{node}: not an address")).with_source(error)
        })?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(["webhdfs", "v1"]);
            segments.extend(path.split('/').filter(|part| !part.is_empty()));
        }
        let Caller { user, real_user } = &self.caller;
        let mut query = vec![("op", operation), ("user.name", real_user.as_ref().unwrap_or(user))];
        query.extend(real_user.as_ref().map(|_| ("doas", user.as_str())));
        query.extend(parameters);
        url.query_pairs_mut().extend_pairs(query);
        let sent = self.http.request(method, url).send().await;
        let answer = sent.map_err(|error| unreachable(HDFS, node, error))?;
        checked(HDFS, answer).await.map_err(|error| {
            with_remedy(error.context(format!("WebHDFS, {operation} {path}")), path)
        })
    }
}

/// The addresses of the pages of the name nodes.
fn name_nodes(configuration: &Configuration, authority: &str) -> Result<Vec<String>> {
    let policy = configuration.get("dfs.http.policy").unwrap_or_default();
    let (scheme, key, port) = match policy.as_str() {
        "HTTPS_ONLY" => ("https", "dfs.namenode.https-address", HTTPS_PORT),
        _ => ("http", "dfs.namenode.http-address", HTTP_PORT),
    };
    let ids = configuration.list(&format!("dfs.ha.namenodes.{authority}"));
    if !ids.is_empty() {
        let of = |id: &String| {
            let key = format!("{key}.{authority}.{id}");
            configuration
                .get(&key)
                .map(|address| format!("{scheme}://{address}"))
                .ok_or_else(|| Error::invalid(format!("hdfs-site.xml: {key} is not set")))
        };
        return ids.iter().map(of).collect();
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host.is_empty() {
        return Err(Error::invalid("fs.defaultFS does not say where HDFS is")
            .with_hint("set it in core-site.xml: hdfs://HOST:PORT"));
    }
    let address =
        configuration.get(key).or_else(|| configuration.get(&format!("{key}.{authority}")));
    // Where servers listen on all addresses, clients go to the host of the file system.
    let address = match address {
        Some(address) => match address.strip_prefix("0.0.0.0:") {
            Some(port) => format!("{host}:{port}"),
            None => address,
        },
        None => format!("{host}:{port}"),
    };
    Ok(vec![format!("{scheme}://{address}")])
}

fn missing_is_none<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[derive(Deserialize)]
struct Home {
    #[serde(rename = "Path")]
    path: String,
}

#[derive(Deserialize)]
struct Boolean {
    boolean: bool,
}

impl Boolean {
    fn check(&self, what: &str, path: &str) -> Result<()> {
        match self.boolean {
            true => Ok(()),
            false => Err(Error::conflict(format!("HDFS cannot {what} {path}"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    file_status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    file_statuses: Statuses,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statuses {
    file_status: Vec<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    path_suffix: String,
    #[serde(rename = "type")]
    kind: String,
    length: u64,
    modification_time: u64,
    permission: String,
}

impl Status {
    fn status(&self) -> FileStatus {
        FileStatus {
            name: self.path_suffix.clone(),
            is_dir: self.kind == "DIRECTORY",
            length: self.length,
            modified: self.modification_time,
            mode: u32::from_str_radix(&self.permission, 8).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(properties: &[(&str, &str)]) -> Configuration {
        properties.iter().copied().collect()
    }

    #[test]
    fn name_nodes_are_found_by_host_by_property_and_by_group() {
        let of = |properties: &[(&str, &str)], authority| {
            name_nodes(&configuration(properties), authority).unwrap()
        };
        assert_eq!(of(&[], "nn:8020"), ["http://nn:9870"]);
        let http = "dfs.namenode.http-address";
        assert_eq!(of(&[(http, "0.0.0.0:50070")], "nn:8020"), ["http://nn:50070"]);
        assert_eq!(of(&[(http, "web:1")], "nn:8020"), ["http://web:1"]);
        assert_eq!(of(&[("dfs.http.policy", "HTTPS_ONLY")], "nn"), ["https://nn:9871"]);
        let group = [
            ("dfs.ha.namenodes.ns", "a,b"),
            ("dfs.namenode.http-address.ns.a", "one:1"),
            ("dfs.namenode.http-address.ns.b", "two:2"),
        ];
        assert_eq!(of(&group, "ns"), ["http://one:1", "http://two:2"]);
        let error = name_nodes(&configuration(&group[..2]), "ns").unwrap_err();
        assert!(error.message().contains("http-address.ns.b"), "{error}");
    }
}
