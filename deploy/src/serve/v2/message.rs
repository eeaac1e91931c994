//! Requests and responses of the Open Inference Protocol, as JSON or as JSON followed by binary tensors.

use crate::serve::failure::Failure;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use models::card::Input;
use ndarray::{Array4, ArrayView2};
use serde::de::{self, DeserializeSeed, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// Length of the JSON at the start of a body, in bytes, if binary tensors follow it.
pub(in crate::serve) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// An output that the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedOutput {
    pub name: &'static str,
    pub is_binary: bool,
}

/// A request for inference.
#[derive(Debug)]
pub(super) struct Request {
    /// The client's number of the request.
    pub id: Option<String>,
    /// `[N, C, H, W]`, N at least 1.
    pub images: Array4<u8>,
    /// The outputs that the client wants, in its order.
    pub outputs: Vec<WantedOutput>,
}

#[derive(Deserialize)]
struct JsonRequest {
    id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    parameters: RequestParameters,
    inputs: Vec<JsonInput>,
    #[serde(default, deserialize_with = "or_default")]
    outputs: Vec<JsonOutput>,
}

#[derive(Deserialize)]
struct JsonInput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default, deserialize_with = "or_default")]
    parameters: InputParameters,
    data: Option<Values>,
}

#[derive(Deserialize)]
struct JsonOutput {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    parameters: OutputParameters,
}

/// Reads a value, or its default for `null`: some clients send every field that they know.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

// Parameters that are not listed have no effect, as the protocol says.

#[derive(Default, Deserialize)]
struct RequestParameters {
    binary_data_output: Option<bool>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<u64>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<IgnoredAny>,
}

impl Request {
    /// Reads a request for a model with this input and these outputs. Errors say what the protocol expects.
    pub fn read(
        headers: &HeaderMap,
        body: &[u8],
        input_name: &str,
        input: &Input,
        known: &[&'static str],
    ) -> Result<Self, Failure> {
        let (text, binary) = parts(headers, body)?;
        let request: JsonRequest =
            serde_json::from_slice(text).map_err(|error| Failure::bad(format!("the request is not valid: {error}")))?;
        let [tensor] = <[JsonInput; 1]>::try_from(request.inputs)
            .map_err(|inputs| Failure::bad(format!("expected one input, '{input_name}', found {}", inputs.len())))?;
        let images = tensor.images(binary, input_name, input)?;
        let is_binary = request.parameters.binary_data_output.unwrap_or(false);
        let wanted = |output: JsonOutput| {
            let name = known.iter().find(|name| **name == output.name).ok_or_else(|| {
                Failure::bad(format!("there is no output '{}': expected {}", output.name, known.join(" or ")))
            })?;
            if output.parameters.classification.is_some() {
                return Err(Failure::bad("the parameter 'classification' is not supported: ask for probabilities"));
            }
            Ok(WantedOutput { name, is_binary: output.parameters.binary_data.unwrap_or(is_binary) })
        };
        let names: BTreeSet<&str> = request.outputs.iter().map(|output| output.name.as_str()).collect();
        if names.len() < request.outputs.len() {
            return Err(Failure::bad("an output is named twice"));
        }
        let outputs = if request.outputs.is_empty() {
            known.iter().map(|&name| WantedOutput { name, is_binary }).collect()
        } else {
            request.outputs.into_iter().map(wanted).collect::<Result<_, _>>()?
        };
        Ok(Self { id: request.id, images, outputs })
    }
}

/// The JSON and the binary part of a body.
fn parts<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Failure> {
    let Some(length) = headers.get(JSON_LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    length.and_then(|length| body.split_at_checked(length)).ok_or_else(|| {
        Failure::bad(format!("{JSON_LENGTH} is not a number of bytes up to the {} of the body", body.len()))
    })
}

impl JsonInput {
    /// The images in the tensor.
    fn images(self, binary: &[u8], name: &str, input: &Input) -> Result<Array4<u8>, Failure> {
        let Input { channels, height, width, .. } = *input;
        if self.name != name {
            return Err(Failure::bad(format!("there is no input '{}': expected '{name}'", self.name)));
        }
        if self.datatype != "UINT8" {
            return Err(Failure::bad(format!(
                "input '{name}' is {}: expected UINT8, the image's values from 0 to 255",
                self.datatype
            )));
        }
        let wrong = || {
            Failure::bad(format!(
                "input '{name}' has the shape {:?}: expected [N, {channels}, {height}, {width}] with N at least 1",
                self.shape.iter().take(8).collect::<Vec<_>>()
            ))
        };
        let &[count, ..] = &self.shape[..] else { return Err(wrong()) };
        if count == 0 || self.shape[1..] != [channels as u64, height as u64, width as u64] {
            return Err(wrong());
        }
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(channels * height * width));
        let length = length.ok_or_else(wrong)?;
        let values = match (self.parameters.binary_data_size, self.data) {
            (Some(_), Some(_)) => {
                return Err(Failure::bad(format!("input '{name}' has both data and binary_data_size: expected one")));
            }
            (Some(size), None) => {
                if size != binary.len() as u64 {
                    return Err(Failure::bad(format!(
                        "binary_data_size of input '{name}' is {size}, but {} bytes follow the JSON",
                        binary.len()
                    )));
                }
                binary.to_vec()
            }
            (None, Some(Values(values))) => values,
            (None, None) => return Err(Failure::bad(format!("input '{name}' has no data"))),
        };
        if values.len() != length {
            return Err(Failure::bad(format!(
                "input '{name}' has {} values: expected {length} for its shape",
                values.len()
            )));
        }
        Array4::from_shape_vec((length / (channels * height * width), channels, height, width), values)
            .map_err(|error| Failure::internal(error.to_string()))
    }
}

/// The numbers of nested arrays in row-major order, each a byte. They are read without building the arrays, which would
/// take 32 times the memory.
#[derive(Default)]
struct Values(Vec<u8>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Self::default();
        Nested(&mut values.0).deserialize(deserializer)?;
        Ok(values)
    }
}

