//! What the daemons share: where their properties come from, and where they listen.

use std::path::{Path, PathBuf};

use anymaster_core::conf::{Conf, Layers, Origin};
use anymaster_core::{Error, Result};
use anymaster_net::Tls;
use anymaster_spark::Environment;
use clap::Args;

use crate::args::property;
use crate::context::Context;
use crate::settings;

/// Variables with options of the daemons' JVMs: what they set as properties counts, as with Spark more
/// than the file, and less than what is given.
const OPTIONS: [&str; 3] = ["SPARK_DAEMON_JAVA_OPTS", "SPARK_MASTER_OPTS", "SPARK_WORKER_OPTS"];

/// Which daemon it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    Master,
    Worker,
    Dispatcher,
    Gateway,
    Shuffle,
    Staging,
}

impl Daemon {
    fn reads(self, options: &str) -> bool {
        match options {
            "SPARK_MASTER_OPTS" => self == Self::Master,
            "SPARK_WORKER_OPTS" => self == Self::Worker,
            _ => true,
        }
    }
}

/// Where the properties of a daemon come from.
#[derive(Debug, Args)]
pub(crate) struct Properties {
    /// A file with properties [default: spark-defaults.conf of $SPARK_CONF_DIR or $SPARK_HOME/conf]
    #[arg(long, value_name = "FILE")]
    properties_file: Option<PathBuf>,
    /// A property; may be given several times
    #[arg(long, value_name = "PROP=VALUE", value_parser = property)]
    conf: Vec<(String, String)>,
}

impl Properties {
    /// Reads them. The file is read again by nobody.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn load(&self, context: &Context, daemon: Daemon) -> Result<Conf> {
        let mut layers = Layers::new();
        match &self.properties_file {
            Some(file) => layers.add_file(file)?,
            None => {
                if let Some(file) = settings::spark_defaults() {
                    layers.add_file(&file)?;
                }
            }
        }
        for name in OPTIONS.into_iter().filter(|name| daemon.reads(name)) {
            let options = environment(name).unwrap_or_default();
            for option in properties_of(name, &options)? {
                match option {
                    Ok((key, value)) => layers.add(Origin::Conf, &key, value),
                    Err(option) => context.printer.warn(format!(
                        "{name}: {option} has no effect: there is no JVM here, and only \
                         -Dspark.…=… is read"
                    )),
                }
            }
        }
        for (key, value) in &self.conf {
            layers.add(Origin::Conf, key, value);
        }
        let mut loaded = layers.finish();
        loaded.conf.set_variables(Environment::of_process().references());
        loaded.warnings.iter().for_each(|warning| context.printer.warn(warning));
        Ok(loaded.conf)
    }
}

/// The properties among the options of a JVM; and those that are none.
fn properties_of(name: &str, options: &str) -> Result<Vec<Result<(String, String), String>>> {
    let words = shell_words::split(options)
        .map_err(|error| Error::invalid(format!("{name}: {options:?}")).with_source(error))?;
    let property =
        |word: String| match word.strip_prefix("-Dspark.").map(|text| text.split_once('=')) {
            Some(Some((key, value))) => Ok((format!("spark.{key}"), value.to_owned())),
            _ => Err(word),
        };
    Ok(words.into_iter().map(property).collect())
}

/// The files of a daemon's TLS.
#[derive(Debug, Args)]
pub(crate) struct Certificates {
    /// The certificate for TLS, with those between it and its CA, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The CA of clients, in PEM: whoever has no certificate of it is refused
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
}

impl Certificates {
    /// TLS with these files; none without them.
    ///
    /// # Errors
    /// If a file cannot be read, or is none of its kind.
    pub(crate) fn tls(&self) -> Result<Tls> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(Tls::default());
        };
        let text = |path: &Path| {
            let known = path.to_str().map(str::to_owned);
            known.ok_or_else(|| Error::invalid(format!("{}: not a name in UTF-8", path.display())))
        };
        let (certificate, key) = (text(certificate)?, text(key)?);
        let clients = self.client_ca.as_deref().map(text).transpose()?;
        Tls::of_files(
            ("--tls-cert", &certificate),
            ("--tls-key", &key),
            clients.as_deref().map(|path| ("--client-ca", path)),
        )
    }
}

/// An environment variable that is set to something.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What an option says, or an environment variable instead of it.
///
/// # Errors
/// If the variable's value makes no sense.
pub(crate) fn or_environment<T: std::str::FromStr>(
    given: Option<T>,
    name: &str,
) -> Result<Option<T>> {
    if given.is_some() {
        return Ok(given);
    }
    let parse = |text: String| {
        text.parse().map_err(|_| Error::invalid(format!("{name}: {text:?} makes no sense here")))
    };
    environment(name).map(parse).transpose()
}

