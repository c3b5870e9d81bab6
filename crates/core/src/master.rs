//! Where a cluster is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where a cluster is: `scheme://rest`, a word, or a word with brackets (`local[4]`).
///
/// Its [scheme](Self::scheme) picks the backend; what the rest means, only that backend knows.
/// [`Registry::parse`](crate::Registry::parse) asks it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MasterUrl {
    text: Box<str>,
    /// Bytes of the scheme.
    scheme: usize,
}

impl MasterUrl {
    /// `local`, `spark`, `k8s` …: lower case.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme]
    }

    /// What follows the scheme, without `://`; brackets are part of it.
    pub fn rest(&self) -> &str {
        let rest = &self.text[self.scheme..];
        rest.strip_prefix("://").unwrap_or(rest)
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An error about one part of this URL.
    pub fn wrong(&self, part: &str, why: &str) -> Error {
        Error::invalid(format!("master URL {:?}: {part:?}: {why}", &*self.text))
    }

    /// An error: the backend of this scheme knows no such form.
    pub fn unknown(&self) -> Error {
        unknown(&self.text)
    }
}

impl fmt::Display for MasterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AsRef<str> for MasterUrl {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl FromStr for MasterUrl {
    type Err = Error;

    /// The whole string counts, and case matters, as in Spark 3.5 (`SparkContext`).
    fn from_str(url: &str) -> Result<Self> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let scheme = url.find(|c| !valid(c)).unwrap_or(url.len());
        let is_word = url.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = &url[scheme..];
        let is_form = rest.is_empty()
            || rest.starts_with("://")
            || (rest.starts_with('[') && rest.ends_with(']'));
        if !is_word || !is_form || url.contains(char::is_control) {
            return Err(unknown(url));
        }
        Ok(Self { text: url.into(), scheme })
    }
}

fn unknown(url: &str) -> Error {
    Error::invalid(format!("could not parse master URL {url:?}"))
}

impl TryFrom<String> for MasterUrl {
    type Error = Error;
    fn try_from(url: String) -> Result<Self> {
        url.parse()
    }
}

impl From<MasterUrl> for String {
    fn from(url: MasterUrl) -> Self {
        url.text.into()
    }
}

/// A host name or address with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address; IPv6 addresses keep their brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl HostPort {
    /// Reads a part of a master URL: a name or an address, and a port.
    ///
    /// # Errors
    /// [`InvalidSpec`](crate::ErrorKind::InvalidSpec), with the part at fault.
    pub fn parse(url: &MasterUrl, text: &str) -> Result<Self> {
        let fault = |why: &str| Err(url.wrong(text, why));
        if text.is_empty() {
            return fault("a host and a port are missing");
        }
        if text.contains(['/', '?', '#']) {
            return fault("nothing may follow the port");
        }
        if text.contains('@') {
            return fault("a user name has no place here");
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'))
        else {
            return fault("the port is missing");
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_host = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(valid),
        };
        if !is_host {
            return fault("the host is neither a name nor an address (IPv6 goes in brackets)");
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse::<u16>().ok().filter(|_| digits) {
            Some(port) => Ok(Self { host: host.to_owned(), port }),
            None => fault("the port is not a number from 0 to 65535"),
        }
    }

    /// Reads a list with commas.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_list(url: &MasterUrl, list: &str) -> Result<Vec<Self>> {
        list.split(',').map(|server| Self::parse(url, server)).collect()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_a_scheme_and_a_rest() {
        for (url, scheme, rest) in [
            ("local", "local", ""),
            ("local[4,3]", "local", "[4,3]"),
            ("local-cluster[ 2, 1 , 1024 ]", "local-cluster", "[ 2, 1 , 1024 ]"),
            ("nomad://h:4646/jobs?x", "nomad", "h:4646/jobs?x"),
            ("a+b.c-1://[::1]:7077", "a+b.c-1", "[::1]:7077"),
            ("spark://", "spark", ""),
        ] {
            let master: MasterUrl = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((master.scheme(), master.rest(), master.as_str()), (scheme, rest, url));
        }
        for url in [
            "",
            "local[2",
            "local(2)",
            " local",
            "LOCAL",
            "k8s:https://h",
            "h:1",
            "1://x",
            "a://\n",
        ] {
            assert!(url.parse::<MasterUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let url: MasterUrl = "x://y".parse().unwrap();
        let read = HostPort::parse_list(&url, "h:7077,[::1]:7078").unwrap();
        assert_eq!(read[1], HostPort { host: "[::1]".to_owned(), port: 7078 });
        for (text, part) in [
            ("h", "\"h\": the port is missing"),
            ("h:x", "the port is not a number"),
            ("h:1,", "\"\": a host and a port"),
            ("h:1/x", "nothing may follow"),
            ("u@h:1", "user name"),
            ("::1:7077", "IPv6 goes in brackets"),
        ] {
            let error = HostPort::parse_list(&url, text).unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_kept(url in ".*") {
            if let Ok(master) = url.parse::<MasterUrl>() {
                prop_assert_eq!(master.to_string(), url);
            }
        }
    }
}
