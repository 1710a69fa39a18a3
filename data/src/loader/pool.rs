//! Worker threads that make batches ahead of time and hand them over in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::datasets::DataError;

/// Finished and unfinished batches per worker: enough that no worker waits for the reader, few enough to stay small.
const AHEAD_PER_WORKER: usize = 2;

type Outcome<B> = Result<B, DataError>;

/// Makes the batch of a number.
type Make<B> = dyn Fn(usize) -> Outcome<B> + Send + Sync;

/// Makes batches of the type `B`.
pub(super) struct Pool<B> {
    make: Arc<Make<B>>,
    shared: Arc<Shared<B>>,
    end: usize,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<B> {
    state: Mutex<State<B>>,
    /// A batch was finished.
    finished: Condvar,
    /// A batch was taken, or the pool is being dropped.
    taken: Condvar,
}

struct State<B> {
    /// The next batch to hand over.
    next: usize,
    /// The next batch to begin.
    begin: usize,
    ready: BTreeMap<usize, Outcome<B>>,
    stop: bool,
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // Nothing panics while it holds the lock, and every change to the state is a single step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Pool<B> {
    /// Number of batches still to be handed over.
    pub fn left(&self) -> usize {
        self.end - self.shared.lock().next
    }
}

impl<B: Send + 'static> Pool<B> {
    /// Makes the batches of `numbers` with `workers` threads; with 0, each one when it is asked for.
    pub fn new(
        numbers: Range<usize>,
        workers: usize,
        make: impl Fn(usize) -> Outcome<B> + Send + Sync + 'static,
    ) -> Pool<B> {
        let make: Arc<Make<B>> = Arc::new(make);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                next: numbers.start,
                begin: numbers.start,
                ready: BTreeMap::new(),
                stop: false,
            }),
            finished: Condvar::new(),
            taken: Condvar::new(),
        });
        let end = numbers.end;
        let ahead = workers * AHEAD_PER_WORKER;
        let threads = workers.min(numbers.len());
        let workers = (0..threads)
            .map_while(|_| {
                let (shared, make) = (Arc::clone(&shared), Arc::clone(&make));
                // Where the system gives fewer threads, those that there are do the work.
                std::thread::Builder::new()
                    .name("ddae-loader".into())
                    .spawn(move || work(&shared, end, ahead, make.as_ref()))
                    .ok()
            })
            .collect();
        Pool { make, shared, end, workers }
    }

    /// The next batch, waiting for it if need be.
    pub fn next(&mut self) -> Option<Outcome<B>> {
        let mut state = self.shared.lock();
        let number = state.next;
        if number == self.end {
            return None;
        }
        state.next += 1;
        if self.workers.is_empty() {
            drop(state);
            return Some(attempt(number, self.make.as_ref()));
        }
        self.shared.taken.notify_all();
        loop {
            if let Some(outcome) = state.ready.remove(&number) {
                return Some(outcome);
            }
            state = self.shared.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<B> Drop for Pool<B> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its panics; there is nothing in its result.
            let _ = worker.join();
        }
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("left", &self.left()).field("workers", &self.workers.len()).finish()
    }
}

fn work<B>(shared: &Shared<B>, end: usize, ahead: usize, make: &Make<B>) {
    let mut state = shared.lock();
    loop {
        if state.stop || state.begin == end {
            return;
        }
        if state.begin >= state.next + ahead {
            state = shared.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let number = state.begin;
        state.begin += 1;
        drop(state);
        let outcome = attempt(number, make);
        state = shared.lock();
        state.ready.insert(number, outcome);
        shared.finished.notify_all();
    }
}

/// A panic becomes an error: the reader would otherwise wait for this batch for ever.
fn attempt<B>(number: usize, make: &Make<B>) -> Outcome<B> {
    catch_unwind(AssertUnwindSafe(|| make(number)))
        .unwrap_or_else(|panic| Err(DataError::Worker(message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn numbered(number: usize) -> Outcome<usize> {
        Ok(number)
    }

    #[test]
    fn batches_come_in_order_and_not_far_ahead() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let mut pool = Pool::new(3..50, 3, move |number| {
            counter.fetch_add(1, Ordering::SeqCst);
            // Uneven work, so that later batches are often finished first.
            std::thread::sleep(std::time::Duration::from_micros((number as u64 * 7919) % 500));
            numbered(number)
        });
        for number in 3..50 {
            assert_eq!(pool.left(), 50 - number);
            let batch = pool.next().expect("not at the end").expect("no error");
            assert_eq!(batch, number);
            assert!(begun.load(Ordering::SeqCst) <= number - 3 + 1 + 3 * AHEAD_PER_WORKER);
        }
        assert!(pool.next().is_none());
    }

    #[test]
    fn a_panic_is_an_error_of_its_batch() {
        let mut pool = Pool::new(0..2, 2, |number| {
            assert!(number != 1, "number {number} is broken");
            numbered(number)
        });
        assert!(matches!(pool.next(), Some(Ok(_))));
        let error = pool.next().expect("two batches").unwrap_err().to_string();
        assert_eq!(error, "a loader thread ended unexpectedly: number 1 is broken");
    }

    #[test]
    fn dropping_in_the_middle_ends_the_threads() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut pool = Pool::new(0..1_000_000, 4, move |number| {
            let _held = &held;
            numbered(number)
        });
        pool.next();
        drop(pool);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
