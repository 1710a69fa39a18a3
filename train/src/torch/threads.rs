//! The threads of libtorch on the CPU.
//!
//! Its OpenMP runtime lets threads that wait for others spin, for milliseconds by default. As soon as another process
//! takes a core, those that spin keep from it the thread that they wait for, and a step takes tens of times as long. How
//! long they spin is read from the environment before the program's first line, so the program sets it and starts
//! itself once more.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What decides how threads wait: whoever sets one of them has decided.
const DECIDED_BY: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];

/// Turns of the waiting loop before a thread sleeps.
const SPINS: &str = "1000";

/// Makes threads that wait sleep: starts the program anew, in the same process and with the same arguments, unless the
/// environment says already how threads wait. To be called before anything else is done.
///
/// Where the program cannot be started, it goes on as it is.
pub fn wait_asleep() {
    if DECIDED_BY.into_iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    // Started through a loader or an emulator, the program is that, and its arguments are others.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if ["ld-", "ld.so", "qemu-"].into_iter().any(|loader| name.starts_with(loader)) {
        return;
    }
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only where it failed.
    let _ = command.args(arguments).env("GOMP_SPINCOUNT", SPINS).exec();
}

/// Lets libtorch compute with this many threads; by default with one for each core that the process may use, by its
/// affinity and by the limits of its control group, divided among the `ranks` of this machine.
///
/// `OMP_NUM_THREADS` of the environment goes before the default.
pub fn set(threads: Option<usize>, ranks: usize) {
    if threads.is_none() && env::var_os("OMP_NUM_THREADS").is_some() {
        return;
    }
    let all = || (std::thread::available_parallelism().map_or(1, usize::from) / ranks.max(1)).max(1);
    tch::set_num_threads(i32::try_from(threads.unwrap_or_else(all)).unwrap_or(i32::MAX));
}
