//! Where the images of a run go: a folder of PNG files, an array, a sheet.

use ddae_base::Stop;
use ddae_base::lock::Lock;
use ddae_data::sheet::Sheet;
use ddae_infer::InferError;
use ddae_infer::sample::{ImageFolder, NpyWriter};
use std::collections::HashMap;

use super::Arguments;
use super::request::SampleRequest;
use crate::cli::shard::Shard;
use crate::cli::sheets;

/// The files of a run, open.
pub struct Outputs {
    folder: Option<ImageFolder>,
    npy: Option<NpyWriter>,
    /// Locked from the beginning.
    sheet: Option<(Lock, Sheet)>,
    /// Where each seed stands among all.
    positions: HashMap<u64, usize>,
    /// Images for the sheet that no folder keeps.
    waiting: HashMap<u64, Vec<u8>>,
}

impl Outputs {
    /// Finds what would fail only at the end, after hours of drawing. Changes nothing.
    pub fn check(arguments: &Arguments, shard: Option<Shard>, shape: [usize; 3]) -> Result<(), InferError> {
        if let Some(shard) = shard
            && (arguments.output.is_none() || arguments.npy.is_some() || arguments.sheet.is_some())
        {
            return Err(InferError::Argument(format!(
                "--shard {shard} draws a part of the images into --output, and --npy and --sheet are of all: give \
                 --output alone, and in the end the same command with --shard 0/1 and them"
            )));
        }
        if arguments.no_png && arguments.npy.is_none() && arguments.sheet.is_none() {
            let message = "--no-png leaves nothing to write: give --npy or --sheet as well";
            return Err(InferError::Argument(message.to_string()));
        }
        if let Some(path) = &arguments.npy {
            sheets::check_target(path)?;
        }
        if let Some(path) = &arguments.sheet {
            let (columns, images) = (usize::from(arguments.columns), arguments.seeds.0.len());
            let instead = "change --columns, or leave the sheet out";
            sheets::check("--sheet", path, columns, images, shape, instead)?;
        }
        Ok(())
    }

    /// Opens everything.
    pub fn open(
        arguments: &Arguments,
        request: &SampleRequest,
        shape: [usize; 3],
    ) -> Result<Outputs, InferError> {
        let (seeds, settings) = (&arguments.seeds.0, &request.settings);
        let folder = match (&arguments.output, request.shard) {
            (Some(path), Some(shard)) => {
                let part = format!("shard-{}-of-{}", shard.index, shard.of);
                Some(ImageFolder::open_part(path, settings, shape, &part)?)
            }
            (Some(path), None) => Some(ImageFolder::open(path, settings, shape, arguments.overwrite)?),
            (None, _) => None,
        };
        let npy = match &arguments.npy {
            Some(path) => Some(NpyWriter::create(path, seeds.len(), shape)?),
            None => None,
        };
        let sheet = match &arguments.sheet {
            Some(path) => Some((Lock::output(path)?, sheets::sheet(usize::from(arguments.columns), shape)?)),
            None => None,
        };
        let positions = match npy {
            Some(_) => seeds.iter().enumerate().map(|(position, seed)| (*seed, position)).collect(),
            None => HashMap::new(),
        };
        Ok(Outputs { folder, npy, sheet, positions, waiting: HashMap::new() })
    }

    /// Writes an image that was just drawn, levels `[C, H, W]`.
    pub fn put(&mut self, seed: u64, levels: &[u8]) -> Result<(), InferError> {
        if let Some(folder) = &self.folder {
            folder.write(seed, levels)?;
        }
        self.put_npy(seed, levels)?;
        if self.folder.is_none() && self.sheet.is_some() {
            self.waiting.insert(seed, levels.to_vec());
        }
        Ok(())
    }

    fn put_npy(&self, seed: u64, levels: &[u8]) -> Result<(), InferError> {
        match (&self.npy, self.positions.get(&seed)) {
            (Some(npy), Some(&position)) => npy.write(position, levels),
            _ => Ok(()),
        }
    }

    /// Adds the images that were there before, and gives array and sheet their names. `drawn` are the seeds of those
    /// that were drawn just now.
    ///
    /// # Errors
    /// When an image cannot be read, the disk refuses, or `stop` was set.
    pub fn finish(mut self, seeds: &[u64], drawn: &[u64], stop: &Stop) -> Result<(), InferError> {
        let go_on = || if stop.is_requested() { Err(InferError::Interrupted) } else { Ok(()) };
        if let Some(folder) = &self.folder
            && self.npy.is_some()
        {
            let drawn: std::collections::HashSet<u64> = drawn.iter().copied().collect();
            for seed in seeds.iter().filter(|seed| !drawn.contains(seed)) {
                go_on()?;
                self.put_npy(*seed, &folder.read(*seed)?)?;
            }
        }
        if let Some((lock, sheet)) = &mut self.sheet {
            for seed in seeds {
                go_on()?;
                let levels = match (&self.folder, self.waiting.remove(seed)) {
                    (_, Some(levels)) => levels,
                    (Some(folder), None) => folder.read(*seed)?,
                    (None, None) => continue,
                };
                sheet.push_u8(&levels)?;
            }
            sheet.write_png_locked(lock)?;
        }
        match self.npy {
            Some(npy) => npy.finish(),
            None => Ok(()),
        }
    }
}
