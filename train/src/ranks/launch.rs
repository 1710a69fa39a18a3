//! `--nproc N`: ranks on this machine, without `torchrun`.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ddae_base::stop::at_signal;
use ddae_base::tell;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::environment::LAUNCHER;
use crate::TrainError;

/// Between two looks at the ranks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the others have to say why they end, once one has; after it they are ended.
const GRACE: Duration = Duration::from_secs(10);

/// Runs this program `count` times with the same arguments, as ranks that find each other, until all have ended. Lines that they
/// write to stderr begin with `[RANK]`; rank 0 alone writes to standard output. Signals are passed on. The first rank that fails
/// ends the others.
///
/// The exit code: 0, or that of a run that failed. Where rank 0 could tell, it has said why, as a program of one process does, on
/// standard output too (`--json`), and nothing is to be added.
///
/// # Errors
/// When ranks cannot be started; [`TrainError::Ranks`] where rank 0 was ended by a signal, with the rank that failed first and how.
pub fn launch(count: usize) -> Result<u8, TrainError> {
    let io = |source| TrainError::Ranks(format!("ranks cannot be started: {source}"));
    let port = free_port().map_err(io)?;
    let program = env::current_exe().map_err(io)?;
    let mut ranks = Vec::new();
    let mut readers = Vec::new();
    let output = Arc::new(Mutex::new(()));
    for rank in 0..count {
        let mut command = Command::new(&program);
        command.args(env::args_os().skip(1)).stdin(Stdio::null()).stderr(Stdio::piped());
        command.stdout(if rank == 0 { Stdio::inherit() } else { Stdio::null() });
        let variables =
            [("RANK", rank), ("WORLD_SIZE", count), ("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", count)];
        command.envs(variables.map(|(name, value)| (name, value.to_string())));
        command.env("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string()).env("MASTER_PORT", port.to_string());
        command.env(LAUNCHER, std::process::id().to_string());
        // A signal of the terminal comes to this process alone, which passes it on once.
        command.process_group(0);
        match command.spawn() {
            Ok(mut child) => {
                readers.extend(child.stderr.take().map(|stderr| prefixed(rank, stderr, &output)));
                ranks.push(Running { child, status: None });
            }
            Err(error) => {
                end(&mut ranks, Signal::SIGKILL);
                return Err(io(error));
            }
        }
    }
    let signals = Arc::new(Signals::default());
    let received = Arc::clone(&signals);
    at_signal(move |code| {
        received.last.store(code, Ordering::SeqCst);
        received.count.fetch_add(1, Ordering::SeqCst);
    });
    let first = wait(&mut ranks, &signals).map_err(io)?;
    for reader in readers {
        let _ = reader.join();
    }
    let Some((rank, status)) = first else { return Ok(0) };
    let line = format!("rank {rank} of {count} {}", how(status));
    let of_first = ranks.first().and_then(|of| of.status).and_then(|status| status.code());
    match verdict(of_first, status.code()) {
        Some((code, is_told)) => {
            if !is_told {
                tell(format_args!("error: {line}"));
            }
            Ok(code)
        }
        None => Err(TrainError::Ranks(line)),
    }
}

/// The exit code of a run that failed, by those of rank 0 and of the rank that failed first (none where a signal ended it), and
/// whether the ranks have told all there is to tell. None where rank 0 could tell nothing.
fn verdict(of_first: Option<i32>, of_failed: Option<i32>) -> Option<(u8, bool)> {
    let code = |code: i32| u8::try_from(code).ok().filter(|code| *code > 0).unwrap_or(1);
    match of_first? {
        // Its result is on standard output: what failed beside it is for stderr and the exit code.
        0 => Some((of_failed.map_or(1, code), false)),
        // That of a rank that a signal ended is seen from here alone.
        own => Some((code(own), of_failed.is_some())),
    }
}

/// The signals that this process was sent.
#[derive(Default)]
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

/// A rank.
struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

/// Waits for all ranks. The first that failed.
fn wait(ranks: &mut [Running], signals: &Signals) -> io::Result<Option<(usize, ExitStatus)>> {
    let mut failed: Option<(usize, ExitStatus, Instant)> = None;
    let (mut passed_on, mut asked, mut killed) = (0, false, false);
    loop {
        let mut running = false;
        for (rank, of) in ranks.iter_mut().enumerate().filter(|(_, of)| of.status.is_none()) {
            match of.child.try_wait()? {
                Some(status) => {
                    of.status = Some(status);
                    if !status.success() && failed.is_none() {
                        failed = Some((rank, status, Instant::now()));
                    }
                }
                None => running = true,
            }
        }
        if !running {
            return Ok(failed.map(|(rank, status, _)| (rank, status)));
        }
        let given = signals.count.load(Ordering::SeqCst);
        if given > passed_on {
            passed_on = given;
            end(ranks, signals.last());
        }
        if let Some((_, _, since)) = failed {
            let waited = since.elapsed();
            if waited > 2 * GRACE && !killed {
                killed = true;
                end(ranks, Signal::SIGKILL);
            } else if waited > GRACE && !asked {
                asked = true;
                end(ranks, Signal::SIGTERM);
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Sends a signal to the ranks that still run.
fn end(ranks: &mut [Running], signal: Signal) {
    for of in ranks.iter().filter(|of| of.status.is_none()) {
        // One that ends meanwhile needs none.
        let _ = kill(Pid::from_raw(of.child.id() as i32), signal);
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}; the lines above say why"),
        (None, Some(number)) => {
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            format!(
                "was ended by signal {number} ({name}), and the others with it; go on from the last checkpoint with --resume"
            )
        }
        (None, None) => "ended in an unknown way".to_string(),
    }
}

/// A port on which nobody listens.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Copies what a rank writes to stderr, line by line.
fn prefixed(rank: usize, stderr: impl Read + Send + 'static, output: &Arc<Mutex<()>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let _whole = output.lock();
            tell(format_args!("[{rank}] {}", line.trim_end_matches('\r')));
        }
        let _ = io::stderr().flush();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_0_speaks_where_it_can() {
        for (of_first, of_failed, wanted) in [
            (Some(2), Some(1), Some((2, true))),
            (Some(130), Some(130), Some((130, true))),
            (Some(1), None, Some((1, false))),
            (Some(0), Some(1), Some((1, false))),
            (Some(0), None, Some((1, false))),
            (None, None, None),
            (None, Some(1), None),
        ] {
            assert_eq!(verdict(of_first, of_failed), wanted, "{of_first:?} {of_failed:?}");
        }
    }
}
