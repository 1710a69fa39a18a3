//! `--nproc N`: ranks on this machine, without `torchrun`.

use std::env;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use ddae_base::processes::{Manner, Processes, ended_by};
use ddae_base::tell;

use super::environment::LAUNCHER;
use crate::TrainError;

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
    let commands = (0..count).map(|rank| {
        let mut command = Command::new(&program);
        command.args(env::args_os().skip(1)).stdin(Stdio::null());
        command.stdout(if rank == 0 { Stdio::inherit() } else { Stdio::null() });
        let variables =
            [("RANK", rank), ("WORLD_SIZE", count), ("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", count)];
        command.envs(variables.map(|(name, value)| (name, value.to_string())));
        command.env("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string()).env("MASTER_PORT", port.to_string());
        command.env(LAUNCHER, std::process::id().to_string());
        command
    });
    let mut ranks =
        Processes::start(commands, |rank, line| tell(format_args!("[{rank}] {line}"))).map_err(io)?;
    let first = ranks.wait(Manner { grace: GRACE, patience: GRACE, notice: None }, || ()).map_err(io)?;
    let Some((rank, status)) = first else { return Ok(0) };
    let line = format!("rank {rank} of {count} {}", how(status));
    let of_first = ranks.status(0).and_then(|status| status.code());
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

fn how(status: ExitStatus) -> String {
    match (status.code(), ended_by(status)) {
        (Some(code), _) => format!("ended with exit code {code}; the lines above say why"),
        (None, Some(signal)) => format!(
            "was ended by {signal}, and the others with it; go on from the last checkpoint with --resume"
        ),
        (None, None) => "ended in an unknown way".to_string(),
    }
}

/// A port on which nobody listens.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
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
