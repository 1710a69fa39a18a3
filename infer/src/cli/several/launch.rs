//! The process that starts the others.

use std::collections::{BTreeSet, VecDeque};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use ddae_base::processes::{Manner, Processes, ended_by};
use ddae_base::{ending, memory, stop, tell};
use ddae_infer::InferError;
use serde_json::Value;

use super::{Failed, PROCESS, Said};
use crate::cli::progress::Progress;
use crate::cli::summary::Apart;
use crate::cli::{STOPPING, shard::Shard};

/// Nothing of what the others do is needed once one has failed; they give up what they have begun, which takes as long as a run of
/// the graph.
const MANNER: Manner =
    Manner { grace: Duration::ZERO, patience: Duration::from_secs(30), notice: Some(STOPPING) };

/// What is to be computed.
pub struct Work {
    /// What the processes need not find out themselves.
    pub shared: Value,
    /// How many processes are started: no more than there seem to be pieces of work.
    pub processes: usize,
    /// What stays where one is lost, and how to go on.
    pub stays: &'static str,
}

/// What is handed out.
pub struct Pieces {
    /// The pieces, in their order.
    pub pieces: Vec<Value>,
    /// Images in all.
    pub images: usize,
}

/// What was computed.
#[derive(Debug, Default)]
pub struct Worked {
    /// Images.
    pub images: usize,
    /// From the first piece that was handed out to the last that came back.
    pub seconds: f64,
    /// Sessions of all processes.
    pub sessions: usize,
    /// Heights and widths of the images that were decoded, each once.
    pub sizes: Vec<[usize; 2]>,
    /// The processes.
    pub apart: Apart,
}

impl Work {
    /// Starts the processes. Once all can begin, `begin` takes the output and says what is left to be done, and `progress` counts
    /// its images; then each process has a piece at a time until there are none.
    ///
    /// # Errors
    /// Those of `begin`; what the first process that failed says of it, with its number; [`InferError::Interrupted`] after a signal.
    pub fn share_out(
        self,
        begin: impl FnOnce() -> anyhow::Result<Pieces>,
        progress: impl FnOnce(usize) -> Progress,
    ) -> anyhow::Result<Worked> {
        let count = self.processes;
        if count == 0 {
            let apart = Apart { processes: 0, peak: memory::peak() };
            return match begin()?.pieces.is_empty() {
                true => Ok(Worked { apart, ..Worked::default() }),
                false => Err(anyhow::anyhow!(
                    "all was there, and a part has gone meanwhile: give the command again"
                )),
            };
        }
        // Before a process is started, it may be that somebody listened who does not matter any more.
        if stop::exit_code().is_some() {
            return Err(InferError::Interrupted.into());
        }
        let cannot = || format!("{count} processes cannot be started");
        let program = env::current_exe().with_context(cannot)?;
        let commands = (0..count).map(|index| {
            let mut command = Command::new(&program);
            command.args(env::args_os().skip(1)).env(PROCESS, Shard { index, of: count }.to_string());
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command
        });
        ddae_base::detail(|| format!("starting {count} processes"));
        let mut processes = Processes::start(commands, show).with_context(cannot)?;
        let is_wanted = stop::exit_code().is_none();
        let (send, said) = channel();
        let mut members = Vec::new();
        for number in 0..count {
            let (input, output) = processes.pipes(number);
            let send = send.clone();
            thread::spawn(move || {
                let lines = output.map(BufReader::new).into_iter().flat_map(BufRead::lines);
                for line in lines.map_while(Result::ok) {
                    let _ = send.send((number, line));
                }
            });
            // Without an input it ends at once.
            let mut member = Member { input: input.filter(|_| is_wanted), ..Member::default() };
            member.give(&self.shared);
            members.push(member);
        }
        drop(send);
        let mut job = Job {
            members,
            open: 0,
            pieces: VecDeque::new(),
            start: Some((begin, progress)),
            progress: None,
            images: 0,
            seconds: None,
            notes: BTreeSet::new(),
            sizes: BTreeSet::new(),
            error: None,
        };
        let ended =
            processes.wait(MANNER, || said.try_iter().for_each(|(number, line)| job.hear(number, &line)));
        // To the end of what they said.
        said.iter().for_each(|(number, line)| job.hear(number, &line));
        drop(job.progress.take());
        for note in &job.notes {
            ddae_base::note(note);
        }
        if let Some(error) = job.error {
            return Err(error);
        }
        if let Some((number, status)) = ended.context("the system does not tell of the processes")? {
            return Err(failure(number, count, status, job.members[number].failed.take(), self.stays));
        }
        // All was done before the signal came, but what is left to do is not wanted any more.
        if stop::exit_code().is_some() {
            return Err(InferError::Interrupted.into());
        }
        let Some(seconds) = job.seconds else { return Err(InferError::Thread.into()) };
        let own = memory::peak();
        let peak: Option<u64> = job.members.iter().map(|member| member.peak).chain([own]).sum();
        let sessions = job.members.iter().filter_map(|member| member.sessions).sum();
        let sizes = job.sizes.into_iter().collect();
        Ok(Worked { images: job.images, seconds, sessions, sizes, apart: Apart { processes: count, peak } })
    }
}

