//! The server: its port, its token, and what it does beside answering.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, Result};
use anymaster_net::{Admission, Callers, Hosts, Tls, bind, serve_until};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;

use crate::api;
use crate::catalog::Limits;
use crate::directory::Directory;
use crate::fault::Fault;
use crate::keys;
use crate::staging::Staging;
use crate::token::Token;

/// How long requests have to be finished when the server ends: uploads go on at the next one.
const DRAIN: Duration = Duration::from_secs(5);
/// How often it is looked for what is too old, at least.
const SWEEP: Duration = Duration::from_secs(60);

/// What a server is made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StagingOptions {
    /// The address to listen on.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
    /// Where files are kept; made if it does not exist.
    pub dir: PathBuf,
    /// By what submitters are known. Without one, the server makes one, and listens on loopback only.
    pub token: Option<Token>,
    /// TLS, if there is any.
    pub tls: Tls,
    /// The properties of the server.
    pub conf: Conf,
}

impl StagingOptions {
    /// A server on loopback at any port, with a token of its own.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            dir,
            token: None,
            tls: Tls::default(),
            conf: Conf::new(),
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct StagingService {
    listener: TcpListener,
    hosts: Hosts,
    url: String,
    token: Token,
    tls: Tls,
    sweep: Duration,
    staging: Arc<Staging>,
}

impl StagingService {
    /// Listens. What was stored before is there.
    ///
    /// # Errors
    /// [`InvalidSpec`](anymaster_core::ErrorKind::InvalidSpec) for bad properties, and for an address that others reach
    /// without a token; [`Conflict`](anymaster_core::ErrorKind::Conflict) if another server uses the directory, and
    /// [`Unavailable`](anymaster_core::ErrorKind::Unavailable) if it cannot be used, or the port is taken.
    pub async fn bind(options: StagingOptions) -> Result<Self> {
        let StagingOptions { host, port, dir, token, tls, conf } = options;
        let limits = Limits::of(&conf)?;
        let public_url = conf.read_optional(&keys::PUBLIC_URL)?.map(|url| public_url(&url));
        let public_url = public_url.transpose()?;
        let (listener, port) = bind(&host, port).await?;
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        if token.is_none() && !is_loopback {
            return Err(Error::invalid(format!(
                "others reach {host}:{port}, and there is no token by which submitters are known"
            ))
            .with_hint(format!(
                "write one to a file (head -c 32 /dev/urandom | base64), and name it with --token-file or {}",
                keys::TOKEN_FILE.info.name
            )));
        }
        let hosts = Hosts::of(&host, &listener, true, &conf)?;
        let directory = Directory::open(&dir)?;
        let token = match token {
            Some(token) => token,
            None => Token::own(&directory.token())?,
        };
        let sweep = SWEEP.min(limits.shortest_age());
        let staging = Arc::new(Staging::open(directory, limits, public_url)?);
        let url = format!("{}://{host}:{port}", tls.scheme());
        Ok(Self { listener, hosts, url, token, tls, sweep, staging })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file of its token, if it has made that.
    pub fn token_file(&self) -> Option<&Path> {
        self.token.file.as_deref()
    }

    /// Serves until `stop`. Requests then have five seconds to be finished.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, hosts, token, tls, sweep, staging, .. } = self;
        let router = api::router(Arc::clone(&staging), &token);
        let router = hosts.protect(router, Callers::Programs(denied));
        let admission = Admission::of_process();
        let serving = serve_until(listener, &tls, &admission, router, stop, DRAIN);
        let sweeping = async {
            let mut ticks = tokio::time::interval(sweep);
            loop {
                ticks.tick().await;
                if let Err(fault) = staging.blocking(Staging::remove_expired).await {
                    tracing::warn!(?fault, "not all that is too old could be removed");
                }
            }
        };
        tokio::select! {
            () = serving => {}
            () = sweeping => {}
        }
    }
}

fn denied(status: StatusCode, why: &str) -> Response {
    Fault::new(status, why).into_response()
}

/// The URL of drivers, without a slash at its end.
fn public_url(text: &str) -> Result<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |host: &str| {
        !host.is_empty()
            && !host.starts_with('/')
            && !host.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '?' | '#' | ','))
    };
    match host.is_some_and(is_plain) {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(Error::invalid(format!(
            "{}: it is no URL of a server, without user and query",
            keys::PUBLIC_URL.info.name
        ))
        .with_hint("write for example https://staging.spark.svc:7340")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_are_served_with_a_token_only_and_urls_are_checked() {
        let place = tempfile::tempdir().unwrap();
        let mut options = StagingOptions::new(place.path().join("s"));
        options.host = "0.0.0.0".to_owned();
        let error = StagingService::bind(options.clone()).await.unwrap_err();
        assert!(error.message().contains("no token"), "{error}");
        options.token = Some(Token::new("0123456789abcdef".to_owned()));
        StagingService::bind(options).await.unwrap();
        assert_eq!(public_url("https://h:1/x/").unwrap(), "https://h:1/x");
        for bad in
            ["", "h:1", "ftp://h", "https://", "https://me:secret@h", "http://h?x", "http://a,b"]
        {
            let error = public_url(bad).unwrap_err();
            assert!(!error.message().contains("secret"), "{error}");
        }
    }
}
