//! The connection to the API server, from the master URL, the kubeconfig, the service account of
//! the pod that this process runs in, and `spark.kubernetes.authenticate.*` (Spark 3.5,
//! `SparkKubernetesClientFactory`).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anymaster_core::conf::Conf;
use anymaster_core::model::DeployMode;
use anymaster_core::{Error, ErrorKind, MasterUrl, Result};
use http::header::{HeaderValue, USER_AGENT};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::util::MapResponseLayer;
use tower::{BoxError, ServiceBuilder};

use crate::submitter_env::SubmitterEnv;
use crate::{error, keys, master_url};

/// A client with its namespaces and time-out.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The namespace in which applications are looked up.
    pub(crate) namespace: String,
    /// The default namespace of submissions: as with Spark, not that of the kubeconfig's context.
    pub(crate) submissions: String,
    /// The time-out of a request.
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Creates a connection. Nothing is sent yet.
pub(crate) async fn connect(
    master: &MasterUrl,
    conf: &Conf,
    submitter: &SubmitterEnv,
) -> Result<Connection> {
    let server = &master_url::server(master)?;
    let mut conf = conf.clone();
    keys::migrate_deprecated(&mut conf)?;
    conf.set_variables(submitter.variables());
    let mut config = base(server, &conf).await?;
    config.cluster_url = server.parse().map_err(|error| {
        Error::invalid(format!("master URL {master}: it is not a URL")).with_source(error)
    })?;
    // HTTP is not encrypted: the kubeconfig's credentials are not sent, only those set for this
    // server by properties.
    if server.starts_with("http://") {
        tracing::warn!(
            "{master} uses HTTP: anybody on the network path can read and change the traffic"
        );
        config.auth_info = Default::default();
    }
    let caller = Caller::of(&conf)?;
    credentials(&mut config, &conf, submitter, caller)?;
    if conf.read(&keys::TRUST_CERTIFICATES)? {
        config.accept_invalid_certs = true;
    }
    let (connect_timeout, request_timeout) = caller.timeouts(&conf)?;
    config.connect_timeout = Some(connect_timeout);
    // `Connection::call` retries what is idempotent.
    config.default_retry = false;
    proxy(&mut config, submitter)?;
    let agent = concat!("anymaster/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    let given = conf.read_optional(&keys::NAMESPACE)?;
    let submissions = given.clone().filter(|namespace| namespace != "*");
    let submissions = submissions.unwrap_or_else(|| "default".to_owned());
    let namespace = given.unwrap_or_else(|| config.default_namespace.clone());
    let client = client(config).map_err(|error| error::translate("connect", error))?;
    Ok(Connection { client, namespace, submissions, timeout: request_timeout })
}

/// Checks the properties of a connection without connecting, so that a dry run fails where a
/// submission would.
pub(crate) fn check(master: &MasterUrl, conf: &Conf, submitter: &SubmitterEnv) -> Result<()> {
    let server = master_url::server(master)?;
    let mut conf = conf.clone();
    keys::migrate_deprecated(&mut conf)?;
    conf.set_variables(submitter.variables());
    let url = server.parse().map_err(|error| {
        Error::invalid(format!("master URL {master}: it is not a URL")).with_source(error)
    })?;
    let caller = Caller::of(&conf)?;
    credentials(&mut Config::new(url), &conf, submitter, caller)?;
    conf.read(&keys::TRUST_CERTIFICATES)?;
    caller.timeouts(&conf).map(drop)
}

/// Who connects: Spark has separate properties for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A submission, or a command such as `ps`.
    Submitter,
    /// A driver in the pod that a submission created.
    DriverInPod,
    /// A driver in client mode.
    ClientDriver,
}

impl Caller {
    fn of(conf: &Conf) -> Result<Self> {
        Ok(if conf.read(&keys::SUBMIT_IN_DRIVER)? {
            Self::DriverInPod
        } else if DeployMode::of(conf) == Some(DeployMode::Client) {
            Self::ClientDriver
        } else {
            Self::Submitter
        })
    }

