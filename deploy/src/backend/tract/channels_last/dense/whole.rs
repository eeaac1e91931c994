//! The same for instruction sets whose tiles are written in assembly language.

use super::{Dense, Dots, Part, Place, Shared};

/// What such code computes: some outputs of some pixels.
pub struct Block<'a, V: Dots> {
    pub places: &'a [Place<V::Value>],
    /// The first of the outputs.
    pub output: usize,
    /// The weights of all runs, for these outputs.
    pub weights: *const V::StoredWeight,
    /// What the sums start with.
    pub beginnings: *const V::Beginning,
    /// Runs of a window.
    pub runs: usize,
    /// Values of a run.
    pub run: usize,
    /// Values from the start of one run to the next.
    pub pitch: usize,
    pub ending: &'a V::Ending,
}

impl<V: Dots> Dense<V> {
    /// Computes a part of the output.
    ///
    /// # Safety
    /// As for `V::run`. `compute` must not read or write anything but what the block's windows, weights, beginnings and
    /// places are.
    pub(in super::super) unsafe fn each(
        &self,
        input: &[V::Value],
        output: Shared<V::Value>,
        part: Part,
        compute: impl Fn(Block<V>),
    ) {
        let mut blocks = self.blocks(input, output, part.pixels);
        // SAFETY: guaranteed by the caller.
        while let Some(places) = unsafe { blocks.next() } {
            for group in &self.groups[part.groups.clone()] {
                compute(Block {
                    places,
                    output: group.output,
                    weights: self.weights[group.weights..].as_ptr(),
                    beginnings: self.beginnings[group.output..].as_ptr(),
                    runs: self.runs,
                    run: self.run,
                    pitch: self.layouts.input.pitch(),
                    ending: &self.ending,
                });
            }
        }
    }
}
