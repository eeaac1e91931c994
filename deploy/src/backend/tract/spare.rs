//! Tensors that a thread has done with, kept for its next results: an allocator takes its time over tensors, and hands
//! out memory that is no longer in the processor's cache.

use std::cell::RefCell;
use std::sync::Arc;
#[allow(clippy::wildcard_imports)] // Its macros need what they do not name.
use tract_core::internal::*;

/// Most tensors that are kept: a network has not so many sizes.
const MOST: usize = 16;

thread_local! {
    static TENSORS: RefCell<Vec<Arc<Tensor>>> = const { RefCell::new(Vec::new()) };
}

/// Floats of this shape that nobody else has, and that are to be written: they are any.
pub(super) fn taken(shape: &[usize]) -> TractResult<Arc<Tensor>> {
    let count = shape.iter().product::<usize>();
    let spare = TENSORS.with_borrow_mut(|tensors| {
        let place = tensors.iter().rposition(|tensor| tensor.len() == count)?;
        Some(tensors.swap_remove(place))
    });
    match spare {
        Some(mut tensor) => {
            Arc::get_mut(&mut tensor).context("a spare tensor that is in use")?.set_shape(shape)?;
            Ok(tensor)
        }
        // SAFETY: floats have no invalid values, and whoever takes them writes them.
        None => Ok(Arc::new(unsafe { Tensor::uninitialized::<f32>(shape)? })),
    }
}

/// Keeps a tensor for the next result, if it is of floats and nobody else has it.
pub(super) fn given_back(mut tensor: Arc<Tensor>) {
    let usable = |tensor: &mut Tensor| {
        tensor.datum_type() == f32::datum_type() && tensor.len() > 0 && tensor.try_as_plain_ram_mut().is_ok()
    };
    if Arc::get_mut(&mut tensor).is_some_and(usable) {
        TENSORS.with_borrow_mut(|tensors| {
            if tensors.len() == MOST {
                tensors.remove(0);
            }
            tensors.push(tensor);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(tensor: &Tensor) -> *const f32 {
        tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().as_ptr()
    }

    #[test]
    fn what_is_given_back_is_taken_again_for_as_many_numbers() {
        let first = taken(&[2, 3]).unwrap();
        let place = address(&first);
        given_back(first);
        assert_ne!(address(&taken(&[2, 4]).unwrap()), place);
        let again = taken(&[1, 6]).unwrap();
        assert_eq!((address(&again), again.shape()), (place, &[1, 6][..]));
    }

    #[test]
    fn what_somebody_has_or_is_of_no_floats_is_not_taken() {
        let first = taken(&[5]).unwrap();
        let (kept, place) = (first.clone(), address(&first));
        given_back(first);
        given_back(Arc::new(tensor1(&[0_i32; 5])));
        let other = taken(&[5]).unwrap();
        assert_ne!(address(&other), place);
        assert_eq!((other.datum_type(), address(&kept)), (f32::datum_type(), place));
    }

    #[test]
    fn a_bounded_number_is_kept() {
        for count in 1..=3 * MOST {
            given_back(taken(&[100 + count]).unwrap());
        }
        TENSORS.with_borrow(|tensors| assert_eq!(tensors.len(), MOST));
    }
}
