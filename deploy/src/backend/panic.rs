//! Turns panics of a library into errors.
//!
//! tract panics on some malformed models (weights of the wrong size, an operator with too few inputs). A file must
//! never crash the program, so loading and running are guarded. A build with `panic = "abort"` loses this guard and
//! nothing else.

use anyhow::{Result, anyhow};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Message of the innermost guarded panic on this thread; `None` outside a guard.
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `action`. If it panics, nothing is printed and the panic's message is returned as an error.
pub fn caught<T>(action: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let printing = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let guarded = MESSAGE.with_borrow_mut(|message| {
                message.as_mut().map(|message| info.payload_as_str().unwrap_or("no message").clone_into(message))
            });
            if guarded.is_none() {
                printing(info);
            }
        }));
    });
    MESSAGE.set(Some(String::new()));
    // State that a panic leaves half-finished belongs to `action` alone and is dropped with it.
    let outcome = panic::catch_unwind(AssertUnwindSafe(action));
    let message = MESSAGE.take().unwrap_or_default();
    outcome.unwrap_or_else(|_| Err(anyhow!("it panicked: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(caught(|| Ok(7)).unwrap(), 7);
        let error = caught(|| -> Result<()> { panic!("index {} is out of range", 3) }).unwrap_err();
        assert_eq!(error.to_string(), "it panicked: index 3 is out of range");
    }
}
