//! Writes small whole files of every kind that the fuzz targets read, to begin with:
//!
//! `cargo build --release --workspace --example fuzz_seeds && target/release/examples/fuzz_seeds fuzz/corpus`
//!
//! The checkpoints' are the fixtures. A first byte that chooses between kinds is that of the target's.

#[path = "../../data/tests/layouts/mod.rs"]
mod layouts;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ddae_infer::fid::{Statistics, archive};
use ddae_model::graph::Shape;
use ddae_model::tensor::DType;
use ddae_onnx::messages::{NodeProto, ValueInfoProto};
use ddae_onnx::write::{LARGEST_MESSAGE, Model};
use ddae_store::{Compression, FeatureKey, FeatureType, Layout, Provenance, ShardWriter};
use ndarray::{Array2, array};

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).context("give the folder of the corpora")?);
    let folder = |target: &str| -> Result<PathBuf> {
        let folder = root.join(target);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    };
    data_sets(&folder("idx")?, &folder("cifar")?, &folder("archive")?)?;
    images(&folder("image")?)?;
    features(&folder("features")?)?;
    onnx(&folder("onnx")?)?;
    statistics(&folder("statistics")?)?;
    configurations(&folder("configuration")?)
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| path.display().to_string())
}

/// Bytes after the byte that chooses their kind.
fn chosen(choice: u8, bytes: &[u8]) -> Vec<u8> {
    [&[choice], bytes].concat()
}

fn data_sets(idx: &Path, cifar: &Path, archives: &Path) -> Result<()> {
    let images = layouts::idx(2051, &[3, 2, 2], &(1..13).collect::<Vec<u8>>());
    let labels = layouts::idx(2049, &[3], &[1, 2, 3]);
    for (name, choice, bytes) in [("images", 0, images), ("labels", 1, labels)] {
        write(idx, name, chosen(choice, &bytes))?;
        write(idx, &format!("{name}.gz"), chosen(choice, &layouts::gzip(&bytes)))?;
    }
    write(cifar, "cifar10-binary", chosen(0, &layouts::cifar_records(0, &[&[3]])))?;
    write(cifar, "cifar10-python", chosen(1, &layouts::cifar_pickle(0, "labels", &[3])))?;
    write(cifar, "cifar100-binary", chosen(2, &layouts::cifar_records(0, &[&[3, 42]])))?;
    write(cifar, "cifar100-python", chosen(3, &layouts::cifar_pickle(0, "fine_labels", &[42])))?;

    let files = [("data_batch_1.bin".to_string(), vec![7; 40]), ("readme/a".to_string(), vec![])];
    let packed = layouts::tar_gz("cifar-10-batches-bin", &files);
    write(archives, "tar.gz", chosen(0, &packed))?;
    let mut tar = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut tar)?;
    write(archives, "tar", chosen(1, &tar))?;
    let files = [("wnids.txt".to_string(), b"n01443537\n".to_vec())];
    write(archives, "zip", chosen(2, &layouts::zip("tiny-imagenet-200", &files)))
}

fn images(folder: &Path) -> Result<()> {
    for (name, grey) in [("grey.png", true), ("colour.png", false), ("grey.jpg", true), ("colour.jpg", false)]
    {
        write(folder, name, layouts::encoded(name, [10, 120, 230], grey, 5, 4))?;
    }
    Ok(())
}

fn features(folder: &Path) -> Result<()> {
    for (name, dtype, compression) in [
        ("plain", FeatureType::F32, Compression::Off),
        ("half", FeatureType::F16, Compression::Lzf),
        ("zlib", FeatureType::F32, Compression::Zlib),
    ] {
        let key = FeatureKey::new(11, "out_2");
        let layout = Layout {
            keys: vec![(key.clone(), 2)],
            views: 1,
            total: 3,
            dtype,
            compression,
            provenance: Provenance {
                classes: Some(["ant", "bee", "cat"].map(str::to_string).to_vec()),
                taps: Some(vec!["out_2".to_string()]),
                ..Provenance::default()
            },
        };
        let work = tempfile::tempdir()?;
        let prefix = work.path().join("out");
        let mut writer = ShardWriter::create(&prefix, 0, 1, 0..3, &layout)?;
        writer.write(&key, 0, 0, Array2::from_elem((3, 2), 0.5).view())?;
        writer.write_labels(0, &[0, 1, 2])?;
        writer.write_paths(|row| format!("{row}.png"))?;
        let path = writer.finish()?;
        fs::copy(&path, folder.join(name)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The network of [`onnx`] and a configuration of its own.
const NETWORK: &str = "net_type: UNet
network: {image_shape: [1, 8, 8], n_channels: 32, ch_mults: [1, 1], is_attn: [False, True], dropout: 0.0, n_blocks: 1,
  use_res_for_updown: False}
model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
";

fn onnx(folder: &Path) -> Result<()> {
    let tensor = |name: &str| ValueInfoProto::tensor(name, DType::F32, &Shape::batch(&[1, 8, 8]));
    let model = Model {
        name: "features".to_string(),
        nodes: vec![NodeProto::new("Relu", "out_2", &["image"], vec![], &["out_2"])],
        inputs: vec![tensor("image")],
        outputs: vec![tensor("out_2")],
        ..Model::default()
    };
    let entries = [
        ("format", "ddae-onnx-1"),
        ("kind", "features"),
        ("config", NETWORK),
        ("checkpoint", "latest.safetensors"),
        ("digest", "0123"),
        ("taps", r#"[{"name":"out_2","shape":[32]}]"#),
        ("pixels", "[0,1]"),
        ("timestep", "11"),
        ("parameters", "1"),
        ("flops", "1"),
        ("tool", "ddae-export 0.1.0"),
        ("verification", r#"{"reference":1e-7,"tolerance":0.0001}"#),
    ];
    let entries = entries.map(|(key, value)| (format!("ddae.{key}"), value.to_string()));
    model.write(&folder.join("described"), &entries, LARGEST_MESSAGE)?;
    model.write(&folder.join("bare"), &[], LARGEST_MESSAGE)?;
    Ok(())
}

fn statistics(folder: &Path) -> Result<()> {
    let (mean, covariance) = (array![0.5, 2.0], array![[1.0, 0.1], [0.1, 2.0]]);
    let plain = Statistics { mean, covariance, count: None, network: None };
    archive::write(&folder.join("plain"), &plain)?;
    let named = Statistics { count: Some(9), network: Some("ab".repeat(32)), ..plain };
    Ok(archive::write(&folder.join("named"), &named)?)
}

fn configurations(folder: &Path) -> Result<()> {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    for entry in fs::read_dir(&published).with_context(|| published.display().to_string())? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(entry.file_name())).context("cannot copy a configuration")?;
    }
    write(folder, "network.yaml", NETWORK)
}
