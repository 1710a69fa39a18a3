//! Batches: order, determinism, resuming, augmentation, errors.

mod layouts;

use ddae_data::augment::Augmentation;
use ddae_data::datasets;
use ddae_data::loader::{Batch, Images, Loader, LoaderOptions, Parts, order};
use ddae_data::{DataError, Split};
use ddae_model::config::{ChannelStatistics, SodaAugmentation};
use layouts::*;
use proptest::prelude::*;

const CROP_AND_FLIP: Augmentation = Augmentation::Crop { padding: Some(1), flip: true };

/// `count` images of 1x4x4 with levels that follow from their number.
fn split(count: usize) -> Split {
    let levels = (0..count).flat_map(|number| image(number, 16)).collect();
    let labels = (0..count).map(|i| (i % 3) as u32).collect();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    Split::in_memory("numbers/train", classes, labels, [1, 4, 4], levels).expect("consistent")
}

/// Cropped and flipped, with EDM's augmentation.
fn everything(split: &Split, options: LoaderOptions) -> Loader<Images> {
    Loader::images(split, &options, CROP_AND_FLIP, Some(0.5)).expect("sensible options")
}

fn shuffled() -> LoaderOptions {
    LoaderOptions { batch: 8, shuffle: true, seed: 3, epoch: 2, ..LoaderOptions::default() }
}

fn all<I: Send + 'static>(loader: Loader<I>) -> Vec<Batch<I>> {
    loader.collect::<Result<_, _>>().expect("readable images")
}

/// The bytes of images that nothing but `augmentation` happens to.
fn bytes(split: &Split, options: &LoaderOptions, augmentation: Augmentation) -> Vec<Batch<Vec<u8>>> {
    let loader = Loader::images(split, options, augmentation, None).expect("sensible options");
    let bytes = |Batch { images, labels, indices }| match images {
        Images::Bytes(images) => Batch { images, labels, indices },
        Images::Edm { .. } => panic!("nothing resamples them"),
    };
    all(loader).into_iter().map(bytes).collect()
}

/// Images and labels of EDM's augmentation.
fn edm(batch: &Batch<Images>) -> (&[f32], &[f32]) {
    match &batch.images {
        Images::Edm { images, labels } => (images, labels),
        Images::Bytes(_) => panic!("they were augmented"),
    }
}

#[test]
fn plain_batches_are_the_split_in_order() {
    let split = split(10);
    let options = LoaderOptions { batch: 4, ..LoaderOptions::default() };
    let batches = bytes(&split, &options, Augmentation::NONE);
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(batches[2].images[16..], image(9, 16));
    assert_eq!(batches[1].indices, [4, 5, 6, 7]);
    assert_eq!(batches[1].labels, [1, 2, 0, 1]);
    let options = LoaderOptions { drop_last: true, ..options };
    assert_eq!(bytes(&split, &options, Augmentation::NONE), batches[..2]);
}

#[test]
fn the_number_of_workers_and_the_batch_size_change_nothing() {
    let split = split(43);
    let with = |workers, batch| all(everything(&split, LoaderOptions { workers, batch, ..shuffled() }));
    let reference = with(0, 8);
    for workers in [1, 2, 5] {
        assert_eq!(with(workers, 8), reference);
    }
    let flat = |batches: &[Batch<Images>]| batches.iter().flat_map(|b| edm(b).0.to_vec()).collect::<Vec<_>>();
    assert_eq!(flat(&with(1, 5)), flat(&reference));
}

#[test]
fn an_interrupted_epoch_goes_on_with_the_same_batches() {
    let split = split(43);
    let whole = all(everything(&split, shuffled()));
    for start_batch in [0, 1, 4, 6] {
        let loader = everything(&split, LoaderOptions { start_batch, workers: 2, ..shuffled() });
        assert_eq!((loader.batches(), loader.len()), (6, 6 - start_batch));
        assert_eq!(all(loader), whole[start_batch..]);
    }
}

#[test]
fn epochs_differ_in_order_and_augmentation() {
    let split = split(64);
    let of_epoch = |epoch, shuffle| {
        let options = LoaderOptions { epoch, shuffle, batch: 64, ..shuffled() };
        all(everything(&split, options)).remove(0)
    };
    assert_ne!(of_epoch(0, true).indices, of_epoch(1, true).indices);
    let (first, second) = (of_epoch(0, false), of_epoch(1, false));
    assert_eq!(first.indices, second.indices);
    assert_ne!(edm(&first).0, edm(&second).0);
    assert_ne!(edm(&first).1, edm(&second).1);
}

