//! The Prometheus metrics of a staging server.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What a server counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) files: Gauge,
    pub(crate) unfinished: Gauge,
    pub(crate) stored: Gauge,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) uploads: Counter,
    pub(crate) downloads: Counter,
    pub(crate) expired: Counter,
    pub(crate) removal_failures: Counter,
}

impl Metrics {
    /// In OpenMetrics' text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("anymaster_staging");
        for (name, help, gauge) in [
            ("files", "Files that can be downloaded", &self.files),
            ("unfinished_uploads", "Uploads that are not finished", &self.unfinished),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let help = "Bytes of contents and of announced uploads";
        registry.register_with_unit("stored", help, Unit::Bytes, self.stored.clone());
        for (name, help, counter) in [
            ("received", "Bytes of uploads", &self.received),
            ("sent", "Bytes of downloads", &self.sent),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        }
        for (name, help, counter) in [
            ("uploads", "Files that were uploaded", &self.uploads),
            ("downloads", "Downloads that were begun", &self.downloads),
            ("expired", "Files and uploads that were removed for their age", &self.expired),
            ("removal_failures", "Files that could not be removed", &self.removal_failures),
        ] {
            registry.register(name, help, counter.clone());
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