    /// The prefix of the properties with its credentials.
    fn prefix(self, conf: &Conf) -> &'static str {
        const CLIENT: &str = "spark.kubernetes.authenticate.";
        let has_own =
            || CREDENTIALS.iter().any(|name| conf.get(&format!("{CLIENT}{name}")).is_some());
        match self {
            Self::DriverInPod => "spark.kubernetes.authenticate.driver.mounted.",
            Self::ClientDriver if has_own() => CLIENT,
            Self::ClientDriver | Self::Submitter => "spark.kubernetes.authenticate.submission.",
        }
    }

    /// The time-outs of a connection and of a request.
    fn timeouts(self, conf: &Conf) -> Result<(Duration, Duration)> {
        let own = |key| match self {
            Self::Submitter => Ok(None),
            Self::DriverInPod | Self::ClientDriver => conf.read_optional(key),
        };
        let (connection, request) =
            (own(&keys::DRIVER_CONNECTION_TIMEOUT)?, own(&keys::DRIVER_REQUEST_TIMEOUT)?);
        Ok((
            connection.map_or_else(|| conf.read(&keys::SUBMISSION_CONNECTION_TIMEOUT), Ok)?,
            request.map_or_else(|| conf.read(&keys::SUBMISSION_REQUEST_TIMEOUT), Ok)?,
        ))
    }
}

/// The names of the properties with credentials, without their prefix.
const CREDENTIALS: [&str; 5] =
    ["caCertFile", "clientKeyFile", "clientCertFile", "oauthToken", "oauthTokenFile"];

/// As [`Client::try_from`], with `TCP_NODELAY`: without it, Nagle's algorithm and delayed
/// acknowledgements delay requests by up to 40 ms.
fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        let answers = MapResponseLayer::new(error::with_retry_after);
        return Ok(ClientBuilder::try_from(config)?.with_layer(&answers).build());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let service = ServiceBuilder::new()
        .map_response(error::with_retry_after)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector),
        );
    Ok(Client::new(service, config.default_namespace))
}

/// The configuration of the kubeconfig's context, else of the pod that this process runs in, else
/// an empty one.
async fn base(server: &str, conf: &Conf) -> Result<Config> {
    let wanted = conf.read_optional(&keys::CONTEXT)?;
    let kubeconfig = match Kubeconfig::read() {
        Ok(kubeconfig) => kubeconfig,
        Err(error) if wanted.is_none() && is_absent(&error) => {
            return Ok(Config::incluster()
                .unwrap_or_else(|_| Config::new(http::Uri::from_static("https://localhost"))));
        }
        Err(error) => return Err(unreadable(error)),
    };
    let context = wanted.or_else(|| context_of(&kubeconfig, server));
    if context.is_none() && kubeconfig.current_context.as_deref().unwrap_or("").is_empty() {
        return Ok(Config::new(http::Uri::from_static("https://localhost")));
    }
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unreadable)
}

/// The context of the server: the current one if it refers to the server, else the first that does.
fn context_of(kubeconfig: &Kubeconfig, server: &str) -> Option<String> {
    let is_of_server = |name: &str| {
        let context = kubeconfig.contexts.iter().find(|context| context.name == name);
        let cluster = context.and_then(|context| Some(&context.context.as_ref()?.cluster));
        let cluster = kubeconfig.clusters.iter().find(|known| Some(&known.name) == cluster);
        let url = cluster.and_then(|known| known.cluster.as_ref()?.server.as_deref());
        url.is_some_and(|url| url.trim_end_matches('/') == server.trim_end_matches('/'))
    };
    let current = kubeconfig.current_context.as_deref().filter(|name| is_of_server(name));
    let first = || {
        kubeconfig
            .contexts
            .iter()
            .map(|context| context.name.as_str())
            .find(|name| is_of_server(name))
    };
    current.or_else(first).map(str::to_owned)
}

fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn unreadable(error: KubeconfigError) -> Error {
    let kind = match error {
        KubeconfigError::LoadContext(_) => ErrorKind::InvalidSpec,
        _ => ErrorKind::Unauthenticated,
    };
    Error::new(kind, "the kubeconfig cannot be used")
        .with_hint(
            "kubectl config get-contexts shows what there is; spark.kubernetes.context picks one",
        )
        .with_source(error)
}

