//! Which of the masters leads.

use std::fmt;
use std::time::Duration;

use anymaster_core::{Error, ErrorKind, HostPort, Result};
use serde::Deserialize;
use zookeeper_client::Client;

use crate::master_url::MesosMaster;

/// How long ZooKeeper has to answer.
const SESSION: Duration = Duration::from_secs(10);
/// What the nodes of masters are called (Mesos 1.0 and later; those before wrote protocol buffers).
const NODE: &str = "json.info_";

/// Where the leading master is looked for.
pub struct Leader {
    master: MesosMaster,
    zookeeper: Option<Client>,
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("master", &self.master).finish_non_exhaustive()
    }
}

/// What a master writes of itself.
#[derive(Deserialize)]
struct Info {
    hostname: Option<String>,
    address: Option<Address>,
    port: Option<u16>,
}

#[derive(Deserialize)]
struct Address {
    hostname: Option<String>,
    ip: Option<String>,
    port: u16,
}

impl Leader {
    /// Of these masters. Nothing is asked yet.
    pub fn new(master: MesosMaster) -> Self {
        Self { master, zookeeper: None }
    }

    /// Where the leading master is, as far as is known: it may say itself that another one leads.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if ZooKeeper cannot be reached, or no master has registered.
    pub async fn find(&mut self) -> Result<HostPort> {
        let (servers, path) = match &self.master {
            MesosMaster::Address(address) => return Ok(address.clone()),
            MesosMaster::ZooKeeper { servers, path } => (servers.clone(), path.clone()),
        };
        let found = self.ask(&servers, &path).await;
        if found.is_err() {
            // It may be over.
            self.zookeeper = None;
        }
        found
    }

    async fn ask(&mut self, servers: &[HostPort], path: &str) -> Result<HostPort> {
        let all = servers.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",");
        let failed = |error: zookeeper_client::Error| {
            let kind = match error {
                zookeeper_client::Error::NoNode => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("ZooKeeper at {all} does not say which Mesos master leads"))
                .with_source(error)
        };
        let client = match &self.zookeeper {
            Some(client) => client,
            None => {
                let connector = Client::connector().with_session_timeout(SESSION);
                let client = connector.connect(&all).await.map_err(failed)?;
                self.zookeeper.insert(client)
            }
        };
        let nobody = || {
            Error::unavailable(format!("no Mesos master has registered at {path} of ZooKeeper"))
                .with_hint("are masters running, with --zk and this path?")
        };
        let nodes = match client.list_children(path).await {
            Err(zookeeper_client::Error::NoNode) => return Err(nobody()),
            nodes => nodes.map_err(failed)?,
        };
        // The one that came first leads.
        let first = nodes.iter().filter(|node| node.starts_with(NODE)).min().ok_or_else(nobody)?;
        let (bytes, _) = client.get_data(&format!("{path}/{first}")).await.map_err(failed)?;
        address(&bytes)
    }
}

/// The address in what a master wrote.
fn address(bytes: &[u8]) -> Result<HostPort> {
    let unknown = |error| {
        Error::protocol("what a Mesos master wrote to ZooKeeper is not understood")
            .with_source(error)
    };
    let Info { hostname, address, port } = serde_json::from_slice(bytes).map_err(unknown)?;
    let (host, port) = match address {
        Some(Address { hostname, ip, port }) => (ip.or(hostname), Some(port)),
        None => (hostname, port),
    };
    match (host, port) {
        (Some(host), Some(port)) => Ok(HostPort { host, port }),
        _ => Err(Error::protocol("a Mesos master wrote no address to ZooKeeper")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_say_where_they_are() {
        let text = br#"{"address":{"hostname":"m1","ip":"10.0.0.7","port":5050},"hostname":"m1",
            "id":"x","ip":117440522,"pid":"master@10.0.0.7:5050","port":5050,"version":"1.11.0"}"#;
        assert_eq!(address(text).unwrap().to_string(), "10.0.0.7:5050");
        let old = br#"{"hostname":"m1","port":5050}"#;
        assert_eq!(address(old).unwrap().to_string(), "m1:5050");
        assert!(address(b"{}").is_err());
        assert!(address(b"\x08\x01").is_err());
    }
}
