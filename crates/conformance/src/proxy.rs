//! Stands between clients and a daemon, and breaks their connections on demand.

use std::io;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    breaks: watch::Sender<u32>,
}

impl Proxy {
    /// Before the daemon at this URL of this scheme.
    ///
    /// # Panics
    /// If it cannot listen on loopback: there is no test without it.
    pub fn start(scheme: &str, url: &str) -> Self {
        match Self::listen(scheme, url) {
            Ok(proxy) => proxy,
            Err(error) => panic!("cannot listen on loopback: {error}"),
        }
    }

    fn listen(scheme: &str, url: &str) -> io::Result<Self> {
        let daemon = url.split_once("://").map_or(url, |(_, rest)| rest).to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let breaks = watch::Sender::new(0);
        let broken = breaks.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(pass_on(listener, daemon, broken)));
        Ok(Self { url, breaks })
    }

    /// Its own URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Breaks all connections that there are.
    pub fn break_all(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }
}

async fn pass_on(
    listener: std::net::TcpListener,
    daemon: String,
    broken: watch::Sender<u32>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let (daemon, mut broken) = (daemon.clone(), broken.subscribe());
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(daemon).await else { return };
            let passing = tokio::io::copy_bidirectional(&mut client, &mut server);
            tokio::select! {
                _ = passing => {}
                _ = broken.changed() => {}
            }
        });
    }
}
