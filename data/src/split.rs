//! One split of a data set.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::datasets::encoded::Converted;
use crate::datasets::source::{Adapted, Planes, Source};
use crate::datasets::{DataError, Shape};
use crate::decode::Reading;
use ddae_base::random::{Purpose, stream};

/// The one class of images of which no class is known.
const UNLABELLED: &str = "unlabelled";

/// The training, test or other images of a data set with their labels, read one by one from any thread.
///
/// A split is a cheap handle: clones, subsets and fitted versions share labels and files. What is in memory is the
/// labels (4 bytes an image), the paths of image files or where images lie in archives, and the images themselves only
/// where they come from a compressed idx file or are built in.
#[derive(Clone)]
pub struct Split {
    name: String,
    classes: Arc<[String]>,
    /// Of the whole split, by id.
    labels: Arc<[u32]>,
    source: Arc<dyn Source>,
    /// The ids of a subset's images; none for the whole.
    ids: Option<Arc<[u32]>>,
    /// Whether the labels are of the images; otherwise all are 0.
    is_labelled: bool,
}

impl Split {
    pub(crate) fn new(
        name: String,
        classes: Vec<String>,
        labels: Vec<u32>,
        source: impl Source + 'static,
    ) -> Split {
        Self::from_source(name, classes, labels, Arc::new(source))
    }

    pub(crate) fn from_source(
        name: String,
        classes: Vec<String>,
        labels: Vec<u32>,
        source: Arc<dyn Source>,
    ) -> Split {
        Split { name, classes: classes.into(), labels: labels.into(), source, ids: None, is_labelled: true }
    }

    /// A split of images of which no class is known: all have the label 0, of one class that says so.
    pub(crate) fn unlabelled(name: String, count: usize, source: Arc<dyn Source>) -> Split {
        let split = Self::from_source(name, vec![UNLABELLED.into()], vec![0; count], source);
        Split { is_labelled: false, ..split }
    }

    /// A split of nothing.
    pub(crate) fn nothing(name: &str) -> Split {
        let none = Planes { shape: [1, 1, 1], levels: Cow::Borrowed(&[]) };
        Self::new(name.to_string(), vec![], vec![], none)
    }

    /// None of the images, under another name.
    pub(crate) fn without_images(&self, name: &str) -> Split {
        Split { name: name.to_string(), ids: Some(Arc::new([])), ..self.clone() }
    }

