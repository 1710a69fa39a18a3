//! What is refused before a grid begins, and what is said of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Result;
use ddae_infer::features::Views;
use ddae_probe::ProbeError;

use super::{Arguments, HeadArgument, ProtocolArgument, SearchArgument};

impl Arguments {
    /// Refuses options that would do nothing together.
    pub(super) fn check(&self) -> Result<()> {
        let usage = |reason: &str| Err(ProbeError::Usage(reason.to_string()).into());
        let is_halving = self.search == SearchArgument::Halving;
        let is_published = self.protocol == ProtocolArgument::Published;
        if is_halving && is_published {
            return usage(
                "--search halving chooses on training images, and --protocol published on the test images: give one of them",
            );
        }
        if self.held_out.is_some() && is_halving {
            return usage(
                "--held-out: with --search halving nothing is held out but halves of its rounds; leave it out",
            );
        }
        if self.held_out.is_some() && is_published {
            return usage("--held-out: with --protocol published the test images choose; leave it out");
        }
        if is_published && self.head == HeadArgument::Knn && self.seeds.is_some_and(|seeds| seeds > 1) {
            return usage(
                "--seeds: nearest neighbours on the test images draw nothing, so that all seeds give the same; leave it out",
            );
        }
        Ok(())
    }

    /// What is said of a job that ended before its end.
    pub(super) fn interrupted(&self) -> &'static str {
        match self.overwrite {
            true => {
                "interrupted; what was computed stays in the work folder, and the same command without --overwrite goes on"
            }
            false => "interrupted; what was computed stays in the work folder, and the same command goes on",
        }
    }

    /// Says what becomes of views where that is not as one may think.
    pub(super) fn note_views(&self, views: &Views) {
        if self.protocol == ProtocolArgument::Published {
            let meaning = match self.head {
                HeadArgument::Linear => {
                    "stand for the fresh draw of each epoch in the published protocol (--views)"
                }
                HeadArgument::Logistic | HeadArgument::Knn => {
                    "are averaged: this head has no epochs with a fresh draw in each (--views)"
                }
            };
            ddae_base::note(format_args!(
                "note: {} stored views of each training image, cropped and mirrored at random, {meaning}",
                views.count
            ));
        } else if views.crop_padding > 0 || views.flip {
            ddae_base::note(format_args!(
                "note: the training images that the choice is measured on are cropped or mirrored like those that are learned \
                 from, and test images are not: accuracies of both are not comparable"
            ));
        }
    }
}

/// Whether a file is HDF5 by its first bytes, as files of latents are.
pub(super) fn is_hdf5(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    read.is_ok() && start == b"\x89HDF\r\n\x1a\n"
}
