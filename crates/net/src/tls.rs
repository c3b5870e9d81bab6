//! TLS for all connections of a cluster (`spark.ssl.enabled`).

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::{Error, ErrorKind, Result};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::keys::{AUTHORITIES, CERTIFICATES, ENABLED, KEY_STORE, PRIVATE_KEY, TRUST_STORE};
use crate::write_timeout::WriteTimeout;

/// How long a peer may leave TCP keepalive probes or data unacknowledged before the connection fails.
const SILENCE: Duration = Duration::from_secs(20);
/// The size of the socket's send buffer, in bytes; the kernel doubles it.
const SEND_BUFFER: usize = 256 << 10;

/// A stream that can be read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection, with TLS or without.
pub type Stream = Box<dyn Duplex>;

/// The TLS configuration of a client or daemon; without one, connections are not encrypted.
#[derive(Clone, Default)]
pub struct Tls(Option<Configs>);

#[derive(Clone)]
struct Configs {
    /// Of daemons: those that have a certificate.
    acceptor: Option<TlsAcceptor>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Tls(on)" } else { "Tls(off)" })
    }
}

impl Tls {
    /// Reads `spark.ssl.*`. The certificate, which only daemons need, is optional.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for files that do not exist or have the wrong content.
    pub fn of(conf: &Conf) -> Result<Self> {
        if !conf.read(&ENABLED)? {
            return Ok(Self(None));
        }
        for (java, ours) in [(&KEY_STORE, &PRIVATE_KEY), (&TRUST_STORE, &AUTHORITIES)] {
            if conf.get(java.info.name).is_some() && conf.get(ours.info.name).is_none() {
                return Err(Error::unsupported(format!(
                    "{}: Java key stores are not supported",
                    java.info.name
                ))
                .with_hint(format!(
                    "write its content to a PEM file (keytool, openssl pkcs12), and set {}",
                    ours.info.name
                )));
            }
        }
        let Some(path) = conf.read_optional(&AUTHORITIES)? else {
            return Err(Error::invalid(format!(
                "{} needs the certificates of trusted authorities",
                ENABLED.info.name
            ))
            .with_hint(format!("set {} to a PEM file", AUTHORITIES.info.name)));
        };
        let roots = authorities(AUTHORITIES.info.name, &path)?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Some(Configs { acceptor: acceptor(conf)?, client: Arc::new(client) })))
    }

    /// As [`of`](Self::of), for a daemon, which needs a certificate.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_daemon(conf: &Conf) -> Result<Self> {
        let tls = Self::of(conf)?;
        if tls.0.as_ref().is_some_and(|configs| configs.acceptor.is_none()) {
            return Err(Error::invalid(format!(
                "{} needs a certificate for the daemon",
                ENABLED.info.name
            ))
            .with_hint(format!(
                "set {} and {} to PEM files",
                CERTIFICATES.info.name, PRIVATE_KEY.info.name
            )));
        }
        Ok(tls)
    }

    /// For a daemon with command line options of its own: pairs of option name and PEM file for its
    /// certificate chain, its key and, if clients need a certificate, their authorities.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for files that do not exist or have the wrong content.
    pub fn of_files(
        chain: (&str, &str),
        key: (&str, &str),
        clients: Option<(&str, &str)>,
    ) -> Result<Self> {
        let verifier = clients.map(|(option, path)| {
            let roots = authorities(option, path)?;
            WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|error| {
                Error::invalid(format!("{option}: {path} cannot be used")).with_source(error)
            })
        });
        let builder = match verifier.transpose()? {
            Some(verifier) => ServerConfig::builder().with_client_cert_verifier(verifier),
            None => ServerConfig::builder().with_no_client_auth(),
        };
        let acceptor = Some(with_certificate(builder, chain, key)?);
        let client = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        Ok(Self(Some(Configs { acceptor, client: Arc::new(client.with_no_client_auth()) })))
    }

    /// The TLS properties that a client of this daemon needs.
    pub fn client_properties(conf: &Conf) -> Vec<(String, String)> {
        let names = [ENABLED.info.name, AUTHORITIES.info.name];
        let set = names.iter().filter_map(|name| Some((*name, conf.get(name)?)));
        set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Whether TLS is enabled.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// The configuration for other client libraries. If TLS is off, no authority is trusted.
    pub fn client(&self) -> ClientConfig {
        match &self.0 {
            Some(configs) => ClientConfig::clone(&configs.client),
            None => ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        }
    }

    /// The server side of the handshake.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) if the handshake fails.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream> {
        set_tcp_options(&stream);
        if let Err(error) = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER) {
            tracing::debug!(%error, "cannot set the size of the send buffer");
        }
        match self.0.as_ref().and_then(|configs| configs.acceptor.as_ref()) {
            None => Ok(Box::new(WriteTimeout::new(stream))),
            Some(acceptor) => {
                match acceptor.accept(stream).await {
                    Ok(stream) => Ok(Box::new(WriteTimeout::new(stream))),
                    Err(error) => Err(Error::protocol("the TLS handshake with a client failed")
                        .with_source(error)),
                }
            }
        }
    }

    /// The client side of the handshake; verifies that the certificate is that of `host`.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) if it is not, and
    /// [`Unavailable`](ErrorKind::Unavailable) if the connection breaks.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream> {
        set_tcp_options(&stream);
        let Some(configs) = &self.0 else { return Ok(Box::new(stream)) };
        let host = host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            Error::invalid(format!("{host} is not a valid host name for TLS")).with_source(error)
        })?;
        let connector = TlsConnector::from(Arc::clone(&configs.client));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(refusal(host, error).with_hint(format!(
                "is TLS enabled there, and is its authority in {}?",
                AUTHORITIES.info.name
            ))),
        }
    }
}

