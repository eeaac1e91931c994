//! ONNX Runtime: on the CPU, on the CPU without its graph optimisations, and on CUDA.

use crate::backend::engine::Registration;
#[cfg(feature = "ort")]
use crate::backend::{engine::Code, intermediate, library, ort::Session};

/// What to do if the library is not found.
const LIBRARY: &str = "put its libonnxruntime.so (64-bit systems only) where deploy backends says it searched, or set \
    ORT_DYLIB_PATH to it";

/// ONNX Runtime as it runs by default.
pub static ORT: Registration = Registration {
    name: "ort",
    about: "ONNX Runtime on the CPU",
    feature: Some("ort"),
    everyday: true,
    on_cuda: Some(&ORT_CUDA),
    // It rewrites the graph, and with it the values between the nodes.
    for_layers: Some(&ORT_AS_WRITTEN),
    library: Some(LIBRARY),
    #[cfg(feature = "ort")]
    code: Some(Code {
        find: |_| library::find(),
        open: |source, _, options| Ok(Box::new(Session::on_cpu(source, options, false)?)),
        prepared: Some(Session::prepared),
        layers: None,
    }),
    ..Registration::EMPTY
};

/// ONNX Runtime without its rewrites of the graph, which change the last digits of an int8 network.
pub static ORT_AS_WRITTEN: Registration = Registration {
    name: "ort-as-written",
    about: "ONNX Runtime on the CPU, without its graph optimisations",
    feature: Some("ort"),
    library: Some(LIBRARY),
    #[cfg(feature = "ort")]
    code: Some(Code {
        find: |_| library::find(),
        open: |source, _, options| Ok(Box::new(Session::on_cpu(source, options, true)?)),
        prepared: Some(Session::prepared),
        layers: Some(|source, _, _| {
            intermediate::ort::exposed(source, |options| Session::on_cpu(source, options, true))
        }),
    }),
    ..Registration::EMPTY
};

/// ONNX Runtime's CUDA execution provider. To show the values between the nodes, it runs the graph as written.
pub static ORT_CUDA: Registration = Registration {
    name: "ort-cuda",
    about: "ONNX Runtime on CUDA",
    feature: Some("cuda"),
    everyday: true,
    cuda: true,
    library: Some(LIBRARY),
    #[cfg(feature = "cuda")]
    code: Some(Code {
        find: crate::backend::cuda::find,
        open: |source, device, options| Ok(Box::new(Session::on_cuda(source, options, device, false)?)),
        prepared: Some(Session::prepared),
        layers: Some(|source, device, _| {
            intermediate::ort::exposed(source, |options| Session::on_cuda(source, options, device, true))
        }),
    }),
    ..Registration::EMPTY
};