/// Appends a number, or all numbers of an array.
struct Nested<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("whole numbers from 0 to 255, in arrays")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        let byte = u8::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))?;
        self.0.push(byte);
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        let byte = value as u8;
        if f64::from(byte) != value {
            return Err(E::invalid_value(Unexpected::Float(value), &self));
        }
        self.0.push(byte);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Nested(self.0))?.is_some() {}
        Ok(())
    }
}

/// A response with the results.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<JsonAnswer>,
    #[serde(skip)]
    binary: Vec<u8>,
}

#[derive(Serialize)]
struct JsonAnswer {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<f32>>,
}

impl<'a> Answer<'a> {
    pub fn new(model_name: &'a str, model_version: &'a str, id: Option<String>) -> Self {
        Self { model_name, model_version, id, outputs: Vec::new(), binary: Vec::new() }
    }

    /// Adds an output, `[N, classes]`.
    pub fn add(&mut self, output: &WantedOutput, values: ArrayView2<f32>) {
        let shape = [values.nrows(), values.ncols()];
        let (mut parameters, mut data) = (None, None);
        if output.is_binary {
            let before = self.binary.len();
            self.binary.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            parameters = Some(serde_json::json!({ "binary_data_size": self.binary.len() - before }));
        } else {
            data = Some(values.iter().copied().collect());
        }
        self.outputs.push(JsonAnswer { name: output.name, datatype: "FP32", shape, parameters, data });
    }

