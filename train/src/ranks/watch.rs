//! Signs of life. Every rank gives one regularly; rank 0 looks for those of all, the others for those of rank 0 and for what it
//! says. A rank that has none to give ends them all, with its name, while their main threads may wait for it for ever.

use std::collections::HashMap;
use std::os::unix::process::parent_id;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ddae_base::ending::failed;

use super::environment::Place;
use crate::TrainError;
use crate::torch::TorchError;
use crate::torch::shim::ranks::{Store, end_process};

/// The key of why a rank has ended.
pub(super) const FAILED: &str = "failed";

/// Why ranks end whose launcher is not there any more.
pub(super) const NO_LAUNCHER: &str = "the process that started the ranks (--nproc) has ended";

/// The key of a rank that has ended and has nothing more to say.
pub(super) fn gone(rank: usize) -> String {
    format!("gone/{rank}")
}

fn beat(rank: usize) -> String {
    format!("beat/{rank}")
}

/// The thread that gives and looks for signs of life.
#[derive(Debug)]
pub(super) struct Watch {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

/// What the thread works with.
struct Looker {
    store: Store,
    place: Place,
    patience: Duration,
    /// What was last seen of a rank, and when that was new.
    seen: HashMap<usize, (String, Instant)>,
}

impl Watch {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store, place: &Place, patience: Duration) -> Result<Watch, TrainError> {
        let (end, ended) = channel();
        let mut looker = Looker { store, place: place.clone(), patience, seen: HashMap::new() };
        let pause = (patience / 10).clamp(Duration::from_millis(50), Duration::from_secs(2));
        let work = move || {
            let mut number = 0u64;
            loop {
                number += 1;
                if let Some(reason) = looker.look(number) {
                    looker.end_all(&reason);
                }
                match ended.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("ddae-ranks".into()).spawn(work);
        let thread = thread.map_err(|e| TorchError::Input(format!("no thread to watch ranks with: {e}")))?;
        Ok(Watch { end, thread })
    }

    /// Ends it.
    pub fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

impl Looker {
    /// Gives a sign of life and looks at the others'. Why all are to end, if they are.
    fn look(&mut self, number: u64) -> Option<String> {
        let Place { rank, world, port, launcher, .. } = self.place;
        if launcher.is_some_and(|launcher| parent_id() != launcher) {
            return Some(NO_LAUNCHER.to_string());
        }
        let found = self.others(number);
        let host = &self.place.host;
        match found {
            Ok(reason) => reason,
            Err(_) if self.place.agent.is_some() => Some(format!(
                "torchrun's store at {host}:{port} was lost: torchrun has ended, or its machine"
            )),
            Err(_) if rank > 0 => Some(format!(
                "rank 0 of {world} was lost: its store at {host}:{port} does not answer any more"
            )),
            Err(error) => Some(format!("the store of the ranks at {host}:{port} is out of order: {error}")),
        }
    }

    fn others(&mut self, number: u64) -> Result<Option<String>, TorchError> {
        let Place { rank, world, .. } = self.place;
        self.store.set(&beat(rank), &number.to_string())?;
        if self.store.has(FAILED)? {
            let reason = self.store.get(FAILED, self.patience)?;
            let own = format!("rank {rank} ended: ");
            return Ok((!reason.starts_with(&own)).then_some(reason));
        }
        let watched = if rank == 0 { 1..world } else { 0..1 };
        for other in watched {
            if self.store.has(&gone(other))? {
                continue;
            }
            let found = match self.store.has(&beat(other))? {
                true => self.store.get(&beat(other), self.patience)?,
                false => String::new(),
            };
            let now = Instant::now();
            let last = self.seen.entry(other).or_insert_with(|| (found.clone(), now));
            if last.0 != found {
                *last = (found, now);
            }
            let silent = now - last.1;
            if silent > self.patience {
                let seconds = silent.as_secs();
                return Ok(Some(format!(
                    "rank {other} of {world} was lost: no sign of life for {seconds} s. Go on from the last checkpoint with --resume"
                )));
            }
        }
        Ok(None)
    }

    /// Tells the others and ends this process.
    fn end_all(&self, reason: &str) -> ! {
        let rank = self.place.rank;
        if !self.store.has(FAILED).unwrap_or(true) {
            let _ = self.store.set(FAILED, reason);
        }
        failed(reason);
        let _ = self.store.set(&gone(rank), "");
        if self.place.serves() {
            // The store ends with this process: time for the others to read it.
            thread::sleep(Duration::from_secs(3));
        }
        end_process(1)
    }
}
