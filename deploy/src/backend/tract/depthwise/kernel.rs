//! The arithmetic: one plane at a time, computing some rows and one vector of columns at once.
//!
//! A plane is first copied into a padded one, so that no output is a border case. For a stride of 2, the copy separates
//! even and odd columns, so that with either stride a vector of neighbouring outputs reads contiguous numbers. If a
//! row's length is not a multiple of the vector width, its last columns are computed twice.

// Must be inlined into the one function that is compiled for an instruction set (see `lanes`).
#![allow(clippy::inline_always)]

#[cfg(target_arch = "x86_64")]
use super::super::lanes::Half;
use super::super::lanes::{Lane, Lanes};

/// Rows and columns of a kernel.
const TAPS: usize = 3;

/// A depthwise convolution with 3×3 kernels, for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// Number of output planes.
    pub channels: usize,
    /// Whether each output plane is computed from the input plane of the same index. Otherwise all are computed from
    /// the only input plane.
    pub own_plane: bool,
    /// Rows and columns of an input plane.
    pub input: [usize; 2],
    /// Rows and columns of an output plane.
    pub output: [usize; 2],
    /// Stride of rows and columns, 1 or 2.
    pub stride: usize,
    /// Rows of zeros above the plane, and columns to its left.
    pub padding: [usize; 2],
    /// `[channels, 3, 3]`.
    pub weights: Vec<f32>,
    /// `[channels]`.
    pub bias: Vec<f32>,
    /// Lower and upper bound of the results; 0 and 6 for ReLU6.
    pub clamp: [f32; 2],
}

impl Depthwise {
    /// Number of input planes.
    #[must_use]
    pub fn input_channels(&self) -> usize {
        if self.own_plane { self.channels } else { 1 }
    }

    /// Whether the sizes fit together. All other code relies on this check.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let padded = |output: usize| output.checked_sub(1)?.checked_mul(self.stride)?.checked_add(TAPS);
        let numbers = || padded(self.output[0])?.checked_mul(padded(self.output[1])?)?.checked_mul(size_of::<f32>());
        matches!(self.stride, 1 | 2)
            && numbers().is_some_and(|bytes| isize::try_from(bytes).is_ok())
            && self.weights.len() == self.channels.saturating_mul(TAPS * TAPS)
            && self.bias.len() == self.channels
            && self.input.iter().all(|&extent| extent > 0)
    }

    /// Computes the planes `[C, H, W]` of one image with the first of the `lanes` that is not wider than an output row.
    ///
    /// # Panics
    /// If the sizes do not fit together ([`Depthwise::is_sound`]) or the slices are not of these sizes.
    pub fn run(&self, lanes: &[Lane], input: &[f32], output: &mut [f32]) {
        assert!(self.is_sound(), "a depthwise convolution of sizes that do not fit together");
        assert_eq!(input.len(), self.input_channels() * self.input[0] * self.input[1], "numbers of the input");
        assert_eq!(output.len(), self.channels * self.output[0] * self.output[1], "numbers of the output");
        let lane = lanes.iter().copied().find(|lane| lane.width() <= self.output[1]);
        // SAFETY: `Lane::available` returns only what the processor has, and the sizes were checked.
        unsafe {
            match lane.unwrap_or(Lane::Scalar) {
                #[cfg(target_arch = "x86_64")]
                Lane::Avx512 => self.run_avx512(input, output),
                #[cfg(target_arch = "x86_64")]
                Lane::Avx2 => self.run_avx2(input, output),
                #[cfg(target_arch = "x86_64")]
                Lane::Avx2Half => self.run_avx2_half(input, output),
                #[cfg(target_arch = "x86_64")]
                Lane::Baseline => self.planes::<std::arch::x86_64::__m128>(input, output),
                #[cfg(target_arch = "aarch64")]
                Lane::Baseline => self.planes::<std::arch::aarch64::float32x4_t>(input, output),
                #[cfg(target_arch = "arm")]
                Lane::Neon => self.planes::<f32>(input, output),
                Lane::Scalar => self.planes::<f32>(input, output),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn run_avx512(&self, input: &[f32], output: &mut [f32]) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.planes::<std::arch::x86_64::__m512>(input, output) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&self, input: &[f32], output: &mut [f32]) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.planes::<std::arch::x86_64::__m256>(input, output) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2_half(&self, input: &[f32], output: &mut [f32]) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.planes::<Half>(input, output) }
    }

    /// # Safety
    /// The processor must have the instruction set of `L`, and a row of the output must have at least `L::WIDTH`
    /// numbers.
    #[inline(always)]
    unsafe fn planes<L: Lanes>(&self, input: &[f32], output: &mut [f32]) {
        let [rows, columns] = self.input;
        let mut padded = Padded::new(self);
        let planes = output.chunks_exact_mut(self.output[0] * self.output[1]);
        let kernels = self.weights.chunks_exact(TAPS * TAPS).zip(&self.bias);
        for (channel, (plane, (weights, &bias))) in planes.zip(kernels).enumerate() {
            if self.own_plane || channel == 0 {
                padded.fill(&input[channel * rows * columns..][..rows * columns], columns);
            }
            // SAFETY: guaranteed by the caller.
            unsafe {
                match self.stride {
                    1 => padded.convolve::<L, 1, 4>(plane, weights, bias, self.clamp),
                    _ => padded.convolve::<L, 2, 2>(plane, weights, bias, self.clamp),
                }
            }
        }
    }
}

/// A plane with its zero padding. For a stride of 2, each row holds its even columns first and then its odd ones.
struct Padded {
    values: Vec<f32>,
    /// Numbers from the start of one row to the next.
    pitch: usize,
    /// Where the odd columns of a row begin; 0 for a stride of 1.
    odd: usize,
    padding: [usize; 2],
    rows: usize,
    output: [usize; 2],
}

