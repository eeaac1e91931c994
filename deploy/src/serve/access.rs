//! What happens around every request: the token is checked, the request gets a number, and its answer is logged and
//! counted.

use super::State;
use super::failure::Failure;
use super::rest::ReadToEnd;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use subtle::ConstantTimeEq;
use tokio::time::timeout;

/// The number of a request, chosen by the client or by the server.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest number that is taken from a client.
const LONGEST_ID: usize = 128;

/// Whether an address needs no token: those that orchestrators ask, and the page, which has no secrets.
fn is_open(path: &str) -> bool {
    path == "/" || path.starts_with("/v2/health/")
}

pub(super) async fn check(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let began = Instant::now();
    let given = request.headers().get(&REQUEST_ID).filter(|id| id.len() <= LONGEST_ID).cloned();
    let id = given.unwrap_or_else(|| HeaderValue::from(NUMBER.fetch_add(1, Ordering::Relaxed)));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Counted by route: addresses are the client's choice, and each would be a metric of its own.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let request = request.map(|body| Body::new(ReadToEnd::new(body, state.reading_time)));
    let mut response = if is_open(&path) || is_allowed(state.token.as_deref(), &request) {
        let seconds = state.request_time.as_secs();
        match timeout(state.request_time, next.run(request)).await {
            // The decompression layer refuses other codings with an empty body.
            Ok(response) if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Failure::new(response.status(), "expected an uncompressed body, or one compressed with gzip or deflate")
                    .into_response()
            }
            Ok(response) => response,
            Err(_) => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, format!("no answer within {seconds} s")).into_response()
            }
        }
    } else {
        let reason = "expected the header Authorization: Bearer TOKEN";
        let mut refused = Failure::new(StatusCode::UNAUTHORIZED, reason).into_response();
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        refused
    };
    let (status, time) = (response.status().as_u16(), began.elapsed());
    state.metrics.answered(&route, status, time);
    tracing::info!(id = id.to_str().unwrap_or_default(), %method, path, status, ms = time.as_secs_f64() * 1e3, "request");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Whether a request has the token, if one is needed. Takes the same time for every wrong token of the same length.
fn is_allowed(token: Option<&str>, request: &Request) -> bool {
    let Some(token) = token else { return true };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    let given =
        given.and_then(|given| given.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    given.is_some_and(|(_, given)| given.as_bytes().ct_eq(token.as_bytes()).into())
}
