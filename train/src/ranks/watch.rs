//! Signs of life. Every rank gives one regularly; rank 0 looks for those of all, the others for those of rank 0 and for what it
//! says. A rank that has none to give ends them all, with its name, while their main threads may wait for it for ever. Where the network
//! is gone, the store does not answer, and whoever asks it waits, too: another thread sees that, and ends the process.

use std::collections::HashMap;
use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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

/// In place of the number of looks once a reason to end was found.
const ENDING: u64 = u64::MAX;
/// How long it may take then to tell the others.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The key of a rank that has ended and has nothing more to say.
pub(super) fn gone(rank: usize) -> String {
    format!("gone/{rank}")
}

fn beat(rank: usize) -> String {
    format!("beat/{rank}")
}

/// The thread that gives and looks for signs of life, and the one that sees that it does.
#[derive(Debug)]
pub(super) struct Watch {
    looker: Beside,
    guard: Beside,
}

/// A thread that works until it is told to end.
#[derive(Debug)]
struct Beside {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Beside {
    fn start(name: &str, work: impl FnOnce(Receiver<()>) + Send + 'static) -> Result<Beside, TrainError> {
        let (end, ended) = channel();
        let thread = thread::Builder::new().name(name.to_string()).spawn(move || work(ended));
        let thread = thread.map_err(|e| TorchError::Input(format!("no thread to watch ranks with: {e}")))?;
        Ok(Beside { end, thread })
    }

    fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// Whether a thread that pauses is to go on.
fn goes_on(ended: &Receiver<()>, pause: Duration) -> bool {
    matches!(ended.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
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
        let mut looker = Looker { store, place: place.clone(), patience, seen: HashMap::new() };
        let pause = (patience / 10).clamp(Duration::from_millis(50), Duration::from_secs(2));
        let looks = Arc::new(AtomicU64::new(0));
        let (place, looked) = (place.clone(), Arc::clone(&looks));
        let guard = Beside::start("ddae-guard", move |ended| {
            // In pauses, not by the clock: a process that was stopped for a while is not blamed for it.
            let (mut last, mut silent) = (0, Duration::ZERO);
            while goes_on(&ended, pause) {
                let now = looked.load(Ordering::Relaxed);
                silent = if now == last { silent + pause } else { Duration::ZERO };
                last = now;
                // The looker has found why this process ends, said so, and may not get to tell the others.
                let is_ending = now == ENDING;
                if !is_ending && silent > patience + pause {
                    failed(&unanswered(&place, silent));
                }
                if silent > patience + if is_ending { LAST_WORDS } else { pause } {
                    end_process(1);
                }
            }
        })?;
        let looker = Beside::start("ddae-ranks", move |ended| {
            loop {
                let number = looks.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(reason) = looker.look(number) {
                    looks.store(ENDING, Ordering::Relaxed);
                    looker.end_all(&reason);
                }
                if !goes_on(&ended, pause) {
                    return;
                }
            }
        })?;
        Ok(Watch { looker, guard })
    }

    /// Ends it.
    pub fn end(self) {
        self.looker.end();
        self.guard.end();
    }
}

/// Why a rank ends whose store takes questions and does not answer: the connection is there, and nothing comes through.
fn unanswered(Place { world, host, port, agent, .. }: &Place, silent: Duration) -> String {
    let seconds = silent.as_secs();
    let who = agent.map_or(format!("rank 0 of {world}"), |_| "torchrun's machine".to_string());
    format!(
        "{who} was lost: its store at {host}:{port} has not answered for {seconds} s. Go on from the last checkpoint with --resume"
    )
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
        failed(reason);
        if !self.store.has(FAILED).unwrap_or(true) {
            let _ = self.store.set(FAILED, reason);
        }
        let _ = self.store.set(&gone(rank), "");
        if self.place.serves() {
            // The store ends with this process: time for the others to read it.
            thread::sleep(Duration::from_secs(3));
        }
        end_process(1)
    }
}
