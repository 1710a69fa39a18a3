//! Draws the built-in data set from Fashion-MNIST: `cargo run -p ddae-data --example draw_fashion_sample -- FROM TO`
//!
//! FROM is a folder with the four idx files of Fashion-MNIST, TO the folder to write the sample's four files to
//! (`data/assets`). The first 600 training images of each class and all test images (1,000 of each) are taken, in their published order.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ddae_data::{Split, datasets};
use flate2::{Compression, GzBuilder};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        bail!("usage: draw_fashion_sample FROM TO");
    };
    let (from, to) = (Path::new(from), Path::new(to));
    let fashion = datasets::open("fashion-mnist", Some(from))?;
    write(&draw(&fashion.train, 600)?, to, "train")?;
    write(&draw(&fashion.test, 1000)?, to, "t10k")
}

/// The first `per_class` images of each class.
fn draw(split: &Split, per_class: usize) -> Result<Split> {
    let mut found = vec![0; split.classes().len()];
    let mut drawn = Vec::new();
    for position in 0..split.len() {
        let of_class = &mut found[split.label(position)];
        if *of_class < per_class {
            *of_class += 1;
            drawn.push(position);
        }
    }
    if let Some(label) = found.iter().position(|count| *count < per_class) {
        bail!("{} has only {} images of class {label}", split.name(), found[label]);
    }
    Ok(split.subset(&drawn)?)
}

/// Writes both idx files of a split, compressed.
fn write(split: &Split, folder: &Path, prefix: &str) -> Result<()> {
    let [_, height, width] = split.shape();
    let mut images = header(2051, &[split.len(), height, width])?;
    let mut labels = header(2049, &[split.len()])?;
    let mut image = vec![0; split.image_len()];
    for index in 0..split.len() {
        split.read(index, &mut image)?;
        images.extend(&image);
        labels.push(u8::try_from(split.label(index))?);
    }
    for (kind, bytes) in [("images-idx3", images), ("labels-idx1", labels)] {
        let path = folder.join(format!("{prefix}-{kind}-ubyte.gz"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        // No file name and time in the header: the same images give the same bytes.
        let mut gzip = GzBuilder::new().write(file, Compression::best());
        gzip.write_all(&bytes)?;
        gzip.finish()?;
    }
    Ok(())
}

fn header(magic: u32, dimensions: &[usize]) -> Result<Vec<u8>> {
    let mut bytes = magic.to_be_bytes().to_vec();
    for &dimension in dimensions {
        bytes.extend(u32::try_from(dimension)?.to_be_bytes());
    }
    Ok(bytes)
}
