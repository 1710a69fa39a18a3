//! Jobs spread over the sessions of a device, results handed to one consumer.
//!
//! Three stages: *prepare* makes the inputs of a job, *compute* runs the graph on them, *consume* takes the result in
//! the calling thread. On the CPU every session's thread prepares its own jobs, so that all cores compute all the time.
//! On CUDA there are one or two sessions, and other threads prepare ahead of them. Between the stages there are short queues, so
//! memory does not grow with the number of jobs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::device::Device;
use crate::engine::Engine;
use crate::error::InferError;

/// Threads, and so jobs, from which on a second session on CUDA is worth its start.
const MANY: usize = 4;

/// The sessions of a job.
pub struct Workers {
    engines: Vec<Engine>,
    /// Threads that prepare jobs; 0 when the sessions' own threads do.
    producers: usize,
}

impl Workers {
    /// Opens `threads` sessions (at least one) on the CPU. On CUDA `threads` threads prepare inputs, for two sessions if
    /// they are many: while one copies what goes in and comes out, the other computes.
    ///
    /// # Errors
    /// Like [`Engine::open`].
    pub fn open(path: &Path, device: Device, threads: usize) -> Result<Workers, InferError> {
        Workers::open_after(path, None, device, threads)
    }

    /// The same, each session with another of the graph `before` that makes its inputs.
    ///
    /// # Errors
    /// Like [`Engine::open`].
    pub fn open_after(
        path: &Path,
        before: Option<&Path>,
        device: Device,
        threads: usize,
    ) -> Result<Workers, InferError> {
        let open = || -> Result<Engine, InferError> {
            let before = before.map(|path| Engine::open(path, device)).transpose()?;
            Ok(Engine::open(path, device)?.after(before))
        };
        let (count, producers) = match device {
            Device::Cpu => (threads.max(1), 0),
            Device::Cuda { .. } if threads < MANY => (1, threads.max(1)),
            Device::Cuda { .. } => (2, threads),
        };
        // The first one alone: what is wrong with the file or the device is found once.
        let first = open()?;
        let others = thread::scope(|scope| {
            let opening: Vec<_> = (1..count).map(|_| scope.spawn(open)).collect();
            let opened = opening.into_iter().map(|handle| handle.join().unwrap_or(Err(InferError::Thread)));
            opened.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Workers { engines: std::iter::once(first).chain(others).collect(), producers })
    }

    /// The same sessions with `producers` threads that prepare jobs ahead, or none.
    pub fn with_producers(self, producers: usize) -> Workers {
        Workers { producers, ..self }
    }

    /// What sessions did otherwise than they were asked to, though they work; each once.
    pub fn take_notes(&mut self) -> Vec<String> {
        let mut notes: Vec<String> = self.engines.iter_mut().flat_map(Engine::take_notes).collect();
        notes.sort_unstable();
        notes.dedup();
        notes
    }

    /// Whether other threads than those of the sessions prepare jobs, so that cores are free while sessions compute.
    pub fn prepare_apart(&self) -> bool {
        self.producers > 0
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.engines.len()
    }

    /// Runs jobs `0..count`, each on any of the sessions, and gives the results to `consume` in the calling thread, in
    /// the order in which they are ready. At most two prepared jobs and two results per session wait at a time.
    ///
    /// # Errors
    /// The first error of a job or of `consume`; [`InferError::Interrupted`] when `stop` was set before all jobs were
    /// done. Jobs that are running are brought to their end, and those that come before the error are consumed.
    pub fn run<P: Send, T: Send>(
        &mut self,
        count: usize,
        stop: &AtomicBool,
        prepare: impl Fn(usize) -> Result<P, InferError> + Sync,
        compute: impl Fn(&mut Engine, P) -> Result<T, InferError> + Sync,
        mut consume: impl FnMut(usize, T) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let queue = Queue { next: AtomicUsize::new(0), count, stop, failed: AtomicBool::new(false) };
        let (send, receive) = mpsc::sync_channel(2 * self.engines.len());
        thread::scope(|scope| {
            let (queue, prepare, compute) = (&queue, &prepare, &compute);
            if self.producers == 0 {
                for engine in &mut self.engines {
                    let send = send.clone();
                    scope.spawn(move || {
                        while let Some(job) = queue.next() {
                            let result = prepare(job).and_then(|inputs| compute(engine, inputs));
                            if send.send((job, result)).is_err() {
                                break;
                            }
                        }
                    });
                }
            } else {
                let (give, take) = mpsc::sync_channel(2 * self.engines.len());
                for _ in 0..self.producers {
                    let give: SyncSender<(usize, Result<P, InferError>)> = give.clone();
                    scope.spawn(move || {
                        while let Some(job) = queue.next() {
                            if give.send((job, prepare(job))).is_err() {
                                break;
                            }
                        }
                    });
                }
                // Owned by the sessions' threads alone: when they end, waiting producers end as well.
                let take = Arc::new(Mutex::new(take));
                for engine in &mut self.engines {
                    let (send, take) = (send.clone(), take.clone());
                    scope.spawn(move || {
                        while let Some((job, inputs)) = next(&take) {
                            let result = inputs.and_then(|inputs| compute(engine, inputs));
                            if send.send((job, result)).is_err() || queue.failed.load(Ordering::Relaxed) {
                                break;
                            }
                        }
                    });
                }
            }
            drop(send);
            let (mut outcome, mut done) = (Ok(()), 0);
            for (job, result) in receive {
                if outcome.is_ok() {
                    outcome = result.and_then(|value| consume(job, value));
                    queue.failed.store(outcome.is_err(), Ordering::Relaxed);
                    done += 1;
                }
            }
            outcome?;
            if done < count { Err(InferError::Interrupted) } else { Ok(()) }
        })
    }
}

/// Which job is next.
struct Queue<'a> {
    next: AtomicUsize,
    count: usize,
    stop: &'a AtomicBool,
    failed: AtomicBool,
}

impl Queue<'_> {
    fn next(&self) -> Option<usize> {
        if self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|&job| job < self.count)
    }
}

/// What a producer gives next, `None` when all have ended.
fn next<T>(take: &Mutex<Receiver<T>>) -> Option<T> {
    take.lock().ok()?.recv().ok()
}
