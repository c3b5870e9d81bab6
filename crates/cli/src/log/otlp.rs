//! Spans for a collector, over OTLP: where it is and what it is told is said by OpenTelemetry's own variables
//! (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_HEADERS` …).

use anymaster_core::{Error, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// The variables that say where a collector is. Without them, nothing is exported.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Exports what is left when it goes.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!("some spans have not reached the collector: {error}");
        }
    }
}

/// Takes the spans of our crates, if a collector is named.
///
/// # Errors
/// If the variables make no sense.
pub(super) fn layer<S>() -> Result<Option<(impl Layer<S>, Exporter)>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let Some(variable) = ENDPOINTS.into_iter().find(|name| is_set(name)) else { return Ok(None) };
    let exporter = SpanExporter::builder().with_http().build().map_err(|error| {
        Error::invalid(format!("spans cannot be exported as {variable} says")).with_source(error)
    })?;
    let mut resource = Resource::builder();
    if !is_set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name("anymaster");
    }
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
    let provider = provider.build();
    let ours = Targets::new().with_target("anymaster", Level::DEBUG);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("anymaster"));
    Ok(Some((layer.with_filter(ours), Exporter(provider))))
}
