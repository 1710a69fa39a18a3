//! The same images in an idx file, in tar shards and in parquet, and how fast each is read.
//!
//! ```sh
//! cargo run --release -p ddae-data --example source_speed -- make DIR 100000
//! cargo run --release -p ddae-data --example source_speed -- read DIR     # images/s in order and shuffled, peak memory
//! ```
//!
//! `make` says the feature jobs that compare them. Images are grey, 28x28, of random blots, with ten classes.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ddae_base::random::numbered_stream;
use ddae_data::augment::Augmentation;
use ddae_data::datasets;
use ddae_data::loader::{Images, Loader, LoaderOptions};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;
const TEST_IMAGES: u64 = 10;
/// Images of a shard and of a row group, as usual.
const SHARD: u64 = 10_000;
const ROW_GROUP: u64 = 1_000;
const WORKERS: usize = 2;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", folder, count] => make(Path::new(folder), count.parse().context("a number of images")?),
        ["read", folder] => read_all(folder),
        ["read", folder, source] => read(folder, source),
        _ => bail!("wanted is: make DIR COUNT, or read DIR"),
    }
}

/// Image `number`: a few blots on black.
fn levels(number: u64) -> Vec<u8> {
    let mut draws = numbered_stream(number);
    let mut levels = vec![0u8; PIXELS];
    for _ in 0..6 {
        let mut draw = |most: usize| draws.below(most as u64) as usize;
        let (row, column, size, level) = (draw(SIDE), draw(SIDE), 2 + draw(8), 50 + draw(206) as u8);
        for y in row..(row + size).min(SIDE) {
            levels[y * SIDE + column..y * SIDE + (column + size).min(SIDE)].fill(level);
        }
    }
    levels
}

fn label(number: u64) -> u8 {
    (number % 10) as u8
}

fn png(number: u64) -> Result<Vec<u8>> {
    let image =
        image::GrayImage::from_raw(SIDE as u32, SIDE as u32, levels(number)).context("a whole image")?;
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

fn make(folder: &Path, count: u64) -> Result<()> {
    fs::create_dir_all(folder.join("idx"))?;
    for (prefix, first, count) in [("train", 0, count), ("t10k", count, TEST_IMAGES)] {
        let file =
            |kind: &str| File::create(folder.join(format!("idx/{prefix}-{kind}-ubyte"))).map(BufWriter::new);
        let (mut images, mut labels) = (file("images-idx3")?, file("labels-idx1")?);
        let header = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        images.write_all(&header(&[2051, count as u32, SIDE as u32, SIDE as u32]))?;
        labels.write_all(&header(&[2049, count as u32]))?;
        for number in first..first + count {
            images.write_all(&levels(number))?;
            labels.write_all(&[label(number)])?;
        }
    }
    fs::create_dir_all(folder.join("tar"))?;
    for (shard, first) in (0..count).step_by(SHARD as usize).enumerate() {
        let file = File::create(folder.join(format!("tar/train-{shard:06}.tar")))?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        for number in first..count.min(first + SHARD) {
            let label = label(number).to_string();
            for (ending, bytes) in [("png", png(number)?), ("cls", label.into_bytes())] {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, format!("{number:08}.{ending}"), bytes.as_slice())?;
            }
        }
        tar.into_inner()?.flush()?;
    }
    parquet_file(&folder.join("parquet"), count)?;
    let here = folder.display();
    for source in [format!("mnist --data-root {here}/idx"), format!("{here}/tar"), format!("{here}/parquet")]
    {
        println!("ddae-infer features features.onnx --data {source} --split train --timesteps 11 -o OUT");
    }
    Ok(())
}

fn parquet_file(folder: &Path, count: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let schema =
        "message schema { optional group image { optional binary bytes; optional binary path (UTF8); }
                  optional int64 label; }";
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_dictionary_enabled(false);
    let file = File::create(folder.join("train-00000-of-00001.parquet"))?;
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(parse_message_type(schema)?), Arc::new(properties.build()))?;
    for first in (0..count).step_by(ROW_GROUP as usize) {
        let numbers = first..count.min(first + ROW_GROUP);
        let rows = numbers.clone().count();
        let images =
            numbers.clone().map(|number| png(number).map(ByteArray::from)).collect::<Result<Vec<_>>>()?;
        let labels: Vec<i64> = numbers.map(|number| label(number).into()).collect();
        let mut group = writer.next_row_group()?;
        let mut column = 0;
        while let Some(mut next) = group.next_column()? {
            match column {
                0 => next.typed::<ByteArrayType>().write_batch(&images, Some(&vec![2; rows]), None)?,
                1 => next.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; rows]), None)?,
                _ => next.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; rows]), None)?,
            };
            next.close()?;
            column += 1;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

/// Each kind in a process of its own, whose peak of memory is its own.
fn read_all(folder: &str) -> Result<()> {
    for source in ["idx", "tar", "parquet"] {
        let ended = Command::new(std::env::current_exe()?).args(["read", folder, source]).status()?;
        anyhow::ensure!(ended.success(), "{source} could not be read");
    }
    Ok(())
}

fn read(folder: &str, source: &str) -> Result<()> {
    let begin = Instant::now();
    let path = format!("{folder}/{source}");
    let train = match source {
        "idx" => datasets::open("mnist", Some(Path::new(&path)))?.train,
        _ => datasets::open(&path, None)?.train,
    };
    println!("{source:<8} {} images, opened in {:.2} s", train.len(), begin.elapsed().as_secs_f64());
    for shuffle in [false, true] {
        let options = LoaderOptions { shuffle, workers: WORKERS, ..LoaderOptions::default() };
        let begin = Instant::now();
        let mut sum = 0u64;
        for batch in
            Loader::images(&train, &options, Augmentation::Crop { padding: None, flip: false }, None)?
        {
            let Images::Bytes(levels) = batch?.images else { bail!("there is no augmentation") };
            sum += levels.iter().map(|&level| u64::from(level)).sum::<u64>();
        }
        let order = if shuffle { "shuffled" } else { "in order" };
        let speed = train.len() as f64 / begin.elapsed().as_secs_f64();
        println!("         {order}: {speed:.0} images/s with {WORKERS} threads (sum of levels {sum})");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or(" unknown");
    println!("         peak memory {}", peak.trim());
    Ok(())
}
