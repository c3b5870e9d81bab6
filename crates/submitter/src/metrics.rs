//! The Prometheus metrics of the service.

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

/// The metrics of a service.
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
        registry.register("submissions", "Submissions by outcome", submissions.clone());
        registry.register("submissions_in_flight", "Submissions in flight", in_flight.clone());
        registry.register("submission_seconds", "Duration of submissions", seconds.clone());
        Self { registry, submissions, in_flight, seconds }
    }
}

/// Counts a submission as in flight until it is dropped, and records its duration.
pub(crate) struct Timer<'a> {
    metrics: &'a Metrics,
    started: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.seconds.observe(self.started.elapsed().as_secs_f64());
    }
}

impl Metrics {
    pub(crate) fn begin(&self) -> Timer<'_> {
        self.in_flight.inc();
        Timer { metrics: self, started: Instant::now() }
    }

    pub(crate) fn count(&self, outcome: &'static str) {
        self.submissions.get_or_create(&Outcome { outcome }).inc();
    }

    /// The metrics in the OpenMetrics text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
