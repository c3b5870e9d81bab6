//! What the daemons share: where their properties come from, and where they listen.

use std::path::PathBuf;

use anymaster_core::conf::{Conf, Layers, Origin};
use anymaster_core::{Error, Result};
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
        let loaded = layers.finish();
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

/// Warns of a daemon that takes orders from whoever reaches it.
pub(crate) fn warn_of_strangers(context: &Context, host: &str, conf: &Conf) {
    let is_private = matches!(host, "localhost" | "::1" | "[::1]") || host.starts_with("127.");
    let has_secret = ["spark.authenticate.secret", "spark.anymaster.authenticate.secretFile"]
        .iter()
        .any(|key| conf.get(key).is_some());
    if !is_private && !has_secret {
        context.printer.warn(
            "whoever reaches this port can run programs here: set spark.anymaster.authenticate.secretFile",
        );
    }
}
