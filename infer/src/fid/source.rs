//! Where statistics come from.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_data::datasets::{self, NAMES, OpenOptions};
use ddae_data::decode::{ENDINGS, Reading};
use ddae_data::resize::Rule;
use ddae_data::split::Split;
use ddae_store::FeatureFile;

use super::collected::{Seen, Wanted};
use super::features::{self, Layer};
use super::{FidError, archive};
use crate::error::InferError;

/// What a set of images is given as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// Statistics in a `.npz` file.
    Statistics(PathBuf),
    /// Inception's features in a `.h5` file.
    Features(PathBuf),
    /// Image files directly in a folder.
    Folder(PathBuf),
    /// A data set by its name.
    DataSet {
        /// Its name.
        name: String,
        /// The split; training images unless another is named.
        split: Option<String>,
    },
    /// Images of any other kind, by their path.
    Images {
        /// What was given, without the split.
        path: String,
        /// The split; training images, or the only one, unless another is named.
        split: Option<String>,
    },
}

impl ImageSource {
    /// What `text` means: a file that ends in `.npz` or `.h5`; a data set, `cifar10` or `cifar10/test`; a folder, list, tar
    /// or parquet files, with or without a split, `birds/val`. A folder that is called like a data set is written with a
    /// path, `./cifar10`.
    ///
    /// # Errors
    /// When it is nothing of these.
    pub fn parse(text: &str) -> Result<ImageSource, FidError> {
        let path = PathBuf::from(text);
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("npz") if !path.is_dir() => return Ok(ImageSource::Statistics(path)),
            Some("h5") if !path.is_dir() => return Ok(ImageSource::Features(path)),
            _ => {}
        }
        let (name, split) = text.split_once('/').map_or((text, None), |(name, split)| (name, Some(split)));
        // The name in published configurations is one more.
        if (NAMES.contains(&name) || name == "cifar") && split.is_none_or(|split| !split.contains('/')) {
            return Ok(ImageSource::DataSet { name: name.to_string(), split: split.map(str::to_string) });
        }
        if path.is_dir() && holds_images(&path) {
            return Ok(ImageSource::Folder(path));
        }
        if path.exists() || text.contains('{') {
            return Ok(ImageSource::Images { path: text.to_string(), split: None });
        }
        if let Some((source, split)) = text.rsplit_once('/').filter(|(source, _)| Path::new(source).exists())
        {
            return Ok(ImageSource::Images { path: source.to_string(), split: Some(split.to_string()) });
        }
        Err(FidError::Source { text: text.to_string(), known: NAMES.join(", "), example: "cifar10" })
    }

    /// Whether there are images to be seen by a network.
    pub fn needs_inception(&self) -> bool {
        matches!(self, ImageSource::Folder(_) | ImageSource::DataSet { .. } | ImageSource::Images { .. })
    }

    /// Opens the images, in the shape that `sizing` says, at most `limit` of them; none where there are statistics or
    /// features already.
    ///
    /// A data set by name is fitted to the shape as for training ([`Split::fit`]). Images by path have its height and width
    /// already: pytorch-fid resizes them to 299x299 from the size they have, and so does the graph. Only a rule that `reading`
    /// names brings them to it. With [`Sizing::Own`] all stay as they are, but for their channels. What the user should know
    /// is added to `notes`. `skips` says that images which cannot be read are no error here.
    ///
    /// # Errors
    /// When there are no images, or they have another size; when the data set cannot be opened.
    pub fn images(
        &self,
        root: Option<&Path>,
        sizing: Sizing,
        limit: Option<usize>,
        reading: &Reading,
        skips: bool,
        notes: &mut Vec<String>,
    ) -> Result<Option<Split>, InferError> {
        let limit = limit.unwrap_or(usize::MAX);
        let split = match self {
            ImageSource::Statistics(_) | ImageSource::Features(_) => return Ok(None),
            ImageSource::Folder(folder) => {
                let mut files = files(folder)?;
                files.truncate(limit);
                let shape = match sizing {
                    Sizing::Graph(shape) | Sizing::Exact(shape) => shape,
                    Sizing::Own { channels } => own_shape(&files, channels, reading, skips)?,
                };
                let split = datasets::of_files(files.clone(), shape).read_as(reading).fit(shape)?;
                let is_own = matches!(sizing, Sizing::Own { .. });
                if !is_own && matches!(reading.resize, None | Some(Rule::None)) {
                    check_sizes(&split, |index| files[index].clone(), shape, skips)?;
                }
                return Ok(Some(split));
            }
            ImageSource::DataSet { name: source, split } | ImageSource::Images { path: source, split } => {
                let options = OpenOptions { reading: reading.clone(), ..OpenOptions::default() };
                let set = datasets::open_with(source, root, &options)?;
                let chosen = set.split(split.as_deref(), "train")?;
                notes.extend(set.notes.iter().cloned().chain(chosen.note));
                chosen.split
            }
        };
        let split = match limit < split.len() {
            true => split.subset(&(0..limit).collect::<Vec<_>>())?,
            false => split,
        };
        let shape = match sizing {
            Sizing::Graph(shape) | Sizing::Exact(shape) => shape,
            Sizing::Own { channels } => {
                let [_, height, width] = split.shape();
                return Ok(Some(split.fit([channels, height, width])?));
            }
        };
        let is_exact = match reading.resize {
            Some(rule) => rule == Rule::None,
            None => matches!(self, ImageSource::Images { .. }) || matches!(sizing, Sizing::Exact(_)),
        };
        if is_exact {
            check_sizes(&split, |index| PathBuf::from(split.key(index)), shape, skips)?;
        }
        Ok(Some(split.fit(shape)?))
    }

    /// Reads what is there already, of the layer where it is a feature file; none for images.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold what is wanted.
    pub fn known(&self, layer: &Layer, wanted: Wanted) -> Result<Option<Seen>, InferError> {
        match self {
            ImageSource::Statistics(path) => {
                let statistics = archive::read(path)?;
                let missing = |metric| Err(FidError::NoFeatures { path: path.clone(), metric }.into());
                match wanted {
                    Wanted { features: true, .. } => missing("kid and prc"),
                    Wanted { logits: true, .. } => missing("is"),
                    _ => Ok(Some(Seen { statistics, features: None, logits: None, tokens: None })),
                }
            }
            ImageSource::Features(path) => features::read(path, layer, wanted).map(Some),
            ImageSource::Folder(_) | ImageSource::DataSet { .. } | ImageSource::Images { .. } => Ok(None),
        }
    }

    /// How many images a feature file is of, and in how many views each; none where there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn images_and_views(&self) -> Result<Option<[usize; 2]>, InferError> {
        let ImageSource::Features(path) = self else { return Ok(None) };
        let file = FeatureFile::open(path)?;
        Ok(Some([file.len(), file.views()]))
    }

    /// What the reader of a distance should know of a feature file whose images were augmented.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn note(&self, layer: &Layer) -> Result<Option<String>, InferError> {
        let ImageSource::Features(path) = self else { return Ok(None) };
        let file = FeatureFile::open(path)?;
        let changed = file.provenance().augmentation();
        let network = features::network(file.provenance(), layer);
        let is_inception = network.is_some_and(|network| network.is_inception());
        let seer = if is_inception { "Inception" } else { "the network" };
        let note = || {
            let (path, changed) = (path.display(), changed.join(", "));
            format!(
                "the images of {path} were changed before {seer} saw them ({changed}): as published, they are not"
            )
        };
        Ok((!changed.is_empty()).then(note))
    }
}

