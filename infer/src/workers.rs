//! Jobs spread over the workers of a device, results handed to one consumer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::device::Device;
use crate::engine::Engine;
use crate::error::InferError;

/// The sessions of a job: one single-threaded session per core on the CPU, one session on CUDA.
pub struct Workers {
    engines: Vec<Engine>,
}

impl Workers {
    /// Opens `threads` sessions on the CPU (or one on CUDA), side by side.
    ///
    /// # Errors
    /// Like [`Engine::open`].
    pub fn open(path: &Path, device: Device, threads: usize) -> Result<Workers, InferError> {
        let count = if device == Device::Cpu { threads.max(1) } else { 1 };
        let first = Engine::open(path, device, 1)?;
        let others = std::thread::scope(|scope| {
            let opening: Vec<_> = (1..count).map(|_| scope.spawn(|| Engine::open(path, device, 1))).collect();
            opening.into_iter().map(join).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Workers { engines: std::iter::once(first).chain(others).collect() })
    }

    /// The first session, to ask about the graph.
    pub fn engine(&self) -> Option<&Engine> {
        self.engines.first()
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.engines.len()
    }

    /// Whether there are none; there is always one.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Runs jobs `0..count`, each on any of the sessions, and gives the results to `consume` in the calling thread, in
    /// the order in which they are ready. At most two results per session wait, so memory does not grow with `count`.
    ///
    /// Stops early when `stop` is set (after the jobs that are running), at the first error of a job, or of `consume`.
    ///
    /// # Errors
    /// The first one. That `stop` was set is no error.
    pub fn run<T: Send>(
        &mut self,
        count: usize,
        stop: &AtomicBool,
        work: impl Fn(&mut Engine, usize) -> Result<T, InferError> + Sync,
        mut consume: impl FnMut(usize, T) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (send, receive) = mpsc::sync_channel(2 * self.engines.len());
        std::thread::scope(|scope| {
            for engine in &mut self.engines {
                let (send, work, next, failed) = (send.clone(), &work, &next, &failed);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) && !failed.load(Ordering::Relaxed) {
                        let job = next.fetch_add(1, Ordering::Relaxed);
                        if job >= count || send.send((job, work(engine, job))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            let mut result = Ok(());
            for (job, outcome) in receive {
                if result.is_ok() {
                    result = outcome.and_then(|value| consume(job, value));
                    failed.store(result.is_err(), Ordering::Relaxed);
                }
            }
            result
        })
    }
}

fn join<T>(handle: std::thread::ScopedJoinHandle<'_, Result<T, InferError>>) -> Result<T, InferError> {
    handle
        .join()
        .unwrap_or_else(|_| Err(InferError::Settings("a thread ended while loading the graph".to_string())))
}
