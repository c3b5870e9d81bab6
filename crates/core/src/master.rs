//! The grammar of master URLs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where a cluster is. Its [scheme](Self::scheme) picks the backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum MasterUrl {
    /// `local`, `local[N]`, `local[*]`, `local[N,F]`: this machine, in one process' care.
    Local {
        /// How many cores executors may use at once.
        threads: Threads,
        /// The `F`: how many failures are borne. Spark's default is 1.
        max_failures: Option<u32>,
    },
    /// `local-cluster[n,c,m]`: workers as separate processes on this machine.
    LocalCluster {
        /// Worker processes.
        workers: u32,
        /// Cores of each.
        cores: u32,
        /// Memory of each in MiB.
        memory_mib: u64,
    },
    /// `spark://h:p[,h2:p2…]`: standalone masters, one of which leads.
    Spark {
        /// In the order given.
        masters: Vec<HostPort>,
    },
    /// `k8s://[http[s]://]host[:port][/path]`.
    Kubernetes {
        /// The API server's URL, `https` unless said otherwise.
        server: String,
    },
    /// `mesos://host:port`, `mesos://zk://…/path`, `zk://…/path`.
    Mesos(MesosMaster),
    /// `yarn`: the cluster of `HADOOP_CONF_DIR` or `YARN_CONF_DIR`.
    Yarn,
    /// Any other `scheme://rest`, for backends from elsewhere.
    Other {
        /// In lower case.
        scheme: String,
        /// What follows `://`.
        rest: String,
    },
}

/// The `N` of `local[N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Threads {
    /// A number of cores, at least 1.
    Count(u32),
    /// `*`: as many as the machine has.
    All,
}

/// A host name or address with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; IPv6 addresses keep their brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

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

/// What each form looks like, for messages.
const FORMS: &[(&str, &str)] = &[
    ("local", "local, local[4], local[*] or local[4,3]"),
    ("local-cluster", "local-cluster[2,1,1024]"),
    ("spark", "spark://host:7077 or spark://host1:7077,host2:7077"),
    ("k8s", "k8s://https://host:6443"),
    ("mesos", "mesos://host:5050 or mesos://zk://host1:2181,host2:2181/mesos"),
    ("zk", "zk://host1:2181,host2:2181/mesos"),
    ("yarn", "yarn"),
];

impl MasterUrl {
    /// `local`, `local-cluster`, `spark`, `k8s`, `mesos`, `yarn`, or that of another backend.
    pub fn scheme(&self) -> &str {
        match self {
            Self::Local { .. } => "local",
            Self::LocalCluster { .. } => "local-cluster",
            Self::Spark { .. } => "spark",
            Self::Kubernetes { .. } => "k8s",
            Self::Mesos(_) => "mesos",
            Self::Yarn => "yarn",
            Self::Other { scheme, .. } => scheme,
        }
    }
}

impl fmt::Display for MasterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { threads: Threads::Count(1), max_failures: None } => f.write_str("local"),
            Self::Local { threads, max_failures: None } => write!(f, "local[{threads}]"),
            Self::Local { threads, max_failures: Some(failures) } => {
                write!(f, "local[{threads},{failures}]")
            }
            Self::LocalCluster { workers, cores, memory_mib } => {
                write!(f, "local-cluster[{workers},{cores},{memory_mib}]")
            }
            Self::Spark { masters } => write!(f, "spark://{}", Commas(masters)),
            Self::Kubernetes { server } => write!(f, "k8s://{server}"),
            Self::Mesos(master) => write!(f, "mesos://{master}"),
            Self::Yarn => f.write_str("yarn"),
            Self::Other { scheme, rest } => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl MasterUrl {
    /// `local`.
    pub const LOCAL: Self = Self::Local { threads: Threads::Count(1), max_failures: None };
}

impl fmt::Display for MesosMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::ZooKeeper { servers, path } => write!(f, "zk://{}{path}", Commas(servers)),
        }
    }
}

struct Commas<'a>(&'a [HostPort]);

impl fmt::Display for Commas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::All => f.write_str("*"),
        }
    }
}

