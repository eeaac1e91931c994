//! Named tensors stored contiguously in one flat buffer.
//!
//! Code that works on all weights at once (optimizer, moving average) uses the buffer, in a few large operations. The
//! network uses the named views, which share the buffer's memory.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// Name and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Unique name, such as `block1.depthwise.weight`.
    pub name: String,
    /// Size of each dimension.
    pub shape: Vec<i64>,
}

impl Spec {
    /// Creates a spec.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<i64>>) -> Self {
        Self { name: name.into(), shape: shape.into() }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A float buffer and the names and shapes of the tensors in it, in order.
#[derive(Debug)]
pub struct Flat {
    specs: Vec<Spec>,
    buffer: Tensor,
}

impl Flat {
    /// Creates a buffer of zeros for tensors with these names and shapes.
    pub fn zeros(specs: Vec<Spec>, device: Device) -> Result<Self> {
        let total = specs.iter().map(Spec::len).sum::<i64>();
        let buffer = Tensor::f_zeros([total], (Kind::Float, device))?;
        Ok(Self { specs, buffer })
    }

    /// Names and shapes, in the order of the buffer.
    #[must_use]
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The buffer, `[total]`.
    pub fn buffer(&self) -> &Tensor {
        &self.buffer
    }

    /// Views of the tensors, in order. They share the buffer's memory but are detached from its autograd history. With
    /// `trained` they are leaves that require gradients.
    pub fn views(&self, trained: bool) -> Result<Vec<Tensor>> {
        let mut start = 0;
        self.specs
            .iter()
            .map(|spec| {
                let view = self.buffer.f_narrow(0, start, spec.len())?.f_view(spec.shape.as_slice())?;
                start += spec.len();
                Ok(view.f_detach()?.f_set_requires_grad(trained)?)
            })
            .collect()
    }

    /// Copies values `[total]` into the buffer. Errors if the length differs.
    pub fn copy_from(&mut self, values: &Tensor) -> Result<()> {
        ensure!(values.size() == self.buffer.size(), "{:?} values for {:?}", values.size(), self.buffer.size());
        let _guard = tch::no_grad_guard();
        self.buffer.f_copy_(values)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_the_buffer() {
        let specs = vec![Spec::new("a", [2, 2]), Spec::new("b", [3])];
        let mut flat = Flat::zeros(specs, Device::Cpu).unwrap();
        let views = flat.views(true).unwrap();
        flat.copy_from(&Tensor::from_slice(&[1_f32, 2., 3., 4., 5., 6., 7.])).unwrap();
        assert_eq!(views[0].double_value(&[1, 0]), 3.0);
        assert_eq!(views[1].double_value(&[2]), 7.0);
        assert!(flat.copy_from(&Tensor::from_slice(&[1_f32])).is_err());
    }
}
