//! What is logged, how it looks, and where spans go.

mod lines;
#[cfg(feature = "otlp")]
mod otlp;

use std::io;

use anymaster_core::{Error, Result};
use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, registry};

use self::lines::{Fields, Plain};

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, with the spans it is in.
    Json,
}

/// What is logged, and how.
#[derive(Debug)]
pub(crate) struct LogOptions<'a> {
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// The user's filter. `-v` wins over it.
    pub(crate) filter: Option<&'a str>,
    pub(crate) format: LogFormat,
    pub(crate) is_colored: bool,
}

/// Sends what is left to be sent when it goes.
#[derive(Debug, Default)]
pub(crate) struct Logging {
    #[cfg(feature = "otlp")]
    _exporter: Option<otlp::Exporter>,
}

/// Starts logging to standard error, for the whole process.
///
/// # Errors
/// If the filter is not valid, or spans cannot be exported as they are to be.
pub(crate) fn start(options: &LogOptions<'_>) -> Result<Logging> {
    let filter = match (options.verbosity, options.filter) {
        (0, None) => "warn",
        (0, Some(filter)) => filter,
        (1, _) => "info",
        (2, _) => "debug",
        (_, _) => "trace",
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Error::invalid(format!("the log filter {filter:?} is not valid"))
            .with_source(error)
            .with_hint("for example debug, or warn,anymaster_standalone=trace")
    })?;
    let layer = fmt::layer().with_writer(io::stderr);
    let text = || fmt::layer().with_writer(io::stderr).fmt_fields(Fields);
    let lines = match options.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        // What is shown unasked is for people: when and where in the code say nothing to them.
        LogFormat::Text if options.verbosity == 0 && options.filter.is_none() => {
            text().with_ansi(options.is_colored).event_format(Plain).boxed()
        }
        LogFormat::Text => text().with_ansi(options.is_colored).boxed(),
    };
    let subscriber = registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    let (spans, exporter) = otlp::layer()?.unzip();
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(spans);
    subscriber
        .try_init()
        .map_err(|error| Error::conflict("logging was started twice").with_source(error))?;
    Ok(Logging {
        #[cfg(feature = "otlp")]
        _exporter: exporter,
    })
}
