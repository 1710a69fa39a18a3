//! Batches of pairs, and of images for SODA's probes.

use ddae_data::Split;
use ddae_data::augment::{Augmentation, ImageKey, SodaViews};
use ddae_data::loader::{Batch, Images, Loader, LoaderOptions, Pairs};
use ddae_model::config::{ChannelStatistics, SodaAugmentation};

use super::{UNALTERED_TARGET, interleaved, split, statistics};

const SHAPE: [usize; 3] = [3, 8, 6];

fn options() -> LoaderOptions {
    LoaderOptions { batch: 8, shuffle: true, seed: 3, epoch: 2, ..LoaderOptions::default() }
}

fn loader(split: &Split, options: LoaderOptions) -> Loader<Pairs> {
    Loader::pairs(split, &options, &statistics(3), SodaAugmentation::default()).expect("sensible options")
}

fn all(split: &Split, options: LoaderOptions) -> Vec<Batch<Pairs>> {
    loader(split, options).collect::<Result<_, _>>().expect("readable images")
}

#[test]
fn the_number_of_workers_and_the_batch_size_change_nothing() {
    let split = split(43, SHAPE);
    let reference = all(&split, LoaderOptions { workers: 0, ..options() });
    assert_eq!(reference.iter().map(Batch::len).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 3]);
    for workers in [1, 2, 5] {
        assert_eq!(all(&split, LoaderOptions { workers, ..options() }), reference);
    }
    let flat = |batches: Vec<Batch<Pairs>>| {
        batches.into_iter().fold(Pairs::default(), |mut all, batch| {
            all.sources.extend(batch.images.sources);
            all.targets.extend(batch.images.targets);
            all
        })
    };
    assert_eq!(flat(all(&split, LoaderOptions { batch: 5, ..options() })), flat(reference));
}

#[test]
fn an_interrupted_epoch_goes_on_with_the_same_batches() {
    let split = split(43, SHAPE);
    let whole = all(&split, options());
    for start_batch in [0, 2, 6] {
        let loader = loader(&split, LoaderOptions { start_batch, workers: 2, ..options() });
        assert_eq!((loader.batches(), loader.len()), (6, 6 - start_batch));
        assert_eq!(loader.collect::<Result<Vec<_>, _>>().expect("readable"), whole[start_batch..]);
    }
    assert_eq!(all(&split, LoaderOptions { drop_last: true, ..options() }), whole[..5]);
}

#[test]
fn a_pair_is_the_two_views_of_its_image() {
    let split = split(20, SHAPE);
    let mut views = SodaViews::new(SHAPE, &statistics(3), SodaAugmentation::default()).expect("RGB");
    let part = split.subset(&[17, 4]).expect("in range");
    let batch = all(&part, LoaderOptions { shuffle: false, ..options() }).remove(0);
    assert_eq!(batch.indices, [17, 4]);
    assert_eq!(batch.labels, [2, 1]);
    let (mut pairs, mut levels) = (Pairs::default(), vec![0; split.image_len()]);
    for id in [17, 4] {
        split.read(id, &mut levels).expect("in memory");
        let key = ImageKey { seed: 3, epoch: 2, id: id as u64 };
        views.source(&levels, key, &mut pairs.sources);
        pairs.targets.extend(interleaved(views.target(&levels, key)));
    }
    assert_eq!(batch.images, pairs);
}

#[test]
fn epochs_and_orders_differ() {
    let split = split(16, SHAPE);
    let of = |epoch, shuffle| all(&split, LoaderOptions { epoch, shuffle, batch: 16, ..options() }).remove(0);
    assert_ne!(of(0, true).indices, of(1, true).indices);
    let (first, second) = (of(0, false), of(1, false));
    assert_eq!(first.indices, second.indices);
    assert_ne!(first.images.sources, second.images.sources);
    assert_ne!(first.images.targets, second.images.targets);
}

#[test]
fn targets_can_be_the_images_themselves() {
    let split = split(9, SHAPE);
    let options = LoaderOptions::default();
    let pairs = Loader::pairs(&split, &options, &statistics(3), UNALTERED_TARGET).expect("RGB").next();
    let plain = Loader::images(&split, &options, Augmentation::NONE, None).expect("defaults").next();
    let targets = pairs.expect("one batch").expect("readable").images.targets;
    assert_eq!(plain.expect("one batch").expect("readable").images, Images::Bytes(targets));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let split = split(9, SHAPE);
    for (options, channels, wanted) in [
        (LoaderOptions { batch: 0, ..options() }, 3, "a batch of 0 images: give at least 1"),
        (
            LoaderOptions { start_batch: 3, ..options() },
            3,
            "cannot start at batch 3: noise/train has 2 batches of 8",
        ),
        (
            options(),
            1,
            "the normalisation is for 1 channels, but the images have 3: give one mean and one standard deviation per \
             channel",
        ),
    ] {
        let statistics = &statistics(channels);
        let pairs = Loader::pairs(&split, &options, statistics, SodaAugmentation::default());
        assert_eq!(pairs.unwrap_err().to_string(), wanted);
        let normalised = Loader::normalised(&split, &options, Augmentation::NONE, statistics);
        assert_eq!(normalised.unwrap_err().to_string(), wanted);
    }
}

fn normalised(
    split: &Split,
    workers: usize,
    augmentation: Augmentation,
    statistics: &ChannelStatistics,
) -> Vec<f32> {
    let options = LoaderOptions { batch: 50, seed: 1, workers, ..LoaderOptions::default() };
    let mut loader = Loader::normalised(split, &options, augmentation, statistics).expect("sensible");
    loader.next().expect("one batch").expect("readable").images
}

#[test]
fn images_for_probes_are_cropped_and_normalised() {
    let (split, statistics) = (split(50, SHAPE), statistics(3));
    let unit = ChannelStatistics { mean: vec![0.0; 3], std: vec![1.0; 3] };
    let plain = normalised(&split, 1, Augmentation::NONE, &unit);
    let test = normalised(&split, 1, Augmentation::NONE, &statistics);
    let pixels = 8 * 6;
    for (i, (&ours, &plain)) in test.iter().zip(&plain).enumerate() {
        let channel = i / pixels % 3;
        let (mean, std) = (statistics.mean[channel] as f32, statistics.std[channel] as f32);
        assert_eq!(ours, (plain - mean) / std);
    }
    let train = normalised(&split, 1, Augmentation::ResizedCrop, &statistics);
    let size = split.image_len();
    let same = train.chunks_exact(size).zip(test.chunks_exact(size)).filter(|(a, b)| a == b).count();
    assert!((8..30).contains(&same), "{same} of 50 were left as they are");
    assert_eq!(normalised(&split, 3, Augmentation::ResizedCrop, &statistics), train);
}
