//! From planes of floats to feature maps, and back.

// Must be inlined into the one function that is compiled for an instruction set.
#![allow(clippy::inline_always)]

use super::super::lanes::Lane;
use super::super::operator::{Kernel, numbers};
use super::layout::Layout;
use super::rescaling::{Range, nearest};
use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// Stores the planes of an image `[C, H, W]` pixel by pixel, without the border.
#[inline(always)]
fn interleave<T: Copy + Default>(layout: Layout, input: &[f32], output: &mut [T], value: impl Fn(f32) -> T) {
    let Layout { rows, columns, channels, depth, border } = layout;
    for (row, line) in output.chunks_exact_mut(layout.pitch()).enumerate() {
        let line = &mut line[border * depth..][..columns * depth];
        let source = |channel: usize| &input[(channel * rows + row) * columns..][..columns];
        match (depth, channels) {
            (1, _) => line.iter_mut().zip(source(0)).for_each(|(to, &float)| *to = value(float)),
            (4, 3) => {
                let pixels = line.as_chunks_mut::<4>().0.iter_mut();
                for (((to, &red), &green), &blue) in pixels.zip(source(0)).zip(source(1)).zip(source(2)) {
                    *to = [value(red), value(green), value(blue), T::default()];
                }
            }
            _ => {
                line.fill(T::default());
                for channel in 0..channels {
                    let places = line[channel..].iter_mut().step_by(depth);
                    places.zip(source(channel)).for_each(|(to, &float)| *to = value(float));
                }
            }
        }
    }
}

/// Returns the values of a feature map as planes `[C, H, W]`.
fn separate<T: Copy>(layout: Layout, input: &[T], output: &mut [f32], float: impl Fn(T) -> f32) {
    let Layout { rows, columns, depth, .. } = layout;
    for (row, line) in layout.rows(input).enumerate() {
        for (channel, plane) in output.chunks_exact_mut(rows * columns).enumerate() {
            let values = line[channel..].iter().step_by(depth);
            for (to, &value) in plane[row * columns..][..columns].iter_mut().zip(values) {
                *to = float(value);
            }
        }
    }
}

/// Rounds the floats of an image `[1, C, H, W]` to bytes, as `QuantizeLinear` does.
#[derive(Clone, Debug)]
pub struct Quantized {
    pub range: Range,
    /// How the result is stored.
    pub layout: Layout,
    /// The widest lane of the processor.
    pub lane: Lane,
}

impl Quantized {
    /// Compiled once for each instruction set, so that the compiler vectorises it.
    #[inline(always)]
    fn quantize(&self, input: &[f32], output: &mut [u8]) {
        let Range { scale, zero } = self.range;
        interleave(self.layout, input, output, |value| nearest(value / scale, zero));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn quantize_avx512(&self, input: &[f32], output: &mut [u8]) {
        self.quantize(input, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn quantize_avx2(&self, input: &[f32], output: &mut [u8]) {
        self.quantize(input, output);
    }
}

impl Kernel for Quantized {
    fn name(&self) -> &'static str {
        "Quantized"
    }

    fn takes(&self) -> (DatumType, usize) {
        (f32::datum_type(), self.layout.rows * self.layout.columns * self.layout.channels)
    }

    fn gives(&self) -> DatumType {
        u8::datum_type()
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<u8>()?;
        self.layout.surround(output, self.range.zero);
        let (input, output) = (numbers::<f32>(input)?, self.layout.rows_mut(output));
        match self.lane {
            // SAFETY: the processor has this lane: lanes come from `Lane::available`.
            #[cfg(target_arch = "x86_64")]
            Lane::Avx512 if std::arch::is_x86_feature_detected!("avx512bw") => unsafe {
                self.quantize_avx512(input, output);
            },
            // SAFETY: as above; a processor with AVX-512 has AVX2.
            #[cfg(target_arch = "x86_64")]
            Lane::Avx512 | Lane::Avx2 | Lane::Avx2Half => unsafe { self.quantize_avx2(input, output) },
            _ => self.quantize(input, output),
        }
        Ok(())
    }
}

/// Turns bytes into the floats `[1, C, H, W]` that they stand for, as `DequantizeLinear` does.
#[derive(Clone, Debug)]
pub struct Dequantized {
    pub range: Range,
    /// How the input is stored.
    pub layout: Layout,
}

impl Kernel for Dequantized {
    fn name(&self) -> &'static str {
        "Dequantized"
    }

    fn takes(&self) -> (DatumType, usize) {
        (u8::datum_type(), self.layout.len())
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let Range { scale, zero } = self.range;
        let float = |byte: u8| (i32::from(byte) - i32::from(zero)) as f32 * scale;
        separate(self.layout, numbers(input)?, output.try_as_plain_ram_mut()?.as_slice_mut()?, float);
        Ok(())
    }
}

/// Stores the planes of an image `[1, C, H, W]` pixel by pixel.
#[derive(Clone, Debug)]
pub struct Interleaved {
    /// How the result is stored.
    pub layout: Layout,
}

impl Kernel for Interleaved {
    fn name(&self) -> &'static str {
        "Interleaved"
    }

    fn takes(&self) -> (DatumType, usize) {
        (f32::datum_type(), self.layout.rows * self.layout.columns * self.layout.channels)
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<f32>()?;
        self.layout.surround(output, 0.0);
        interleave(self.layout, numbers(input)?, self.layout.rows_mut(output), |float| float);
        Ok(())
    }
}

/// Returns a feature map of floats as planes `[1, C, H, W]`.
#[derive(Clone, Debug)]
pub struct Planes {
    /// How the input is stored.
    pub layout: Layout,
}

impl Kernel for Planes {
    fn name(&self) -> &'static str {
        "Planes"
    }

    fn takes(&self) -> (DatumType, usize) {
        (f32::datum_type(), self.layout.len())
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let output = &mut output.try_as_plain_ram_mut()?;
        separate(self.layout, numbers(input)?, output.as_slice_mut()?, |float: f32| float);
        Ok(())
    }
}
