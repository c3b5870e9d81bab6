//! Master URLs of standalone clusters: `spark://h:p[,h2:p2…]`.

use anymaster_core::{HostPort, MasterUrl, Result};

use super::backend::INFO;

/// The masters that a URL names, one of which leads; in the order given.
///
/// # Errors
/// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec), with the part at fault.
pub fn masters(url: &MasterUrl) -> Result<Vec<HostPort>> {
    if url.scheme() != "spark" || !url.as_str().starts_with("spark://") {
        return Err(url.unknown());
    }
    HostPort::parse_list(url, url.rest()).map_err(|error| INFO.with_example(url.scheme(), error))
}

#[cfg(test)]
mod tests {
    use anymaster_core::Registry;

    use super::*;
    use crate::STANDALONE;

    #[test]
    fn masters_are_a_list_and_errors_show_the_part_at_fault() {
        let registry = Registry::new().with(STANDALONE);
        for url in ["spark://h:7077", "spark://h:7077,h2:7078", "spark://[::1]:7077"] {
            let read = registry.parse(url).unwrap();
            assert_eq!(read.as_str(), url);
            assert_eq!(masters(&read).unwrap().len(), url.split(',').count());
        }
        for (url, part, hint) in [
            ("spark", "could not parse", "did you mean spark://host:7077"),
            ("sparc://h:7077", "could not parse", "did you mean spark://"),
            ("spark://h", "\"h\": the port is missing", "spark://host:7077"),
            ("spark://h:x", "the port is not a number", "spark://host:7077"),
            ("spark://h:1,", "\"\": a host and a port", "spark://"),
        ] {
            let error = registry.parse(url).expect_err(url);
            assert!(error.message().contains(part), "{url}: {error}");
            assert!(error.hint().unwrap_or("").contains(hint), "{url}: {:?}", error.hint());
        }
    }
}