/// What Spark's daemons or the scripts that start them read and ours do not, and what is to be done
/// instead. Whoever moves over with a `spark-env.sh` should not have to find out.
const UNREAD: [(&str, &str); 11] = [
    ("SPARK_DAEMON_MEMORY", "there is no JVM here that needs a heap"),
    ("SPARK_DAEMON_CLASSPATH", "there is no JVM here"),
    ("SPARK_WORKER_INSTANCES", "start as many workers, each with a --work-dir of its own"),
    ("SPARK_PUBLIC_DNS", "say with --host by which name others reach it"),
    ("SPARK_LOCAL_IP", "say with --host where it listens"),
    ("SPARK_LOCAL_HOSTNAME", "say with --host where it listens"),
    ("SPARK_LOG_DIR", "it logs to standard error, which can be sent anywhere"),
    ("SPARK_LOG_MAX_FILES", "it logs to standard error, which can be sent anywhere"),
    ("SPARK_PID_DIR", "it stays in the foreground: a service manager knows its process id"),
    ("SPARK_IDENT_STRING", "it has neither log files nor files with process ids"),
    ("SPARK_NICENESS", "start it with nice"),
];

/// Warns of what is likely to be a mistake: variables that nobody reads, and a daemon that takes orders
/// from whoever reaches it.
pub(crate) fn warn(context: &Context, host: &str, conf: &Conf) {
    for (name, instead) in UNREAD.iter().filter(|(name, _)| environment(name).is_some()) {
        context.printer.warn(format!("{name} is not read: {instead}"));
    }
    if let Some(warning) = danger(host, conf) {
        context.printer.warn(warning);
    }
}

/// The token that follows from the secret of the cluster, if there is a secret.
///
/// # Errors
/// If the secret cannot be read.
pub(crate) fn token(conf: &Conf) -> Result<Option<String>> {
    anymaster_standalone::token(conf)
}

/// Whether only this machine reaches a daemon that listens there.
pub(crate) fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "::1" | "[::1]") || host.starts_with("127.")
}

/// What is wrong with the secret of a daemon that other machines reach.
fn danger(host: &str, conf: &Conf) -> Option<&'static str> {
    if is_loopback(host) {
        return None;
    }
    // A secret that cannot be read is told when it is needed.
    let secret = anymaster_standalone::secret(conf).ok()?;
    if !secret.is_set() {
        return Some(
            "whoever reaches this port can run programs here: set spark.anymaster.authenticate.secretFile",
        );
    }
    secret.is_guessable().then_some(
        "the secret is not a random one, so that who sees a token of the page or REST can try to guess it: \
         take one from `head -c 32 /dev/urandom | base64`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_among_jvm_options_are_read_and_the_rest_is_named() {
        let options = r#"-Dspark.deploy.recoveryMode=ZOOKEEPER "-Dspark.a=b c" -Xmx1g -Dother=1"#;
        let read = properties_of("SPARK_DAEMON_JAVA_OPTS", options).unwrap();
        let property = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        let want = [
            property("spark.deploy.recoveryMode", "ZOOKEEPER"),
            property("spark.a", "b c"),
            Err("-Xmx1g".to_owned()),
            Err("-Dother=1".to_owned()),
        ];
        assert_eq!(read, want);
        assert!(properties_of("SPARK_MASTER_OPTS", "-Dspark.a='").is_err());
        assert!(Daemon::Master.reads("SPARK_MASTER_OPTS"));
        assert!(!Daemon::Worker.reads("SPARK_MASTER_OPTS"));
    }

    #[test]
    fn an_empty_secret_is_none_and_one_that_people_chose_is_guessed() {
        let with = |secret| [("spark.authenticate.secret", secret)].into_iter().collect();
        let says = |host, conf: &Conf, words| danger(host, conf).unwrap().contains(words);
        assert!(says("10.0.0.1", &with(""), "can run programs here"));
        assert!(says("10.0.0.1", &Conf::new(), "can run programs here"));
        assert_eq!(danger("127.0.0.1", &Conf::new()), None);
        assert!(says("10.0.0.1", &with("s3cret"), "can try to guess it"));
        assert_eq!(danger("10.0.0.1", &with("0f1e2d3c4b5a69788796a5b4c3d2e1f0")), None);
    }
}
