//! What the server counts and measures, as Prometheus reads it.

use super::failure::Failure;
use super::registry::Registry;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry as Metered;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

/// The metrics of a server.
pub(super) struct Metrics {
    metered: Metered,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    images: Family<ModelLabels, Counter>,
    waiting: Family<ModelLabels, Gauge>,
    runs: Family<ModelLabels, Histogram>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metered = Metered::with_prefix("deploy");
        let requests = Family::default();
        // 0.1 ms to 13 s.
        let seconds: Family<RouteLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 18)));
        let (images, waiting) = (Family::default(), Family::default());
        // 1 to 512 images.
        let runs: Family<ModelLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 10)));
        metered.register("requests", "Requests by route and status", requests.clone());
        metered.register("request_seconds", "Time from the request's headers to its answer", seconds.clone());
        metered.register("images", "Images that a model was asked about", images.clone());
        metered.register("waiting", "Images and parts of batches that wait for a thread", waiting.clone());
        metered.register("run_images", "Images, or readings of them, that a thread ran together", runs.clone());
        metered.register("build", "Version of the program", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        Self { metered, requests, seconds, images, waiting, runs }
    }

    /// Counts an answered request.
    pub fn answered(&self, route: &str, status: u16, time: Duration) {
        let route = route.to_owned();
        self.seconds.get_or_create(&RouteLabels { route: route.clone() }).observe(time.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
    }

    /// Counts images that a model is asked about.
    pub fn images(&self, model: &str, count: usize) {
        self.images.get_or_create(&ModelLabels { model: model.to_owned() }).inc_by(count as u64);
    }

    /// Counts how many images of a model run together.
    pub fn runs(&self, model: &str) -> Histogram {
        self.runs.get_or_create(&ModelLabels { model: model.to_owned() }).clone()
    }

    /// All metrics as text in the OpenMetrics format.
    pub fn encode(&self, registry: &Registry) -> Result<String, Failure> {
        for name in registry.names() {
            let waiting = registry.find(Some(name))?.pool.waiting();
            self.waiting.get_or_create(&ModelLabels { model: name.to_owned() }).set(waiting as i64);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.metered).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(text)
    }
}
