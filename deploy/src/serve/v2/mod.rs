//! The Open Inference Protocol over HTTP, version 2, as KServe and Triton define it, with the binary tensor extension.
//!
//! <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol>
//!
//! Every model has one input, `UINT8 [N, C, H, W]`, values 0 to 255, and the outputs `logits` (unless its file returns
//! probabilities) and `probabilities`, `FP32 [N, classes]`.

mod message;

use super::State;
use super::failure::Failure;
use super::registry::{Ready, VERSION};
use crate::interface::Scores;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
pub(super) use message::JSON_LENGTH;
use message::{Answer, Request};
use models::evaluation::softmax;
use ndarray::{Array2, Axis};
use serde_json::{Value, json};
use std::sync::Arc;

/// Images that a thread runs at a time.
const AT_ONCE: usize = 64;

/// The routes of the protocol.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(async || Json(json!({ "live": true }))))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{model}", get(metadata))
        .route("/v2/models/{model}/versions/{version}", get(metadata))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/versions/{version}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer))
        .route("/v2/repository/index", post(index))
}

async fn server() -> Json<Value> {
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_repository"],
    }))
}

async fn ready(Extract(state): Extract<Arc<State>>) -> (StatusCode, Json<Value>) {
    let ready = !state.is_stopping();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready })))
}

/// The part of an address that names a model: its name, and perhaps a version.
#[derive(serde::Deserialize)]
struct Named {
    model: String,
    version: Option<String>,
}

impl Named {
    fn new(path: Result<Path<Self>, PathRejection>) -> Result<Self, Failure> {
        path.map(|Path(named)| named).map_err(|rejection| Failure::bad(rejection.body_text()))
    }

    fn find(&self, state: &State) -> Result<Arc<Ready>, Failure> {
        let ready = state.registry.find(Some(&self.model))?;
        match self.version.as_deref() {
            None | Some(VERSION) => Ok(ready),
            Some(other) => {
                Err(Failure::unknown(format!("{} has no version '{other}': its only version is {VERSION}", self.model)))
            }
        }
    }
}

async fn model_ready(
    Extract(state): Extract<Arc<State>>,
    named: Result<Path<Named>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let named = Named::new(named)?;
    named.find(&state)?;
    Ok(Json(json!({ "name": named.model, "ready": true })))
}

async fn metadata(
    Extract(state): Extract<Arc<State>>,
    named: Result<Path<Named>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let named = Named::new(named)?;
    let ready = named.find(&state)?;
    let shape = [-1, ready.input.channels as i64, ready.input.height as i64, ready.input.width as i64];
    let output = |name: &&str| json!({ "name": name, "datatype": "FP32", "shape": [-1, ready.labels.len()] });
    Ok(Json(json!({
        "name": named.model,
        "versions": [VERSION],
        "platform": "onnx",
        "inputs": [{ "name": ready.input_name, "datatype": "UINT8", "shape": shape }],
        "outputs": outputs(&ready).iter().map(output).collect::<Vec<_>>(),
        "parameters": { "labels": ready.labels, "runtime": ready.document.runtime.to_string(), "card": ready.card },
    })))
}

async fn index(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let model = |name| json!({ "name": name, "version": VERSION, "state": "READY", "reason": "" });
    Json(state.registry.names().map(model).collect())
}

/// The names of a model's outputs.
fn outputs(ready: &Ready) -> &'static [&'static str] {
    match ready.scores {
        Scores::Logits => &["logits", "probabilities"],
        Scores::Probabilities => &["probabilities"],
    }
}

async fn infer(
    Extract(state): Extract<Arc<State>>,
    named: Result<Path<Named>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let body = body.map_err(|rejection| Failure::of_body(rejection.status(), rejection.body_text()))?;
    let named = Named::new(named)?;
    let ready = named.find(&state)?;
    let Request { id, images, outputs } =
        Request::read(&headers, &body, &ready.input_name, &ready.input, outputs(&ready))?;
    let count = images.dim().0;
    state.metrics.images(&named.model, count);
    // Few at a time: other requests get their turn, and nothing is computed for a client that has gone.
    let mut logits = Array2::zeros((0, ready.labels.len()));
    ready.pool.admit()?;
    for part in images.axis_chunks_iter(Axis(0), AT_ONCE) {
        let part = ready.pool.logits(part.to_owned()).await?;
        logits.append(Axis(0), part.view()).map_err(|error| Failure::internal(error.to_string()))?;
    }
    let probabilities = softmax(logits.view());
    let mut answer = Answer::new(&named.model, VERSION, id);
    for output in outputs {
        let values = if output.name == "logits" { &logits } else { &probabilities };
        answer.add(&output, values.view());
    }
    answer.into_response()
}
