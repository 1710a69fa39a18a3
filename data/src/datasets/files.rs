//! Image files that somebody names one by one.

use std::path::PathBuf;
use std::sync::Arc;

use super::encoded::{Encoded, Files};
use crate::decode::Reading;
use crate::split::Split;

/// Image files as images of `shape` = [C, H, W], in the order given and all of one class. They are decoded when
/// they are read: scaled to cover the shape (antialiased bilinear) and cropped to the centre; grey ones become RGB where
/// that is asked for.
///
/// A file that is missing, damaged, or in colour where one channel is asked for is an error of [`Split::read`].
pub fn of_files(files: Vec<PathBuf>, shape: [usize; 3]) -> Split {
    let count = files.len();
    let labels = vec![0; count];
    let items = Files { root: None, paths: files };
    let source = Encoded { items: Arc::new(items), count, shape, reading: Reading::default() };
    Split::new("files".to_string(), vec!["file".to_string()], labels, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_their_order_and_shape() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        image::GrayImage::from_pixel(4, 6, image::Luma([9])).save(path("b.png")).expect("an image");
        image::RgbImage::from_pixel(2, 2, image::Rgb([1, 2, 3])).save(path("a.png")).expect("an image");
        let files = vec![path("b.png"), path("a.png"), path("none.png")];
        let split = of_files(files.clone(), [3, 2, 2]);
        let mut levels = vec![0; 12];
        split.read(0, &mut levels).expect("an image");
        assert_eq!(levels, [9; 12]);
        split.read(1, &mut levels).expect("an image");
        assert_eq!(levels, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        let error = split.read(2, &mut levels).expect_err("no such file").to_string();
        assert!(error.contains("none.png: No such file"), "{error}");
        let error = of_files(files, [1, 2, 2]).read(1, &mut levels[..4]).expect_err("colour").to_string();
        assert!(error.contains("a.png: it is a colour image; expected a grey one"), "{error}");
    }
}
