//! `cargo xtask soak`: jobs that are killed at random moments and at chosen calls of the system, again and again, and must
//! end with the result of a job that was not.
//!
//! | module | does |
//! | --- | --- |
//! | [`jobs`] | the jobs, and how one goes on with them |
//! | [`scene`] | a folder with what they take |
//! | [`moment`] | when they are killed |
//! | [`processes`] | starts their processes, and waits for them |
//! | [`shim`] | counts the calls of a program and kills it at one of them |
//! | [`campaign`] | starts, kills, goes on |
//! | [`compare`], [`tensors`] | what a killed job left, and what came of it |
//! | [`table`] | the report |

mod campaign;
mod compare;
mod jobs;
mod moment;
mod processes;
mod scene;
mod shim;
mod table;
mod tensors;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use ddae_base::arguments::values::whole;

use crate::cargo::Programs;
use crate::interrupt;
use crate::setup;
use campaign::{Extent, Failure, Row};
use jobs::Job;
use moment::Moment;
use scene::Scene;

/// Kills unless their number or a time is given.
const USUAL_KILLS: u64 = 100;

/// Kill jobs again and again, and compare what they make in the end with an undisturbed result
///
/// Each job (training, alone and over ranks, features, merge, sample, reconstruct, export; tiny data, tiny networks) is
/// done undisturbed first.
/// Then it is started, killed by SIGKILL up to three times, each time gone on with as its documentation says, and its
/// result compared: tensors of checkpoints, statistics but for times, and every other file byte for byte, with nothing
/// left over. After each kill, what stands under a final name must be whole.
///
/// A kill comes at a random time or, three times in four, before or after a call of the system that changes something in
/// the job's folder: creating, writing, truncating, syncing, renaming, linking or removing. A small library that is
/// compiled with `cc` and loaded into the program counts these calls.
///
/// Of a training over ranks, any rank is killed, or the process that started them, at a time or at a call of rank 0; or
/// from a call on the disk is full. All must end within a minute, and say who was lost or that there is no room.
///
/// Ends with code 1 when anything was found, and says how to do the first failure again. Takes a temporary folder of
/// about 2 GB, for the encoder of a SODA; 20 MB without the jobs soda and reconstruct.
#[derive(Debug, Args)]
pub struct Options {
    /// Kills, all jobs together [default: 100, or as many as --minutes allows]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..))]
    kills: Option<u64>,
    /// Begin no further job after so many minutes
    #[arg(long, value_name = "M", value_parser = whole::<u64>(1..))]
    minutes: Option<u64>,
    /// The moments of the kills are drawn from this; another seed kills at others
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = whole::<u64>(..))]
    seed: u64,
    /// Only these jobs
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,..")]
    job: Vec<Job>,
    /// Kill one job at these moments, one after the other: before call K (17), after it (17+), after a time (350ms); rank 1
    /// (r1:17, r1:350ms); or a disk that is full from that call on (17full)
    #[arg(long, value_delimiter = ',', value_name = "K,..", requires = "job", conflicts_with_all = ["kills", "minutes", "seed"])]
    at: Vec<Moment>,
    /// Folder with the programs [default: they are built]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Runs a campaign.
pub fn soak(options: &Options) -> Result<()> {
    if !options.at.is_empty() && options.job.len() != 1 {
        bail!("--at is for one job: give its name with --job");
    }
    let programs = match &options.programs {
        Some(folder) => Programs::in_folder(folder)?,
        None => Programs::build(&setup::ensure_setup()?, &[])?,
    };
    // So that the temporary folder goes away on Ctrl-C.
    interrupt::listen();
    let scene = Scene::new(&programs)?;
    let mut jobs = options.job.clone();
    if jobs.is_empty() {
        jobs = Job::ALL.to_vec();
    }
    jobs.sort();
    jobs.dedup();
    let mut rows = Vec::new();
    for job in jobs {
        eprintln!("# Making the undisturbed result of {}", job.name());
        rows.push(Row::begin(&scene, job)?);
    }
    match rows.first_mut() {
        Some(row) if !options.at.is_empty() => return again(scene, row, &options.at),
        _ => campaign::run(&scene, &mut rows, options.seed, options.extent())?,
    }
    println!("{}{}", table::table(&rows), table::NOTES);
    let failures: Vec<&Failure> = rows.iter().flat_map(|row| &row.failures).collect();
    match failures.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} failures with seed {}; one of them again: cargo xtask soak {}",
            failures.len(),
            options.seed,
            first.again()
        ),
    }
}

impl Options {
    fn extent(&self) -> Extent {
        let end = self.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        let usual = if end.is_some() { u64::MAX } else { USUAL_KILLS };
        Extent { kills: self.kills.unwrap_or(usual), end }
    }
}

/// Kills a job at chosen moments; after a failure its folder stays.
fn again(scene: Scene, row: &mut Row, moments: &[Moment]) -> Result<()> {
    let failure: Option<Failure> = row.round(&scene, moments)?;
    match failure {
        Some(failure) => bail!("{failure}; the folder stays: {}", scene.leave().display()),
        None if row.kills < moments.len() as u64 => {
            println!(
                "{}: the result is right; reached {} of {} moments (an undisturbed run makes {} calls)",
                row.job.name(),
                row.kills,
                moments.len(),
                row.kinds.len()
            );
            Ok(())
        }
        None => {
            println!("{}: the result is right", row.job.name());
            Ok(())
        }
    }
}
