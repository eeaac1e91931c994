//! The arithmetic: tiles of some pixels and outputs, with the vectors of an instruction set.

// Must be inlined into the one function that is compiled for an instruction set (see `vectors`).
#![allow(clippy::inline_always)]

use super::super::vectors::Products;
use super::{Dense, Group, Part, Place, Shared};

impl<V: Products> Dense<V> {
    /// Computes a part of the output.
    ///
    /// # Safety
    /// The processor must have the instruction set of `V`. The input must have all its values, and nothing else may use
    /// this part of the output.
    #[inline(always)]
    pub(in super::super) unsafe fn run(&self, input: &[V::Value], output: Shared<V::Value>, part: Part) {
        let Part { pixels, groups } = part;
        let mut blocks = self.blocks(input, output, pixels);
        let mut prepared = Vec::new();
        // SAFETY: guaranteed by the caller.
        while let Some(places) = unsafe { blocks.next() } {
            if V::PREPARED {
                // SAFETY: guaranteed by the caller.
                unsafe { self.prepare(places, &mut prepared) };
            }
            for &group in &self.groups[groups.clone()] {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    match group.vectors {
                        1 => self.tiles::<1>(places, group),
                        2 => self.tiles::<2>(places, group),
                        _ => self.tiles::<4>(places, group),
                    }
                }
            }
        }
    }

    /// Lets the places refer to prepared copies of their windows, which are one run of whole steps.
    #[inline(always)]
    unsafe fn prepare(&self, places: &mut [Place<V::Value>], prepared: &mut Vec<V::Value>) {
        let run = self.padded_run();
        prepared.resize(places.len() * run, V::zero(&self.ending));
        for (place, copy) in places.iter_mut().zip(prepared.chunks_exact_mut(run)) {
            // SAFETY: the input has the window of the place and some slack; the copy has as many values.
            unsafe { V::prepare(place.from, copy.as_mut_ptr(), run / V::STEP) };
            place.from = copy.as_ptr();
        }
    }

    /// Computes `N` vectors of outputs of these pixels.
    #[inline(always)]
    unsafe fn tiles<const N: usize>(&self, mut places: &[Place<V::Value>], group: Group) {
        while !places.is_empty() {
            // Tiles of about the same size: in small ones, the processor waits for its own results. As long as there
            // are many pixels, full tiles are that.
            let left = places.len();
            let count = if left >= V::PIXELS * V::PIXELS { V::PIXELS } else { left.div_ceil(left.div_ceil(V::PIXELS)) };
            let (tile, rest) = places.split_at(count);
            // SAFETY: guaranteed by the caller; the tile has `count` pixels.
            unsafe {
                match count {
                    1 => self.tile::<N, 1>(tile, group),
                    2 => self.tile::<N, 2>(tile, group),
                    3 => self.tile::<N, 3>(tile, group),
                    4 => self.tile::<N, 4>(tile, group),
                    5 => self.tile::<N, 5>(tile, group),
                    _ => self.tile::<N, 6>(tile, group),
                }
            }
            places = rest;
        }
    }

    /// Computes a tile of `P` pixels and `N` vectors of outputs.
    #[inline(always)]
    unsafe fn tile<const N: usize, const P: usize>(&self, places: &[Place<V::Value>], group: Group) {
        // Never true. It keeps the compiler from generating code for such tiles.
        if P > V::PIXELS || N > V::VECTORS {
            return;
        }
        let Some(places) = places.first_chunk::<P>() else { return };
        let from = places.map(|place| place.from);
        let pitch = self.layouts.input.pitch();
        // SAFETY: a window starts inside the input, whose rows hold all its runs, with slack after the last; the
        // weights were laid out for all runs and steps of this group.
        unsafe {
            let beginnings = self.beginnings.as_ptr().add(group.output);
            let mut sums = [[V::start(beginnings); N]; P];
            for (number, sum) in sums.as_flattened_mut().iter_mut().enumerate().skip(1) {
                *sum = V::start(beginnings.add(number % N * V::WIDTH));
            }
            let mut weights = self.weights.as_ptr().add(group.weights);
            for run in 0..self.runs {
                let start = run * pitch;
                let mut at = 0;
                while at < self.run {
                    let inputs = from.map(|from| V::input(from.add(start + at)));
                    let left = self.run - at;
                    part::<V, N, P, 0>(&mut sums, inputs, weights);
                    if V::PART < V::STEP {
                        let each = N * V::WIDTH * V::PART;
                        if left > V::PART {
                            part::<V, N, P, 1>(&mut sums, inputs, weights.add(each));
                        }
                        if left > 2 * V::PART {
                            part::<V, N, P, 2>(&mut sums, inputs, weights.add(2 * each));
                        }
                        if left > 3 * V::PART {
                            part::<V, N, P, 3>(&mut sums, inputs, weights.add(3 * each));
                        }
                    }
                    weights = weights.add(N * V::WIDTH * V::STEP);
                    at += V::STEP;
                }
            }
            for (sums, place) in sums.into_iter().zip(places) {
                V::store::<N>(sums, &self.ending, group.output, place.to.add(group.output));
            }
        }
    }
}

/// Adds the products of one part of a step.
#[inline(always)]
unsafe fn part<V: Products, const N: usize, const P: usize, const INDEX: i32>(
    sums: &mut [[V; N]; P],
    inputs: [V::Input; P],
    weights: *const V::StoredWeight,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut all = [V::weights(weights); N];
        for (index, weight) in all.iter_mut().enumerate() {
            *weight = V::weights(weights.add(index * V::WIDTH * V::PART));
        }
        for (sums, input) in sums.iter_mut().zip(inputs) {
            for (sum, weights) in sums.iter_mut().zip(all) {
                *sum = sum.plus::<INDEX>(input, weights);
            }
        }
    }
}
