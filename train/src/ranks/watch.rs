//! Signs of life. Every rank gives one regularly; rank 0 looks for those of all, the others for those of rank 0 and for what it
//! says. A rank that has none to give ends them all, with its name, while their main threads may wait for it for ever. Where the
//! network is gone, the store does not answer, and whoever asks it waits, too: another thread sees that, and ends the process. A
//! request to stop goes the same way: that of one rank is one of all, whatever they are at.

use std::collections::HashMap;
use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ddae_base::Stop;
use ddae_base::ending::failed;

use super::environment::Place;
use crate::TrainError;
use crate::torch::TorchError;
use crate::torch::shim::ranks::{Store, end_process};

/// The key of why a rank has ended.
pub(super) const FAILED: &str = "failed";
/// The key of a rank's request to stop.
const STOP: &str = "stop";

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

/// How long is paused between two looks.
fn pause(patience: Duration) -> Duration {
    (patience / 10).clamp(Duration::from_millis(50), Duration::from_secs(2))
}

/// The thread that sees that the store answers, and ends the process where it does not.
#[derive(Debug)]
pub(super) struct Guard {
    /// How often it has answered, or [`ENDING`].
    answers: Arc<AtomicU64>,
    thread: Beside,
}

impl Guard {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(place: &Place, patience: Duration) -> Result<Guard, TrainError> {
        let (pause, place, answers) = (pause(patience), place.clone(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&answers);
        let thread = Beside::start("ddae-guard", move |ended| {
            // In pauses, not by the clock: a process that was stopped for a while is not blamed for it.
            let (mut last, mut silent) = (0, Duration::ZERO);
            while goes_on(&ended, pause) {
                let now = counted.load(Ordering::Relaxed);
                silent = if now == last { silent + pause } else { Duration::ZERO };
                last = now;
                // The looker has found why this process ends, said so, and may not get to tell the others.
                if now == ENDING && silent > LAST_WORDS {
                    end_process(1);
                }
                if now != ENDING && silent > patience + pause {
                    failed(&unanswered(&place, silent));
                    end_process(1);
                }
            }
        })?;
        Ok(Guard { answers, thread })
    }

    /// Takes note that the store has answered.
    pub fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends it.
    pub fn end(self) {
        self.thread.end();
    }
}

/// The thread that gives and looks for signs of life, and its guard.
#[derive(Debug)]
pub(super) struct Watch {
    looker: Beside,
    guard: Guard,
}

impl Watch {
    /// Starts it. A request to `stop` of any rank is one of all from now on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Store,
        place: &Place,
        patience: Duration,
        stop: &Stop,
        guard: Guard,
    ) -> Result<Watch, TrainError> {
        let Place { rank, world, .. } = *place;
        let mut looker = Looker {
            store,
            place: place.clone(),
            patience,
            stop: stop.clone(),
            is_told: false,
            last_look: Instant::now(),
            heard: HashMap::new(),
        };
        let (pause, answers) = (pause(patience), Arc::clone(&guard.answers));
        let looker = Beside::start("ddae-ranks", move |ended| {
            loop {
                let number = answers.fetch_add(1, Ordering::Relaxed) + 1;
                let found = catch_unwind(AssertUnwindSafe(|| looker.look(number)));
                let panicked =
                    |_| Some(format!("rank {rank} of {world} ended: its watch over the ranks panicked"));
                if let Some(reason) = found.unwrap_or_else(panicked) {
                    answers.store(ENDING, Ordering::Relaxed);
                    looker.end_all(&reason);
                }
                if !goes_on(&ended, pause) {
                    return;
                }
            }
        })?;
        Ok(Watch { looker, guard })
    }

    /// Ends it, but for the guard, which still wants to hear of answers.
    pub fn end(self) -> Guard {
        self.looker.end();
        self.guard
    }
}

/// Why a rank ends whose store takes questions and does not answer: the connection is there, and nothing comes through.
fn unanswered(Place { rank, world, host, port, agent, .. }: &Place, silent: Duration) -> String {
    let seconds = silent.as_secs();
    let who = match (agent, rank) {
        (Some(_), _) => "torchrun's machine was lost: its store".to_string(),
        (None, 0) => format!("rank 0 of {world} is cut off: its own store"),
        (None, _) => format!("rank 0 of {world} was lost: its store"),
    };
    format!(
        "{who} at {host}:{port} has not answered for {seconds} s. Go on from the last checkpoint with --resume"
    )
}

