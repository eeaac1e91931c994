//! Random tensors for augmentation and outliers.

use tch::{Device, Kind, Tensor};

/// Draws float tensors on the CPU, so that a seed gives the same numbers on every device, and copies them to the device.
///
/// Like the operators on tensors, the methods panic if libtorch fails, which cannot happen with these shapes and
/// ranges.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub Device);

impl Random {
    /// Uniform numbers from `low` to `high`.
    pub fn uniform(self, shape: &[i64], low: f64, high: f64) -> Tensor {
        self.here((Tensor::rand(shape, (Kind::Float, Device::Cpu)) * (high - low)) + low)
    }

    /// Numbers whose logarithm is uniform.
    pub fn log_uniform(self, shape: &[i64], low: f64, high: f64) -> Tensor {
        self.uniform(shape, low.ln(), high.ln()).exp()
    }

    /// Normal numbers with mean 0 and deviation 1.
    pub fn normal(self, shape: &[i64]) -> Tensor {
        self.here(Tensor::randn(shape, (Kind::Float, Device::Cpu)))
    }

    /// Booleans that are true with this probability.
    pub fn chance(self, shape: &[i64], probability: f64) -> Tensor {
        self.here(Tensor::rand(shape, (Kind::Float, Device::Cpu)).lt(probability))
    }

    /// 1 with this probability, otherwise 0.
    pub fn one(self, shape: &[i64], probability: f64) -> Tensor {
        self.chance(shape, probability).to_kind(Kind::Float)
    }

    /// 1 or −1.
    pub fn sign(self, shape: &[i64]) -> Tensor {
        self.one(shape, 0.5) * 2.0 - 1.0
    }

    /// Whole numbers (i64) from 0 to `count` − 1.
    pub fn index(self, shape: &[i64], count: i64) -> Tensor {
        self.here(Tensor::randint(count, shape, (Kind::Int64, Device::Cpu)))
    }

    fn here(self, tensor: Tensor) -> Tensor {
        tensor.to(self.0)
    }
}

/// `yes` where the condition holds, otherwise `no`; shapes are broadcast.
pub fn choose(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Tensor {
    yes.where_self(condition, no)
}
