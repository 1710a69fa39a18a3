//! One of the processes that compute.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ddae_base::verbosity::{self, Verbosity};
use ddae_base::{Stop, is_verbose, json, memory};
use ddae_infer::InferError;
use serde::de::DeserializeOwned;

use super::Said;

/// Between two words of how many images went through the network.
const INTERVAL: Duration = Duration::from_millis(100);
/// Between two looks at the signals while there is nothing to do.
const PAUSE: Duration = Duration::from_millis(20);

/// What connects this process with the one that started it.
pub struct Worker {
    lines: Mutex<Receiver<String>>,
    stop: Stop,
    passed: Mutex<(usize, Instant)>,
}

impl Worker {
    /// Begins to listen. What is said to the user is said by the process that started this one: errors come to it as objects, and
    /// notes by [`Worker::note`].
    pub fn begin() -> Worker {
        json::want();
        if !is_verbose() {
            verbosity::set(Verbosity::Quiet);
        }
        let stop = Stop::on_signal(None);
        let (send, lines) = channel();
        let at_end = stop.clone();
        thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
            // First the end of the work, then of what is in work: of that, who gave it is no more.
            drop(send);
            at_end.request();
        });
        Worker { lines: Mutex::new(lines), stop, passed: Mutex::new((0, Instant::now())) }
    }

    /// Set when the work in hand is to be given up.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The next line: at first what this process need not find out itself, then pieces of work. None when there are no more.
    ///
    /// # Errors
    /// [`InferError::Interrupted`] after a signal.
    pub fn next<T: DeserializeOwned>(&self) -> Result<Option<T>, InferError> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = loop {
            match lines.recv_timeout(PAUSE) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if !self.stop.is_requested() => {}
                Err(RecvTimeoutError::Timeout) => match lines.try_recv() {
                    Err(TryRecvError::Disconnected) => return Ok(None),
                    _ => return Err(InferError::Interrupted),
                },
            }
        };
        let read = serde_json::from_str(&line);
        read.map(Some)
            .map_err(|_| InferError::Argument("this process was started by no ddae-infer".to_string()))
    }

    /// What comes first ([`Worker::next`]).
    ///
    /// # Errors
    /// [`InferError::Interrupted`] where it does not come.
    pub fn shared<T: DeserializeOwned>(&self) -> Result<T, InferError> {
        self.next()?.ok_or(InferError::Interrupted)
    }

    /// This process can begin, with so many sessions.
    pub fn ready(&self, sessions: usize) {
        say(&Said::Ready(sessions));
    }

    /// So many images went through the network, told from any thread.
    pub fn passed(&self, images: usize) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.0 += images;
        if passed.1.elapsed() >= INTERVAL {
            say(&Said::Passed(passed.0));
            *passed = (0, Instant::now());
        }
    }

    /// A piece is done, with so many images.
    pub fn done(&self, images: usize) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        say(&Said::Passed(passed.0));
        *passed = (0, Instant::now());
        say(&Said::Done(images));
    }

    /// Something for the user to know, which is told once for all processes.
    pub fn note(&self, note: String) {
        say(&Said::Note(note));
    }

    /// The end of the work, for which images of these sizes were decoded.
    pub fn end(self, sizes: Vec<[usize; 2]>) {
        say(&Said::Sizes(sizes));
        if let Some(bytes) = memory::peak() {
            say(&Said::Peak(bytes));
        }
    }
}

/// Says something to the process that started this one. Where it cannot be said, that one is no more.
fn say(said: &Said) {
    if let Ok(line) = serde_json::to_string(said) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}
