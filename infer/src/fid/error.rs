//! What can go wrong on the way to a distance.

use std::path::PathBuf;

/// Why there is no distance.
#[derive(Debug, thiserror::Error)]
pub enum FidError {
    /// What is neither images nor statistics.
    #[error(
        "{text:?} is neither a folder of images, nor statistics (.npz), nor a feature file (.h5), nor a list, .tar or \
         .parquet file of images, nor a data set ({known}; the test images of one are {example}/test)"
    )]
    Source {
        /// What was given.
        text: String,
        /// The data sets.
        known: String,
        /// One of them.
        example: &'static str,
    },
    /// A folder without images.
    #[error("{}: there is no image file (.png, .jpg, .webp, .bmp, .gif, .tif, .ppm and the like) in this folder; give the folder that holds the images themselves", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// An image that would have to be resized.
    #[error(
        "{}: it is {}x{} (height x width) and the graph is for {}x{}: resizing would change the distance; export \
         the network with --image-size {}x{} (a graph of Inception for 299x299 takes images of any size)",
        path.display(), found[0], found[1], wanted[0], wanted[1], found[0], found[1]
    )]
    Size {
        /// The image.
        path: PathBuf,
        /// Its height and width.
        found: [usize; 2],
        /// Those of the graph.
        wanted: [usize; 2],
    },
    /// A file of statistics or features that cannot be used.
    #[error("cannot use {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// Too few rows for a covariance.
    #[error("{count} image(s): a covariance needs at least 2")]
    TooFew {
        /// Images seen.
        count: u64,
    },
    /// A feature that is NaN or infinite.
    #[error(
        "image {row} has the feature {value} in column {column}: check the graph's weights and its precision (one in \
         half precision may overflow)"
    )]
    NotFinite {
        /// The image's place, counted from 0.
        row: u64,
        /// The feature.
        column: usize,
        /// NaN or an infinity.
        value: f64,
    },
    /// Statistics of different features.
    #[error(
        "the real statistics are of {real} features and the fake ones of {fake}: both must come from the same network and layer"
    )]
    Dims {
        /// Features of the real images.
        real: usize,
        /// Features of the fake ones.
        fake: usize,
    },
    /// Statistics of different networks.
    #[error(
        "the real statistics were made by the network {real} and the fake ones by {fake}: distances are between \
         features of the same weights, of images that were resized alike; compute both with one graph and one --like"
    )]
    OtherNetwork {
        /// Digest of the real ones' checkpoint.
        real: String,
        /// Digest of the fake ones'.
        fake: String,
    },
    /// Statistics that do not say what they are of, beside others that are not pytorch-fid's.
    #[error(
        "the {untold} statistics do not say which network or resizing made them, and are taken for pytorch-fid's; the others \
         are of images that were resized {way}: compute both from images, with one graph"
    )]
    Untold {
        /// `real` or `fake`.
        untold: &'static str,
        /// How the images of the others were resized.
        way: String,
    },
    /// Numbers beyond those of float64.
    #[error(
        "{what} is too large for 64-bit floats; features of images are near 1: compute them again with the graph of \
         Inception in f32"
    )]
    Overflow {
        /// What overflows.
        what: &'static str,
    },
    /// The covariances' root was not found.
    #[error(
        "the singular values of the product of the covariances' factors were not found: report this with the two files"
    )]
    NoConvergence,
    /// Subsets that the images do not have.
    #[error(
        "{subsets} subsets of {subset_size} images: there must be one at least, of two images or more, and the smaller set \
         has {count}; choose a number with --kid-subset-size"
    )]
    Subsets {
        /// How many were asked for.
        subsets: usize,
        /// Images of each set in one.
        subset_size: usize,
        /// Images of the smaller set.
        count: usize,
    },
    /// Splits that the images do not have.
    #[error(
        "{splits} splits of {count} images: there must be one at least, and an image in each; choose with --splits"
    )]
    Splits {
        /// How many were asked for.
        splits: usize,
        /// Images.
        count: usize,
    },
    /// Neighbours that the images do not have.
    #[error(
        "the nearest neighbour number {neighbours} of an image: there must be one at least, and the smaller set has {count} \
         images; choose with --neighbours"
    )]
    Neighbours {
        /// The number of the neighbour.
        neighbours: usize,
        /// Images of the smaller set.
        count: usize,
    },
    /// A metric of images one by one, and a file that holds their mean.
    #[error(
        "{}: it holds a mean and a covariance, which do not give {metric}: give the images, or the .h5 file of their features",
        path.display()
    )]
    NoFeatures {
        /// The file.
        path: PathBuf,
        /// The metric.
        metric: &'static str,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A matrix that is no covariance.
    #[error("the covariance {what}")]
    Covariance {
        /// What is wrong with it.
        what: String,
    },
}
