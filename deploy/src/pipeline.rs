//! Work done ahead on several threads, its results in order.
//!
//! Whoever takes the results is one of the threads: while the next result is not ready, it works too. So one thread
//! needs no other, and several are busy all the time without anybody counting cores. How far ahead the work may go is
//! bounded, and with it the memory, whatever the amount.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Calls `work` with 0 to `count` − 1 on up to `threads` threads, this one included, and gives `consume` the results in
/// that order. At most `ahead` results (but at least one) wait to be taken or are being worked on at any time.
///
/// When `consume` returns, nothing more is begun. With one thread, or one piece of work, no thread is started.
pub fn ahead<T: Send, R>(
    count: usize,
    threads: usize,
    ahead: usize,
    work: impl Fn(usize) -> T + Sync,
    consume: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    let queue = Queue {
        state: Mutex::new(State { started: 0, results: VecDeque::new(), stopped: false }),
        ready: Condvar::new(),
        room: Condvar::new(),
        count,
        ahead: ahead.max(1),
    };
    thread::scope(|scope| {
        let _stop = Stop(&queue);
        for _ in 1..threads.min(count) {
            let helper = || {
                let _stop = Stop(&queue);
                queue.help(&work);
            };
            // With fewer threads than wished for the work gets done all the same.
            if thread::Builder::new().spawn_scoped(scope, helper).is_err() {
                break;
            }
        }
        consume(&mut std::iter::from_fn(|| queue.next(&work)))
    })
}

/// What the threads share.
struct Queue<T> {
    state: Mutex<State<T>>,
    /// A result has come, for the one who takes them.
    ready: Condvar,
    /// A result was taken, for those who may begin the next.
    room: Condvar,
    count: usize,
    ahead: usize,
}

struct State<T> {
    /// How many pieces of work have been begun.
    started: usize,
    /// The last of these, in order: those not yet taken, `None` while they are worked on.
    results: VecDeque<Option<T>>,
    /// Nobody takes results any more, or a thread was lost.
    stopped: bool,
}

impl<T> State<T> {
    fn finish(&mut self, index: usize, result: T) {
        let taken = self.started - self.results.len();
        if let Some(slot) = self.results.get_mut(index - taken) {
            *slot = Some(result);
        }
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work to begin, if there is one and room for its result.
    fn begin(&self, state: &mut State<T>) -> Option<usize> {
        if state.started == self.count || state.results.len() >= self.ahead {
            return None;
        }
        state.results.push_back(None);
        state.started += 1;
        Some(state.started - 1)
    }

    /// The next result; `None` after the last.
    fn next(&self, work: &impl Fn(usize) -> T) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.results.front().is_some_and(Option::is_some) {
                let result = state.results.pop_front().flatten();
                self.room.notify_one();
                return result;
            }
            if let Some(index) = self.begin(&mut state) {
                drop(state);
                let result = work(index);
                state = self.lock();
                state.finish(index, result);
            } else if state.results.is_empty() || state.stopped {
                return None;
            } else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Works until nothing is left to begin.
    fn help(&self, work: &impl Fn(usize) -> T) {
        let mut state = self.lock();
        while !state.stopped && state.started < self.count {
            if let Some(index) = self.begin(&mut state) {
                drop(state);
                let result = work(index);
                state = self.lock();
                state.finish(index, result);
                self.ready.notify_one();
            } else {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Lets all threads end when the one that holds it ends too early, a panic included: nobody waits for what never comes.
struct Stop<'a, T>(&'a Queue<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // A helper that finds nothing left to begin ends in order; what is begun will be finished.
        if thread::panicking() || state.started < self.0.count {
            state.stopped = true;
        }
        drop(state);
        self.0.ready.notify_all();
        self.0.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_come_in_order_whichever_thread_works() {
        for (count, threads, window) in [(0, 2, 4), (1, 8, 1), (500, 1, 8), (500, 2, 1), (500, 4, 16), (500, 4, 1000)] {
            let work = |index: usize| {
                if index.is_multiple_of(7) {
                    thread::sleep(Duration::from_micros(200));
                }
                index
            };
            let found: Vec<_> = ahead(count, threads, window, work, |results| results.collect());
            assert!(found.iter().copied().eq(0..count), "{count}, {threads} threads, {window} ahead: {found:?}");
        }
    }

    #[test]
    fn one_thread_is_the_callers_own() {
        let own = thread::current().id();
        for (count, threads) in [(20, 1), (1, 8)] {
            let others =
                ahead(count, threads, 4, |_| thread::current().id(), |ids| ids.filter(|&id| id != own).count());
            assert_eq!(others, 0, "{count}, {threads} threads");
        }
    }

    #[test]
    fn several_threads_work_while_results_are_used() {
        let own = thread::current().id();
        let done_by_others = AtomicUsize::new(0);
        let work = |_| {
            if thread::current().id() != own {
                done_by_others.fetch_add(1, Ordering::SeqCst);
            }
        };
        ahead(9, 2, 8, work, |results| {
            results.next();
            // Whoever uses a result long finds the next ones ready.
            for _ in 0..1000 {
                if done_by_others.load(Ordering::SeqCst) >= 7 {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
            panic!("{done_by_others:?} done in five seconds");
        });
    }

    #[test]
    fn no_more_than_the_window_is_done_ahead() {
        let (started, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_| {
            let started = started.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(started <= taken.load(Ordering::SeqCst) + 1 + 5, "{started}");
        };
        ahead(200, 3, 5, work, |results| {
            while results.next().is_some() {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert_eq!(started.into_inner(), 200);
    }

    #[test]
    fn nothing_is_begun_after_the_end() {
        let started = AtomicUsize::new(0);
        let first =
            ahead(1_000_000, 3, 4, |_| started.fetch_add(1, Ordering::SeqCst), |results| results.take(3).count());
        assert_eq!(first, 3);
        assert!(started.into_inner() <= 3 + 4 + 3);
    }

    #[test]
    fn a_panic_of_the_work_or_of_its_user_ends_all() {
        let broken = |index| assert!(index != 20, "broken");
        for threads in [1, 3] {
            let outcome = panic::catch_unwind(|| ahead(1000, threads, 4, broken, |results| results.count()));
            assert!(outcome.is_err(), "{threads} threads");
        }
        let user = AssertUnwindSafe(|| ahead(1000, 3, 4, |index| index, |_| panic!("the user is broken")));
        assert!(panic::catch_unwind(user).is_err());
    }
}
