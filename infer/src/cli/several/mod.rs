//! `--nproc N`: a job over several processes of this machine.
//!
//! | module | holds |
//! | --- | --- |
//! | `launch` | the process that was called: it starts the others, hands out what is to be computed, and ends the job |
//! | `worker` | one of those that compute |
//!
//! A process that computes has the command line of the one that started it, which gives it an object with what it need not find out
//! itself and then pieces of work, each a line of JSON on its standard input. It answers with [`Said`] on its standard output. Its
//! standard input ends when there is nothing more to do, or when the process that started it is no more.

mod launch;
mod worker;

use std::env;

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::memory;
use ddae_infer::InferError;
use ddae_infer::running::Running;
use serde::{Deserialize, Serialize};

use super::shard::Shard;
use super::summary::Apart;

pub use launch::{Pieces, Work, Worked};
pub use worker::Worker;

/// Set for a process that computes: its number and how many there are, as `--shard` has it.
const PROCESS: &str = "DDAE_PROCESS";

/// The option, in the commands that several processes can share.
#[derive(Args, Clone, Debug)]
pub struct Several {
    /// Compute in N processes of this machine, each with a GPU of its own (with --device cuda: cuda:0 to cuda:N-1) or its part of
    /// the cores; --device cuda:all starts one for every GPU [default: 1]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    nproc: Option<u16>,
}

/// What this process does for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    Alone,
    /// Starts so many others that compute.
    Launcher(usize),
    /// Computes what it is given, as this one of them.
    Worker(Shard),
}

impl Several {
    /// The role of this process.
    ///
    /// # Errors
    /// When there are not as many GPUs, or a launcher has started several processes on this machine already.
    pub fn role(&self, running: &Running, shard: Option<Shard>) -> Result<Role, InferError> {
        let worker =
            env::var(PROCESS).ok().filter(|_| self.is_given(running)).and_then(|text| text.parse().ok());
        if let Some(worker) = worker {
            return Ok(Role::Worker(worker));
        }
        let count = running.processes(self.nproc)?;
        if count == 1 {
            return Ok(Role::Alone);
        }
        let of_launcher = env::var("LOCAL_WORLD_SIZE").ok().filter(|_| env::var_os("RANK").is_some());
        match of_launcher.filter(|there| there.parse::<u32>() != Ok(1) && shard.is_none()) {
            Some(there) => Err(InferError::Argument(format!(
                "{count} processes are wanted of each that a launcher starts, and it starts '{}' on this machine \
                 (LOCAL_WORLD_SIZE): let it start one for each machine, or give a shard of the job with --shard I/N",
                ddae_base::text::excerpt(&there, 20)
            ))),
            None => Ok(Role::Launcher(count)),
        }
    }

    /// Whether options say in how many processes a job is computed.
    fn is_given(&self, running: &Running) -> bool {
        self.nproc.is_some() || running.wants_all()
    }

    /// What is told of the only process, which computed so many images, where options say how many there are.
    pub fn of_one(&self, running: &Running, images: usize) -> Option<Apart> {
        self.is_given(running).then(|| Apart { processes: usize::from(images > 0), peak: memory::peak() })
    }

    /// Says which GPUs do nothing while this process computes alone all there is, where their number was left open.
    pub fn note_idle(&self, role: Role, running: &Running, shard: Option<Shard>) {
        if role == Role::Alone
            && self.nproc.is_none()
            && shard.is_none()
            && let Some(idle) = running.idle()
        {
            ddae_base::note(format!("note: {idle}"));
        }
    }
}

impl Role {
    /// The options of this process: with the GPU and the threads that are its own.
    pub fn running(self, running: &Running) -> Running {
        match self {
            Role::Alone | Role::Launcher(_) => running.of_process(0, 1),
            Role::Worker(Shard { index, of }) => running.of_process(index, of),
        }
    }

    /// How many processes are to compute.
    pub fn processes(self) -> usize {
        match self {
            Role::Launcher(count) => count,
            Role::Alone | Role::Worker(_) => 1,
        }
    }
}

/// What a process that computes says.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// It can begin; the number of its sessions.
    Ready(usize),
    /// So many images went through the network.
    Passed(usize),
    /// What it was given is done, so many images.
    Done(usize),
    /// Something for the user to know.
    Note(String),
    /// Heights and widths of the images that it decoded.
    Sizes(Vec<[usize; 2]>),
    /// The most memory that it had at a time.
    Peak(u64),
}

/// How it fails, as every program says it with `--json`.
#[derive(Debug, Deserialize)]
struct Failed {
    error: String,
    kind: String,
    exit_code: u8,
}
