//! Fitting, subsets and held-out parts.

use ddae_data::Split;
use ddae_data::datasets;
use proptest::prelude::*;

fn grey_28() -> Split {
    datasets::open("fashion-sample", None).expect("built in").test
}

fn small(labels: &[u32], shape: [usize; 3]) -> Split {
    let length: usize = shape.iter().product();
    let levels = (0..labels.len() * length).map(|i| (i % 256) as u8).collect();
    let classes = (0..3).map(|class| format!("class {class}")).collect();
    Split::in_memory("small/train", classes, labels.to_vec(), shape, levels).expect("consistent")
}

fn read(split: &Split, index: usize) -> Vec<u8> {
    let mut levels = vec![0; split.image_len()];
    split.read(index, &mut levels).expect("a readable image");
    levels
}

#[test]
fn grey_28_becomes_32_by_a_border_of_zeros() {
    let split = grey_28();
    let padded = split.fit([1, 32, 32]).expect("28 becomes 32");
    let (inner, outer) = (read(&split, 5), read(&padded, 5));
    for row in 0..32 {
        for column in 0..32 {
            let inside = (2..30).contains(&row) && (2..30).contains(&column);
            let expected = if inside { inner[(row - 2) * 28 + column - 2] } else { 0 };
            assert_eq!(outer[row * 32 + column], expected, "row {row}, column {column}");
        }
    }
    let colour = split.fit([3, 32, 32]).expect("both at once");
    assert_eq!(read(&colour, 5), [outer.clone(), outer.clone(), outer].concat());
    assert_eq!(colour.label(5), split.label(5));
}

#[test]
fn grey_becomes_rgb_by_replication_and_nothing_is_done_for_the_same_shape() {
    let split = grey_28();
    let image = read(&split, 9);
    assert_eq!(read(&split.fit([1, 28, 28]).expect("the same"), 9), image);
    let colour = split.fit([3, 28, 28]).expect("replicated");
    assert_eq!(read(&colour, 9), [image.clone(), image.clone(), image].concat());
}

#[test]
fn what_does_not_fit_is_refused() {
    let error = |split: &Split, shape| split.fit(shape).unwrap_err().to_string();
    assert_eq!(
        error(&small(&[0], [3, 32, 32]), [1, 32, 32]),
        "small/train holds images of 3x32x32, which cannot become 1x32x32: colour is not thrown away; \
         use a network with 3 image channels, or choose --colour grey"
    );
    assert_eq!(
        error(&small(&[0], [3, 32, 32]), [3, 64, 64]),
        "small/train holds images of 3x32x32, which cannot become 3x64x64: only grey 28x28 is padded, to 32x32, \
         and only image files are resized unasked; set the network's image_shape to the data's, or choose a rule with \
         --resize"
    );
    let message = error(&grey_28(), [1, 64, 64]);
    assert!(message.contains("cannot become 1x64x64"), "{message}");
    let message = error(&grey_28(), [4, 28, 28]);
    assert!(message.ends_with("a network's images have 1 or 3 channels"), "{message}");
}

#[test]
fn ids_survive_subsets_of_subsets() {
    let split = small(&[0, 1, 2, 0, 1, 2], [1, 1, 2]);
    let part = split.subset(&[5, 3, 1]).expect("in range").subset(&[2, 0]).expect("in range");
    assert_eq!((part.len(), part.id(0), part.id(1)), (2, 1, 5));
    assert_eq!((part.label(0), part.label(1)), (1, 2));
    assert_eq!(read(&part, 1), read(&split, 5));
    assert_eq!(part.class_counts(), [0, 1, 1]);
    let error = part.subset(&[0, 2]).unwrap_err().to_string();
    assert_eq!(error, "there is no image 2 in small/train: it has 2");
}

#[test]
fn mistakes_in_arguments_are_named() {
    let split = small(&[0, 1], [1, 1, 2]);
    let error = split.read(2, &mut [0; 2]).unwrap_err().to_string();
    assert_eq!(error, "image 2 into 2 bytes: small/train has 2 images of 1x1x2");
    let error = split.hold_out(1.0, 0).unwrap_err().to_string();
    assert_eq!(error, "cannot hold out a fraction of 1: it must lie between 0 and 1");
    let error = split.hold_out(0.1, 0).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot hold out a fraction of 0.1 of small/train: with 2 images in 3 classes one part would be empty"
    );
    let of = |labels, levels| Split::in_memory("x", vec!["a".into()], labels, [1, 1, 1], levels);
    assert_eq!(
        of(vec![0], vec![1, 2]).unwrap_err().to_string(),
        "1 labels and images of 1x1x1 need 1 levels, but there are 2"
    );
    assert_eq!(of(vec![1], vec![1]).unwrap_err().to_string(), "label 1 has no name: there are 1 classes");
}

#[test]
fn the_held_out_part_of_the_sample_is_balanced_and_fixed() {
    let train = datasets::open("fashion-sample", None).expect("built in").train;
    let (fit, held) = train.hold_out(0.1, 0).expect("a tenth");
    assert_eq!((fit.class_counts(), held.class_counts()), (vec![540; 10], vec![60; 10]));
    assert_eq!(held.name(), "fashion-sample/train (held-out part)");
    let again = train.hold_out(0.1, 0).expect("a tenth").1;
    let ids = |split: &Split| (0..split.len()).map(|i| split.id(i)).collect::<Vec<_>>();
    assert_eq!(ids(&held), ids(&again));
    assert_ne!(ids(&held), ids(&train.hold_out(0.1, 1).expect("a tenth").1));
}

proptest! {
    #[test]
    fn held_out_parts_divide_every_class(
        labels in prop::collection::vec(0u32..3, 20..120), fraction in 0.1f64..0.9, seed in any::<u64>(),
    ) {
        let split = small(&labels, [1, 1, 1]);
        let (fit, held) = split.hold_out(fraction, seed).expect("20 images are enough");
        let mut ids: Vec<u64> = (0..fit.len()).map(|i| fit.id(i)).chain((0..held.len()).map(|i| held.id(i))).collect();
        prop_assert!((1..held.len()).all(|i| held.id(i - 1) < held.id(i)), "order is kept");
        ids.sort_unstable();
        prop_assert_eq!(ids, (0..labels.len() as u64).collect::<Vec<_>>());
        for (whole, part) in split.class_counts().into_iter().zip(held.class_counts()) {
            prop_assert!((part as f64 - whole as f64 * fraction).abs() <= 0.5);
        }
    }
}
