//! Ctrl-C, SIGTERM and SIGHUP.
//!
//! They end the program at once, with exit code 130 and without a half-written file. Only the training loop gets a
//! chance to finish its step and to write a checkpoint: it runs between [`defer`] and [`undefer`], where the first
//! signal sets [`STOP`] and the second one ends the program.

use anyhow::{Context, Result};
use models::files;
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a program that Ctrl-C ended: 128 + SIGINT, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Whether a signal arrived while signals were deferred.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Whether somebody watches [`STOP`].
static DEFERRED: AtomicBool = AtomicBool::new(false);

/// Starts to listen. Call it once, at the start of the program.
pub fn listen() -> Result<()> {
    // `nohup` ignores SIGHUP so that a training outlives its terminal: it must stay ignored.
    #[cfg(unix)]
    let hang_up = unsafe {
        // SAFETY: asks for the present action and changes nothing; all zeros is a valid `sigaction`.
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
    .context("cannot listen for Ctrl-C")?;
    #[cfg(unix)]
    if hang_up == libc::SIG_IGN {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    Ok(())
}

/// From now on the first signal only sets [`STOP`].
pub fn defer() {
    DEFERRED.store(true, Ordering::SeqCst);
}

/// From now on every signal ends the program again.
pub fn undefer() {
    DEFERRED.store(false, Ordering::SeqCst);
}

/// Ends the program at once, quietly. Neither destructors nor `atexit` functions run: those of libtorch would free what
/// its threads still use.
fn leave() -> ! {
    files::discard_unfinished();
    let mut stderr = stderr();
    if stderr.is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        // Removes a progress bar: to the start of the line, erase to its end.
        let _ = stderr.write_all(b"\r\x1b[K");
    }
    // SAFETY: ends the process and touches none of its memory.
    unsafe { libc::_exit(i32::from(EXIT_CODE)) }
}
