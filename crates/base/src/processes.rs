//! Processes of one program side by side: started, heard, sent signals, and waited for.
//!
//! They get their signals from the process that started them, which passes each of its own on once; a signal of the terminal does
//! not reach them by itself. The first that fails ends the others.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stderr::tell;
use crate::stop::at_signal;

/// Between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(20);

/// What is done while processes run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How long the others may go on once one has failed: then they get a SIGTERM. Where a signal was passed on before, as long as
    /// `patience`, if that is longer.
    pub grace: Duration,
    /// How long after that they are ended by force.
    pub patience: Duration,
    /// What is told at the first signal.
    pub notice: Option<&'static str>,
}

/// The processes, numbered from 0 in the order of their start.
#[derive(Debug)]
pub struct Processes {
    running: Vec<Running>,
    readers: Vec<JoinHandle<()>>,
    signals: Arc<Signals>,
}

/// One of them.
#[derive(Debug)]
struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

/// The signals that this process was sent.
#[derive(Debug, Default)]
struct Signals {
    count: AtomicUsize,
    /// The exit code that the last stands for.
    last: AtomicU8,
}

impl Signals {
    fn last(&self) -> Signal {
        let number = i32::from(self.last.load(Ordering::SeqCst)) - 128;
        Signal::try_from(number).unwrap_or(Signal::SIGINT)
    }
}

impl Processes {
    /// Starts the commands, each in a process group of its own. `line` is given every line that they write to stderr, whole and one
    /// at a time, with the process's number. Signals of this process are theirs from now on ([`Processes::wait`]).
    ///
    /// # Errors
    /// When one cannot be started; those before it are ended.
    pub fn start(
        commands: impl IntoIterator<Item = Command>,
        line: impl Fn(usize, &str) + Send + 'static,
    ) -> io::Result<Processes> {
        let line = Arc::new(Mutex::new(line));
        let mut processes = Processes { running: vec![], readers: vec![], signals: Arc::default() };
        // First of all: a signal that comes while they are started is theirs, too.
        let received = Arc::clone(&processes.signals);
        at_signal(move |code| {
            received.last.store(code, Ordering::SeqCst);
            received.count.fetch_add(1, Ordering::SeqCst);
        });
        for (number, mut command) in commands.into_iter().enumerate() {
            match command.stderr(Stdio::piped()).process_group(0).spawn() {
                Ok(mut child) => {
                    let reader = child.stderr.take().map(|stderr| lines(number, stderr, &line));
                    processes.readers.extend(reader);
                    processes.running.push(Running { child, status: None });
                }
                Err(error) => {
                    processes.signal(Signal::SIGKILL);
                    return Err(error);
                }
            }
        }
        Ok(processes)
    }

    /// Standard input and output of a process, where its command has them as pipes and they were not taken before.
    pub fn pipes(&mut self, number: usize) -> (Option<ChildStdin>, Option<ChildStdout>) {
        let child = self.running.get_mut(number).map(|of| &mut of.child);
        child.map_or((None, None), |child| (child.stdin.take(), child.stdout.take()))
    }

    /// Waits for all, passing signals on; `each` is called many times a second meanwhile. Gives the first that failed.
    ///
    /// # Errors
    /// When the system does not tell of a process.
    pub fn wait(
        &mut self,
        manner: Manner,
        mut each: impl FnMut(),
    ) -> io::Result<Option<(usize, ExitStatus)>> {
        let mut failed: Option<(usize, ExitStatus, Instant)> = None;
        let (mut passed_on, mut asked, mut killed) = (0, false, false);
        loop {
            let mut is_running = false;
            for (number, of) in self.running.iter_mut().enumerate().filter(|(_, of)| of.status.is_none()) {
                match of.child.try_wait()? {
                    Some(status) => {
                        of.status = Some(status);
                        if !status.success() && failed.is_none() {
                            failed = Some((number, status, Instant::now()));
                        }
                    }
                    None => is_running = true,
                }
            }
            each();
            if !is_running {
                for reader in self.readers.drain(..) {
                    let _ = reader.join();
                }
                return Ok(failed.map(|(number, status, _)| (number, status)));
            }
            let given = self.signals.count.load(Ordering::SeqCst);
            if given > passed_on {
                if let Some(notice) = manner.notice.filter(|_| passed_on == 0) {
                    tell(format_args!("\n{notice}"));
                }
                passed_on = given;
                self.signal(self.signals.last());
            }
            if let Some((_, _, since)) = failed {
                let waited = since.elapsed();
                // Those that were sent a signal are ending already; another would have them end at once.
                let grace = if passed_on > 0 { manner.grace.max(manner.patience) } else { manner.grace };
                if waited >= grace + manner.patience && !killed {
                    killed = true;
                    self.signal(Signal::SIGKILL);
                } else if waited >= grace && !asked {
                    asked = true;
                    self.signal(Signal::SIGTERM);
                }
            }
            thread::sleep(PAUSE);
        }
    }