impl FromStr for MasterUrl {
    type Err = Error;

    /// Reads a master URL with the rules of Spark 3.5 (`SparkContext`, `KubernetesUtils`): the whole
    /// string counts, and case matters.
    fn from_str(url: &str) -> Result<Self> {
        if url == "local" {
            return Ok(Self::Local { threads: Threads::Count(1), max_failures: None });
        }
        if let Some(rest) = url.strip_prefix("local-cluster") {
            return local_cluster(url, rest);
        }
        if let Some(rest) = url.strip_prefix("local") {
            return local(url, rest);
        }
        match url {
            "yarn" => return Ok(Self::Yarn),
            "yarn-client" | "yarn-cluster" => {
                let mode = &url["yarn-".len()..];
                return Err(Error::invalid(format!("master URL {url:?}: Spark gave this form up"))
                    .with_hint(format!("use --master yarn --deploy-mode {mode}")));
            }
            _ => {}
        }
        let Some((scheme, rest)) = url.split_once("://") else { return Err(unknown(url)) };
        match scheme {
            "spark" => Ok(Self::Spark { masters: servers(url, rest, "spark")? }),
            "k8s" => kubernetes(url, rest),
            "mesos" => match rest.strip_prefix("zk://") {
                Some(ensemble) => zookeeper(url, ensemble),
                None => Ok(Self::Mesos(MesosMaster::Address(host_port(url, rest, "mesos")?))),
            },
            "zk" => zookeeper(url, rest),
            _ => other(url, scheme, rest),
        }
    }
}

/// `[N]`, `[*]`, `[N,F]`: white space is allowed around the comma only.
fn local(url: &str, rest: &str) -> Result<MasterUrl> {
    let inside = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let Some(inside) = inside else { return Err(unknown(url)) };
    let (threads, failures) = match inside.split_once(',') {
        None => (inside, None),
        Some((threads, failures)) => (threads.trim_end(), Some(failures.trim_start())),
    };
    let threads = match threads {
        "*" => Threads::All,
        digits => match number(url, "local", digits, "a number of cores or *")? {
            0 => {
                return Err(wrong(url, "local", digits, "there is nothing to run on 0 cores"));
            }
            count => Threads::Count(count),
        },
    };
    let max_failures = failures
        .map(|failures| number(url, "local", failures, "a number of failures"))
        .transpose()?;
    Ok(MasterUrl::Local { threads, max_failures })
}

fn local_cluster(url: &str, rest: &str) -> Result<MasterUrl> {
    let inside = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parts: Option<Vec<_>> = inside.map(|inside| inside.split(',').map(str::trim).collect());
    let Some([workers, cores, memory]) = parts.as_deref() else { return Err(unknown(url)) };
    let positive = |text: &str, what| match number(url, "local-cluster", text, what)? {
        0 => Err(wrong(url, "local-cluster", text, "it must be at least 1")),
        number => Ok(number),
    };
    Ok(MasterUrl::LocalCluster {
        workers: positive(workers, "a number of workers")?,
        cores: positive(cores, "a number of cores")?,
        memory_mib: positive(memory, "an amount of memory in MiB")?.into(),
    })
}

fn number(url: &str, form: &str, text: &str, what: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| wrong(url, form, text, &format!("it is not {what}")))
}

fn servers(url: &str, list: &str, form: &str) -> Result<Vec<HostPort>> {
    list.split(',').map(|server| host_port(url, server, form)).collect()
}

fn host_port(url: &str, text: &str, form: &str) -> Result<HostPort> {
    let fault = |why: &str| Err(wrong(url, form, text, why));
    if text.is_empty() {
        return fault("a host and a port are missing");
    }
    if text.contains(['/', '?', '#']) {
        return fault("nothing may follow the port");
    }
    if text.contains('@') {
        return fault("a user name has no place here");
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) else {
        return fault("the port is missing");
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        }
    };
    if !host_ok {
        return fault("the host is neither a name nor an address (IPv6 goes in brackets)");
    }
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>().ok().filter(|_| digits) {
        Some(port) => Ok(HostPort { host: host.to_owned(), port }),
        None => fault("the port is not a number from 0 to 65535"),
    }
}

