//! Tensors that a thread no longer needs, kept for its next results. A fresh allocation takes longer, and its memory is
//! not in the processor's cache. A new tensor is filled with zeros; a reused one holds the numbers of its last use.

use std::cell::RefCell;
use std::sync::Arc;
#[allow(clippy::wildcard_imports)] // Its macros need what they do not name.
use tract_core::internal::*;

/// Most tensors that are kept: more than a network has different sizes.
const MOST: usize = 16;

thread_local! {
    static TENSORS: RefCell<Vec<Arc<Tensor>>> = const { RefCell::new(Vec::new()) };
}

/// Returns a tensor of floats of this shape that nothing else refers to. It holds zeros or the numbers of an earlier
/// result, so the caller must overwrite all of them.
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
        None => Ok(Arc::new(Tensor::zero::<f32>(shape)?)),
    }
}

/// Keeps a tensor for the next result, if it holds floats and nothing else refers to it.
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
    fn a_new_tensor_holds_zeros() {
        let tensor = taken(&[7, 11]).unwrap();
        assert!(tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().iter().all(|&number| number == 0.0));
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