impl Padded {
    fn new(depthwise: &Depthwise) -> Self {
        let [height, width] = depthwise.output;
        let rows = (height - 1) * depthwise.stride + TAPS;
        let (pitch, odd) = if depthwise.stride == 1 { (width + 2, 0) } else { (2 * width + 1, width + 1) };
        let (padding, output) = (depthwise.padding, depthwise.output);
        Self { values: vec![0.0; rows * pitch], pitch, odd, padding, rows, output }
    }

    /// Copies a plane with rows of `columns` numbers. The zeros around it stay.
    #[inline(always)]
    fn fill(&mut self, plane: &[f32], columns: usize) {
        let [above, left] = self.padding;
        let rows = self.rows.saturating_sub(above).min(plane.len() / columns);
        for index in 0..rows {
            let row = &mut self.values[(above + index) * self.pitch..][..self.pitch];
            let source = &plane[index * columns..][..columns];
            if self.odd == 0 {
                let row = row.get_mut(left..).unwrap_or_default();
                let count = row.len().min(columns);
                row[..count].copy_from_slice(&source[..count]);
            } else {
                let (even, odd) = row.split_at_mut(self.odd);
                // Column `left` of the padded row is the first column of the plane.
                let (first, second) = if left.is_multiple_of(2) { (even, odd) } else { (odd, even) };
                let first = first.get_mut(left / 2..).unwrap_or_default();
                let second = second.get_mut(left.div_ceil(2)..).unwrap_or_default();
                let count = (columns / 2).min(first.len()).min(second.len());
                // Written so that the compiler vectorises it.
                let pairs = source.chunks_exact(2).zip(&mut first[..count]).zip(&mut second[..count]);
                for ((pair, one), other) in pairs {
                    (*one, *other) = (pair[0], pair[1]);
                }
                // The plane, or the padded row, may end in the middle of a pair.
                for (to, value) in first[count..].iter_mut().zip(source[2 * count..].iter().step_by(2)) {
                    *to = *value;
                }
            }
        }
    }

    /// Convolves the plane with one kernel, `BLOCK` rows of the result at a time.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`, and a row of the result must have at least `L::WIDTH`
    /// numbers. `plane` must have the size of the output, and `STRIDE` must be the stride that the padded plane was
    /// made for.
    #[inline(always)]
    unsafe fn convolve<L: Lanes, const STRIDE: usize, const BLOCK: usize>(
        &self,
        plane: &mut [f32],
        weights: &[f32],
        bias: f32,
        clamp: [f32; 2],
    ) {
        let [height, width] = self.output;
        let mut row = 0;
        // SAFETY: only rows below `height` are computed, and `plane` holds `height` rows of `width` numbers.
        unsafe {
            let kernel = Kernel::<L>::new(weights, bias, clamp);
            while row + BLOCK <= height {
                self.rows::<L, STRIDE, BLOCK>(row, plane.as_mut_ptr().add(row * width), &kernel);
                row += BLOCK;
            }
            while row < height {
                self.rows::<L, STRIDE, 1>(row, plane.as_mut_ptr().add(row * width), &kernel);
                row += 1;
            }
        }
    }

    /// Computes `COUNT` rows, starting with row number `row`.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const STRIDE: usize, const COUNT: usize>(
        &self,
        row: usize,
        to: *mut f32,
        kernel: &Kernel<L>,
    ) {
        let width = self.output[1];
        let (pitch, odd) = (self.pitch, self.odd);
        let mut column = 0;
        loop {
            // SAFETY: the padded plane has `STRIDE` rows per result row and two more, and each of them holds the
            // neighbours of every column. `column` is at most `width - L::WIDTH`.
            unsafe {
                let from = self.values.as_ptr().add(row * STRIDE * pitch + column);
                let mut sums = [kernel.bias; COUNT];
                for line in 0..(COUNT - 1) * STRIDE + TAPS {
                    let from = from.add(line * pitch);
                    let (second, third) = if STRIDE == 1 { (1, 2) } else { (odd, 1) };
                    let neighbours = [L::load(from), L::load(from.add(second)), L::load(from.add(third))];
                    for (index, sum) in sums.iter_mut().enumerate() {
                        if line >= index * STRIDE && line < index * STRIDE + TAPS {
                            let weights = &kernel.weights[line - index * STRIDE];
                            for (neighbour, weight) in neighbours.iter().zip(weights) {
                                *sum = sum.plus_product(*neighbour, *weight);
                            }
                        }
                    }
                }
                for (index, sum) in sums.iter().enumerate() {
                    sum.clamped(kernel.least, kernel.most).store(to.add(index * width + column));
                }
            }
            if column + L::WIDTH == width {
                return;
            }
            column = (column + L::WIDTH).min(width - L::WIDTH);
        }
    }
}

/// One kernel, with each number in all lanes.
struct Kernel<L> {
    weights: [[L; TAPS]; TAPS],
    bias: L,
    least: L,
    most: L,
}

impl<L: Lanes> Kernel<L> {
    #[inline(always)]
    unsafe fn new(weights: &[f32], bias: f32, [least, most]: [f32; 2]) -> Self {
        // SAFETY: the caller has the instruction set.
        unsafe {
            let mut all = [[L::splat(0.0); TAPS]; TAPS];
            for (to, &weight) in all.as_flattened_mut().iter_mut().zip(weights) {
                *to = L::splat(weight);
            }
            Self { weights: all, bias: L::splat(bias), least: L::splat(least), most: L::splat(most) }
        }
    }
}
