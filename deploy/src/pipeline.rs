//! Runs work ahead on several threads and returns the results in order.
//!
//! The thread that takes the results does not work itself: otherwise finished results could wait until it ends a long
//! piece. The number of results in flight is bounded, and so is the memory, however much work there is.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Calls `work` with 0 to `count` − 1 and passes the results to `consume` in that order, each as soon as it and those
/// before it are known. Every tool gets a thread of its own. At most `ahead` results (at least one) are waiting or being
/// computed at any time.
///
/// When `consume` returns, no more work is started. With one tool, or with one piece of work, no thread is started.
pub fn ahead<S: Send, T: Send, R>(
    count: usize,
    (first, others): (&mut S, &mut [S]),
    ahead: usize,
    work: impl Fn(&mut S, usize) -> T + Sync,
    consume: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    if others.is_empty() || count < 2 {
        return consume(&mut (0..count).map(|index| work(first, index)));
    }
    let queue = Queue {
        state: Mutex::new(State {
            started: 0,
            results: VecDeque::new(),
            taker_waits: false,
            resting: 0,
            stopped: false,
        }),
        ready: Condvar::new(),
        room: Condvar::new(),
        count,
        ahead: ahead.max(1),
    };
    let first = &Mutex::new(first);
    thread::scope(|scope| {
        let _stop = Stop(&queue);
        let help = |tool: &mut S| {
            let _stop = Stop(&queue);
            queue.help(&mut |index| work(tool, index));
        };
        let help_with_first = move || help(&mut first.lock().unwrap_or_else(PoisonError::into_inner));
        // If the system refuses threads, fewer do all the work.
        let mut threads = usize::from(thread::Builder::new().spawn_scoped(scope, help_with_first).is_ok());
        for tool in others.iter_mut().take(count - 1) {
            threads += usize::from(thread::Builder::new().spawn_scoped(scope, move || help(tool)).is_ok());
        }
        if threads > 0 {
            consume(&mut std::iter::from_fn(|| queue.next()))
        } else {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            consume(&mut (0..count).map(|index| work(&mut first, index)))
        }
    })
}

/// What the threads share.
struct Queue<T> {
    state: Mutex<State<T>>,
    /// Signals the taker that a result is ready.
    ready: Condvar,
    /// Signals helpers that a result was taken, so that the next piece can begin.
    room: Condvar,
    count: usize,
    ahead: usize,
}

struct State<T> {
    /// How many pieces of work have been begun.
    started: usize,
    /// Results not yet taken, in order; `None` while still being computed.
    results: VecDeque<Option<T>>,
    /// The taker waits for the next result.
    taker_waits: bool,
    /// How many helpers wait for room.
    resting: usize,
    /// No more results will be taken, or a thread panicked.
    stopped: bool,
}

impl<T> State<T> {
    /// Whether the next result can be taken.
    fn is_ready(&self) -> bool {
        self.results.front().is_some_and(Option::is_some)
    }

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

    /// The next result; `None` after the last.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.is_ready() {
                let result = state.results.pop_front().flatten();
                // Waking a thread costs more than a small piece of work, so wait until half of the queue is free.
                if state.resting > 0 && state.results.len() <= self.ahead / 2 {
                    self.room.notify_all();
                }
                return result;
            }
            if state.stopped || (state.started == self.count && state.results.is_empty()) {
                return None;
            }
            state.taker_waits = true;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.taker_waits = false;
        }
    }

    /// Works until nothing is left to begin.
    fn help(&self, work: &mut impl FnMut(usize) -> T) {
        let mut state = self.lock();
        while !state.stopped && state.started < self.count {
            if state.results.len() < self.ahead {
                let index = state.started;
                state.started += 1;
                state.results.push_back(None);
                drop(state);
                let result = work(index);
                state = self.lock();
                state.finish(index, result);
                if state.taker_waits && state.is_ready() {
                    self.ready.notify_one();
                }
            } else {
                state.resting += 1;
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.resting -= 1;
            }
        }
    }
}