#[test]
fn a_subset_augments_its_images_as_the_whole_does() {
    let split = split(30);
    let first =
        |split| all(everything(split, LoaderOptions { batch: 30, ..LoaderOptions::default() })).remove(0);
    let (whole, part) = (first(&split), first(&split.subset(&[17, 4]).expect("in range")));
    assert_eq!(part.indices, [17, 4]);
    assert_eq!(edm(&part).0[..16], edm(&whole).0[17 * 16..18 * 16]);
    assert_eq!(edm(&part).0[16..], edm(&whole).0[4 * 16..5 * 16]);
}

#[test]
fn flips_happen_half_of_the_time_and_nothing_else_changes() {
    let split = split(2000);
    let options = LoaderOptions { batch: 2000, ..LoaderOptions::default() };
    let flip = Augmentation::Crop { padding: None, flip: true };
    let flipped = bytes(&split, &options, flip).remove(0);
    let plain = bytes(&split, &options, Augmentation::NONE).remove(0);
    let mut count = 0;
    for (ours, original) in flipped.images.chunks_exact(16).zip(plain.images.chunks_exact(16)) {
        let mirrored: Vec<u8> = original.chunks_exact(4).flat_map(|row| row.iter().rev().copied()).collect();
        assert!(ours == original || ours == mirrored);
        count += usize::from(ours != original);
    }
    assert!((900..1100).contains(&count), "{count}");
}

#[test]
fn edm_augmentation_comes_with_its_labels() {
    let split = split(50);
    let options = LoaderOptions { batch: 50, ..LoaderOptions::default() };
    let loader = Loader::images(&split, &options, Augmentation::NONE, Some(0.0)).expect("sensible options");
    let batch = all(loader).remove(0);
    let (images, labels) = edm(&batch);
    assert_eq!(labels.len(), 50 * 9);
    // With probability 0 only the left-right flip is left.
    for (label, (ours, number)) in labels.chunks_exact(9).zip(images.chunks_exact(16).zip(0..)) {
        let mut expected: Vec<f32> =
            image(number, 16).iter().map(|&level| f32::from(level) / 255.0).collect();
        if label[0] != 0.0 {
            expected.chunks_exact_mut(4).for_each(<[f32]>::reverse);
        }
        assert!(ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(label[1..], [0.0; 8]);
    }
}

/// FNV-1a.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn hash_f32(values: &[f32]) -> u64 {
    hash(values.iter().flat_map(|value| value.to_le_bytes()))
}

/// The images of a published seed stay what they are.
#[test]
fn every_draw_is_what_it_was() {
    let levels = (0..43 * 144u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let split =
        Split::in_memory("n/train", vec!["a".into()], vec![0; 43], [3, 8, 6], levels).expect("a split");
    let options = shuffled();
    let images: Vec<u8> = bytes(&split, &options, CROP_AND_FLIP).into_iter().flat_map(|b| b.images).collect();
    let loader = Loader::images(&split, &options, CROP_AND_FLIP, Some(0.5)).expect("sensible options");
    let (mut augmented, mut labels) = (vec![], vec![]);
    for batch in &all(loader) {
        augmented.extend_from_slice(edm(batch).0);
        labels.extend_from_slice(edm(batch).1);
    }
    let statistics = ChannelStatistics { mean: vec![0.5, 0.25, 0.125], std: vec![0.25, 0.5, 1.0] };
    let loader = Loader::normalised(&split, &options, Augmentation::ResizedCrop, &statistics).expect("RGB");
    let normalised: Vec<f32> = all(loader).into_iter().flat_map(|batch| batch.images).collect();
    let loader = Loader::pairs(&split, &options, &statistics, SodaAugmentation::default()).expect("RGB");
    let (mut sources, mut targets) = (vec![], vec![]);
    for batch in all(loader) {
        sources.extend(batch.images.sources);
        targets.extend(batch.images.targets);
    }
    let hashes = [
        hash(images),
        hash_f32(&augmented),
        hash_f32(&labels),
        hash_f32(&normalised),
        hash_f32(&sources),
        hash(targets),
    ];
    let expected = [
        7_829_541_009_567_780_585,
        14_791_340_208_833_714_164,
        10_635_896_918_169_124_997,
        13_719_288_757_714_952_461,
        1_903_207_928_359_500_508,
        4_321_533_789_554_796_016,
    ];
    assert_eq!(hashes, expected);
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
        let loader = Loader::images(&train, &options, Augmentation::NONE, None).expect("sensible options");
        let outcomes: Vec<_> = loader.collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
        let message = outcomes[2].as_ref().unwrap_err().to_string();
        assert!(message.starts_with(&broken.display().to_string()), "{message}");
        assert!(
            message.ends_with("expected a whole image (PNG, JPEG, WebP, BMP, GIF, TIFF or PNM)"),
            "{message}"
        );
    }
}

