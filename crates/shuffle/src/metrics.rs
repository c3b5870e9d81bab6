//! The Prometheus metrics of a shuffle service.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What a service counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) applications: Gauge,
    pub(crate) executors: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) registrations: Counter,
    pub(crate) blocks: Counter,
    pub(crate) bytes: Counter,
    pub(crate) failures: Counter,
    pub(crate) index_hits: Counter,
    pub(crate) index_misses: Counter,
    pub(crate) disk_waits: Counter,
    pub(crate) removed_blocks: Counter,
    pub(crate) removed_dirs: Counter,
    pub(crate) removal_failures: Counter,
    pub(crate) authentication_failures: Counter,
}

impl Metrics {
    /// In OpenMetrics' text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("anymaster_shuffle");
        let help = "Bytes of blocks that were sent";
        registry.register_with_unit("sent", help, Unit::Bytes, self.bytes.clone());
        for (name, help, gauge) in [
            ("applications", "Applications with registered executors", &self.applications),
            ("executors", "Registered executors", &self.executors),
            ("connections", "Open connections", &self.connections),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("registrations", "Registrations of executors", &self.registrations),
            ("blocks", "Blocks that were sent", &self.blocks),
            ("block_failures", "Blocks that could not be sent", &self.failures),
            ("index_cache_hits", "Indexes that were in memory", &self.index_hits),
            ("index_cache_misses", "Indexes that were read from files", &self.index_misses),
            ("disk_waits", "Blocks that were not in the page cache, or large", &self.disk_waits),
            ("removed_blocks", "Files that drivers had removed", &self.removed_blocks),
            ("removed_directories", "Local directories of ended applications", &self.removed_dirs),
            (
                "removal_failures",
                "Local directories that could not be removed",
                &self.removal_failures,
            ),
            (
                "authentication_failures",
                "Callers with another secret",
                &self.authentication_failures,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