/// Writes a line of a process's stderr, but for the error that it says on standard output, too.
fn show(number: usize, line: &str) {
    if !line.is_empty() && !line.starts_with("error: ") {
        tell(format_args!("[{number}] {line}"));
    }
}

/// Why a job ends whose process `number` of `count` failed first.
fn failure(
    number: usize,
    count: usize,
    status: ExitStatus,
    failed: Option<Failed>,
    stays: &str,
) -> anyhow::Error {
    let name = format!("process {number} of {count}");
    match failed {
        // This process was sent a signal and passed it on.
        Some(failed) if failed.kind == "interrupted" && stop::exit_code().is_some() => {
            InferError::Interrupted.into()
        }
        // That process alone was.
        Some(Failed { error, kind, exit_code }) if kind == "interrupted" => {
            ending::relayed(format!("{name}: {error}, and the others with it; {stays}"), &kind, exit_code)
        }
        Some(Failed { error, kind, exit_code }) => {
            ending::relayed(format!("{name}: {error}"), &kind, exit_code)
        }
        None if stop::exit_code().is_some() => InferError::Interrupted.into(),
        None => {
            let how = match (ended_by(status), status.code()) {
                (Some(signal), _) => format!("was ended by {signal}"),
                (None, Some(code)) => format!("ended with exit code {code} and did not say why"),
                (None, None) => "ended in an unknown way".to_string(),
            };
            anyhow::anyhow!("{name} {how}, and the others with it; {stays}")
        }
    }
}

/// One of the processes.
#[derive(Debug, Default)]
struct Member {
    /// None once nothing more is to be given to it.
    input: Option<ChildStdin>,
    /// Known once it can begin.
    sessions: Option<usize>,
    peak: Option<u64>,
    failed: Option<Failed>,
}

impl Member {
    /// Gives it a line. One that ends meanwhile does not take it, which is found then.
    fn give(&mut self, line: &Value) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}").and_then(|()| input.flush());
        }
    }
}

/// The job while processes work on it.
struct Job<B, P> {
    members: Vec<Member>,
    /// Those that were not handed out yet.
    pieces: VecDeque<Value>,
    /// Pieces that are not done.
    open: usize,
    /// Until it has begun.
    start: Option<(B, P)>,
    progress: Option<Progress>,
    images: usize,
    /// Once all is done.
    seconds: Option<f64>,
    notes: BTreeSet<String>,
    sizes: BTreeSet<[usize; 2]>,
    /// Why it could not begin.
    error: Option<anyhow::Error>,
}

impl<B: FnOnce() -> anyhow::Result<Pieces>, P: FnOnce(usize) -> Progress> Job<B, P> {
    /// Takes what a process says.
    fn hear(&mut self, number: usize, line: &str) {
        let Ok(said) = serde_json::from_str::<Said>(line) else {
            // Not of ours: a library may write there.
            self.members[number].failed =
                self.members[number].failed.take().or(serde_json::from_str(line).ok());
            return;
        };
        match said {
            Said::Ready(sessions) => {
                self.members[number].sessions = Some(sessions);
                if self.members.iter().all(|member| member.sessions.is_some()) {
                    self.begin();
                }
            }
            Said::Passed(images) => {
                if let Some(progress) = &self.progress {
                    progress.add(images);
                }
            }
            Said::Done(images) => {
                self.images += images;
                self.open = self.open.saturating_sub(1);
                if self.open == 0 {
                    self.seconds = self.progress.take().map(|progress| progress.finish());
                }
                self.give(number);
            }
            Said::Note(note) => {
                self.notes.insert(note);
            }
            Said::Sizes(sizes) => self.sizes.extend(sizes),
            Said::Peak(bytes) => self.members[number].peak = Some(bytes),
        }
    }

    fn begin(&mut self) {
        let Some((begin, progress)) = self.start.take() else { return };
        match begin() {
            Ok(Pieces { pieces, images }) => {
                self.open = pieces.len();
                self.pieces = pieces.into();
                match self.open {
                    // Another run has done all of it meanwhile.
                    0 => self.seconds = Some(0.0),
                    _ => self.progress = Some(progress(images)),
                }
                (0..self.members.len()).for_each(|number| self.give(number));
            }
            Err(error) => {
                self.error = Some(error);
                self.members.iter_mut().for_each(|member| member.input = None);
            }
        }
    }

    /// Gives a process the next piece, or the end.
    fn give(&mut self, number: usize) {
        match self.pieces.pop_front() {
            Some(piece) => self.members[number].give(&piece),
            None => self.members[number].input = None,
        }
    }
}
