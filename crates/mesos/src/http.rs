//! The HTTP client for masters and agents.

use std::time::Duration;

use anymaster_core::{Error, Result};
use reqwest::{Client, redirect};

/// One that says where it is sent on to, and does not go there.
///
/// # Errors
/// If there can be no HTTP client.
pub(crate) fn client(patience: Duration) -> Result<Client> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(patience)
        .tcp_nodelay(true)
        .no_proxy()
        // They are all `http://`: to read the system's certificates would take most of a daemon's start.
        .tls_certs_only([])
        .build()
        .map_err(|error| Error::invalid("cannot speak HTTP").with_source(error))
}