/// What was heard of a rank.
#[derive(Debug, Default)]
struct Heard {
    /// Its last sign of life; none before the first look.
    sign: Option<String>,
    /// How long that has been the last one.
    silent: Duration,
}

impl Heard {
    /// Takes note of the `sign` that is there, so long after the last look. How long there has been no new one.
    ///
    /// A look that comes late says nothing about others: where all processes were stopped for a while, this one may be the first
    /// to go on. It counts as two pauses at most.
    fn hear(&mut self, sign: String, elapsed: Duration, pause: Duration) -> Duration {
        let is_new = self.sign.as_ref() != Some(&sign);
        self.silent = if is_new { Duration::ZERO } else { self.silent + elapsed.min(2 * pause) };
        self.sign = Some(sign);
        self.silent
    }
}

/// What the thread works with.
struct Looker {
    store: Store,
    place: Place,
    patience: Duration,
    stop: Stop,
    /// Whether all know that they are to stop.
    is_told: bool,
    last_look: Instant,
    heard: HashMap<usize, Heard>,
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
        self.pass_on_stop()?;
        let now = Instant::now();
        let elapsed = now - std::mem::replace(&mut self.last_look, now);
        let watched = if rank == 0 { 1..world } else { 0..1 };
        for other in watched {
            if self.store.has(&gone(other))? {
                continue;
            }
            let found = match self.store.has(&beat(other))? {
                true => self.store.get(&beat(other), self.patience)?,
                false => String::new(),
            };
            let heard = self.heard.entry(other).or_default();
            let silent = heard.hear(found, elapsed, pause(self.patience));
            if silent > self.patience {
                let seconds = silent.as_secs();
                return Ok(Some(format!(
                    "rank {other} of {world} was lost: no sign of life for {seconds} s. Go on from the last checkpoint with --resume"
                )));
            }
        }
        Ok(None)
    }

    /// Tells the others that this rank was asked to stop, or asks it where another was.
    fn pass_on_stop(&mut self) -> Result<(), TorchError> {
        if self.is_told {
            return Ok(());
        }
        if self.stop.is_requested() {
            self.store.set(STOP, "")?;
        } else if self.store.has(STOP)? {
            self.stop.request();
        } else {
            return Ok(());
        }
        self.is_told = true;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_in_looks() {
        let [second, hour] = [1, 3600].map(Duration::from_secs);
        let mut heard = Heard::default();
        let mut hear = |sign: &str, elapsed| heard.hear(sign.to_string(), elapsed, second).as_secs();
        assert_eq!(hear("", second), 0);
        assert_eq!(hear("1", second), 0);
        assert_eq!(hear("1", second), 1);
        assert_eq!(hear("1", second), 2);
        assert_eq!(hear("1", hour), 4, "all were stopped for an hour, and this process went on first");
        assert_eq!(hear("2", second), 0);
        // A rank that never gave a sign is lost as one that gives none any more.
        let mut heard = Heard::default();
        assert_eq!((0..40).map(|_| heard.hear(String::new(), second, second)).max(), Some(39 * second));
    }

    #[test]
    fn whose_store_does_not_answer_is_said() {
        let of = |rank, agent| {
            let host = "first".to_string();
            let (launcher, notes) = (None, vec![]);
            let place = Place {
                rank,
                world: 2,
                local_rank: 0,
                local_world: 1,
                host,
                port: 29500,
                agent,
                launcher,
                notes,
            };
            unanswered(&place, Duration::from_millis(33_500))
        };
        let rest =
            "store at first:29500 has not answered for 33 s. Go on from the last checkpoint with --resume";
        assert_eq!(of(1, None), format!("rank 0 of 2 was lost: its {rest}"));
        assert_eq!(of(0, None), format!("rank 0 of 2 is cut off: its own {rest}"));
        assert_eq!(of(0, Some(1)), format!("torchrun's machine was lost: its {rest}"));
    }
}
