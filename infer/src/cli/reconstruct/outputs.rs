//! Where reconstructions go: a sheet, and a folder of PNG files.

use ddae_base::lock::Lock;
use ddae_infer::InferError;
use ddae_infer::sample::ImageFolder;
use std::collections::HashMap;

use super::Arguments;
use super::request::ReconstructRequest;
use crate::cli::sheets;

/// The files of a run.
pub struct Outputs {
    sheet: Lock,
    folder: Option<ImageFolder>,
    /// Images that no folder keeps, by number.
    waiting: HashMap<u64, Vec<u8>>,
}

impl Outputs {
    pub fn open(arguments: &Arguments, request: &ReconstructRequest) -> Result<Outputs, InferError> {
        let folder = match &arguments.kept {
            Some(path) => {
                let shape = request.split.shape();
                Some(ImageFolder::open(path, &request.settings, shape, arguments.overwrite)?)
            }
            None => None,
        };
        Ok(Outputs { sheet: Lock::output(&arguments.output)?, folder, waiting: HashMap::new() })
    }

    /// Takes an image that was just drawn, levels `[C, H, W]`.
    pub fn put(&mut self, number: u64, levels: Vec<u8>) -> Result<(), InferError> {
        match &self.folder {
            Some(folder) => folder.write(number, &levels),
            None => {
                self.waiting.insert(number, levels);
                Ok(())
            }
        }
    }

    /// Writes the sheet, of the sources and of what was drawn now or before.
    pub fn finish(mut self, request: &ReconstructRequest) -> Result<(), InferError> {
        let (rows, split) = (request.rows, &request.split);
        let mut sheet = sheets::sheet(rows.columns(), split.shape())?;
        let mut source = vec![0; split.image_len()];
        let [count, columns] = rows.sizes();
        for row in 0..count {
            let (before, after) = rows.frame(row);
            split.read(before, &mut source)?;
            sheet.push_u8(&source)?;
            for number in (row * columns..(row + 1) * columns).map(|number| number as u64) {
                let levels = match (&self.folder, self.waiting.remove(&number)) {
                    (_, Some(levels)) => levels,
                    (Some(folder), None) => folder.read(number)?,
                    (None, None) => continue,
                };
                sheet.push_u8(&levels)?;
            }
            if let Some(after) = after {
                split.read(after, &mut source)?;
                sheet.push_u8(&source)?;
            }
        }
        Ok(sheet.write_png_locked(&self.sheet)?)
    }
}