#[test]
fn options_without_sense_are_refused() {
    let default = LoaderOptions::default;
    let shift = |padding| Augmentation::Crop { padding: Some(padding), flip: false };
    for (options, augmentation, edm, message) in [
        (
            LoaderOptions { batch: 0, ..default() },
            Augmentation::NONE,
            None,
            "a batch of 0 images: give at least 1",
        ),
        (
            LoaderOptions { batch: 4, start_batch: 4, ..default() },
            Augmentation::NONE,
            None,
            "cannot start at batch 4: numbers/train has 3 batches of 4",
        ),
        (
            default(),
            Augmentation::NONE,
            Some(1.5),
            "an augmentation probability of 1.5: it must lie between 0 and 1",
        ),
        (
            default(),
            Augmentation::NONE,
            Some(f64::NAN),
            "an augmentation probability of NaN: it must lie between 0 and 1",
        ),
        (default(), shift(5), None, "a crop padding of 5 is more than the images' 4x4"),
        (default(), shift(5), Some(0.1), "a crop padding of 5 is more than the images' 4x4"),
    ] {
        let error = Loader::images(&split(10), &options, augmentation, edm).unwrap_err();
        assert!(matches!(error, DataError::Argument(_)));
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn an_empty_split_has_no_batches() {
    let empty = split(3).subset(&[]).expect("nothing");
    let options = LoaderOptions { workers: 2, ..LoaderOptions::default() };
    assert!(bytes(&empty, &options, Augmentation::NONE).is_empty());
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

/// Whatever the number of ranks and passes, the parts of a step are the batch that one rank would have.
#[test]
fn parts_of_a_batch_make_it_whole() {
    let (split, options) = (split(46), LoaderOptions { batch: 12, ..shuffled() });
    let whole: Vec<Vec<u64>> =
        all(everything(&split, options.clone())).into_iter().map(|b| b.indices).collect();
    assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [12, 12, 12, 10]);
    for (ranks, turns) in [(1, 1), (2, 1), (4, 1), (1, 3), (2, 3), (5, 2)] {
        let of_rank = |rank| {
            let parts = Parts::of_rank(rank, ranks, turns);
            let options = LoaderOptions { parts, workers: 2, start_batch: 1, ..options.clone() };
            let given: Vec<Vec<u64>> =
                all(everything(&split, options)).into_iter().map(|b| b.indices).collect();
            assert_eq!(given.len(), 3 * turns);
            given
        };
        let of_ranks: Vec<_> = (0..ranks).map(of_rank).collect();
        for (batch, wanted) in whole[1..].iter().enumerate() {
            let parts =
                (0..turns).flat_map(|turn| of_ranks.iter().map(move |given| &given[batch * turns + turn]));
            let parts: Vec<&Vec<u64>> = parts.collect();
            let longest = parts.iter().map(|part| part.len()).max();
            assert!(parts.iter().all(|part| part.len() + 1 >= longest.unwrap_or(0)), "{parts:?}");
            assert_eq!(
                &parts.into_iter().flatten().copied().collect::<Vec<_>>(),
                wanted,
                "{ranks} x {turns}"
            );
        }
    }
    // More parts than images: a rank without any gets the first, which it leaves uncounted.
    let parts = Parts::of_rank(0, 14, 1);
    assert_eq!((parts.places(0, 12), parts.given()), (0..0, 1));
    let first = all(everything(&split, LoaderOptions { parts, ..options })).remove(0);
    assert_eq!(first.indices, whole[0][..1]);
}