    pub fn into_response(self) -> Result<Response, Failure> {
        let mut body = serde_json::to_vec(&self).map_err(|error| Failure::internal(error.to_string()))?;
        let mut response = Response::builder();
        let kind = if self.binary.is_empty() {
            "application/json"
        } else {
            response = response.header(JSON_LENGTH, body.len());
            body.extend(self.binary);
            "application/octet-stream"
        };
        response
            .header(header::CONTENT_TYPE, HeaderValue::from_static(kind))
            .body(Body::from(body))
            .map_err(|error| Failure::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::card::Content;
    use serde_json::json;

    const OUTPUTS: &[&str] = &["logits", "probabilities"];

    fn read(body: &[u8], json_length: Option<&str>) -> Result<Request, String> {
        let mut headers = HeaderMap::new();
        if let Some(length) = json_length {
            headers.insert(JSON_LENGTH, length.parse().unwrap());
        }
        Request::read(&headers, body, "image", &Input::new(1, 2, 2, Content::Image), OUTPUTS)
            .map_err(|failure| format!("{failure:?}"))
    }

    fn read_json(request: Value) -> Result<Request, String> {
        read(request.to_string().as_bytes(), None)
    }

    fn tensor(data: Value) -> Value {
        json!({ "name": "image", "shape": [1, 1, 2, 2], "datatype": "UINT8", "data": data })
    }

    #[test]
    fn data_may_be_flat_or_nested() {
        for data in [json!([0, 1, 2, 255]), json!([[[[0, 1], [2, 255]]]]), json!([0.0, 1.0, 2.0, 255.0])] {
            let request = read_json(json!({ "id": "7", "inputs": [tensor(data)] })).unwrap();
            assert_eq!(request.images.into_raw_vec_and_offset().0, [0, 1, 2, 255]);
            assert_eq!(request.id.as_deref(), Some("7"));
            assert_eq!(request.outputs.iter().map(|output| output.name).collect::<Vec<_>>(), OUTPUTS);
        }
    }

    #[test]
    fn binary_data_follows_the_json() {
        let input = json!({ "name": "image", "shape": [1, 1, 2, 2], "datatype": "UINT8",
            "parameters": { "binary_data_size": 4 } });
        let text = json!({ "inputs": [input], "parameters": { "binary_data_output": true },
            "outputs": [{ "name": "logits", "parameters": { "binary_data": false } }, { "name": "probabilities" }] })
        .to_string();
        let body = [text.as_bytes(), &[9, 8, 7, 6]].concat();
        let request = read(&body, Some(&text.len().to_string())).unwrap();
        assert_eq!(request.images.into_raw_vec_and_offset().0, [9, 8, 7, 6]);
        assert_eq!(request.outputs.iter().map(|output| output.is_binary).collect::<Vec<_>>(), [false, true]);
        for (length, word) in [("x", "not a number"), ("999999", "not a number"), ("3", "not valid")] {
            assert!(read(&body, Some(length)).unwrap_err().contains(word));
        }
        let short = &body[..body.len() - 1];
        assert!(read(short, Some(&text.len().to_string())).unwrap_err().contains("3 bytes follow the JSON"));
    }

    #[test]
    fn null_means_absent() {
        let mut input = tensor(json!([0, 1, 2, 255]));
        input["parameters"] = json!(null);
        let request = json!({ "id": null, "parameters": null, "inputs": [input], "outputs": null });
        assert_eq!(read_json(request.clone()).unwrap().outputs.len(), OUTPUTS.len());
        let mut one = request;
        one["outputs"] = json!([{ "name": "logits", "parameters": null }]);
        assert_eq!(read_json(one).unwrap().outputs, [WantedOutput { name: "logits", is_binary: false }]);
    }

    #[test]
    fn an_output_is_sent_once() {
        let twice =
            json!({ "inputs": [tensor(json!([0, 0, 0, 0]))], "outputs": [{ "name": "logits" }, { "name": "logits" }] });
        assert!(read_json(twice).unwrap_err().contains("an output is named twice"));
    }

    #[test]
    fn wrong_requests_say_what_is_expected() {
        let with = |name: &str, value: Value| {
            let mut tensor = tensor(json!([0, 0, 0, 0]));
            tensor[name] = value;
            json!({ "inputs": [tensor] })
        };
        for (request, word) in [
            (json!({}), "missing field `inputs`"),
            (json!({ "inputs": [] }), "expected one input, 'image', found 0"),
            (with("name", json!("x")), "there is no input 'x': expected 'image'"),
            (with("datatype", json!("FP32")), "is FP32: expected UINT8"),
            (with("shape", json!([])), "expected [N, 1, 2, 2]"),
            (with("shape", json!([0, 1, 2, 2])), "N at least 1"),
            (with("shape", json!([1, 2, 2, 1])), "expected [N, 1, 2, 2]"),
            (with("shape", json!([u64::MAX, 1, 2, 2])), "expected [N, 1, 2, 2]"),
            (with("shape", json!([2, 1, 2, 2])), "has 4 values: expected 8"),
            (with("data", json!([0, 0, 0, 256])), "whole numbers from 0 to 255"),
            (with("data", json!([0, 0, 0, -1])), "whole numbers from 0 to 255"),
            (with("data", json!([0, 0, 0, 0.5])), "whole numbers from 0 to 255"),
            (with("data", json!([0, 0, 0, "a"])), "whole numbers from 0 to 255"),
            (with("data", json!(null)), "has no data"),
            (with("parameters", json!({ "binary_data_size": 4 })), "has both"),
        ] {
            let error = read_json(request.clone()).unwrap_err();
            assert!(error.contains(word), "{request}: {error}");
        }
        let wanted = json!({ "inputs": [tensor(json!([0, 0, 0, 0]))], "outputs": [{ "name": "boxes" }] });
        assert!(
            read_json(wanted).unwrap_err().contains("there is no output 'boxes': expected logits or probabilities")
        );
    }
}
