//! SODA's views, and the crops of its probes.

use ddae_base::random::{Purpose, stream};
use ddae_data::Split;
use ddae_data::augment::{Augmentation, Augmenter, CROP_AREA, ImageKey, Normaliser, SodaViews};
use ddae_model::config::{ChannelStatistics, SodaAugmentation};

use super::{UNALTERED_TARGET, split, statistics};

fn image(split: &Split) -> Vec<u8> {
    let mut levels = vec![0; split.image_len()];
    split.read(0, &mut levels).expect("in memory");
    levels
}

fn key(epoch: u64, id: u64) -> ImageKey {
    ImageKey { seed: 4, epoch, id }
}

/// FNV-1a over the bits.
fn hash(numbers: &[f32]) -> u64 {
    numbers.iter().fold(0xcbf2_9ce4_8422_2325, |h: u64, number| {
        (h ^ u64::from(number.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn a_key_decides_every_draw() {
    let shape = [3, 32, 32];
    let levels = image(&split(1, shape));
    let mut views = SodaViews::new(shape, &statistics(3), SodaAugmentation::default()).expect("RGB");
    let mut make = |key: ImageKey| {
        let mut source = Vec::new();
        views.source(&levels, key, &mut source);
        (source, views.target(&levels, key).to_vec())
    };
    let first = make(key(0, 0));
    let others = [key(0, 1), key(1, 0), ImageKey { seed: 5, epoch: 0, id: 0 }].map(&mut make);
    assert_eq!(make(key(0, 0)), first);
    for (source, target) in &others {
        assert_ne!(*source, first.0);
        assert_ne!(*target, first.1);
    }
    // The images of a published seed stay what they are.
    let targets = (0..64).flat_map(|id| make(key(0, id)).1);
    let targets: Vec<f32> = targets.map(|level| f32::from(level) / 255.0).collect();
    assert_eq!(hash(&targets), 2_231_160_193_819_891_911);
}

#[test]
fn views_are_drawn_as_often_as_published() {
    let shape = [3, 32, 32];
    let levels = image(&split(1, shape));
    let mut views = SodaViews::new(shape, &statistics(3), SodaAugmentation::default()).expect("RGB");
    let untouched = (0..20_000).filter(|&id| views.target(&levels, key(0, id)) == levels).count();
    // Neither cropped (0.05) nor under RandAugment (0.35), or under two of the operations that change nothing here
    // (Identity, AutoContrast); and some crops are the whole image.
    assert!((300..460).contains(&untouched), "{untouched}");
}

#[test]
fn the_source_has_the_noise() {
    let shape = [1, 28, 28];
    let levels = vec![100; 28 * 28];
    let mut views = SodaViews::new(shape, &statistics(1), SodaAugmentation::default()).expect("grey");
    // A flat image stays flat under crops, so that what varies from pixel to pixel is noise.
    let mut variances: Vec<f64> = (0..50)
        .map(|id| {
            let mut source = Vec::new();
            views.source(&levels, key(0, id), &mut source);
            let mean = source.iter().map(|&v| f64::from(v)).sum::<f64>() / source.len() as f64;
            source.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / source.len() as f64
        })
        .collect();
    variances.sort_by(f64::total_cmp);
    // Shear, translation and rotation bring in black; the lower half of the images has none of them.
    assert!(variances[25] < 0.012 && variances[0] > 0.008, "{variances:?}");
}

#[test]
fn source_and_target_are_drawn_for_themselves() {
    let shape = [3, 32, 32];
    let levels = image(&split(1, shape));
    // Not normalised, so that they could be alike.
    let plain = ChannelStatistics { mean: vec![0.0; 3], std: vec![1.0; 3] };
    let mut views = SodaViews::new(shape, &plain, SodaAugmentation::default()).expect("RGB");
    let mut alike = 0;
    for id in 0..500 {
        let mut source = Vec::new();
        views.source(&levels, key(0, id), &mut source);
        let target = views.target(&levels, key(0, id)).iter().map(|&level| f32::from(level) / 255.0);
        let distance = source.iter().zip(target).map(|(a, b)| (a - b).abs()).sum::<f32>();
        // The noise alone is 0.08 on average.
        alike += u32::from(distance / (source.len() as f32) < 0.09);
    }
    assert!(alike <= 5, "{alike} of 500");
}

#[test]
fn without_augmentation_the_target_is_the_image() {
    let shape = [3, 9, 12];
    let levels = image(&split(1, shape));
    let mut views = SodaViews::new(shape, &statistics(3), UNALTERED_TARGET).expect("RGB");
    assert_eq!(views.target(&levels, key(0, 0)), levels);
    // The source does not change with it.
    let (mut source, mut with_both) = (Vec::new(), Vec::new());
    views.source(&levels, key(0, 0), &mut source);
    let mut both = SodaViews::new(shape, &statistics(3), SodaAugmentation::default()).expect("RGB");
    both.source(&levels, key(0, 0), &mut with_both);
    assert_eq!(source, with_both);
}

#[test]
fn crops_leave_the_share_of_the_image_that_was_asked_for() {
    let shape = [3, 32, 32];
    let levels = image(&split(1, shape));
    let mirrored: Vec<u8> = levels.chunks(32).flat_map(|row| row.iter().rev().copied()).collect();
    let whole = |crop_area| {
        let augmentation = SodaAugmentation { crop_area, ..SodaAugmentation::default() };
        let mut views = SodaViews::new(shape, &statistics(3), augmentation).expect("RGB");
        let is_whole = |id: &u64| {
            let target = views.target(&levels, key(0, *id));
            target == levels || target == mirrored
        };
        (0..300).filter(is_whole).count()
    };
    assert_eq!(SodaAugmentation::default().crop_area, CROP_AREA);
    // All of a square image is left by nothing but the whole; RandAugment changes most of the others.
    let (published, all) = (whole(CROP_AREA), whole([1.0, 1.0]));
    assert!(published < 20 && all > 90, "{published} {all}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let error = |shape, channels| {
        SodaViews::new(shape, &statistics(channels), SodaAugmentation::default()).unwrap_err().to_string()
    };
    assert!(error([2, 8, 8], 2).contains("1 or 3 channels"));
    assert!(error([1, 8, 8], 3).contains("the normalisation is for 3 channels, but the images have 1"));
    assert!(Augmenter::new(Augmentation::ResizedCrop, [4, 8, 8]).is_err());
}

#[test]
fn resized_crops_leave_a_third_of_the_images() {
    let levels = image(&split(1, [3, 16, 16]));
    let mut crop = Augmenter::new(Augmentation::ResizedCrop, [3, 16, 16]).expect("RGB");
    let mut untouched = 0;
    for id in 0..4000 {
        let mut cropped = levels.clone();
        crop.apply(&mut cropped, &mut stream(0, Purpose::Augment, id, 0));
        untouched += u32::from(cropped == levels);
    }
    // 0.35, and the few crops that are the whole image, not mirrored.
    assert!((1320..1560).contains(&untouched), "{untouched}");
}

#[test]
fn published_normalisation_of_cifar10() {
    let normaliser = Normaliser::new(3, &statistics(3)).expect("three of each");
    let mut numbers = Vec::new();
    normaliser.append(&[0, 128, 255], &mut numbers);
    // torchvision's ToTensor and Normalize, in float32.
    let expected = [-2.4290657, 0.099101394, 2.7537313];
    for (ours, expected) in numbers.iter().zip(expected) {
        assert!((ours - expected).abs() <= 5e-7, "{numbers:?}");
    }
}
