//! `cargo xtask`: the workspace's own commands.
//!
//! | module | does |
//! | --- | --- |
//! | [`setup`] | fetches what is missing and tells cargo where it is |
//! | [`parts`] | the native libraries, and which of their files are kept; versions stand in `requirements.txt` |
//! | [`preflight`], [`cache`], [`pip`], [`fetch`] | the steps of fetching |
//! | [`native`], [`native_toml`] | which libraries are in use; `.cargo/native.toml` |
//! | [`cargo`] | starts cargo, builds and runs the workspace's programs |
//! | [`check`] | `test` and `check` |
//! | [`demo`] | the whole way, end to end |
//! | [`mod@bench`] | how fast this machine computes, and in how much memory |
//! | [`soak`] | killed jobs against undisturbed ones |
//! | [`dist`] | a folder that runs elsewhere |
//! | [`interrupt`] | signals |

mod bench;
mod cache;
mod cargo;
mod check;
mod demo;
mod dist;
mod fetch;
mod interrupt;
mod native;
mod native_toml;
mod parts;
mod pip;
mod preflight;
mod setup;
mod soak;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use ddae_base::tell;

/// The commands of this checkout. Each sets up the native libraries first if that was not done yet.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the native libraries (libtorch, ONNX Runtime, cmake) and tell cargo where they are
    ///
    /// Pinned versions are downloaded with pip, checked against their SHA-256 and unpacked into the cache folder of
    /// the user, which all checkouts share; then `.cargo/native.toml` is written, so that plain `cargo build` and
    /// `cargo test` work. What is already there is not fetched again.
    ///
    /// LIBTORCH, ORT_DYLIB_PATH and CMAKE, where you set them, win: nothing is fetched for them.
    ///
    /// Without a network, put the wheels into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER.
    Setup {
        /// Fetch the CUDA 13 libraries too (2.8 GB to download, 3.3 GB on disk); they stay in use from then on
        #[arg(long)]
        cuda: bool,
        /// Cache folder, remembered for this checkout [default: $DDAE_CACHE, $XDG_CACHE_HOME/ddae, ~/.cache/ddae]
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    /// Train, export, extract features, probe and sample on built-in images, and show the results on a page
    ///
    /// Took 28 minutes on two cores with other work after the build, 17 of them training. An interrupted demo goes on where it was.
    Demo {
        /// The longer run of the documentation, of twice as many epochs
        #[arg(long)]
        long: bool,
        /// Folder for everything it makes [default: runs/demo, or runs/demo_long]
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Measure images/s, FLOP/s, the share of this machine's matrix-product peak, augmentation and memory
    ///
    /// Speed: the published 35.7 M network at 32x32, training and forward in libtorch (fp32, bf16), and the exported
    /// graphs in ONNX Runtime (fp32): forward, one sampler step, features at out_6. All of a library take turns with
    /// its product of square matrices, and the best round of each counts.
    ///
    /// Augment: SODA's training pairs (source and target, 3x32x32) in one thread, and by a loader with a worker per core.
    ///
    /// Memory: the peak of `ddae-infer features` over made-up data sets of 2,000 and of 60,000 images, which should
    /// be about the same.
    ///
    /// Probes (only with --part probes): k-NN, logistic regression and Fréchet distance beside faiss, scikit-learn and
    /// scipy, of which pinned versions are installed into the cache folder with python3's pip.
    ///
    /// Ranks (only with --part ranks): steps of two ranks with gradients summed during the backward pass, after it and not at
    /// all, on loopback and on a slower one; and how long training waits for a checkpoint.
    ///
    /// Takes about four minutes on two otherwise idle cores after the build, with --quick about one.
    /// docs/performance.md explains the rows.
    Bench {
        /// Two rounds instead of five, and 8,000 images instead of 60,000
        #[arg(long)]
        quick: bool,
        /// Only one of the parts
        #[arg(long, value_enum)]
        part: Option<bench::Part>,
        /// The round on a GPU instead, after `cargo xtask setup --cuda`; PyTorch's side where python3 has it
        #[arg(long, conflicts_with_all = ["quick", "part"])]
        gpu: bool,
    },
    Soak(soak::Options),
    /// Run all tests (release profile); further arguments go to `cargo test`
    Test {
        /// For example: -p ddae-model graph -- --nocapture
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Run everything that must hold before a commit: format, clippy, docs, tests
    Check {
        /// Leave the tests out
        #[arg(long)]
        no_tests: bool,
    },
    /// Make a folder with bin/ and lib/ that runs on other machines (CPU libraries)
    Dist {
        /// A new folder, or one made by an earlier `dist`, which is replaced
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    ddae_base::begin();
    let cli: Cli = ddae_base::bare_arguments();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Where exactly it stopped is of no interest.
        Err(_) if interrupt::requested() => {
            tell(interrupt::MESSAGE);
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            tell(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup { cuda, cache } => {
            print!("{}", setup::setup(cuda, cache)?.1);
            Ok(())
        }
        Command::Demo { long, folder } => demo::demo(&setup::ensure_setup()?, long, folder),
        Command::Bench { gpu: true, .. } => bench::gpu::bench(&setup::ensure_setup()?),
        Command::Bench { quick, part, .. } => bench::bench(&setup::ensure_setup()?, quick, part),
        Command::Soak(options) => soak::soak(&options),
        // As typed: the argument parser swallows a `--` that stands first, as in `cargo xtask test -- --nocapture`.
        Command::Test { .. } => check::test(&std::env::args_os().skip(2).collect::<Vec<_>>()),
        Command::Check { no_tests } => check::check(!no_tests),
        Command::Dist { folder } => dist::dist(&folder),
    }
}

/// The root of this checkout.
fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_cargo_test_understands_is_accepted() {
        for words in ["", "-- --nocapture", "name -- --exact", "-p xtask --lib", "--no-run"] {
            let typed = ["xtask", "test"].into_iter().chain(words.split_whitespace());
            assert!(
                matches!(Cli::try_parse_from(typed), Ok(Cli { command: Command::Test { .. } })),
                "{words}"
            );
        }
    }
}
