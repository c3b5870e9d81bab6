//! What Prometheus is told.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    /// `created`, `duplicate`, or the code of the error.
    outcome: &'static str,
}

/// The numbers of a service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    submissions: Family<Outcome, Counter>,
    in_flight: Gauge,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("anymaster");
        let submissions = Family::default();
        let in_flight = Gauge::default();
        let seconds = Histogram::new(exponential_buckets(0.002, 2.0, 14));
        registry.register("submissions", "Submissions by what became of them", submissions.clone());
        registry.register("submissions_in_flight", "Submissions under way", in_flight.clone());
        registry.register("submission_seconds", "How long a submission took", seconds.clone());
        Self { registry, submissions, in_flight, seconds }
    }
}

/// Counts a submission as under way, for as long as it lives.
pub(crate) struct Timer<'a> {
    metrics: &'a Metrics,
    begun: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.seconds.observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Metrics {
    pub(crate) fn begin(&self) -> Timer<'_> {
        self.in_flight.inc();
        Timer { metrics: self, begun: Instant::now() }
    }

    pub(crate) fn count(&self, outcome: &'static str) {
        self.submissions.get_or_create(&Outcome { outcome }).inc();
    }

    /// In OpenMetrics' text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
