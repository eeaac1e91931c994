//! `POST /predict`: images in, the document of `predict --format json` out.

use super::State;
use super::failure::Failure;
use crate::inputs::ImageSource;
use crate::predict::{PredictionResult, Settings};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Query, Request, State as Extract};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use models::image_file::Reader;
use serde::Deserialize;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Answers per image by default, as in `predict`.
const TOP: usize = 3;

/// Most images in one request.
const MOST_IMAGES: usize = 256;

/// Name of an image that has none.
const UNNAMED: &str = "image";

/// How images are answered.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The model; the first one by default.
    model: Option<String>,
    /// Answers per image.
    top: Option<usize>,
    /// An image whose highest probability is below this is unknown.
    threshold: Option<f32>,
    /// Whether the answer contains the network's input, as the address of a PNG image.
    #[serde(default)]
    input: bool,
}

/// Classifies the image in the body, or all images of a form.
pub(super) async fn predict(
    Extract(state): Extract<Arc<State>>,
    options: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let Query(options) = options.map_err(|rejection| Failure::bad(rejection.body_text()))?;
    if options.top == Some(0) {
        return Err(Failure::bad("top is 0: expected at least 1"));
    }
    if options.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
        return Err(Failure::bad("threshold is outside 0 to 1"));
    }
    let ready = state.registry.find(options.model.as_deref())?;
    let images = images(request).await?;
    ready.pool.admit()?;
    state.metrics.images(options.model.as_deref().unwrap_or(state.registry.first()), images.len());
    let mut tasks = JoinSet::new();
    for (number, (name, bytes)) in images.into_iter().enumerate() {
        let (ready, options, max_pixels) = (Arc::clone(&ready), options.clone(), state.max_pixels);
        tasks.spawn(async move {
            let settings = Settings {
                reader: Reader { max_pixels, ..Reader::default() },
                top: options.top.unwrap_or(TOP),
                threshold: options.threshold.unwrap_or(0.0),
                shows_input: options.input,
                ..Settings::default()
            };
            let answer = ready.pool.classify(ImageSource::Memory { name, bytes: bytes.into() }, settings);
            answer.await.map(|result| (number, result))
        });
    }
    let mut results: Vec<(usize, PredictionResult)> = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.map_err(|error| Failure::internal(error.to_string()))??);
    }
    results.sort_unstable_by_key(|(number, _)| *number);
    let mut document = ready.document.clone();
    document.add(results.into_iter().map(|(_, result)| result).collect());
    let status = if document.predictions.is_empty() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok((status, Json(document)).into_response())
}

/// The images of a request, with their names: its body, or the files of a form.
async fn images(request: Request) -> Result<Vec<(String, Bytes)>, Failure> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        let body = Bytes::from_request(request, &()).await;
        let body = body.map_err(|rejection| Failure::of_body(rejection.status(), rejection.body_text()))?;
        if body.is_empty() {
            return Err(Failure::bad("expected an image file as the body, or a form with image files"));
        }
        return Ok(vec![(UNNAMED.to_owned(), body)]);
    }
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|rejection| Failure::of_body(rejection.status(), rejection.body_text()))?;
    let mut images = Vec::new();
    loop {
        let field = form.next_field().await.map_err(|error| Failure::of_body(error.status(), error.body_text()))?;
        let Some(field) = field else { break };
        let Some(name) = field.file_name().map(str::to_owned) else {
            let name = field.name().unwrap_or_default();
            return Err(Failure::bad(format!(
                "'{name}' of the form is not a file: options belong into the address, such as /predict?top=1"
            )));
        };
        let bytes = field.bytes().await.map_err(|error| Failure::of_body(error.status(), error.body_text()))?;
        images.push((name, bytes));
        if images.len() > MOST_IMAGES {
            return Err(Failure::bad(format!("the form has more than {MOST_IMAGES} images")));
        }
    }
    if images.is_empty() {
        return Err(Failure::bad("the form contains no image files"));
    }
    Ok(images)
}
