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

/// Returns a tensor of this type and shape that nothing else refers to. It holds zeros or the numbers of an earlier
/// result, so the caller must overwrite all of them.
pub(super) fn taken(element: DatumType, shape: &[usize]) -> TractResult<Arc<Tensor>> {
    let count = shape.iter().product::<usize>();
    let spare = TENSORS.with_borrow_mut(|tensors| {
        let place = tensors.iter().rposition(|tensor| tensor.len() == count && tensor.datum_type() == element)?;
        Some(tensors.swap_remove(place))
    });
    match spare {
        Some(mut tensor) => {
            Arc::get_mut(&mut tensor).context("a spare tensor that is in use")?.set_shape(shape)?;
            Ok(tensor)
        }
        None => Ok(Arc::new(Tensor::zero_dt(element, shape)?)),
    }
}

/// Keeps a tensor for the next result, if it holds floats or bytes and nothing else refers to it.
pub(super) fn given_back(mut tensor: Arc<Tensor>) {
    let usable = |tensor: &mut Tensor| {
        let known = matches!(tensor.datum_type(), DatumType::F32 | DatumType::U8);
        known && tensor.len() > 0 && tensor.try_as_plain_ram_mut().is_ok()
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

    fn floats(shape: &[usize]) -> Arc<Tensor> {
        taken(f32::datum_type(), shape).unwrap()
    }

    fn address(tensor: &Tensor) -> *const f32 {
        tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().as_ptr()
    }

    #[test]
    fn a_new_tensor_holds_zeros() {
        let tensor = floats(&[7, 11]);
        assert!(tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().iter().all(|&number| number == 0.0));
    }

    #[test]
    fn what_is_given_back_is_taken_again_for_as_many_numbers() {
        let first = floats(&[2, 3]);
        let place = address(&first);
        given_back(first);
        assert_ne!(address(&floats(&[2, 4])), place);
        let again = floats(&[1, 6]);
        assert_eq!((address(&again), again.shape()), (place, &[1, 6][..]));
    }

    #[test]
    fn what_somebody_has_or_is_of_another_type_is_not_taken() {
        let first = floats(&[5]);
        let (kept, place) = (first.clone(), address(&first));
        given_back(first);
        given_back(Arc::new(tensor1(&[0_i32; 5])));
        given_back(Arc::new(tensor1(&[0_u8; 5])));
        let other = floats(&[5]);
        assert_ne!(address(&other), place);
        assert_eq!((other.datum_type(), address(&kept)), (f32::datum_type(), place));
    }

    #[test]
    fn a_bounded_number_is_kept() {
        for count in 1..=3 * MOST {
            given_back(floats(&[100 + count]));
        }
        TENSORS.with_borrow(|tensors| assert_eq!(tensors.len(), MOST));
    }
}
