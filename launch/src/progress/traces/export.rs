//! The way of spans to their collector: over OTLP, in a thread of its own, so that nobody waits for it.

use std::{
    env,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use opentelemetry::{Key, trace::TracerProvider as _};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, WithExportConfig as _,
    WithTonicConfig as _, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};

/// What is left at the end of a run may take so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where spans go once they have ended.
#[derive(Debug)]
pub(super) struct Outlet {
    provider: SdkTracerProvider,
    /// Why spans did not reach the collector, the first time.
    trouble: Arc<OnceLock<String>>,
    told: bool,
}

impl Outlet {
    /// To the collector that the environment names, if it names one.
    ///
    /// # Errors
    /// If what the environment says of it cannot be.
    pub(super) fn from_environment() -> Result<Option<Self>> {
        let named = |variable: &&str| env::var(variable).ok().filter(|value| !value.is_empty());
        let variables = [OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT];
        variables.iter().find_map(named).map(|endpoint| Self::over_otlp(&endpoint)).transpose()
    }

    /// To the collector that listens there. The connection is made when it is needed, and again when it was lost.
    ///
    /// # Errors
    /// If nothing can listen there, or the environment says of it what cannot be.
    pub(super) fn over_otlp(endpoint: &str) -> Result<Self> {
        let mut builder = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint);
        if endpoint.starts_with("https:") {
            let anchors = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
            builder = builder.with_tls_config(ClientTlsConfig::new().trust_anchors(anchors));
        }
        Ok(Self::to(builder.build().context("cannot send traces")?))
    }

    /// To whatever takes them.
    pub(super) fn to(exporter: impl SpanExporter + 'static) -> Self {
        let trouble = Arc::<OnceLock<String>>::default();
        let exporter = Watched { exporter, trouble: trouble.clone() };
        let provider =
            SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        Self { provider, trouble, told: false }
    }

    /// Makes the spans.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("fulcrum")
    }

    /// What keeps spans from the collector, told once.
    pub(super) fn trouble(&mut self) -> Option<String> {
        let news = self.trouble.get().filter(|_| !self.told)?;
        self.told = true;
        Some(news.clone())
    }

    /// Waits until the spans that have ended are sent, but no longer than [`PATIENCE`].
    pub(super) fn close(&self) {
        if self.provider.shutdown_with_timeout(PATIENCE).is_err() {
            let _ = self.trouble.set(format!("no answer within {} s", PATIENCE.as_secs()));
        }
    }
}

/// Keeps the first error, as the SDK keeps none.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    trouble: Arc<OnceLock<String>>,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let done = self.exporter.export(batch).await;
        if let Err(error) = &done {
            let _ = self.trouble.set(error.to_string());
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Who sends: what the environment says, and `fulcrum` where it says no name.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let name = said.get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder();
    if is_named { builder.build() } else { builder.with_service_name("fulcrum").build() }
}
