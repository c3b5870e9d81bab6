//! TLS for every connection of a cluster, where it is switched on (`spark.ssl.enabled`).

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
use crate::pace::Paced;

/// How long the other side may be silent although it was asked, before it is taken for gone.
const SILENCE: Duration = Duration::from_secs(20);
/// What the system keeps at most of what the other side has not read yet, in bytes; it doubles that.
const SEND_BUFFER: usize = 256 << 10;

/// Something to read from and write to.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection, with TLS or without.
pub type Stream = Box<dyn Duplex>;

/// How connections are encrypted, if they are.
#[derive(Clone, Default)]
pub struct Tls(Option<Sides>);

#[derive(Clone)]
struct Sides {
    /// For those who have a certificate.
    acceptor: Option<TlsAcceptor>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Tls(on)" } else { "Tls(off)" })
    }
}

impl Tls {
    /// What properties say: for a client, or with a certificate for a daemon.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for files that are not there or not what they should be.
    pub fn of(conf: &Conf) -> Result<Self> {
        if !conf.read(&ENABLED)? {
            return Ok(Self(None));
        }
        for (java, ours) in [(&KEY_STORE, &PRIVATE_KEY), (&TRUST_STORE, &AUTHORITIES)] {
            if conf.get(java.info.name).is_some() && conf.get(ours.info.name).is_none() {
                return Err(Error::unsupported(format!(
                    "{}: a key store of Java's cannot be read",
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
                "{} needs to know whom to believe",
                ENABLED.info.name
            ))
            .with_hint(format!("set {} to a PEM file", AUTHORITIES.info.name)));
        };
        let roots = authorities(AUTHORITIES.info.name, &path)?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Some(Sides { acceptor: acceptor(conf)?, client: Arc::new(client) })))
    }

    /// For a daemon, which needs a certificate.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_daemon(conf: &Conf) -> Result<Self> {
        let tls = Self::of(conf)?;
        if tls.0.as_ref().is_some_and(|sides| sides.acceptor.is_none()) {
            return Err(Error::invalid(format!(
                "{} needs a certificate to be known by",
                ENABLED.info.name
            ))
            .with_hint(format!(
                "set {} and {} to PEM files",
                CERTIFICATES.info.name, PRIVATE_KEY.info.name
            )));
        }
        Ok(tls)
    }

    /// For a daemon with options of its own: PEM files with its certificate, its key, and the authority of
    /// clients, if they need a certificate; each with the name of its option.
    ///
    /// # Errors
    /// [`InvalidSpec`](ErrorKind::InvalidSpec) for files that are not there or not what they should be.
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
        Ok(Self(Some(Sides { acceptor, client: Arc::new(client.with_no_client_auth()) })))
    }

    /// The properties by which a client does as the one who has these.
    pub fn client_properties(conf: &Conf) -> Vec<(String, String)> {
        let names = [ENABLED.info.name, AUTHORITIES.info.name];
        let set = names.iter().filter_map(|name| Some((*name, conf.get(name)?)));
        set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// What a client of another library needs to do the same. Where TLS is off, nobody is believed.
    pub fn client(&self) -> ClientConfig {
        match &self.0 {
            Some(sides) => ClientConfig::clone(&sides.client),
            None => ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        }
    }

    /// The side of the one who was called.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) if the other side does not speak TLS.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream> {
        heed(&stream);
        if let Err(error) = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER) {
            tracing::debug!(%error, "a connection with a buffer of the system's size");
        }
        match self.0.as_ref().and_then(|sides| sides.acceptor.as_ref()) {
            None => Ok(Box::new(Paced::new(stream))),
            Some(acceptor) => {
                match acceptor.accept(stream).await {
                    Ok(stream) => Ok(Box::new(Paced::new(stream))),
                    Err(error) => Err(Error::protocol("a caller that does not speak TLS as we do")
                        .with_source(error)),
                }
            }
        }
    }

    /// The side of the one who called, at a host that has to prove that it is.
    ///
    /// # Errors
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) if it cannot, and
    /// [`Unavailable`](ErrorKind::Unavailable) if the connection breaks.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream> {
        heed(&stream);
        let Some(sides) = &self.0 else { return Ok(Box::new(stream)) };
        let host = host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            Error::invalid(format!("{host} cannot be in a certificate")).with_source(error)
        })?;
        let connector = TlsConnector::from(Arc::clone(&sides.client));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(refusal(host, error).with_hint(format!(
                "is TLS on there as well, and is its authority in {}?",
                AUTHORITIES.info.name
            ))),
        }
    }
}

/// Why there is no TLS with a host: one that is on its way down says nothing about who it is.
fn refusal(host: &str, error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::new(
                ErrorKind::Unauthenticated,
                format!("{host} is not known by its certificate: {error}"),
            )
        }
        Some(fault) => Error::protocol(format!("{host} does not speak TLS as we do: {fault}")),
        None => Error::unavailable(format!("{host} broke off while TLS began")).with_source(error),
    }
}

/// Small messages go at once; and a machine that is gone without a word is noticed.
fn heed(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 4).with_retries(3);
    for set in [
        socket.set_tcp_nodelay(true),
        socket.set_tcp_keepalive(&probes),
        socket.set_tcp_user_timeout(Some(SILENCE)),
    ] {
        if let Err(error) = set {
            tracing::debug!(%error, "a connection without probes");
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
        Error::invalid(format!("{key_from}: {key} has no key")).with_source(error)
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
            Error::invalid(format!("{from}: {path} has none to use")).with_source(error)
        })?;
    }
    Ok(roots)
}

fn certificates(property: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |error: &dyn fmt::Display| {
        Error::invalid(format!("{property}: {path} has no certificates: {error}"))
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let read: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    let found = read.map_err(|error| failed(&error))?;
    if found.is_empty() {
        return Err(failed(&"there is nothing of the kind in it"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_fault_of_the_certificate_says_who_somebody_is_not() {
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
    async fn one_who_breaks_off_is_away_and_one_who_talks_otherwise_is_odd() {
        let client = Arc::new(Tls::default().client());
        let tls = Tls(Some(Sides { acceptor: None, client }));
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
