//! Batches of pairs, and of images for SODA's probes.

use ddae_data::augment::{ImageKey, SodaViews};
use ddae_data::loader::{Batch, Loader, LoaderOptions, PairBatch, PairLoader, PairOptions};
use ddae_data::{DataError, Split};
use ddae_model::config::SodaAugmentation;

use super::{UNALTERED_TARGET, split, statistics};

const SHAPE: [usize; 3] = [3, 8, 6];

fn options() -> PairOptions {
    PairOptions { batch: 8, seed: 3, epoch: 2, drop_last: false, ..PairOptions::new(statistics(3)) }
}

fn all(split: &Split, options: &PairOptions) -> Vec<PairBatch> {
    let loader = PairLoader::new(split, options.clone()).expect("sensible options");
    loader.collect::<Result<_, _>>().expect("readable images")
}

#[test]
fn the_number_of_workers_and_the_batch_size_change_nothing() {
    let split = split(43, SHAPE);
    let reference = all(&split, &PairOptions { workers: 0, ..options() });
    assert_eq!(reference.iter().map(PairBatch::len).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 3]);
    for workers in [1, 2, 5] {
        assert_eq!(all(&split, &PairOptions { workers, ..options() }), reference);
    }
    let flat = |batches: Vec<PairBatch>| -> (Vec<f32>, Vec<f32>) {
        let of = |part: fn(&PairBatch) -> &[f32]| batches.iter().flat_map(part).copied().collect();
        (of(|batch| &batch.sources), of(|batch| &batch.targets))
    };
    let other = all(&split, &PairOptions { batch: 5, ..options() });
    assert_eq!(flat(other), flat(reference));
}

#[test]
fn an_interrupted_epoch_goes_on_with_the_same_batches() {
    let split = split(43, SHAPE);
    let whole = all(&split, &options());
    for start_batch in [0, 2, 6] {
        let loader =
            PairLoader::new(&split, PairOptions { start_batch, workers: 2, ..options() }).expect("in range");
        assert_eq!((loader.batches(), loader.len()), (6, 6 - start_batch));
        assert_eq!(loader.collect::<Result<Vec<_>, _>>().expect("readable"), whole[start_batch..]);
    }
    let dropped = all(&split, &PairOptions { drop_last: true, ..options() });
    assert_eq!(dropped, whole[..5]);
}

#[test]
fn a_pair_is_the_two_views_of_its_image() {
    let split = split(20, SHAPE);
    let views = SodaViews::new(SHAPE, &statistics(3), SodaAugmentation::default()).expect("RGB");
    let (mut canvas, mut levels) = (views.canvas(), vec![0; split.image_len()]);
    let part = split.subset(&[17, 4]).expect("in range");
    let batch = all(&part, &PairOptions { shuffle: false, ..options() }).remove(0);
    assert_eq!(batch.indices, [17, 4]);
    assert_eq!(batch.labels, [2, 1]);
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    for id in [17, 4] {
        split.read(id, &mut levels).expect("in memory");
        let key = ImageKey { seed: 3, epoch: 2, id: id as u64 };
        views.source(&levels, key, &mut canvas, &mut sources);
        views.target(&levels, key, &mut canvas, &mut targets);
    }
    assert_eq!((batch.sources, batch.targets), (sources, targets));
}

#[test]
fn epochs_and_orders_differ() {
    let split = split(16, SHAPE);
    let of = |epoch, shuffle| all(&split, &PairOptions { epoch, shuffle, batch: 16, ..options() }).remove(0);
    assert_ne!(of(0, true).indices, of(1, true).indices);
    let (first, second) = (of(0, false), of(1, false));
    assert_eq!(first.indices, second.indices);
    assert_ne!(first.sources, second.sources);
    assert_ne!(first.targets, second.targets);
}

#[test]
fn targets_can_be_the_images_themselves() {
    let split = split(9, SHAPE);
    let options = PairOptions { augmentation: UNALTERED_TARGET, shuffle: false, ..options() };
    let targets: Vec<f32> = all(&split, &options).into_iter().flat_map(|batch| batch.targets).collect();
    let plain = Loader::new(&split, LoaderOptions::default()).expect("defaults").next();
    assert_eq!(targets, plain.expect("one batch").expect("readable").images);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let split = split(9, SHAPE);
    let error = |options| PairLoader::new(&split, options).unwrap_err().to_string();
    assert_eq!(error(PairOptions { batch: 0, ..options() }), "a batch of 0 images: give at least 1");
    assert_eq!(
        error(PairOptions { start_batch: 3, ..options() }),
        "cannot start at batch 3: noise/train has 2 batches of 8"
    );
    assert!(error(PairOptions { normalisation: statistics(1), ..options() }).contains("is for 1 channels"));
}

fn probed(split: &Split, options: LoaderOptions) -> Result<Batch, DataError> {
    let options = LoaderOptions { batch: 50, seed: 1, ..options };
    Loader::new(split, options)?.next().expect("one batch")
}

#[test]
fn images_for_probes_are_cropped_and_normalised() {
    let split = split(50, SHAPE);
    let plain = probed(&split, LoaderOptions::default()).expect("sensible");
    let normalised = LoaderOptions { normalisation: Some(statistics(3)), ..LoaderOptions::default() };
    let test = probed(&split, normalised.clone()).expect("sensible").images;
    let pixels = 8 * 6;
    for (i, (&ours, &plain)) in test.iter().zip(&plain.images).enumerate() {
        let channel = i / pixels % 3;
        let (mean, std) = (statistics(3).mean[channel] as f32, statistics(3).std[channel] as f32);
        assert_eq!(ours, (plain - mean) / std);
    }
    let cropped = LoaderOptions { downstream_crop: true, ..normalised };
    let train = probed(&split, cropped.clone()).expect("sensible").images;
    let size = split.image_len();
    let same = train.chunks_exact(size).zip(test.chunks_exact(size)).filter(|(a, b)| a == b).count();
    assert!((8..30).contains(&same), "{same} of 50 were left as they are");
    let again = probed(&split, LoaderOptions { workers: 3, ..cropped }).expect("sensible").images;
    assert_eq!(again, train);
}

#[test]
fn augmentations_that_exclude_each_other_are_refused() {
    let split = split(9, SHAPE);
    let crop = LoaderOptions { downstream_crop: true, ..LoaderOptions::default() };
    let message = "resized crops mirror images themselves: leave out flip and padded crop";
    for options in
        [LoaderOptions { flip: true, ..crop.clone() }, LoaderOptions { crop_padding: Some(2), ..crop }]
    {
        assert_eq!(probed(&split, options).unwrap_err().to_string(), message);
    }
    let both = LoaderOptions {
        edm_augment: Some(0.1),
        normalisation: Some(statistics(3)),
        ..LoaderOptions::default()
    };
    let error = probed(&split, both).unwrap_err().to_string();
    assert_eq!(error, "EDM's augmentation is for images in [0, 1]: leave out the normalisation");
}
