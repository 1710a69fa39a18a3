//! Batches: order, determinism, resuming, augmentation, errors.

mod layouts;

use ddae_data::datasets;
use ddae_data::loader::{Batch, Loader, LoaderOptions, order};
use ddae_data::{DataError, Split};
use layouts::*;
use proptest::prelude::*;

/// `count` images of 1x4x4 with levels that follow from their number.
fn split(count: usize) -> Split {
    let levels = (0..count).flat_map(|number| image(number, 16)).collect();
    let labels = (0..count).map(|i| (i % 3) as u32).collect();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    Split::in_memory("numbers/train", classes, labels, [1, 4, 4], levels).expect("consistent")
}

fn all(split: &Split, options: &LoaderOptions) -> Vec<Batch> {
    let loader = Loader::new(split, options.clone()).expect("sensible options");
    loader.collect::<Result<_, _>>().expect("readable images")
}

fn everything() -> LoaderOptions {
    LoaderOptions {
        batch: 8,
        shuffle: true,
        seed: 3,
        epoch: 2,
        flip: true,
        crop_padding: Some(1),
        edm_augment: Some(0.5),
        ..LoaderOptions::default()
    }
}

#[test]
fn plain_batches_are_the_split_in_order() {
    let split = split(10);
    let batches = all(&split, &LoaderOptions { batch: 4, ..LoaderOptions::default() });
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 2]);
    let expected: Vec<f32> = image(9, 16).iter().map(|&level| f32::from(level) / 255.0).collect();
    assert_eq!(batches[2].images[16..], expected);
    assert_eq!(batches[1].indices, [4, 5, 6, 7]);
    assert_eq!(batches[1].labels, [1, 2, 0, 1]);
    assert_eq!(batches[1].augment_labels, None);
    let dropped = all(&split, &LoaderOptions { batch: 4, drop_last: true, ..LoaderOptions::default() });
    assert_eq!(dropped, batches[..2]);
}

#[test]
fn the_number_of_workers_and_the_batch_size_change_nothing() {
    let split = split(43);
    let reference = all(&split, &LoaderOptions { workers: 0, ..everything() });
    for workers in [1, 2, 5] {
        assert_eq!(all(&split, &LoaderOptions { workers, ..everything() }), reference);
    }
    let flat = |batches: Vec<Batch>| batches.into_iter().flat_map(|b| b.images).collect::<Vec<_>>();
    let other = all(&split, &LoaderOptions { batch: 5, ..everything() });
    assert_eq!(flat(other), flat(reference));
}

#[test]
fn an_interrupted_epoch_goes_on_with_the_same_batches() {
    let split = split(43);
    let whole = all(&split, &everything());
    for start_batch in [0, 1, 4, 6] {
        let options = LoaderOptions { start_batch, workers: 2, ..everything() };
        let loader = Loader::new(&split, options).expect("sensible options");
        assert_eq!((loader.batches(), loader.len()), (6, 6 - start_batch));
        assert_eq!(loader.collect::<Result<Vec<_>, _>>().expect("readable"), whole[start_batch..]);
    }
}

#[test]
fn epochs_differ_in_order_and_augmentation() {
    let split = split(64);
    let of_epoch =
        |epoch, shuffle| all(&split, &LoaderOptions { epoch, shuffle, batch: 64, ..everything() }).remove(0);
    assert_ne!(of_epoch(0, true).indices, of_epoch(1, true).indices);
    let (first, second) = (of_epoch(0, false), of_epoch(1, false));
    assert_eq!(first.indices, second.indices);
    assert_ne!(first.images, second.images);
    assert_ne!(first.augment_labels, second.augment_labels);
}

#[test]
fn a_subset_augments_its_images_as_the_whole_does() {
    let split = split(30);
    let options = LoaderOptions { shuffle: false, batch: 30, ..everything() };
    let whole = all(&split, &options).remove(0);
    let part = all(&split.subset(&[17, 4]).expect("in range"), &options).remove(0);
    assert_eq!(part.indices, [17, 4]);
    assert_eq!(part.images[..16], whole.images[17 * 16..18 * 16]);
    assert_eq!(part.images[16..], whole.images[4 * 16..5 * 16]);
}