    /// How a process ended; none while it runs.
    pub fn status(&self, number: usize) -> Option<ExitStatus> {
        self.running.get(number)?.status
    }

    /// Sends a signal to those that still run.
    fn signal(&self, signal: Signal) {
        for of in self.running.iter().filter(|of| of.status.is_none()) {
            // One that ends meanwhile needs none.
            let _ = kill(Pid::from_raw(of.child.id() as i32), signal);
        }
    }
}

/// The signal that ended a process: `signal 9 (SIGKILL)`; none for one that ended by itself.
pub fn ended_by(status: ExitStatus) -> Option<String> {
    let number = status.signal()?;
    let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
    Some(format!("signal {number} ({name})"))
}

/// Gives what a process writes to stderr on, line by line.
fn lines(
    number: usize,
    stderr: impl Read + Send + 'static,
    line: &Arc<Mutex<impl Fn(usize, &str) + Send + 'static>>,
) -> JoinHandle<()> {
    let line = Arc::clone(line);
    thread::spawn(move || {
        for text in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&text).into_owned();
            if let Ok(line) = line.lock() {
                line(number, text.trim_end_matches('\r'));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANNER: Manner =
        Manner { grace: Duration::ZERO, patience: Duration::from_millis(300), notice: None };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The first that failed, how each ended, and the lines that all wrote.
    type Ends = (Option<usize>, Vec<Option<ExitStatus>>, Vec<(usize, String)>);

    /// Runs scripts to their end.
    fn run(scripts: &[&str]) -> Ends {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&heard);
        let line = move |number, line: &str| lines.lock().expect("lines").push((number, line.to_string()));
        let mut processes =
            Processes::start(scripts.iter().map(|script| shell(script)), line).expect("started");
        let failed = processes.wait(MANNER, || ()).expect("waited for");
        let ends = (0..scripts.len()).map(|number| processes.status(number)).collect();
        let mut heard = heard.lock().expect("lines").clone();
        heard.sort();
        (failed.map(|(number, _)| number), ends, heard)
    }

    #[test]
    fn lines_have_the_numbers_of_their_processes() {
        let (failed, ends, heard) = run(&["echo a >&2; echo b >&2", "printf 'c\\r\\nd' >&2"]);
        assert!(failed.is_none() && ends.iter().all(|end| end.is_some_and(|end| end.success())));
        let wanted =
            [(0, "a"), (0, "b"), (1, "c"), (1, "d")].map(|(number, line)| (number, line.to_string()));
        assert_eq!(heard, wanted);
    }

    #[test]
    fn the_first_that_fails_ends_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let begun = Instant::now();
        // Fails once the other heeds the signal, or does not.
        let fails = |name: &str| {
            let file = folder.path().join(name).display().to_string();
            let heeds =
                |trap: &str| format!("trap '{trap}' TERM; : > '{file}'; while :; do sleep 0.01; done");
            let failing = format!("while [ ! -e '{file}' ]; do sleep 0.01; done; exit 3");
            (heeds("echo asked >&2; exit 5"), heeds(""), failing)
        };
        let (heeding, _, failing) = fails("heeding");
        let (failed, ends, heard) = run(&[&heeding, &failing]);
        assert_eq!(failed, Some(1));
        let codes: Vec<_> = ends.iter().map(|end| end.and_then(|end| end.code())).collect();
        assert_eq!(codes, [Some(5), Some(3)], "in good order");
        assert_eq!(heard, [(0, "asked".to_string())]);
        // One that does not heed it is ended by force.
        let (_, deaf, failing) = fails("deaf");
        let (failed, ends, _) = run(&[&failing, &deaf]);
        assert_eq!((failed, ends[1].and_then(ended_by).as_deref()), (Some(0), Some("signal 9 (SIGKILL)")));
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        let none = Command::new("/nowhere/no-program");
        assert!(Processes::start([none], |_, _| ()).is_err());
    }
}
