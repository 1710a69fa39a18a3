//! `--skip-broken`: images that cannot be read are left out, and listed beside the output.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ddae_base::Stop;
use ddae_base::files::{FileError, write_whole};
use ddae_base::progress::{Progress, Unit};
use ddae_data::DataError;
use ddae_data::datasets::{Broken, list_of_broken, note_of_broken};
use ddae_data::split::Split;
use ddae_infer::InferError;

/// The option, in the commands that read images.
#[derive(Args, Clone, Copy, Debug)]
pub struct SkipBroken {
    /// Leave out images that cannot be read, and list them in OUTPUT.broken.txt (a line for each: its key, a tab, the
    /// reason); for that all are decoded once before the job begins
    #[arg(long)]
    pub skip_broken: bool,
}

impl SkipBroken {
    /// `split` without what cannot be read, and that; all of it where the option is not given.
    ///
    /// # Errors
    /// When nothing is left, or the search was stopped.
    pub fn of(
        self,
        split: Split,
        quiet: bool,
        stop: Option<&Stop>,
    ) -> Result<(Split, Vec<Broken>), InferError> {
        if !self.skip_broken {
            return Ok((split, Vec::new()));
        }
        let progress = (!quiet).then(|| {
            Progress::task(
                &format!("looking through {}", split.name()),
                Some(split.len() as u64),
                Unit::Images,
            )
        });
        let advance = |images| {
            if let Some(progress) = &progress {
                progress.advance(images);
            }
            !stop.is_some_and(Stop::is_requested)
        };
        let broken = split.broken(advance).map_err(|error| match error {
            DataError::Interrupted => InferError::Interrupted,
            other => other.into(),
        })?;
        drop(progress);
        if let Some(note) = note_of_broken(&broken, split.len()).filter(|_| !quiet) {
            ddae_base::tell(format!("note: {note}"));
        }
        Ok((split.without(&broken)?, broken))
    }

    /// Writes the list beside `output`, or finds it there as another run of the same job wrote it. Without the option there is
    /// none, and what is there stays.
    ///
    /// # Errors
    /// When the file lists other images and is not to be overwritten, or it cannot be written.
    pub fn write(self, broken: &[Broken], output: &Path, overwrite: bool) -> Result<(), InferError> {
        let path = list_path(output);
        let list = list_of_broken(broken);
        if !self.skip_broken {
            return Ok(());
        }
        match fs::read(&path) {
            Ok(found) if found == list.as_bytes() => Ok(()),
            Ok(_) if !overwrite => Err(InferError::Argument(format!(
                "{} lists other images than those that cannot be read now: the images were changed since; give \
                 --overwrite, or another output",
                path.display()
            ))),
            Ok(_) if broken.is_empty() => {
                fs::remove_file(&path).map_err(FileError::of("remove", &path)).map_err(InferError::from)
            }
            Err(_) if broken.is_empty() => Ok(()),
            _ => write_whole(&path, |out| out.write_all(list.as_bytes())).map_err(InferError::from),
        }
    }

    /// What to do about an image that cannot be read, where that is the error.
    pub fn advise(self, error: anyhow::Error) -> anyhow::Error {
        let of_image = match error.downcast_ref::<InferError>() {
            Some(InferError::Data(DataError::Format { expected, .. })) => {
                expected.starts_with("a whole image")
            }
            _ => false,
        };
        match of_image && !self.skip_broken {
            true => anyhow::anyhow!("{error:#}; --skip-broken leaves out images that cannot be read"),
            false => error,
        }
    }
}

/// `OUTPUT.broken.txt`.
pub fn list_path(output: &Path) -> PathBuf {
    let mut path = output.as_os_str().to_os_string();
    path.push(".broken.txt");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_that_of_one_job() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("out");
        let skip = SkipBroken { skip_broken: true };
        let list = || fs::read_to_string(list_path(&output)).ok();
        let broken =
            |key: &str| vec![Broken { index: 3, key: key.to_string(), reason: "it is text".to_string() }];
        SkipBroken { skip_broken: false }.write(&broken("a.png"), &output, false).expect("nothing to do");
        skip.write(&[], &output, false).expect("nothing to say");
        assert_eq!(list(), None);
        for _ in 0..2 {
            skip.write(&broken("a.png"), &output, false).expect("a list");
            assert_eq!(list().as_deref(), Some("a.png\tit is text\n"));
        }
        for other in [broken("b.png"), Vec::new()] {
            let error = skip.write(&other, &output, false).expect_err("other images").to_string();
            assert!(error.contains("out.broken.txt lists other images than those"), "{error}");
        }
        skip.write(&broken("b.png"), &output, true).expect("a list");
        assert_eq!(list().as_deref(), Some("b.png\tit is text\n"));
        skip.write(&[], &output, true).expect("no list");
        assert_eq!(list(), None);
    }
}
