//! The folder of a campaign: images, configurations, what the jobs take, and the folder in which they work.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::jobs::{self, DDPM, Job, Product, SHARDS, SODA};
use super::moment::Moment;
use super::shim::{Calls, Shim};
use crate::cargo::{Programs, ending};
use crate::interrupt;

/// Images of 8x8 in each of two classes.
const IMAGES: [(&str, usize); 2] = [("train", 24), ("test", 4)];
const SIDE: u32 = 8;

/// Between two looks at a running program.
const PAUSE: Duration = Duration::from_millis(1);
/// Longer than any job takes.
const LIMIT: Duration = Duration::from_secs(300);

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// What it wrote on stderr.
    pub stderr: String,
    /// What it did to the folder of the job.
    pub calls: Calls,
    /// How long it ran.
    pub duration: Duration,
}

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

    /// Runs a command line in the folder of the jobs, watched, and kills it at a moment.
    pub fn run(&self, line: &str, moment: Option<Moment>) -> Result<Ended> {
        let work = self.work();
        let mut command = self.command(line, &work)?;
        self.shim.watch(&mut command, &work, moment)?;
        let delay = match moment {
            Some(Moment::Time(delay)) => Some(delay),
            _ => None,
        };
        let (status, stderr, duration) = self.finish(command, line, delay)?;
        Ok(Ended { status, stderr, calls: self.shim.calls()?, duration })
    }

    /// Runs a command line that must succeed.
    fn must(&self, line: &str, folder: &Path) -> Result<()> {
        let (status, stderr, _) = self.finish(self.command(line, folder)?, line, None)?;
        if !status.success() {
            bail!("{line}: {}: {}", ending(status), last_line(&stderr));
        }
        Ok(())
    }

    fn command(&self, line: &str, folder: &Path) -> Result<Command> {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.programs.path(words.next().unwrap_or_default())?);
        command.args(words).current_dir(folder).env_remove("DDAE_DATA");
        Ok(command)
    }

    /// Runs a command to its end, or to that after a delay.
    fn finish(
        &self,
        mut command: Command,
        line: &str,
        delay: Option<Duration>,
    ) -> Result<(ExitStatus, String, Duration)> {
        // Files, since nobody reads a pipe while the program runs.
        let said = self.folder.path().join("stderr");
        let stderr = File::create(&said).with_context(|| said.display().to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let begun = Instant::now();
        let mut child = Guard(command.spawn().with_context(|| format!("cannot start {line}"))?);
        let status = loop {
            if let Some(status) = child.0.try_wait().with_context(|| format!("cannot wait for {line}"))? {
                break status;
            }
            interrupt::check()?;
            let passed = begun.elapsed();
            if delay.is_some_and(|delay| passed >= delay) {
                child.0.kill().with_context(|| format!("cannot kill {line}"))?;
                break child.0.wait().with_context(|| format!("cannot wait for {line}"))?;
            }
            if passed > LIMIT {
                bail!("{line}: still running after {} s", LIMIT.as_secs());
            }
            thread::sleep(PAUSE);
        };
        let duration = begun.elapsed();
        let stderr = fs::read(&said).with_context(|| said.display().to_string())?;
        Ok((status, String::from_utf8_lossy(&stderr).into_owned(), duration))
    }
}

/// A program that does not outlive this.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // After its end both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last line that says something.
pub fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message")
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
