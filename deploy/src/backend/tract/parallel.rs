//! One image on several threads: a step is cut into parts, which a team of threads computes.
//!
//! The helpers sleep between images. During an image they wait actively, because a step takes less time than waking a
//! thread, and a thread that sleeps and wakes for every step often stays on the core of the thread that wakes it. No
//! step waits for a helper that is late: whoever is free takes the next part.

use std::cell::{RefCell, UnsafeCell};
use std::hint;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Fewest multiply-adds of a part: less is faster on one thread.
pub(super) const LEAST: usize = 1 << 19;

/// How often a thread looks for work before it lets others use its core in between.
const PATIENCE: usize = 1 << 12;

/// Threads that compute the parts of a step together with the thread that runs it.
pub struct Team {
    board: Arc<Board>,
    helpers: Vec<JoinHandle<()>>,
}

/// What the threads of a team share.
struct Board {
    /// Whether an image is being computed, and whether the team ends.
    state: Mutex<State>,
    changed: Condvar,
    /// The same as in `state`, for helpers that wait actively.
    busy: AtomicBool,
    /// The step's number, its number of parts, and the next part to compute: 32, 16 and 16 bits.
    ticket: AtomicU64,
    /// What computes a part of this step.
    work: UnsafeCell<Option<Work>>,
    /// Finished parts of this step.
    done: AtomicUsize,
    panicked: AtomicBool,
}

/// Called with the number of a part. It lives until all parts are finished.
type Work = *const (dyn Fn(usize) + Sync);

#[derive(Clone, Copy, PartialEq)]
enum State {
    Idle,
    Busy,
    Ended,
}

// SAFETY: `work` is written only while no part is left to take, and read only by those who took one.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

thread_local! {
    /// The team for which this thread computes an image, and its number of threads.
    static TEAM: RefCell<Option<(Arc<Board>, usize)>> = const { RefCell::new(None) };
}

impl Team {
    /// Starts a team of this many threads, one of which is the caller's; of fewer, if the system does not allow more.
    pub fn new(threads: usize) -> Self {
        let board = Arc::new(Board {
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
            busy: AtomicBool::new(false),
            ticket: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let start = |number| {
            let board = board.clone();
            thread::Builder::new().name(format!("helper {number}")).spawn(move || board.help()).ok()
        };
        let helpers = (1..threads.min(usize::from(u16::MAX))).map_while(start).collect();
        Self { board, helpers }
    }

    /// Runs `image`, whose steps may call [`each`], with this team.
    pub fn run<R>(&mut self, image: impl FnOnce() -> R) -> R {
        /// Lets the helpers sleep again, even after a panic.
        struct Rest<'a>(&'a Board);
        impl Drop for Rest<'_> {
            fn drop(&mut self) {
                TEAM.set(None);
                self.0.set(State::Idle);
            }
        }
        TEAM.set(Some((self.board.clone(), self.helpers.len() + 1)));
        self.board.set(State::Busy);
        let _rest = Rest(&self.board);
        image()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.board.set(State::Ended);
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

impl Board {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.busy.store(state == State::Busy, Ordering::Release);
        if state != State::Idle {
            self.changed.notify_all();
        }
    }

    /// What a helper runs until the team ends.
    fn help(&self) {
        loop {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let state = self.changed.wait_while(state, |state| *state == State::Idle);
            if *state.unwrap_or_else(PoisonError::into_inner) == State::Ended {
                return;
            }
            let mut turns = 0;
            while self.busy.load(Ordering::Acquire) {
                if self.take() {
                    turns = 0;
                } else {
                    wait(&mut turns);
                }
            }
        }
    }

    /// Computes the next part, if one is left.
    fn take(&self) -> bool {
        let ticket = self.ticket.load(Ordering::Acquire);
        let (parts, next) = (ticket >> 16 & 0xffff, ticket & 0xffff);
        if next >= parts
            || self.ticket.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        // SAFETY: this part was taken, so the step's work stays until it is done.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            if let Some(work) = work {
                work(next as usize);
            }
        }));
        if outcome.is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Computes a step together with the helpers.
    fn each(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        // SAFETY: the work of the last step is done, and nobody reads this before the ticket says that parts are left.
        // The lifetime ends after this function, which waits for all parts.
        unsafe { *self.work.get() = Some(std::mem::transmute::<&(dyn Fn(usize) + Sync), Work>(work)) };
        self.done.store(0, Ordering::Relaxed);
        let step = (self.ticket.load(Ordering::Relaxed) >> 32) + 1;
        self.ticket.store(step << 32 | (parts as u64) << 16, Ordering::Release);
        while self.take() || self.ticket.load(Ordering::Acquire) & 0xffff < parts as u64 {}
        let mut turns = 0;
        while self.done.load(Ordering::Acquire) < parts {
            wait(&mut turns);
        }
        assert!(!self.panicked.swap(false, Ordering::Relaxed), "a part of a step panicked");
    }
}