    /// A split of images in memory: `levels` holds one image of [C, H, W] = `shape` per label, one after the
    /// other.
    ///
    /// # Errors
    /// When the lengths do not agree or a label has no class.
    pub fn in_memory(
        name: &str,
        classes: Vec<String>,
        labels: Vec<u32>,
        shape: [usize; 3],
        levels: Vec<u8>,
    ) -> Result<Split, DataError> {
        let wanted = labels.len() * shape.iter().product::<usize>();
        if levels.len() != wanted {
            return Err(DataError::Argument(format!(
                "{} labels and images of {} need {wanted} levels, but there are {}",
                labels.len(),
                Shape(shape),
                levels.len()
            )));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes.len()) {
            return Err(DataError::Argument(format!(
                "label {label} has no name: there are {} classes",
                classes.len()
            )));
        }
        let levels = Cow::Owned(levels);
        Ok(Self::new(name.into(), classes, labels, Planes { shape, levels }))
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.ids.as_ref().map_or(self.labels.len(), |ids| ids.len())
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of every image, [C, H, W].
    pub fn shape(&self) -> [usize; 3] {
        self.source.shape()
    }

    /// Levels of one image, C x H x W.
    pub fn image_len(&self) -> usize {
        self.shape().iter().product()
    }

    /// What it is, for people: `cifar10/train`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Whether the classes of the images are known. Where they are not, all are of one class.
    pub fn is_labelled(&self) -> bool {
        self.is_labelled
    }

    /// That the classes of the images are known, which `purpose` (`a probe`) needs.
    ///
    /// # Errors
    /// When they are not; the message says what gives them.
    pub fn check_labels(&self, purpose: &str) -> Result<(), DataError> {
        if self.is_labelled {
            return Ok(());
        }
        Err(DataError::Argument(format!(
            "{} has no labels, which {purpose} needs: give images in class folders or a CSV list of paths and labels, or, \
             where the command has it, --labels FILE.csv",
            self.name
        )))
    }

    /// Label of the image at position `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Split::len`].
    pub fn label(&self, index: usize) -> usize {
        self.labels[self.id(index) as usize] as usize
    }

    /// Number of the image at position `index` in the whole split: the same image has the same id in every
    /// subset, so random streams are keyed by it.
    ///
    /// # Panics
    /// When `index` is not below [`Split::len`].
    pub fn id(&self, index: usize) -> u64 {
        assert!(index < self.len(), "image {index} of {}, which has {}", self.name, self.len());
        self.ids.as_ref().map_or(index as u64, |ids| ids[index].into())
    }

    /// What tells the image at position `index` from the others of its source: the path of its file below the source's
    /// folder, its name in an archive, or, where images have no names, its number ([`Split::id`]).
    ///
    /// # Panics
    /// When `index` is not below [`Split::len`].
    pub fn key(&self, index: usize) -> String {
        let id = self.id(index);
        self.source.key(id as usize).unwrap_or_else(|| id.to_string())
    }

    /// Number of images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for index in 0..self.len() {
            counts[self.label(index)] += 1;
        }
        counts
    }

    /// Reads the image at position `index` into `out` as C planes of H x W levels in 0..=255.
    ///
    /// # Errors
    /// When its file cannot be read or decoded (the message names it), or `index` or the length of `out` is wrong.
    pub fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        if index >= self.len() || out.len() != self.image_len() {
            return Err(DataError::Argument(format!(
                "image {index} into {} bytes: {} has {} images of {}",
                out.len(),
                self.name,
                self.len(),
                Shape(self.shape())
            )));
        }
        self.source.read(self.id(index) as usize, out)
    }

    /// The image at position `index` as it is stored.
    pub(crate) fn stored(&self, index: usize) -> Result<Vec<u8>, DataError> {
        self.source.stored(self.id(index) as usize)
    }

    /// Height and width that the image at position `index` says it has, turned upright where that is asked for; nothing is
    /// decoded. None where all have one shape by their format.
    ///
    /// # Errors
    /// When its header cannot be read.
    ///
    /// # Panics
    /// When `index` is not below [`Split::len`].
    pub fn stored_size(&self, index: usize) -> Result<Option<[usize; 2]>, DataError> {
        self.source.stored_size(self.id(index) as usize).transpose()
    }

    /// Name and size of the file of the image at position `index`, where it has one.
    pub(crate) fn file_of(&self, index: usize) -> Option<Result<Vec<u8>, DataError>> {
        (index < self.len()).then(|| self.source.file(self.id(index) as usize)).flatten()
    }

    /// The same images, read by other choices: their channels are those of [`Reading::colour`], and the rule of
    /// [`Reading::resize`] brings them to the shape that [`Split::fit`] is asked for. Images that are no files of their own
    /// (idx, CIFAR's archives) are converted and, where a rule was chosen, resized likewise; they are upright as they are.
    pub fn read_as(&self, reading: &Reading) -> Split {
        let chosen = self.source.reading().is_some_and(|chosen| !chosen.is_default());
        if self.is_empty() || reading.is_default() && !chosen {
            return self.clone();
        }
        // What this split meets is not what another does that is read likewise.
        let reading = &Reading::new(reading.resize, reading.colour, reading.orient);
        let source = self.source.decoded_as(reading).unwrap_or_else(|| {
            let [channels, height, width] = self.shape();
            let shape = [reading.colour.channels(channels), height, width];
            Arc::new(Converted { inner: Arc::clone(&self.source), shape, reading: reading.clone() })
        });
        Split { source, ..self.clone() }
    }

    /// No images, of the shape of those of another split.
    pub(crate) fn shaped_like(&self, other: &Split) -> Split {
        debug_assert!(self.is_empty());
        Split { source: Arc::clone(&other.source), ..self.clone() }
    }

    /// How the images are read, as options are typed; empty where nothing was chosen.
    pub fn reading(&self) -> String {
        self.source.reading().map(Reading::to_string).unwrap_or_default()
    }

    /// What was resized so far, and by which rule: a line for people; none where all images had the shape.
    pub fn resizing_note(&self) -> Option<String> {
        let [_, height, width] = self.shape();
        self.source.reading()?.note([height, width])
    }

    /// Heights and widths of the images that were decoded so far, each once; of those that [`Split::resizing_note`] is about.
    pub fn sizes_seen(&self) -> Vec<[usize; 2]> {
        self.source.reading().map(Reading::seen).unwrap_or_default()
    }

    /// Counts images of these sizes as decoded, which another process has.
    pub fn saw(&self, sizes: &[[usize; 2]]) {
        if let Some(reading) = self.source.reading() {
            sizes.iter().for_each(|size| reading.saw(*size));
        }
    }

    /// Heights and widths that images say they have, from the headers of at most `most` of them, evenly spread, with how many
    /// had each; empty where all have one shape by their format. Images that cannot be read are passed over.
    pub fn sizes(&self, most: usize) -> BTreeMap<[usize; 2], usize> {
        let count = self.len().min(most);
        let mut sizes = BTreeMap::new();
        for number in 0..count {
            match self.stored_size(number * self.len() / count) {
                Ok(Some(size)) => *sizes.entry(size).or_default() += 1,
                Err(_) => {}
                Ok(None) => break,
            }
        }
        sizes
    }

    /// The same images in the shape that a network takes, [C, H, W].
    ///
    /// Nothing changes where the shapes agree. Grey images become RGB by replication, grey 28x28 becomes 32x32 by a
    /// border of zeros, and images in files of their own are resized by the rule that was chosen ([`Split::read_as`]), or
    /// else scaled to cover the new size (antialiased bilinear) and cropped to the centre.
    ///
    /// # Errors
    /// Anything else is refused: above all RGB images are not made grey unless that was chosen.
    pub fn fit(&self, shape: [usize; 3]) -> Result<Split, DataError> {
        let from = self.shape();
        if from == shape {
            return Ok(self.clone());
        }
        let refuse = |reason| Err(DataError::Fit { split: self.name.clone(), from, to: shape, reason });
        match (from[0], shape[0]) {
            (3, 1) => {
                return refuse(
                    "colour is not thrown away; use a network with 3 image channels, or choose --colour grey",
                );
            }
            (1, 1 | 3) | (3, 3) => {}
            _ => return refuse("a network's images have 1 or 3 channels"),
        }
        if shape[1] == 0 || shape[2] == 0 {
            return refuse("height and width must be at least 1");
        }
        let source = if let Some(decoded) = self.source.decoded_to(shape) {
            decoded
        } else if from[1..] == shape[1..] || (from == [1, 28, 28] && shape[1..] == [32, 32]) {
            let inner = Arc::clone(&self.source);
            Arc::new(Adapted { inner, shape })
        } else {
            return refuse(
                "only grey 28x28 is padded, to 32x32, and only image files are resized unasked; set the network's image_shape \
                 to the data's, or choose a rule with --resize",
            );
        };
        Ok(Split { source, ..self.clone() })
    }

    /// The images at the given positions, in that order.
    ///
    /// # Errors
    /// When a position is not below [`Split::len`].
    pub fn subset(&self, positions: &[usize]) -> Result<Split, DataError> {
        if let Some(position) = positions.iter().find(|&&p| p >= self.len()) {
            return Err(DataError::Argument(format!(
                "there is no image {position} in {}: it has {}",
                self.name,
                self.len()
            )));
        }
        Ok(self.take(positions))
    }

    fn take(&self, positions: &[usize]) -> Split {
        Split { ids: Some(positions.iter().map(|&p| self.id(p) as u32).collect()), ..self.clone() }
    }

    /// Divides the images into a part to fit on and a part of `fraction` (in 0..1) to choose a layer, timestep or
    /// epoch on, so that the test set is not needed for that. Returns (fit, held out).
    ///
    /// Every class gives the same share, rounded; which images depends on `seed` alone. Both parts keep the order
    /// of ids.
    ///
    /// # Errors
    /// When `fraction` is not between 0 and 1, or one of the parts would be empty.
    pub fn hold_out(&self, fraction: f64, seed: u64) -> Result<(Split, Split), DataError> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(DataError::Argument(format!(
                "cannot hold out a fraction of {fraction}: it must lie between 0 and 1"
            )));
        }
        let mut of_class = vec![Vec::new(); self.classes.len()];
        for position in 0..self.len() {
            of_class[self.label(position)].push(position);
        }
        let (mut fit, mut held) = (Vec::new(), Vec::new());
        for (label, mut positions) in of_class.into_iter().enumerate() {
            stream(seed, Purpose::HoldOut, label as u64, 0).shuffle(&mut positions);
            let count = (positions.len() as f64 * fraction).round() as usize;
            fit.extend(positions.split_off(count));
            held.extend(positions);
        }
        if fit.is_empty() || held.is_empty() {
            return Err(DataError::Argument(format!(
                "cannot hold out a fraction of {fraction} of {}: with {} images in {} classes one part would be empty",
                self.name,
                self.len(),
                self.classes.len()
            )));
        }
        fit.sort_unstable();
        held.sort_unstable();
        let named = |part: Split, what: &str| Split { name: format!("{} ({what})", self.name), ..part };
        Ok((named(self.take(&fit), "without held-out part"), named(self.take(&held), "held-out part")))
    }
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split")
            .field("name", &self.name)
            .field("shape", &self.shape())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
