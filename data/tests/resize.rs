//! Resampling against PIL, through torchvision's `resized_crop`.

use ddae_data::resize::{crop, resize};

/// The fixture's images are [H, W, C].
fn planes(levels: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| levels.iter().skip(channel).step_by(3).copied()).collect()
}

#[test]
fn equals_pil() {
    let fixture = ddae_tests::fixture("image_ops");
    let (_, levels) = fixture.u8("input.image");
    let image = planes(&levels);
    for (case, rectangle) in [[0, 0, 32, 32], [3, 5, 20, 17], [7, 2, 9, 25]].into_iter().enumerate() {
        let cut = crop(&image, [3, 32, 32], rectangle);
        let ours = resize(&cut, [3, rectangle[2], rectangle[3]], 32, 32);
        let (_, theirs) = fixture.u8(&format!("output.resized_crop.{case}"));
        assert_eq!(ours, planes(&theirs), "resized_crop.{case}");
    }
    // Stored: every fourth pixel of the image enlarged to 256x256.
    let large = resize(&image, [3, 32, 32], 256, 256);
    let (_, theirs) = fixture.u8("output.resize_up");
    let kept =
        |channel: usize, row: usize, column: usize| large[(channel * 256 + row * 4) * 256 + column * 4];
    let ours: Vec<u8> = (0..64 * 64 * 3).map(|i| kept(i % 3, i / 3 / 64, i / 3 % 64)).collect();
    assert_eq!(ours, theirs);
}