/// `https` unless said otherwise; no default port.
fn kubernetes(url: &str, rest: &str) -> Result<MasterUrl> {
    if rest.is_empty() || rest.starts_with('/') {
        return Err(wrong(url, "k8s", rest, "the host is missing"));
    }
    let (given, address) = rest.split_once("://").unwrap_or(("https", rest));
    let scheme = given.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "https" | "http") {
        return Err(wrong(url, "k8s", given, "an API server speaks https, or http"));
    }
    let (host, path) = match address.find('/') {
        Some(at) => address.split_at(at),
        None => (address, ""),
    };
    let named = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let checked = match named {
        Some(_) => host_port(url, host, "k8s").map(|_| ()),
        None => host_port(url, &format!("{host}:0"), "k8s").map(|_| ()),
    };
    if host.is_empty() {
        return Err(wrong(url, "k8s", rest, "the host is missing"));
    }
    checked?;
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#') {
        return Err(wrong(url, "k8s", path, "it is not a path"));
    }
    Ok(MasterUrl::Kubernetes { server: format!("{scheme}://{address}") })
}

fn zookeeper(url: &str, rest: &str) -> Result<MasterUrl> {
    let Some((ensemble, path)) = rest.split_once('/') else {
        return Err(wrong(url, "zk", rest, "the path is missing under which masters register"));
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if path.is_empty() || path.ends_with('/') || path.contains("//") || !path.chars().all(valid) {
        return Err(wrong(url, "zk", path, "it is not a path of ZooKeeper's"));
    }
    let servers = servers(url, ensemble, "zk")?;
    Ok(MasterUrl::Mesos(MesosMaster::ZooKeeper { servers, path: format!("/{path}") }))
}

fn other(url: &str, scheme: &str, rest: &str) -> Result<MasterUrl> {
    let mut letters = scheme.bytes();
    let valid = letters.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && letters.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    if !valid || rest.is_empty() || near(scheme).is_some() {
        return Err(unknown(url));
    }
    Ok(MasterUrl::Other { scheme: scheme.to_owned(), rest: rest.to_owned() })
}

/// The form of ours that a misspelt word most likely means.
fn near(word: &str) -> Option<&'static (&'static str, &'static str)> {
    FORMS
        .iter()
        .map(|form| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), form.0), form))
        .filter(|(distance, form)| *distance <= form.0.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, form)| form)
}

fn unknown(url: &str) -> Error {
    let word = url.split(['[', '(', '{', ':']).next().unwrap_or(url);
    let error = Error::invalid(format!("could not parse master URL {url:?}"));
    match near(word) {
        Some((_, example)) => error.with_hint(format!("did you mean {example}?")),
        None => {
            let forms: Vec<_> = FORMS.iter().map(|(_, example)| *example).collect();
            error.with_hint(format!("known forms: {}", forms.join("; ")))
        }
    }
}

/// An error about one part of a URL whose form is known.
fn wrong(url: &str, form: &str, part: &str, why: &str) -> Error {
    let example = FORMS.iter().find(|(name, _)| *name == form).map_or("", |(_, example)| example);
    Error::invalid(format!("master URL {url:?}: {part:?}: {why}"))
        .with_hint(format!("write for example {example}"))
}

impl TryFrom<String> for MasterUrl {
    type Error = Error;
    fn try_from(url: String) -> Result<Self> {
        url.parse()
    }
}

