//! Master URLs of Kubernetes: `k8s://[http[s]://]host[:port][/path]`.

use anymaster_core::{Error, HostPort, MasterUrl, Result};

use crate::backend::INFO;

/// The URL of the API server that a master URL names: `https` unless it says otherwise, no default port
/// (Spark 3.5, `KubernetesUtils`).
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with the part at fault.
pub(crate) fn server(url: &MasterUrl) -> Result<String> {
    if url.scheme() != "k8s" || !url.as_str().starts_with("k8s://") {
        return Err(url.unknown());
    }
    let rest = url.rest();
    if rest.is_empty() || rest.starts_with('/') {
        return Err(wrong(url, rest, "the host is missing"));
    }
    let (given, address) = rest.split_once("://").unwrap_or(("https", rest));
    let scheme = given.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "https" | "http") {
        return Err(wrong(url, given, "an API server speaks https, or http"));
    }
    let (host, path) = match address.find('/') {
        Some(at) => address.split_at(at),
        None => (address, ""),
    };
    if host.is_empty() {
        return Err(wrong(url, rest, "the host is missing"));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let whole = if has_port { host.to_owned() } else { format!("{host}:0") };
    HostPort::parse(url, &whole).map_err(|error| INFO.with_example(url.scheme(), error))?;
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#') {
        return Err(wrong(url, path, "it is not a path"));
    }
    Ok(format!("{scheme}://{address}"))
}

fn wrong(url: &MasterUrl, part: &str, why: &str) -> Error {
    INFO.with_example(url.scheme(), url.wrong(part, why))
}

#[cfg(test)]
mod tests {
    use anymaster_core::Registry;

    use crate::KUBERNETES;

    #[test]
    fn the_scheme_that_is_meant_is_written() {
        let masters = Registry::new().with(KUBERNETES);
        for (url, written) in [
            ("k8s://https://192.168.0.23:6443", "k8s://https://192.168.0.23:6443"),
            ("k8s://http://127.0.0.1:8080", "k8s://http://127.0.0.1:8080"),
            ("k8s://host:443", "k8s://https://host:443"),
            ("k8s://[::1]", "k8s://https://[::1]"),
            ("k8s://HTTPS://host", "k8s://https://host"),
            ("k8s://host/k8s/clusters/c-1", "k8s://https://host/k8s/clusters/c-1"),
        ] {
            assert_eq!(masters.parse(url).unwrap().as_str(), written, "{url}");
        }
    }

    #[test]
    fn errors_show_the_part_at_fault_and_what_to_write() {
        let masters = Registry::new().with(KUBERNETES);
        for (url, part, hint) in [
            ("k8s:https://h:1", "could not parse", "did you mean k8s://"),
            ("k8s://ftp://x:1", "\"ftp\": an API server", "k8s://https://"),
            ("k8s:///https://h:1", "the host is missing", "k8s://https://"),
            ("k8s://", "the host is missing", "k8s://"),
        ] {
            let error = masters.parse(url).expect_err(url);
            assert!(error.message().contains(part), "{url}: {error}");
            assert!(error.hint().unwrap_or("").contains(hint), "{url}: {:?}", error.hint());
        }
    }
}