/// Sets the credentials of properties, which override all others.
fn credentials(
    config: &mut Config,
    conf: &Conf,
    submitter: &SubmitterEnv,
    caller: Caller,
) -> Result<()> {
    let prefix = caller.prefix(conf);
    let property = |name: &str| format!("{prefix}{name}");
    let text = |name: &str| conf.get(&property(name)).filter(|text| !text.is_empty());
    let file = |name: &str| -> Result<Option<String>> {
        let Some(path) = text(name) else { return Ok(None) };
        let path = submitter.path(path);
        check_readable(&property(name), &path)?;
        Ok(Some(path.display().to_string()))
    };
    let [ca, key, certificate, token, token_file] = CREDENTIALS;
    if let Some(path) = file(ca)? {
        config.root_cert = None;
        config.root_cert_file = Some(path.into());
    }
    let auth = &mut config.auth_info;
    match (file(certificate)?, file(key)?) {
        (Some(_), None) => return Err(missing_counterpart(&property(key))),
        (None, Some(_)) => return Err(missing_counterpart(&property(certificate))),
        (Some(certificate), Some(key)) => {
            auth.client_certificate_data = None;
            auth.client_key_data = None;
            auth.client_certificate = Some(certificate);
            auth.client_key = Some(key);
        }
        (None, None) => {}
    }
    let (given, given_file) = (text(token), file(token_file)?);
    if given.is_some() && given_file.is_some() {
        return Err(Error::invalid(format!(
            "Cannot specify OAuth token through both a file {} and a value {}.",
            property(token_file),
            property(token)
        )));
    }
    if given.is_some() || given_file.is_some() {
        auth.exec = None;
        auth.auth_provider = None;
        auth.username = None;
        auth.password = None;
        auth.token = given.map(|token| token.to_owned().into());
        auth.token_file = given_file;
    }
    Ok(())
}

fn check_readable(property: &str, path: &Path) -> Result<()> {
    std::fs::File::open(path).map(|_| ()).map_err(|error| {
        Error::invalid(format!("{property}: cannot read {}", path.display())).with_source(error)
    })
}

fn missing_counterpart(missing: &str) -> Error {
    Error::invalid(format!("{missing} is not set, but its counterpart is"))
        .with_hint("a client certificate needs both the certificate and its key")
}

/// The proxy, as for kubectl: the kubeconfig's, else that of the environment, unless `NO_PROXY`
/// excludes the host.
fn proxy(config: &mut Config, submitter: &SubmitterEnv) -> Result<()> {
    if config.proxy_url.is_some() {
        return Ok(());
    }
    let variable = |name: &str| {
        [name.to_owned(), name.to_ascii_lowercase()]
            .iter()
            .find_map(|name| submitter.vars.get(name).filter(|value| !value.is_empty()).cloned())
    };
    let scheme =
        if config.cluster_url.scheme_str() == Some("http") { "HTTP_PROXY" } else { "HTTPS_PROXY" };
    let Some(url) = variable(scheme).or_else(|| variable("ALL_PROXY")) else { return Ok(()) };
    let host = config.cluster_url.host().unwrap_or_default();
    if is_exempt(host, &variable("NO_PROXY").unwrap_or_default()) {
        return Ok(());
    }
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    config.proxy_url = Some(url.parse().map_err(|error| {
        Error::invalid(format!("{scheme}: it is not a URL")).with_source(error)
    })?);
    Ok(())
}