#[test]
fn flips_happen_half_of_the_time_and_nothing_else_changes() {
    let split = split(2000);
    let options = LoaderOptions { batch: 2000, flip: true, ..LoaderOptions::default() };
    let flipped = all(&split, &options).remove(0);
    let plain = all(&split, &LoaderOptions { flip: false, ..options }).remove(0);
    let mut count = 0;
    for (ours, original) in flipped.images.chunks_exact(16).zip(plain.images.chunks_exact(16)) {
        let mirrored: Vec<f32> = original.chunks_exact(4).flat_map(|row| row.iter().rev().copied()).collect();
        assert!(ours == original || ours == mirrored);
        count += usize::from(ours != original);
    }
    assert!((900..1100).contains(&count), "{count}");
}

#[test]
fn edm_augmentation_comes_with_its_labels() {
    let split = split(50);
    let options = LoaderOptions { batch: 50, edm_augment: Some(0.0), ..LoaderOptions::default() };
    let batch = all(&split, &options).remove(0);
    let labels = batch.augment_labels.expect("asked for");
    assert_eq!(labels.len(), 50 * 9);
    // With probability 0 only the left-right flip is left.
    for (label, (ours, number)) in labels.chunks_exact(9).zip(batch.images.chunks_exact(16).zip(0..)) {
        let mut expected: Vec<f32> =
            image(number, 16).iter().map(|&level| f32::from(level) / 255.0).collect();
        if label[0] != 0.0 {
            expected.chunks_exact_mut(4).for_each(<[f32]>::reverse);
        }
        assert!(ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(label[1..], [0.0; 8]);
    }
}

#[test]
fn an_unreadable_image_is_named_and_the_loader_ends_cleanly() {
    let root = folder();
    for name in ["1.png", "2.png", "3.png", "4.png"] {
        write(root.path().join("train/a").join(name), encoded(name, [9, 9, 9], false, 8, 8));
    }
    let broken = root.path().join("train/a/3.png");
    let whole = std::fs::read(&broken).expect("just written");
    write(&broken, &whole[..whole.len() - 20]);
    let train = datasets::open("folder", Some(root.path())).expect("opens").train;
    for workers in [0, 2] {
        let options = LoaderOptions { batch: 1, workers, ..LoaderOptions::default() };
        let outcomes: Vec<_> = Loader::new(&train, options).expect("sensible options").collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
        let message = outcomes[2].as_ref().unwrap_err().to_string();
        assert!(message.starts_with(&broken.display().to_string()), "{message}");
        assert!(message.ends_with("expected a whole PNG or JPEG image"), "{message}");
    }
}

#[test]
fn options_without_sense_are_refused() {
    let error = |options| Loader::new(&split(10), options).unwrap_err();
    let default = LoaderOptions::default;
    let expectations = [
        (LoaderOptions { batch: 0, ..default() }, "a batch of 0 images: give at least 1"),
        (
            LoaderOptions { batch: 4, start_batch: 4, ..default() },
            "cannot start at batch 4: numbers/train has 3 batches of 4",
        ),
        (
            LoaderOptions { edm_augment: Some(1.5), ..default() },
            "an augmentation probability of 1.5: it must lie between 0 and 1",
        ),
        (
            LoaderOptions { crop_padding: Some(5), ..default() },
            "a crop padding of 5 is more than the images' 4x4",
        ),
    ];
    for (options, message) in expectations {
        let error = error(options);
        assert!(matches!(error, DataError::Argument(_)));
        assert_eq!(error.to_string(), message);
    }
    assert!(error(LoaderOptions { edm_augment: Some(f64::NAN), ..default() }).to_string().contains("NaN"));
}

#[test]
fn an_empty_split_has_no_batches() {
    let empty = split(3).subset(&[]).expect("nothing");
    assert!(all(&empty, &LoaderOptions { workers: 2, ..LoaderOptions::default() }).is_empty());
}

proptest! {
    #[test]
    fn every_order_is_a_permutation(seed in any::<u64>(), epoch in any::<u64>(), count in 0usize..300) {
        let mut positions = order(seed, epoch, count);
        prop_assert_eq!(&order(seed, epoch, count), &positions);
        positions.sort_unstable();
        prop_assert_eq!(positions, (0..count as u32).collect::<Vec<_>>());
    }
}
