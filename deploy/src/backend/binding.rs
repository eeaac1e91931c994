//! ONNX Runtime's I/O binding: input memory that lives as long as the session, which the device reads directly, and
//! only the one output that we need.

use anyhow::{Context, Result};
use ndarray::ArrayView4;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::{DynTensor, PrimitiveTensorElementType, Tensor};
use std::fmt::Debug;

/// A session's bound input and output.
pub struct Binding {
    bound: IoBinding,
    input_name: String,
    output_name: String,
    allocator: Allocator,
    /// Input memory for batches of the last shape.
    input: Option<(Vec<usize>, DynTensor)>,
}

impl Binding {
    /// Binds a session on CUDA device `number`. The input is in pinned (page-locked) host memory, which the device
    /// reads without an intermediate copy.
    #[cfg(feature = "cuda")]
    pub fn of_cuda(session: &Session, output: &str, number: u16) -> Result<Self> {
        Self::new(session, output, AllocationDevice::CUDA_PINNED, i32::from(number))
    }

    #[cfg_attr(not(any(feature = "cuda", test)), allow(dead_code))]
    fn new(session: &Session, output: &str, device: AllocationDevice, number: i32) -> Result<Self> {
        let bind = || -> ort::Result<(IoBinding, Allocator)> {
            let input = MemoryInfo::new(device, number, AllocatorType::Device, MemoryType::CPUInput)?;
            Ok((session.create_binding()?, Allocator::new(session, input)?))
        };
        let (bound, allocator) = bind().context("ONNX Runtime cannot bind memory")?;
        let input_name = session.inputs().first().context("the graph has no input")?.name().to_owned();
        Ok(Self { bound, input_name, output_name: output.to_owned(), allocator, input: None })
    }

    /// Runs one batch `[N, C, H, W]`. The result holds only the bound output.
    pub fn run<'a, T>(&'a mut self, session: &'a mut Session, images: ArrayView4<T>) -> Result<SessionOutputs<'a>>
    where
        T: PrimitiveTensorElementType + Copy + Debug + 'static,
    {
        let shape = images.shape();
        let input = match &mut self.input {
            Some((held, tensor)) if held == shape => tensor,
            other => {
                // After a run, the binding holds that run's scores, which may have another shape; bind the output
                // afresh.
                let scores = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
                self.bound.bind_output_to_device(&self.output_name, &scores)?;
                let tensor = Tensor::<T>::new(&self.allocator, shape)?.upcast();
                &mut other.insert((shape.to_owned(), tensor)).1
            }
        };
        input.try_extract_array_mut::<T>()?.assign(&images);
        // Binding copies the input to the device.
        self.bound.bind_input(&self.input_name, &*input)?;
        self.bound.synchronize_inputs()?;
        let outputs = session.run_binding(&self.bound)?;
        self.bound.synchronize_outputs()?;
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Options, library, ort::builder};
    use crate::embedded;
    use ndarray::{Array4, s};
    use ort::value::TensorRef;

    #[test]
    fn a_bound_run_returns_what_a_plain_run_returns() {
        let library = match library::load() {
            Ok(library) => library,
            Err(reason) => return println!("skipped: a_bound_run_returns_what_a_plain_run_returns: {reason}"),
        };
        let session =
            || builder(library, &Options::default(), false).unwrap().commit_from_memory(embedded::MODEL).unwrap();
        let (mut plain, mut session) = (session(), session());
        let mut binding = Binding::new(&session, "logits", AllocationDevice::CPU, 0).unwrap();
        let images = Array4::from_shape_fn((40, 1, 28, 28), |(n, _, y, x)| (n * 31 + y * x * 7 + x * 3) as u8);
        // Memory is reused for batches of the same shape and allocated anew for others.
        for range in [0..32, 8..40, 39..40, 0..1, 1..2, 0..7] {
            let batch = images.slice(s![range, .., .., ..]);
            let bound = binding.run(&mut session, batch).unwrap();
            assert_eq!(bound.len(), 1);
            let expected = plain.run(ort::inputs![TensorRef::from_array_view(batch).unwrap()]).unwrap();
            let logits = |outputs: &SessionOutputs| outputs["logits"].try_extract_array::<f32>().unwrap().to_owned();
            assert_eq!(logits(&bound), logits(&expected));
        }
        // An element type other than the graph's is an error.
        let floats = Array4::<f32>::zeros((1, 1, 28, 28));
        assert!(binding.run(&mut session, floats.view()).is_err());
    }
}