/// Whether images are opened in the graph's size, or in their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// In the graph's, `[C, H, W]`.
    Graph([usize; 3]),
    /// In the graph's, which those of a data set by name must have, too.
    Exact([usize; 3]),
    /// In their own, which may differ from image to image; the convention of a tool brings them to the graph's.
    Own {
        /// The graph's channels.
        channels: usize,
    },
}

/// The shape of the first image whose header can be read, with the graph's `channels`.
fn own_shape(
    files: &[PathBuf],
    channels: usize,
    reading: &Reading,
    skips: bool,
) -> Result<[usize; 3], InferError> {
    let split = datasets::of_files(files.to_vec(), [channels, 1, 1]).read_as(reading);
    for index in 0..split.len() {
        match split.stored_size(index) {
            Ok(Some([height, width])) => return Ok([channels, height, width]),
            Err(error) if !skips => return Err(error.into()),
            _ => {}
        }
    }
    Ok([channels, 1, 1])
}

/// Whether a folder is one of images, as pytorch-fid takes it: with images directly in it, or with nothing else.
fn holds_images(folder: &Path) -> bool {
    let others = fs::read_dir(folder).map_or(0, |entries| {
        let is_other =
            |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|e| e == "tar" || e == "parquet");
        entries.flatten().filter(|entry| is_other(&entry.path())).count()
    });
    others == 0 || files(folder).is_ok()
}

/// The image files in a folder, in the order of their names; at least one.
fn files(folder: &Path) -> Result<Vec<PathBuf>, InferError> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut files = list().map_err(InferError::io("list", folder))?;
    files.retain(|path| {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        ENDINGS.iter().any(|known| ending == *known)
    });
    files.sort();
    if files.is_empty() {
        return Err(FidError::NoImages { path: folder.to_path_buf() }.into());
    }
    Ok(files)
}