/// Stops all threads if its holder ends early or panics, so that nobody waits for a result that never comes.
struct Stop<'a, T>(&'a Queue<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // A helper that ends because nothing is left to begin must not stop the others: work in progress is finished.
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

    /// [`ahead`] on this many threads, without tools.
    fn on<T: Send, R>(
        threads: usize,
        count: usize,
        window: usize,
        work: impl Fn(usize) -> T + Sync,
        consume: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
    ) -> R {
        let mut others = vec![(); threads - 1];
        ahead(count, (&mut (), &mut others), window, |(), index| work(index), consume)
    }

    #[test]
    fn results_come_in_order_whichever_thread_works() {
        for (count, threads, window) in [(0, 2, 4), (1, 8, 1), (500, 1, 8), (500, 2, 1), (500, 4, 16), (500, 4, 1000)] {
            let work = |index: usize| {
                if index.is_multiple_of(7) {
                    thread::sleep(Duration::from_micros(200));
                }
                index
            };
            let found: Vec<_> = on(threads, count, window, work, |results| results.collect());
            assert!(found.iter().copied().eq(0..count), "{count}, {threads} threads, {window} ahead: {found:?}");
        }
    }

    #[test]
    fn every_tool_is_used_by_one_thread_alone() {
        let mut tools = [(None, 0); 3];
        let (first, others) = tools.split_first_mut().unwrap();
        let work = |(thread, used): &mut (Option<thread::ThreadId>, usize), _| {
            let own = thread::current().id();
            assert_eq!(*thread.get_or_insert(own), own);
            *used += 1;
        };
        assert_eq!(ahead(300, (first, others), 7, work, |results| results.count()), 300);
        assert_eq!(tools.iter().map(|(_, used)| used).sum::<usize>(), 300);
    }

    #[test]
    fn one_thread_is_the_callers_own() {
        let own = thread::current().id();
        for (count, threads) in [(20, 1), (1, 8)] {
            let others = on(threads, count, 4, |_| thread::current().id(), |ids| ids.filter(|&id| id != own).count());
            assert_eq!(others, 0, "{count}, {threads} threads");
        }
    }

    #[test]
    fn finished_results_do_not_wait_for_a_piece_that_takes_long() {
        for _ in 0..50 {
            let (taken, changed) = (Mutex::new(0), Condvar::new());
            let work = |index| {
                // The last piece ends only after all others were taken. Those before it keep the other thread busy.
                if index == 20 {
                    let (_taken, wait) = changed
                        .wait_timeout_while(taken.lock().unwrap(), Duration::from_secs(20), |taken| *taken < 20)
                        .unwrap();
                    assert!(!wait.timed_out());
                } else if index > 16 {
                    thread::sleep(Duration::from_micros(200));
                }
            };
            on(2, 21, 4, work, |results| {
                for () in results {
                    *taken.lock().unwrap() += 1;
                    changed.notify_all();
                }
            });
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
        on(2, 9, 8, work, |results| {
            results.next();
            // While one result is in use for long, the next ones become ready.
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
        on(3, 200, 5, work, |results| {
            while results.next().is_some() {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert_eq!(started.into_inner(), 200);
    }

    #[test]
    fn nothing_is_begun_after_the_end() {
        let started = AtomicUsize::new(0);
        let first = on(3, 1_000_000, 4, |_| started.fetch_add(1, Ordering::SeqCst), |results| results.take(3).count());
        assert_eq!(first, 3);
        assert!(started.into_inner() <= 3 + 4 + 3);
    }

    #[test]
    fn a_panic_of_the_work_or_of_its_user_ends_all() {
        let broken = |index| assert!(index != 20, "broken");
        for threads in [1, 3] {
            let outcome = panic::catch_unwind(|| on(threads, 1000, 4, broken, |results| results.count()));
            assert!(outcome.is_err(), "{threads} threads");
        }
        let user = AssertUnwindSafe(|| on(3, 1000, 4, |index| index, |_| panic!("the user is broken")));
        assert!(panic::catch_unwind(user).is_err());
    }
}
