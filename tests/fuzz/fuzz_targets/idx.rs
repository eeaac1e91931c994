//! Any bytes as an IDX file, plain and gzipped.
#![no_main]

use flate2::read::GzDecoder;
use libfuzzer_sys::fuzz_target;
use models::idx;

fuzz_target!(|bytes: &[u8]| {
    for dimensions in [1, 3] {
        for idx in [idx::parse(bytes, dimensions), idx::parse(GzDecoder::new(bytes), dimensions)].into_iter().flatten()
        {
            assert_eq!(idx.data.len(), idx.extents.iter().product::<usize>());
        }
    }
});