fn is_exempt(host: &str, list: &str) -> bool {
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    is_loopback
        || list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let domain = entry.trim_start_matches('.');
            entry == "*"
                || host == domain
                || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_of_the_server_is_found() {
        let kubeconfig = Kubeconfig::from_yaml(
            "clusters: [{name: a, cluster: {server: 'https://a:1'}}, {name: b, cluster: {server: 'https://b:1/'}}]\n\
             contexts: [{name: x, context: {cluster: a}}, {name: y, context: {cluster: b}}]\n\
             current-context: x",
        )
        .unwrap();
        assert_eq!(context_of(&kubeconfig, "https://a:1").as_deref(), Some("x"));
        assert_eq!(context_of(&kubeconfig, "https://b:1").as_deref(), Some("y"));
        assert_eq!(context_of(&kubeconfig, "https://c:1"), None);
    }

    #[test]
    fn hosts_are_exempt_from_proxies_by_domain() {
        for (host, list, exempt) in [
            ("127.0.0.1", "", true),
            ("[::1]", "", true),
            ("api.example.com", "example.com", true),
            ("api.example.com", ".example.com", true),
            ("badexample.com", "example.com", false),
            ("10.0.0.1", "10.0.0.1, other", true),
            ("h", "*", true),
            ("h", "", false),
        ] {
            assert_eq!(is_exempt(host, list), exempt, "{host} {list}");
        }
    }

    #[tokio::test]
    async fn credentials_come_in_pairs_and_files_exist() {
        let submitter = SubmitterEnv::default();
        let mut config = Config::new(http::Uri::from_static("https://h"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let conf = |pairs: &[(&str, &str)]| -> Conf {
            pairs
                .iter()
                .map(|(key, value)| {
                    (format!("spark.kubernetes.authenticate.submission.{key}"), *value)
                })
                .collect()
        };
        let as_submitter = |config: &mut Config, conf: &Conf| {
            credentials(config, conf, &submitter, Caller::of(conf).unwrap())
        };
        let error = as_submitter(&mut config, &conf(&[("clientCertFile", &path)])).unwrap_err();
        assert!(error.message().contains("clientKeyFile is not set"), "{error}");
        let error = as_submitter(&mut config, &conf(&[("caCertFile", "/nope")])).unwrap_err();
        assert!(error.message().contains("caCertFile: cannot read /nope"), "{error}");
        let both = conf(&[("oauthToken", "t"), ("oauthTokenFile", &path)]);
        assert!(as_submitter(&mut config, &both).is_err());
        as_submitter(&mut config, &conf(&[("oauthTokenFile", &path)])).unwrap();
        assert_eq!(config.auth_info.token_file.as_deref(), Some(path.as_str()));
    }

    #[test]
    fn each_caller_has_its_own_credentials_and_timeouts() {
        const AUTH: &str = "spark.kubernetes.authenticate";
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let all = [
            (format!("{AUTH}.submission.oauthTokenFile"), "/of-the-submitter"),
            (format!("{AUTH}.driver.mounted.caCertFile"), path),
            (format!("{AUTH}.oauthToken"), "of-a-driver-here"),
            ("spark.kubernetes.submission.requestTimeout".to_owned(), "1s"),
            ("spark.kubernetes.submission.connectionTimeout".to_owned(), "2s"),
            ("spark.kubernetes.driver.requestTimeout".to_owned(), "3s"),
        ];
        let as_caller = |key: &str, value: &str| {
            let mut conf = Conf::from_iter(all.clone());
            conf.set(key, value);
            let caller = Caller::of(&conf).unwrap();
            let mut config = Config::new(http::Uri::from_static("https://h"));
            let done = credentials(&mut config, &conf, &SubmitterEnv::default(), caller);
            let (connection, request) = caller.timeouts(&conf).unwrap();
            (done.map(|()| config), (connection.as_secs(), request.as_secs()))
        };
        let (config, patience) = as_caller("spark.submit.deployMode", "cluster");
        assert!(config.unwrap_err().message().contains("submission.oauthTokenFile"));
        assert_eq!(patience, (2, 1));
        let (config, patience) = as_caller("spark.kubernetes.submitInDriver", "true");
        let config = config.unwrap();
        assert_eq!(config.root_cert_file.as_deref(), Some(file.path()));
        assert!(config.auth_info.token.is_none());
        assert_eq!(patience, (2, 3));
        let (config, patience) = as_caller("spark.submit.deployMode", "client");
        let config = config.unwrap();
        assert!(config.auth_info.token.is_some() && config.root_cert_file.is_none());
        assert_eq!(patience, (2, 3));
    }
}
