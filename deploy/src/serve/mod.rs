//! `deploy serve`: answers images and tensors over HTTP.
//!
//! A request goes through `access` (token, log, metrics), is read completely, and then waits in the bounded queue of a
//! model's `pool` for one of its threads. `images` answers image files with the JSON of `predict`, `v2` answers
//! tensors in the Open Inference Protocol. `registry` holds the models and opens changed files again; `listener`
//! accepts connections and ends them in order.

mod access;
mod failure;
mod images;
mod listener;
mod metrics;
mod pool;
mod registry;
mod rest;
mod tls;
mod v2;

pub use axum::http::HeaderValue;
pub use axum::http::uri::Authority;
pub use listener::Address;
pub use registry::ModelChoice;
pub use tls::TlsFiles;

use crate::backend;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State as Extract};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use failure::Failure;
use listener::Listener;
use metrics::Metrics;
use pool::Batching;
use registry::{Registry, Running};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tls::Tls;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// How often the files of models and of the certificate are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// All addresses, as OpenAPI describes them.
const OPENAPI: &str = include_str!("openapi.json");

/// The page for people. It loads nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

const PAGE_HEADERS: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: blob:",
    ),
];

/// What to serve, and where.
#[derive(Debug)]
pub struct Options {
    /// Where to listen.
    pub address: Address,
    /// The models, at least one, with different names.
    pub models: Vec<ModelChoice>,
    /// How they are run.
    pub backend: backend::Options,
    /// The secret that clients must send, if any.
    pub token: Option<String>,
    /// The server's certificate; without one, it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Web pages of these origins may use the server, besides its own; `*` stands for all.
    pub cors: Vec<HeaderValue>,
    /// Most pixels per image.
    pub max_pixels: u64,
    /// Most images that a thread runs together; `None` for what suits the engine.
    pub max_batch: Option<usize>,
    /// How long the first of them waits for others.
    pub max_delay: Duration,
    /// What a client may ask for.
    pub limits: Limits,
}

/// What clients may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes in a request's body, after decompression.
    pub body: usize,
    /// Most pieces of work that wait for a thread of one model.
    pub waiting: usize,
    /// Most connections at the same time.
    pub connections: usize,
    /// Longest time for a request's headers, between two pieces of its body, and until a client reads on.
    pub header_time: Duration,
    /// Longest time from a request's headers to its answer.
    pub request_time: Duration,
    /// Longest time for requests in progress once the server is told to stop.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            waiting: 256,
            connections: 1024,
            header_time: Duration::from_secs(10),
            request_time: Duration::from_mins(1),
            stop_time: Duration::from_secs(30),
        }
    }
}

/// What all requests share.
struct State {
    registry: Registry,
    metrics: Arc<Metrics>,
    token: Option<String>,
    max_pixels: u64,
    request_time: Duration,
    /// Longest time for reading the rest of a refused body.
    reading_time: Duration,
    stopping: AtomicBool,
}

impl State {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Opens the models and serves until SIGTERM or SIGINT. `started` is called once clients can connect, with the address and
/// with lines that say what runs each model.
pub fn serve(options: Options, started: impl FnOnce(&str, &[String])) -> Result<()> {
    let Options { address, models, backend, token, tls, cors, max_pixels, max_batch, max_delay, limits } = options;
    let tls = tls.map(Tls::open).transpose()?.map(Arc::new);
    let metrics = Arc::new(Metrics::new());
    let batching = Batching { most: max_batch, delay: max_delay };
    let running = Running { options: backend, waiting: limits.waiting, batching, metrics: Arc::clone(&metrics) };
    let registry = Registry::open(models, running)?;
    let state = Arc::new(State {
        registry,
        metrics,
        token,
        max_pixels,
        request_time: limits.request_time,
        reading_time: limits.header_time,
        stopping: AtomicBool::new(false),
    });
    let (watched, certificate) = (Arc::clone(&state), tls.clone());
    let watch = move || {
        loop {
            std::thread::sleep(LOOK);
            watched.registry.refresh();
            if let Some(tls) = &certificate {
                tls.refresh();
            }
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).spawn(watch).context("cannot start a thread")?;
    // The models have threads of their own, and one is enough for reading and writing.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.context("cannot start the server's threads")?.block_on(async {
        let listener = Listener::bind(&address, tls).await?;
        started(&listener.url()?, &state.registry.report());
        let stopped = Arc::clone(&state);
        listener.serve(router(state, limits, cors), limits, || stopped.stopping.store(true, Ordering::Relaxed)).await
    })
}

fn router(state: Arc<State>, limits: Limits, cors: Vec<HeaderValue>) -> Router {
    let router = Router::new()
        .route("/", get(async || (PAGE_HEADERS, PAGE)))
        .route("/predict", post(images::predict))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .merge(v2::routes())
        .fallback(async || Failure::unknown("there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(RequestDecompressionLayer::new())
        .layer(RequestBodyTimeoutLayer::new(limits.header_time))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(|_| Failure::internal("the server failed on this request").into_response()))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), access::check))
        .with_state(state);
    // Outermost, because browsers ask for permission without a token.
    if cors.is_empty() { router } else { router.layer(permission(cors)) }
}

/// What web pages of other origins may do.
fn permission(origins: Vec<HeaderValue>) -> CorsLayer {
    let sent = [header::AUTHORIZATION, header::CONTENT_TYPE, access::REQUEST_ID, v2::JSON_LENGTH];
    let layer = CorsLayer::new().allow_methods([Method::GET, Method::POST]).allow_headers(sent).expose_headers([
        access::REQUEST_ID,
        v2::JSON_LENGTH,
        header::RETRY_AFTER,
    ]);
    if origins.iter().any(|origin| origin == "*") { layer.allow_origin(Any) } else { layer.allow_origin(origins) }
}

async fn metrics(Extract(state): Extract<Arc<State>>) -> Result<impl IntoResponse, Failure> {
    let text = state.metrics.encode(&state.registry)?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}