/// Reads the heads of all images: what is wrong is found before hours of work. Messages call them as `path` says.
fn check_sizes(
    split: &Split,
    path: impl Fn(usize) -> PathBuf,
    [_, height, width]: [usize; 3],
    skips: bool,
) -> Result<(), InferError> {
    for index in 0..split.len() {
        let found = match split.stored_size(index) {
            Ok(Some(found)) => found,
            Err(error) if !skips => return Err(error.into()),
            _ => continue,
        };
        if found != [height, width] {
            return Err(FidError::Size { path: path(index), found, wanted: [height, width] }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        let data_set = |name: &str, split: Option<&str>| ImageSource::DataSet {
            name: name.into(),
            split: split.map(str::to_string),
        };
        for (text, source) in [
            ("a/real.npz", ImageSource::Statistics("a/real.npz".into())),
            ("fake.h5", ImageSource::Features("fake.h5".into())),
            ("cifar10", data_set("cifar10", None)),
            ("cifar", data_set("cifar", None)),
            ("fashion-sample/test", data_set("fashion-sample", Some("test"))),
            ("tiny/train", data_set("tiny", Some("train"))),
            (&path, ImageSource::Folder(folder.path().into())),
        ] {
            assert_eq!(ImageSource::parse(text).expect(text), source);
        }
        fs::create_dir_all(folder.path().join("birds/train/ant")).expect("folders");
        let birds = folder.path().join("birds").display().to_string();
        let images = |split: Option<&str>| ImageSource::Images {
            path: birds.clone(),
            split: split.map(str::to_string),
        };
        assert_eq!(ImageSource::parse(&birds).expect("a folder"), images(None));
        assert_eq!(ImageSource::parse(&format!("{birds}/val")).expect("a split"), images(Some("val")));
        for text in ["nowhere", "cifar11", "cifar11/val", "real.npy"] {
            let error = ImageSource::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} is neither a folder of images")), "{error}");
            assert!(error.contains("fashion-sample, ") && error.contains("cifar10/test"), "{error}");
        }
    }

    #[test]
    fn folders_are_checked_before_the_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = ImageSource::Folder(folder.path().into());
        let reading = Reading::default();
        let open =
            |limit| source.images(None, Sizing::Graph([3, 4, 5]), limit, &reading, false, &mut Vec::new());
        let message = open(None).expect_err("no images").to_string();
        assert!(message.contains("there is no image file (.png, .jpg,"), "{message}");
        let save = |name: &str, width, height| {
            let image = image::GrayImage::from_pixel(width, height, image::Luma([7]));
            image.save(folder.path().join(name)).expect("an image");
        };
        save("b.png", 5, 4);
        save("a.png", 5, 4);
        fs::write(folder.path().join("run.json"), "{}").expect("a file");
        let split = open(None).expect("images").expect("images");
        assert_eq!((split.len(), split.shape()), (2, [3, 4, 5]));
        save("c.png", 4, 5);
        let own = source.images(None, Sizing::Own { channels: 3 }, None, &reading, false, &mut Vec::new());
        let own = own.expect("images").expect("images");
        assert_eq!((own.len(), own.shape(), own.stored_size(2).ok()), (3, [3, 4, 5], Some(Some([5, 4]))));
        let message = open(None).expect_err("another size").to_string();
        assert!(message.contains("c.png: it is 5x4 (height x width) and the graph is for 4x5"), "{message}");
        assert!(
            message.contains("export the network with --image-size 5x4 (a graph of Inception"),
            "{message}"
        );
        assert_eq!(open(Some(2)).expect("images").expect("images").len(), 2);
        fs::write(folder.path().join("aa.png"), "hello").expect("a file");
        let message = open(None).expect_err("no image").to_string();
        assert!(
            message.contains("aa.png: it is text, which is not read; expected a whole image"),
            "{message}"
        );
        assert_eq!(
            source
                .images(None, Sizing::Graph([3, 4, 5]), Some(2), &reading, true, &mut Vec::new())
                .map(|split| split.is_some())
                .ok(),
            Some(true)
        );
        // What a file is says its content, not its name.
        fs::rename(folder.path().join("b.png"), folder.path().join("aa.png")).expect("a new name");
        fs::rename(folder.path().join("aa.png"), folder.path().join("aa.jpg")).expect("a new name");
        fs::remove_file(folder.path().join("c.png")).expect("removed");
        assert_eq!(open(None).expect("a PNG image").expect("images").len(), 2);
        for (bytes, kind) in [
            (&b"\0\0\0\x18ftypheic"[..], "it is a HEIC image, which is not read"),
            (b"GIF89a", "it cannot be decoded"),
            (b"<!DOCTYPE html>", "it is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        ] {
            fs::write(folder.path().join("ab.png"), bytes).expect("a file");
            let message = open(None).expect_err("no image").to_string();
            assert!(message.contains("ab.png: it ") && message.contains(kind), "{message}");
        }
    }
}