/// The error of a failed handshake. Only a bad certificate is an authentication failure: a broken connection
/// says nothing about the identity of the host.
fn refusal(host: &str, error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::new(
                ErrorKind::Unauthenticated,
                format!("the certificate of {host} is not valid: {error}"),
            )
        }
        Some(fault) => Error::protocol(format!("the TLS handshake with {host} failed: {fault}")),
        None => {
            Error::unavailable(format!("{host} closed the connection during the TLS handshake"))
                .with_source(error)
        }
    }
}

/// Sends small messages without delay, and detects peers that vanished without closing the connection.
fn set_tcp_options(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4).with_retries(3);
    for set in [
        socket.set_tcp_nodelay(true),
        socket.set_tcp_keepalive(&probes),
        socket.set_tcp_user_timeout(Some(SILENCE)),
    ] {
        if let Err(error) = set {
            tracing::debug!(%error, "cannot set a TCP option");
        }
    }
}

fn acceptor(conf: &Conf) -> Result<Option<TlsAcceptor>> {
    let (Some(chain), Some(key)) =
        (conf.read_optional(&CERTIFICATES)?, conf.read_optional(&PRIVATE_KEY)?)
    else {
        return Ok(None);
    };
    let builder = ServerConfig::builder().with_no_client_auth();
    let chain = (CERTIFICATES.info.name, chain.as_str());
    with_certificate(builder, chain, (PRIVATE_KEY.info.name, &key)).map(Some)
}

fn with_certificate(
    builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    (chain_from, chain): (&str, &str),
    (key_from, key): (&str, &str),
) -> Result<TlsAcceptor> {
    let certificates = certificates(chain_from, chain)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        Error::invalid(format!("{key_from}: {key} contains no private key")).with_source(error)
    })?;
    let server = builder.with_single_cert(certificates, private).map_err(|error| {
        Error::invalid(format!("{key} is not the key of {chain}")).with_source(error)
    })?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn authorities(from: &str, path: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(from, path)? {
        roots.add(certificate).map_err(|error| {
            Error::invalid(format!("{from}: {path} contains an invalid certificate"))
                .with_source(error)
        })?;
    }
    Ok(roots)
}

fn certificates(property: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |error: &dyn fmt::Display| {
        Error::invalid(format!("{property}: cannot read certificates from {path}: {error}"))
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let read: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    let found = read.map_err(|error| failed(&error))?;
    if found.is_empty() {
        return Err(failed(&"it contains none"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_bad_certificate_is_an_authentication_failure() {
        let of = |fault: rustls::Error| {
            refusal("host", io::Error::new(io::ErrorKind::InvalidData, fault)).kind()
        };
        let unknown = rustls::CertificateError::UnknownIssuer;
        assert_eq!(of(unknown.into()), ErrorKind::Unauthenticated);
        assert_eq!(of(rustls::Error::NoCertificatesPresented), ErrorKind::Unauthenticated);
        assert_eq!(of(rustls::Error::HandshakeNotComplete), ErrorKind::Protocol);
        let reset = refusal("host", io::ErrorKind::ConnectionReset.into());
        assert_eq!(reset.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_closed_connection_is_unavailable_and_other_data_a_protocol_error() {
        let client = Arc::new(Tls::default().client());
        let tls = Tls(Some(Configs { acceptor: None, client }));
        for (says, kind) in [("", ErrorKind::Unavailable), ("HTTP/1.1 400", ErrorKind::Protocol)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let calling = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut called, _) = listener.accept().await.unwrap();
            called.write_all(says.as_bytes()).await.unwrap();
            called.shutdown().await.unwrap();
            let error = tls.connect("127.0.0.1", calling).await.err().unwrap();
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