/// Waits for a moment, actively at first.
fn wait(turns: &mut usize) {
    *turns += 1;
    if *turns < PATIENCE {
        hint::spin_loop();
    } else {
        thread::yield_now();
    }
}

/// Into how many parts to cut a step with this many multiply-adds: as many as the team has threads, if there is one, and
/// fewer for a small step.
pub(super) fn parts(operations: usize) -> usize {
    let threads = TEAM.with_borrow(|team| team.as_ref().map_or(1, |(_, threads)| *threads));
    threads.min(operations / LEAST).max(1)
}

/// Calls `work` for every number below `parts`, on the threads of the team.
pub(super) fn each(parts: usize, work: impl Fn(usize) + Sync) {
    let team = TEAM.with_borrow(Clone::clone);
    match team {
        Some((board, _)) if parts > 1 => board.each(parts, &work),
        _ => (0..parts).for_each(work),
    }
}

/// Part number `part` of `parts` of a range, all of about the same size.
pub(super) fn part(whole: Range<usize>, part: usize, parts: usize) -> Range<usize> {
    let place = |part: usize| whole.start + whole.len() * part / parts;
    place(part)..place(part + 1)
}

/// A slice that the parts of a step write to, each elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a mutable slice, which may be sent and, since whoever writes to it must write elsewhere than all others
// (see `Shared::at`), used by several threads.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrowed: PhantomData }
    }

    /// Where `count` numbers from place `from` on are.
    ///
    /// # Panics
    /// If the slice does not have that many.
    pub fn at(self, from: usize, count: usize) -> *mut T {
        assert!(from <= self.len && count <= self.len - from, "numbers beyond the end of a slice");
        // SAFETY: the place was checked.
        unsafe { self.start.add(from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_computed_once() {
        let work = || {
            let parts = parts(100 * LEAST);
            for _ in 0..2000 {
                let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                each(parts, |part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
            parts
        };
        assert_eq!(work(), 1);
        let mut team = Team::new(3);
        assert_eq!((team.run(work), work(), team.run(work)), (3, 1, 3));
        assert_eq!(team.run(|| (parts(2 * LEAST), parts(LEAST / 2))), (2, 1));
    }

    #[test]
    fn a_panic_is_passed_on_and_the_team_goes_on() {
        let mut team = Team::new(2);
        let mut panics = || team.run(|| each(2, |part| assert_eq!(part, 0)));
        assert!(panic::catch_unwind(AssertUnwindSafe(&mut panics)).is_err());
        let sum = AtomicUsize::new(0);
        team.run(|| each(2, |part| _ = sum.fetch_add(part + 1, Ordering::Relaxed)));
        assert_eq!(sum.into_inner(), 3);
    }

    #[test]
    fn parts_cover_a_range() {
        let parts: Vec<_> = (0..3).map(|number| part(10..17, number, 3)).collect();
        assert_eq!(parts, [10..12, 12..14, 14..17]);
    }
}
