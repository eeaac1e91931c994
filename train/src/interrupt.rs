//! Handling of Ctrl-C, SIGTERM and SIGHUP.
//!
//! These signals end the program at once, with exit code 130 and without leaving a half-written file. The training loop
//! is the exception: it runs between [`defer`] and [`undefer`], where the first signal only sets [`STOP`], so that the
//! loop can finish its step and write a checkpoint. A second signal ends the program.

use anyhow::{Context, Result};
use models::files;
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code after an interrupt: 128 + SIGINT, as shells report it.
pub const EXIT_CODE: u8 = 130;

/// Whether a signal arrived while signals were deferred.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Whether signals are deferred, that is, whether the training loop polls [`STOP`].
static DEFERRED: AtomicBool = AtomicBool::new(false);

/// Installs the signal handler. Call this once, at the start of the program.
pub fn listen() -> Result<()> {
    // `nohup` ignores SIGHUP so that training outlives its terminal, so an ignored SIGHUP must stay ignored.
    #[cfg(unix)]
    let hang_up = unsafe {
        // SAFETY: reads the current action and changes nothing; all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action);
        action.sa_sigaction
    };
    ctrlc::set_handler(|| {
        let first = !STOP.swap(true, Ordering::SeqCst);
        if !(first && DEFERRED.load(Ordering::SeqCst)) {
            leave();
        }
    })
    .context("cannot install the handler for Ctrl-C")?;
    #[cfg(unix)]
    if hang_up == libc::SIG_IGN {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    Ok(())
}

/// Defers signals: from now on the first one only sets [`STOP`].
pub fn defer() {
    DEFERRED.store(true, Ordering::SeqCst);
}

/// Stops deferring: from now on every signal ends the program again.
pub fn undefer() {
    DEFERRED.store(false, Ordering::SeqCst);
}

/// Ends the program at once, without a message. Skips destructors and `atexit` functions, because libtorch's would free
/// memory that its threads still use.
fn leave() -> ! {
    files::discard_unfinished();
    let mut stderr = stderr();
    if stderr.is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        // Erases a progress bar: moves to the start of the line and clears it.
        let _ = stderr.write_all(b"\r\x1b[K");
    }
    // SAFETY: ends the process without touching its memory.
    unsafe { libc::_exit(i32::from(EXIT_CODE)) }
}
