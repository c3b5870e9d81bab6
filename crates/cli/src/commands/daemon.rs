//! What the daemons share: where their properties come from, and where they listen.

use std::path::PathBuf;

use anymaster_core::conf::{Conf, Layers, Origin};
use anymaster_core::{Error, Result};
use anymaster_spark::Environment;
use clap::Args;

use crate::args::property;
use crate::context::Context;
use crate::settings;

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
    pub(crate) fn load(&self, context: &Context) -> Result<Conf> {
        let mut layers = Layers::new();
        match &self.properties_file {
            Some(file) => layers.add_file(file)?,
            None => {
                if let Some(file) = settings::spark_defaults() {
                    layers.add_file(&file)?;
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

/// What Spark's daemons read and ours do not, and what is to be done instead. Whoever moves over with a
/// `spark-env.sh` should not have to find out.
const UNREAD: [(&str, &str); 5] = [
    ("SPARK_MASTER_OPTS", "write its -D properties into spark-defaults.conf"),
    ("SPARK_WORKER_OPTS", "write its -D properties into spark-defaults.conf"),
    ("SPARK_DAEMON_JAVA_OPTS", "write its -D properties into spark-defaults.conf"),
    ("SPARK_WORKER_INSTANCES", "start as many workers, each with a --work-dir of its own"),
    ("SPARK_PUBLIC_DNS", "say with --host by which name others reach it"),
];

/// Warns of what is likely to be a mistake: variables that nobody reads, and a daemon that takes orders
/// from whoever reaches it.
pub(crate) fn warn(context: &Context, host: &str, conf: &Conf) {
    for (name, instead) in UNREAD.iter().filter(|(name, _)| environment(name).is_some()) {
        context.printer.warn(format!("{name} is not read: {instead}"));
    }
    if is_for_strangers(host, conf) {
        context.printer.warn(
            "whoever reaches this port can run programs here: set spark.anymaster.authenticate.secretFile",
        );
    }
}

fn is_for_strangers(host: &str, conf: &Conf) -> bool {
    let is_private = matches!(host, "localhost" | "::1" | "[::1]") || host.starts_with("127.");
    // A secret that cannot be read is told when it is needed.
    !is_private && matches!(anymaster_standalone::token(conf), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_secret_is_none() {
        let with = |secret| [("spark.authenticate.secret", secret)].into_iter().collect();
        assert!(is_for_strangers("10.0.0.1", &with("")));
        assert!(!is_for_strangers("10.0.0.1", &with("s3cret")));
        assert!(is_for_strangers("10.0.0.1", &Conf::new()));
        assert!(!is_for_strangers("127.0.0.1", &Conf::new()));
    }
}
