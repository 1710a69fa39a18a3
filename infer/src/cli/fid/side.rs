//! One of the two sets.

use std::path::Path;

use ddae_data::datasets::Broken;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::fid::{ImageSource, Seen};

use crate::cli::sheets;

/// One of the two sets.
pub struct Side<'a> {
    pub role: &'static str,
    pub text: &'a str,
    pub source: ImageSource,
    pub images: Option<Split>,
    /// Images that cannot be read and are left out.
    pub broken: Vec<Broken>,
    pub save: Option<&'a Path>,
}

impl<'a> Side<'a> {
    pub fn new(role: &'static str, text: &'a str, save: Option<&'a Path>) -> Result<Side<'a>, InferError> {
        if let Some(path) = save {
            check_target(path)?;
        }
        Ok(Side { role, text, source: ImageSource::parse(text)?, images: None, broken: Vec::new(), save })
    }

    /// How many images there are, where it is known: of what was `read`, of a feature file, or still to be seen.
    pub fn count(&self, read: Option<&Seen>) -> Result<Option<u64>, InferError> {
        if let Some(read) = read {
            return Ok(read.statistics.count);
        }
        let of_file = self.source.images_and_views()?.map(|[images, _]| images);
        Ok(self.images.as_ref().map(Split::len).or(of_file).map(|count| count as u64))
    }

    pub fn describe(&self) -> String {
        match (&self.images, &self.source) {
            (Some(images), _) => format!("{} images of {}", images.len(), self.text),
            (None, ImageSource::Features(_)) => format!("features in {}", self.text),
            (None, _) => format!("statistics in {}", self.text),
        }
    }
}

/// Refuses statistics that would replace those of the other set.
pub fn check_targets([real, fake]: &[Side; 2]) -> Result<(), InferError> {
    // The same file by two names is one; a file that is not there yet has the name it was given.
    let place = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let (of_real, of_fake) = (real.save.map(place), fake.save.map(place));
    if of_real.is_some() && of_real == of_fake {
        return Err(InferError::Argument(
            "--save-real and --save-fake name the same file; give each its own".to_string(),
        ));
    }
    for (option, target, other) in [("--save-real", of_real, fake), ("--save-fake", of_fake, real)] {
        if let (Some(target), ImageSource::Statistics(path) | ImageSource::Features(path)) =
            (target, &other.source)
            && target == place(path)
        {
            let message = format!("{option} would replace {}, which is the other set", path.display());
            return Err(InferError::Argument(message));
        }
    }
    Ok(())
}

/// Refuses a file that cannot be written at the end, a folder of that name or no folder for it, or that could not be given
/// again.
fn check_target(path: &Path) -> Result<(), InferError> {
    sheets::check_target(path)?;
    if path.extension().is_none_or(|ending| ending != "npz") {
        let message = format!("{}: statistics are kept in files that end in .npz", path.display());
        return Err(InferError::Argument(message));
    }
    Ok(())
}
