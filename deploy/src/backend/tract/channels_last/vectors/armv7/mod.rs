//! NEON on 32-bit ARM, whose intrinsics are not stable: whole tiles and lines are in assembly language, so that no
//! other code needs the instruction set. Floats so small that they are denormal count as 0 there.

mod bytes;
mod floats;

pub use bytes::{ByteDots, ByteTaps};
pub use floats::{FloatDots, FloatTaps};

use super::super::dense::{Block, Place};
use super::super::depthwise::Line;
use super::{Dense, Depthwise, Dots, Shared, Taps, dense, depthwise};

/// What the code for dense convolutions takes: tiles of as many pixels as its name says, and of eight outputs.
#[repr(C)]
struct Tiles<V: Dots, E> {
    places: *const Place<V::Value>,
    /// Number of tiles, at least 1.
    count: usize,
    weights: *const V::StoredWeight,
    beginnings: *const V::Beginning,
    /// Runs of a window, at least 1.
    runs: usize,
    /// Whole steps of a run.
    steps: usize,
    /// Values of a run after those.
    rest: usize,
    /// Bytes from the end of a run to the next.
    gap: isize,
    /// Bytes from the first output of a pixel to these.
    offset: usize,
    ending: E,
}

/// The code for tiles of one to four pixels.
type Codes<V, E> = [unsafe extern "C" fn(&Tiles<V, E>); 4];

/// Computes a block, in steps of `step` values: as many tiles of four pixels as there are, and one of the rest.
///
/// # Safety
/// The processor must have NEON, and the block's pointers must be valid.
unsafe fn tiles<V: Dots, E: Copy>(block: &Block<V>, step: usize, ending: E, codes: Codes<V, E>) {
    let &Block { places, output, weights, beginnings, runs, run, pitch, .. } = block;
    let (steps, rest) = (run / step, run % step);
    let size = size_of::<V::Value>();
    let (gap, offset) = ((pitch as isize - run as isize) * size as isize, output * size);
    let (whole, few) = places.as_chunks::<4>();
    let calls = [(places, whole.len(), 4), (few, few.len().min(1), few.len())];
    for (places, count, pixels) in calls {
        if count > 0 {
            let places = places.as_ptr();
            // SAFETY: guaranteed by the caller. There is at least one tile, of this many pixels.
            unsafe {
                codes[pixels - 1](&Tiles {
                    places,
                    count,
                    weights,
                    beginnings,
                    runs,
                    steps,
                    rest,
                    gap,
                    offset,
                    ending,
                });
            }
        }
    }
}

/// What the code for depthwise convolutions takes: a row of the output.
#[repr(C)]
struct Row<V: Taps, E> {
    rows: [*const V::Value; 3],
    output: *mut V::Value,
    /// Bytes from one pixel to the next.
    depth: usize,
    weights: *const V::Weight,
    bias: *const V::Sum,
    /// Vectors of channels, at least 1.
    vectors: usize,
    /// Columns of the output, at least 1.
    columns: usize,
    ending: E,
}

/// Computes a line with the code for its stride, 1 or 2.
///
/// # Safety
/// The processor must have NEON, and the line's pointers must be valid.
unsafe fn row<V: Taps, E>(line: &Line<V>, ending: E, codes: [unsafe extern "C" fn(&Row<V, E>); 2]) {
    let &Line { rows, output, weights, bias, columns, .. } = line;
    let (depth, vectors) = (line.depth * size_of::<V::Value>(), line.channels / V::WIDTH);
    let row = Row { rows, output, depth, weights, bias, vectors, columns, ending };
    let [one, two] = codes;
    // SAFETY: guaranteed by the caller; a line has at least one column and one vector.
    unsafe { if line.stride == 1 { one(&row) } else { two(&row) } }
}
