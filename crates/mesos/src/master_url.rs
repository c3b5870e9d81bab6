//! Master URLs of Mesos: `mesos://host:port`, `mesos://zk://…/path`, `zk://…/path`.

use std::fmt;

use anymaster_core::{Error, HostPort, MasterUrl, Result};

use crate::backend::INFO;

/// Where Mesos masters are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MesosMaster {
    /// One master, or a dispatcher.
    Address(HostPort),
    /// Masters that elect a leader through ZooKeeper.
    ZooKeeper {
        /// The ensemble.
        servers: Vec<HostPort>,
        /// The path under which masters register, for example `/mesos`.
        path: String,
    },
}

impl MesosMaster {
    /// Reads a master URL.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with the part at fault.
    pub fn parse(url: &MasterUrl) -> Result<Self> {
        match (url.scheme(), url.rest().strip_prefix("zk://")) {
            _ if !url.as_str().contains("://") => Err(url.unknown()),
            ("mesos", Some(ensemble)) => zookeeper(url, ensemble),
            ("mesos", None) => HostPort::parse(url, url.rest())
                .map(Self::Address)
                .map_err(|error| INFO.with_example("mesos", error)),
            ("zk", _) => zookeeper(url, url.rest()),
            _ => Err(url.unknown()),
        }
    }

    /// The addresses that the URL names: of masters, or of ZooKeeper.
    pub fn addresses(&self) -> &[HostPort] {
        match self {
            Self::Address(address) => std::slice::from_ref(address),
            Self::ZooKeeper { servers, .. } => servers,
        }
    }
}

impl fmt::Display for MesosMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::ZooKeeper { servers, path } => {
                let servers: Vec<_> = servers.iter().map(HostPort::to_string).collect();
                write!(f, "zk://{}{path}", servers.join(","))
            }
        }
    }
}

fn zookeeper(url: &MasterUrl, rest: &str) -> Result<MesosMaster> {
    let wrong = |part: &str, why| INFO.with_example("zk", url.wrong(part, why));
    let Some((ensemble, path)) = rest.split_once('/') else {
        return Err(wrong(rest, "the path is missing under which masters register"));
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if path.is_empty() || path.ends_with('/') || path.contains("//") || !path.chars().all(valid) {
        return Err(wrong(path, "it is not a path of ZooKeeper's"));
    }
    let servers = HostPort::parse_list(url, ensemble)
        .map_err(|error: Error| INFO.with_example("zk", error))?;
    Ok(MesosMaster::ZooKeeper { servers, path: format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use anymaster_core::Registry;

    use crate::MESOS;

    #[test]
    fn masters_are_read_and_errors_show_the_part_at_fault() {
        let masters = Registry::new().with(MESOS);
        for (url, written) in [
            ("mesos://207.184.161.138:7077", "mesos://207.184.161.138:7077"),
            ("mesos://zk://a:1,b:2/mesos", "mesos://zk://a:1,b:2/mesos"),
            ("zk://a:1/mesos/x", "mesos://zk://a:1/mesos/x"),
        ] {
            assert_eq!(masters.parse(url).unwrap().as_str(), written, "{url}");
        }
        for (url, part, hint) in [
            ("mesos", "could not parse", "did you mean mesos://"),
            ("mesos://h", "\"h\": the port is missing", "mesos://host:5050"),
            ("mesos://zk://h:1", "the path is missing", "zk://host1:2181"),
            ("zk://h/mesos", "\"h\": the port is missing", "zk://host1:2181"),
        ] {
            let error = masters.parse(url).expect_err(url);
            assert!(error.message().contains(part), "{url}: {error}");
            assert!(error.hint().unwrap_or("").contains(hint), "{url}: {:?}", error.hint());
        }
    }
}
