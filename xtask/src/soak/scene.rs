//! The folder of a campaign: images, configurations, what the jobs take, and the folder in which they work.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::jobs::{self, DDPM, Job, Product, SHARDS, SODA};
use super::moment::Moment;
use super::processes::{self, Ended};
use super::shim::Shim;
use crate::cargo::Programs;

/// Images of 8x8 in each of two classes.
const IMAGES: [(&str, usize); 2] = [("train", 24), ("test", 4)];
const SIDE: u32 = 8;

/// The folder of a campaign, which is removed when this is dropped.
#[derive(Debug)]
pub struct Scene<'a> {
    folder: TempDir,
    programs: &'a Programs,
    shim: Shim,
}

impl Scene<'_> {
    /// Makes the folder with images and configurations.
    pub fn new(programs: &Programs) -> Result<Scene<'_>> {
        let folder = tempfile::Builder::new().prefix("ddae-soak-").tempdir();
        let folder = folder.context("cannot make a temporary folder")?;
        let shim = Shim::compile(folder.path())?;
        write_images(&folder.path().join("data"))?;
        for (name, text) in [("ddpm.yaml", DDPM), ("soda.yaml", SODA)] {
            let path = folder.path().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Scene { folder, programs, shim })
    }

    /// The folder in which the jobs work.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The undisturbed result of a job.
    pub fn result(&self, job: Job) -> PathBuf {
        self.folder.path().join("results").join(job.name())
    }

    /// The shards of the features.
    pub fn shards(&self) -> PathBuf {
        self.folder.path().join("shards")
    }

    /// Makes what a job takes, unless it is there.
    pub fn prepare(&self, job: Job) -> Result<()> {
        job.needs().iter().try_for_each(|name| self.produce(name))?;
        if job.has_shards() && !self.shards().exists() {
            make_folder(&self.shards())?;
            for shard in 0..SHARDS {
                // Alone, so that it is not joined with the others.
                self.clear()?;
                self.must(&jobs::shard_line(shard), &self.work())?;
                let name = format!("out.{shard:04}-of-{SHARDS:04}.h5");
                let (from, to) = (self.work().join(&name), self.shards().join(&name));
                fs::rename(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(())
    }

    fn produce(&self, name: &str) -> Result<()> {
        let product = jobs::products().into_iter().find(|product| product.name == name);
        let Product { name, needs, line } = product.with_context(|| format!("nothing makes {name}"))?;
        if self.folder.path().join(name).exists() {
            return Ok(());
        }
        needs.iter().try_for_each(|need| self.produce(need))?;
        self.must(&line, self.folder.path())
    }

    /// Empties the folder in which the jobs work.
    pub fn clear(&self) -> Result<()> {
        let work = self.work();
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
        }
        make_folder(&work)
    }

    /// Makes the folder as a job finds it when it starts.
    pub fn lay_out(&self, job: Job) -> Result<()> {
        self.clear()?;
        if job.begins_with_shards() {
            for entry in fs::read_dir(self.shards()).context("the shards")? {
                let entry = entry?;
                fs::copy(entry.path(), self.work().join(entry.file_name())).context("cannot copy a shard")?;
            }
        }
        Ok(())
    }

    /// Keeps the folder in which the job works as its undisturbed result.
    pub fn keep_result(&self, job: Job) -> Result<()> {
        let result = self.result(job);
        make_folder(result.parent().unwrap_or(&result))?;
        fs::rename(self.work(), &result).with_context(|| format!("cannot make {}", result.display()))
    }

    /// Leaves the whole folder where it is.
    pub fn leave(self) -> PathBuf {
        self.folder.keep()
    }

    /// Runs a command line of a job in the folder of the jobs, watched, and does what is to be done at a moment.
    pub fn run(&self, job: Job, line: &str, moment: Option<Moment>) -> Result<Ended> {
        let work = self.work();
        let mut commands = Vec::new();
        let port = free_port().context("no free port")?;
        for rank in 0..if job.is_apart() { job.ranks() } else { 1 } {
            let mut command = self.command(line, &work)?;
            self.shim.watch(&mut command, &work, moment)?;
            if job.is_apart() {
                let of_rank = [("RANK", rank), ("LOCAL_RANK", rank)];
                let of_all = [("WORLD_SIZE", job.ranks()), ("LOCAL_WORLD_SIZE", job.ranks())];
                let all = of_rank.into_iter().chain(of_all).chain([("MASTER_PORT", usize::from(port))]);
                command.envs(all.map(|(name, value)| (name, value.to_string())));
                command.env("MASTER_ADDR", "127.0.0.1");
            }
            commands.push(command);
        }
        processes::run(&self.shim, commands, line, self.folder.path(), moment)
    }

    /// Runs a command line that must succeed.
    fn must(&self, line: &str, folder: &Path) -> Result<()> {
        let ended =
            processes::run(&self.shim, vec![self.command(line, folder)?], line, self.folder.path(), None)?;
        ended.expect_success(line)
    }

    fn command(&self, line: &str, folder: &Path) -> Result<Command> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.programs.path(words.next().unwrap_or_default())?);
        command.args(words).current_dir(folder).env_remove("DDAE_DATA");
        Ok(command)
    }
}

/// A port on which nobody listens.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Writes the data set `folder`: grey PNG files, bright ones and dark ones.
fn write_images(root: &Path) -> Result<()> {
    for (split, count) in IMAGES {
        for (class, level) in [("bright", 200), ("dark", 40)] {
            let folder = root.join(split).join(class);
            make_folder(&folder)?;
            for number in 0..count as u32 {
                let levels: Vec<u8> = (0..SIDE * SIDE).map(|i| (level + (i * number) % 32) as u8).collect();
                let path = folder.join(format!("{number:02}.png"));
                write_png(&path, &levels).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn write_png(path: &Path, levels: &[u8]) -> Result<()> {
    let mut encoder = png::Encoder::new(File::create(path)?, SIDE, SIDE);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header()?.write_image_data(levels)?;
    Ok(())
}
