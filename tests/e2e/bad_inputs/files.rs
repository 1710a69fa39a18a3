//! A missing, empty, truncated or foreign file, or a folder, in place of every kind of input.

use std::fs;

use super::kinds::{KINDS, Kind};
use crate::place::Place;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It has no bytes.
    Empty,
    /// Its second half is missing.
    Truncated,
    /// It is a whole file of another kind.
    Foreign,
    /// A folder has its name.
    Folder,
}

const FAULTS: [Fault; 5] = [Fault::Missing, Fault::Empty, Fault::Truncated, Fault::Foreign, Fault::Folder];

/// Names of what programs write on the way to a whole file.
fn is_half_written(name: &str) -> bool {
    [".partial", ".tmp", ".ddae-export-"].iter().any(|mark| name.contains(mark))
}

/// Puts a faulty file in the place of the good one.
fn spoil(place: &Place, kind: &Kind, fault: Fault) {
    let path = place.path(kind.file);
    let good = place.read(kind.file);
    fs::remove_file(&path).expect("removed");
    match fault {
        Fault::Missing => {}
        Fault::Empty => place.write(kind.file, ""),
        Fault::Truncated => place.write(kind.file, &good[..good.len() / 2]),
        Fault::Foreign => place.write(kind.file, (kind.foreign)()),
        Fault::Folder => fs::create_dir(&path).expect("a folder"),
    }
}

/// Each command refuses the file by name, in one line, and leaves everything as it was.
#[track_caller]
fn check(kind: &Kind) {
    for fault in FAULTS.into_iter().filter(|fault| !kind.harmless.contains(fault)) {
        let place = (kind.place)();
        spoil(&place, kind, fault);
        let before = place.snapshot();
        for command in kind.commands {
            let ended = place.run(command);
            let error = ended.error(&[1, 2]);
            let what = format!("{} {fault:?}: {ended}", kind.name);
            let is_named = error.contains(kind.file) || kind.unnamed.is_some_and(|text| error.contains(text));
            assert!(is_named, "not named: {what}");
            assert!(error.len() < 400, "more than a line: {what}");
            assert!(!error.contains("os error"), "the system's words: {what}");
            let mut after = place.snapshot();
            assert!(!after.keys().any(|name| is_half_written(name)), "{:?}: {what}", after.keys());
            // A run that begins before it meets the file keeps what it has.
            after.retain(|name, _| !kind.leaves.iter().any(|left| name.starts_with(left)));
            assert!(after == before, "{:?} instead of {:?}: {what}", after.keys(), before.keys());
            for left in kind.leaves {
                let _ = fs::remove_dir_all(place.path(left));
            }
        }
    }
}

macro_rules! kinds {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            check(KINDS.iter().find(|kind| kind.name == $name).expect("a kind"));
        })*

        #[test]
        fn every_kind_has_a_test() {
            assert!(KINDS.iter().map(|kind| kind.name).eq([$($name),*]));
        }
    };
}

kinds! {
    yaml: "YAML",
    safetensors: "safetensors",
    pytorch: "PyTorch",
    checkpoint_of_a_run: "checkpoint of a run",
    onnx: "ONNX",
    hdf5_to_learn_from: "HDF5 to learn from",
    hdf5_to_measure_on: "HDF5 to measure on",
    shard: "shard",
    idx_images: "idx images",
    idx_labels: "idx labels",
    cifar_batch: "CIFAR batch",
    pickled_cifar_batch: "pickled CIFAR batch",
    png: "PNG",
    drawn_png: "drawn PNG",
}