impl From<MasterUrl> for String {
    fn from(url: MasterUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for (url, scheme, written) in [
            ("local", "local", "local"),
            ("local[1]", "local", "local"),
            ("local[4]", "local", "local[4]"),
            ("local[*]", "local", "local[*]"),
            ("local[4,3]", "local", "local[4,3]"),
            ("local[* , 3]", "local", "local[*,3]"),
            ("local-cluster[ 2, 1 , 1024 ]", "local-cluster", "local-cluster[2,1,1024]"),
            ("spark://h:7077", "spark", "spark://h:7077"),
            ("spark://h:7077,h2:7078", "spark", "spark://h:7077,h2:7078"),
            ("spark://[::1]:7077", "spark", "spark://[::1]:7077"),
            ("k8s://https://192.168.0.23:6443", "k8s", "k8s://https://192.168.0.23:6443"),
            ("k8s://http://127.0.0.1:8080", "k8s", "k8s://http://127.0.0.1:8080"),
            ("k8s://host:443", "k8s", "k8s://https://host:443"),
            ("k8s://HTTPS://host", "k8s", "k8s://https://host"),
            ("k8s://host/k8s/clusters/c-1", "k8s", "k8s://https://host/k8s/clusters/c-1"),
            ("mesos://207.184.161.138:7077", "mesos", "mesos://207.184.161.138:7077"),
            ("mesos://zk://a:1,b:2/mesos", "mesos", "mesos://zk://a:1,b:2/mesos"),
            ("zk://a:1/mesos/x", "mesos", "mesos://zk://a:1/mesos/x"),
            ("yarn", "yarn", "yarn"),
            ("nomad://h:4646/jobs?x", "nomad", "nomad://h:4646/jobs?x"),
        ] {
            let master: MasterUrl = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((master.scheme(), master.to_string().as_str()), (scheme, written), "{url}");
        }
    }

    #[test]
    fn errors_show_the_part_at_fault_and_what_to_write() {
        for (url, part, hint) in [
            ("", "could not parse", "known forms: local"),
            ("locla[2]", "could not parse", "did you mean local"),
            ("local[2", "could not parse", "did you mean local"),
            ("local(2)", "could not parse", "did you mean local"),
            (" local", "could not parse", ""),
            ("LOCAL", "could not parse", "did you mean local"),
            ("local[0]", "\"0\": there is nothing", "local[4]"),
            ("local[ 2]", "\" 2\": it is not a number of cores", "local[4]"),
            ("local[two]", "\"two\"", "local[4]"),
            ("local[2,]", "\"\": it is not a number of failures", "local[4,3]"),
            ("local-cluster[2,1]", "could not parse", "local-cluster[2,1,1024]"),
            ("local-cluster[0,1,1]", "\"0\": it must be", "local-cluster"),
            ("sparc://h:7077", "could not parse", "did you mean spark://"),
            ("spark://h", "\"h\": the port is missing", "spark://host:7077"),
            ("spark://h:x", "the port is not a number", "spark://host:7077"),
            ("spark://h:1,", "\"\": a host and a port", "spark://"),
            ("spark://h:1/x", "nothing may follow", "spark://"),
            ("spark://u@h:1", "user name", "spark://"),
            ("spark://::1:7077", "IPv6 goes in brackets", "spark://"),
            ("k8s:https://h:1", "could not parse", "did you mean k8s://"),
            ("k8s://ftp://x:1", "\"ftp\": an API server", "k8s://https://"),
            ("k8s:///https://h:1", "the host is missing", "k8s://https://"),
            ("k8s://", "the host is missing", "k8s://"),
            ("mesos", "could not parse", "did you mean mesos://"),
            ("mesos://zk://h:1", "the path is missing", "zk://host1:2181"),
            ("yarn-cluster", "gave this form up", "--deploy-mode cluster"),
        ] {
            let error = url.parse::<MasterUrl>().expect_err(url);
            let (message, said) = (error.message(), error.hint().unwrap_or(""));
            assert!(message.contains(part), "{url}: {message}");
            assert!(said.contains(hint), "{url}: {said}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(
            url in "(local|spark|k8s|mesos|zk|yarn|nomad|local-cluster)(://|\\[)?[a-z0-9:,/*\\[\\] .]{0,20}\\]?"
        ) {
            if let Ok(master) = url.parse::<MasterUrl>() {
                prop_assert_eq!(master.to_string().parse::<MasterUrl>().unwrap(), master);
            }
        }

        #[test]
        fn no_text_panics(url in ".*") {
            let _ = url.parse::<MasterUrl>();
        }
    }
}
