//! Every format, mode, conversion and rule of resizing against Pillow's levels, made once (`images/make.py`).

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use ddae_data::DataError;
use ddae_data::datasets::of_files;
use ddae_data::decode::{Colour, ReadingOptions};
use ddae_data::resize::Rule;
use flate2::read::GzDecoder;

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

/// What Pillow makes of a file.
struct Case {
    file: String,
    options: String,
    shape: [usize; 3],
    /// Pixel by pixel.
    levels: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(images().join("pil.gz")).expect("Pillow's levels");
    GzDecoder::new(file).read_to_end(&mut bytes).expect("Pillow's levels");
    let (mut rest, mut cases) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').expect("a line");
        let line = std::str::from_utf8(&rest[..end]).expect("text");
        let fields: Vec<&str> = line.split('\t').collect();
        let shape = [2, 3, 4].map(|field| fields[field].parse::<usize>().expect("a number"));
        let length: usize = shape.iter().product();
        let levels = rest[end + 1..][..length].to_vec();
        cases.push(Case { file: fields[0].into(), options: fields[1].into(), shape, levels });
        rest = &rest[end + 1 + length..];
    }
    cases
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    reading: ReadingOptions,
}

fn read(path: PathBuf, options: &str, shape: [usize; 3]) -> Result<Vec<u8>, DataError> {
    let typed = options.split_whitespace().map(|option| format!("--{option}"));
    let command = Command::try_parse_from(["test".to_string()].into_iter().chain(typed)).expect("options");
    let split = of_files(vec![path], shape).read_as(&command.reading.reading()).fit(shape)?;
    let mut levels = vec![0; shape.iter().product()];
    split.read(0, &mut levels)?;
    Ok(levels)
}

/// Levels that differ, and by how much at most.
fn difference(ours: &[u8], case: &Case) -> (usize, u8) {
    let area = case.shape[1] * case.shape[2];
    let theirs = |index: usize| case.levels[index % area * case.shape[0] + index / area];
    let apart = ours.iter().enumerate().map(|(index, &level)| level.abs_diff(theirs(index)));
    apart.fold((0, 0), |(count, most), apart| (count + usize::from(apart > 0), most.max(apart)))
}

#[test]
fn every_image_has_pillows_levels() {
    let cases = cases();
    for case in &cases {
        let levels = read(images().join("files").join(&case.file), &case.options, case.shape);
        let levels = levels.unwrap_or_else(|error| panic!("{} {}: {error}", case.file, case.options));
        assert_eq!(difference(&levels, case), (0, 0), "{} {} {:?}", case.file, case.options, case.shape);
    }
    // A row for each format, and for each rule.
    for ending in ["jpg", "png", "webp", "bmp", "gif", "tif", "pbm", "pgm", "ppm"] {
        assert!(cases.iter().any(|case| case.file.ends_with(ending)), "{ending}");
    }
    for rule in Rule::value_variants().iter().filter(|&&rule| rule != Rule::None) {
        assert!(cases.iter().any(|case| case.options == format!("resize={rule}")), "{rule}");
    }
}

#[test]
fn a_name_says_nothing_of_the_content() {
    let folder = tempfile::tempdir().expect("a folder");
    for case in cases().iter().filter(|case| case.options == "colour=rgb").step_by(7) {
        let path = folder.path().join("image.png");
        std::fs::copy(images().join("files").join(&case.file), &path).expect("a copy");
        let levels = read(path, &case.options, case.shape).expect("an image");
        assert_eq!(difference(&levels, case), (0, 0), "{}", case.file);
    }
}

#[test]
fn what_is_not_read_is_refused_by_what_it_is() {
    let file = |name: &str| std::fs::read(images().join("files").join(name)).expect("a file");
    let arithmetic = {
        let mut jpeg = file("37x29_420_60.jpg");
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
        jpeg[frame + 1] = 0xc9;
        jpeg
    };
    let twelve_bits = {
        let mut jpeg = file("37x29_420_60.jpg");
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
        jpeg[frame + 1] = 0xc1;
        jpeg[frame + 4] = 12;
        jpeg
    };
    let no_codes = {
        // The restart markers stay, and what lies between them is of ones, which no code is.
        let mut jpeg = file("37x29_420_restart.jpg");
        let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).expect("a scan");
        let last = jpeg.len() - 2;
        jpeg[scan + 14..last].fill(0xfe);
        jpeg
    };
    for (bytes, message) in [
        (&b""[..], "the file is empty"),
        (b"hello", "it is text, which is not read"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is a HEIC image, which is not read"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "it is an AVIF image, which is not read"),
        (b"8BPS\0\x01", "it is a Photoshop document, which is not read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG drawing, which is not read"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"\x01\x02\x03\x04", "it is no image that is known"),
        (&arithmetic, "it is a JPEG with arithmetic coding, which is not read"),
        (&twelve_bits, "it has 12 bits a level, and JPEGs of 8 are read"),
        (&no_codes, "are damaged"),
        (&file("P.tif"), "it cannot be decoded (The decoder for Tiff does not support"),
        (&file("LA.tif"), "it cannot be decoded (The encoder or decoder for Tiff does not support"),
        (&file("float.tif"), "it cannot be decoded (The encoder or decoder for Tiff does not support"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image.png");
        std::fs::write(&path, bytes).expect("a file");
        let error = read(path, "", [3, 37, 29]).expect_err(message).to_string();
        assert!(error.contains(message) && error.contains("image.png: "), "{message}: {error}");
        assert!(
            error.ends_with("expected a whole image (PNG, JPEG, WebP, BMP, GIF, TIFF or PNM)"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_header_that_promises_too_much_is_refused_before_anything_is_decoded() {
    let le16 = |number: u16| number.to_le_bytes().to_vec();
    let le32 = |number: u32| number.to_le_bytes().to_vec();
    let bmp = |side: u32| {
        [
            b"BM".to_vec(),
            le32(54),
            le32(0),
            le32(54),
            le32(40),
            le32(side),
            le32(side),
            le16(1),
            le16(24),
            vec![0; 24],
        ]
        .concat()
    };
    let gif = [
        &b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\x80\0\0\0\x01\x02\x03"[..],
        b"\x02\x02\x44\x01\0;",
    ]
    .concat();
    let tiff = |side: u32| {
        let entry = |tag: u16, value: u32| [le16(tag), le16(4), le32(1), le32(value)].concat();
        let entries = [
            (256, side),
            (257, side),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, 8),
            (277, 1),
            (278, side),
            (279, side),
        ];
        let count = entries.len() as u16;
        let entries = entries.into_iter().flat_map(|(tag, value)| entry(tag, value)).collect();
        [b"II*\0".to_vec(), le32(8), le16(count), entries, le32(0)].concat()
    };
    let webp = [&b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0\x30\x01\0\x9d\x01\x2a"[..], b"\xff\x3f\xff\x3f\0\0\0\0"]
        .concat();
    for (bytes, message) in [
        (bmp(60_000), "it has 60000x60000 pixels, and images of more than 50 megapixels are not decoded"),
        (bmp(7_000), "it cannot be decoded"),
        (gif, "it has 65535x65535 pixels, and images of more than 50"),
        (tiff(60_000), "it has 60000x60000 pixels, and images of more than 50"),
        (tiff(7_000), "it cannot be decoded"),
        (webp, "it has 16383x16383 pixels, and images of more than 50"),
        (b"P6 60000 60000 255\n".to_vec(), "it has 60000x60000 pixels, and images of more than 50"),
        (b"P6 7000 7000 255\n".to_vec(), "the image ends too early"),
        (b"P1 7000 7000\n".to_vec(), "the image ends too early"),
        (b"P5 99999999999 1 255\n".to_vec(), "it has something else where a number belongs"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image");
        std::fs::write(&path, &bytes).expect("a file");
        let error = read(path, "", [3, 4, 4]).expect_err(message).to_string();
        assert!(error.contains(message), "{message}: {error}");
    }
}

/// Damage in any place is an error or another image, and never a panic.
#[test]
fn damaged_images_never_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    let mut state = 1u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(images().join("files"))
        .expect("files")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    for file in &files {
        let whole = std::fs::read(file).expect("a file");
        for _ in 0..6 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next(4) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            if next(3) == 0 {
                bytes.truncate(next(bytes.len()));
            }
            std::fs::write(&path, &bytes).expect("a file");
            let _ = read(path.clone(), "orient colour=grey", [1, 8, 8]);
        }
    }
}

#[test]
fn what_was_chosen_is_said() {
    let parse = |options: &[&str]| {
        Command::try_parse_from(["test"].iter().chain(options)).expect("options").reading.reading()
    };
    assert_eq!(parse(&[]).to_string(), "");
    assert!(parse(&[]).is_default());
    let all = parse(&["--resize", "adm", "--color", "grey", "--orient"]);
    assert_eq!((all.resize, all.colour, all.orient), (Some(Rule::Adm), Colour::Grey, true));
    assert_eq!(all.to_string(), "--resize adm --colour grey --orient");

    let file = |name: &str| images().join("files").join(name);
    let files = vec![file("61x47.png"), file("40x90.png"), file("32x32.png")];
    let digest = |options: &[&str]| {
        let split = of_files(files.clone(), [3, 32, 32]).read_as(&parse(options));
        split.digest(ddae_data::digest::DigestOf::Content).expect("a digest")
    };
    assert_eq!(digest(&[]), digest(&[]));
    assert_ne!(digest(&[]), digest(&["--resize", "adm"]));
    assert_ne!(digest(&["--resize", "edm"]), digest(&["--resize", "adm"]));

    let split = of_files(files.clone(), [3, 32, 32]);
    let mut levels = vec![0; split.image_len()];
    assert_eq!(split.resizing_note(), None, "nothing was read");
    split.read(2, &mut levels).expect("an image");
    assert_eq!(split.resizing_note(), None, "nothing was resized");
    split.read(0, &mut levels).expect("an image");
    split.read(1, &mut levels).expect("an image");
    assert_eq!(
        split.resizing_note().as_deref(),
        Some(
            "images of 3 sizes, from 32x32 to 40x90 (height x width) were brought to 32x32 by --resize cover, as none was asked for"
        )
    );
    assert_eq!(
        split.sizes(10).into_iter().collect::<Vec<_>>(),
        [([32, 32], 1), ([40, 90], 1), ([61, 47], 1)]
    );
    let refused = split.read_as(&parse(&["--resize", "none"]));
    refused.read(2, &mut levels).expect("it has the size");
    let error = refused.read(0, &mut levels).expect_err("it has not").to_string();
    assert!(
        error.contains("61x47.png: it is of 3x61x47; expected 3x32x32, like the others: --resize none"),
        "{error}"
    );
}

/// Pillow turns TIFF upright when it loads it (`TiffImageFile.load_end`), and no other format.
#[test]
fn tiff_is_turned_unasked() {
    let path = images().join("files/orientation.tif");
    let shape = ddae_data::datasets::open(path.to_str().expect("a plain name"), None)
        .expect("an image")
        .train
        .shape();
    let asked = read(path.clone(), "orient", shape).expect("an image");
    assert_eq!(read(path, "", shape).expect("an image"), asked);
}

#[test]
fn colour_is_kept_unless_asked() {
    let path = images().join("files/RGB.png");
    let error = read(path.clone(), "", [1, 37, 29]).expect_err("it has colour").to_string();
    assert!(error.contains("RGB.png: it is a colour image; expected a grey one"), "{error}");
    let one = read(path.clone(), "colour=grey", [1, 37, 29]).expect("it is made grey");
    let three =
        read(path, "colour=grey", [3, 37, 29]).expect("it is made grey, for a network of three channels");
    assert_eq!(three, one.repeat(3));
}

#[test]
fn levels_that_are_no_files_are_converted_when_asked() {
    let test = ddae_data::datasets::open("fashion-sample", None).expect("built in").test;
    let parse = |options: &[&str]| {
        Command::try_parse_from(["test"].iter().chain(options)).expect("options").reading.reading()
    };
    let error = test.fit([1, 14, 14]).expect_err("not unasked").to_string();
    assert!(error.contains("or choose a rule with --resize"), "{error}");
    let halved = test.read_as(&parse(&["--resize", "adm", "--colour", "rgb"])).fit([3, 14, 14]);
    let halved = halved.expect("asked for");
    let (mut whole, mut small) = (vec![0; 784], vec![0; 3 * 196]);
    test.read(5, &mut whole).expect("an image");
    halved.read(5, &mut small).expect("an image");
    // Boxes of 2x2, PIL's rounding of .5 up.
    let mean = |row: usize, column: usize| {
        let at = |y: usize, x: usize| u32::from(whole[(2 * row + y) * 28 + 2 * column + x]);
        let row = |y: usize| (at(y, 0) + at(y, 1)).div_ceil(2);
        (row(0) + row(1)).div_ceil(2) as u8
    };
    let expected: Vec<u8> = (0..196).map(|place| mean(place / 14, place % 14)).collect();
    assert_eq!(small, expected.repeat(3));
    assert_eq!(halved.key(5), test.key(5));
    // Read by other choices again, nothing of the first remains; and what is padded unasked is so in three channels.
    let grey = test.read_as(&parse(&["--colour", "rgb"])).read_as(&parse(&["--orient"]));
    assert_eq!((grey.shape(), grey.reading().as_str()), ([1, 28, 28], "--orient"));
    let padded = test.read_as(&parse(&["--colour", "rgb"])).fit([3, 32, 32]);
    assert_eq!(padded.expect("padded").shape(), [3, 32, 32]);
    let none = test.read_as(&parse(&["--resize", "none"])).fit([1, 32, 32]).expect("a split");
    let error = none.read(0, &mut [0; 1024]).expect_err("another size").to_string();
    assert!(error.contains("it is of 1x28x28, and --resize none brings no image to 1x32x32"), "{error}");
}

/// The shape that a data set takes from its first image is that of the image as it is read.
#[test]
fn a_data_set_is_read_by_other_choices() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(images().join("files").join(from), to).expect("a copy");
    };
    copy("orientation_6.jpg", "train/a/1.jpg");
    copy("61x47.png", "train/b/1.png");
    copy("orientation_1.jpg", "test/a/1.jpg");
    let set = ddae_data::datasets::open("folder", Some(folder.path())).expect("a data set");
    assert_eq!((set.train.shape(), set.test.shape()), ([3, 12, 8], [3, 12, 8]));
    let parse = |options: &[&str]| {
        Command::try_parse_from(["test"].iter().chain(options)).expect("options").reading.reading()
    };
    let turned = set.read_as(&parse(&["--orient"])).expect("a data set");
    assert_eq!((turned.train.shape(), turned.test.shape()), ([3, 8, 12], [3, 8, 12]));
    let grey = set.read_as(&parse(&["--colour", "grey"])).expect("a data set");
    assert_eq!((grey.train.shape(), grey.test.shape()), ([1, 12, 8], [1, 12, 8]));
    assert_eq!(grey.train.fit([3, 16, 16]).expect("a network's shape").shape(), [3, 16, 16]);
    let error = set.train.fit([1, 12, 8]).expect_err("colour").to_string();
    assert!(error.contains("or choose --colour grey"), "{error}");
    // Each split knows what it met itself.
    turned.test.read(0, &mut [0; 288]).expect("an image");
    assert_eq!(turned.train.resizing_note(), None);
    assert!(
        turned
            .test
            .resizing_note()
            .is_some_and(|note| note.starts_with("images of 12x8 (height x width) were"))
    );
    // Without images to test with, their shape is that of the others all the same.
    std::fs::remove_dir_all(folder.path().join("test")).expect("a folder");
    let set = ddae_data::datasets::open("folder", Some(folder.path())).expect("a data set");
    let grey = set.read_as(&parse(&["--colour", "grey"])).expect("a data set");
    assert_eq!((grey.test.len(), grey.test.shape()), (0, [1, 12, 8]));
    let classes = grey.test.classes().len();
    assert_eq!(classes, 2);
    // Nor where the first image is broken.
    std::fs::write(folder.path().join("train/a/0.jpg"), b"\xff\xd8\xff and no more").expect("written");
    copy("61x47.png", "train/a/00.png");
    copy("orientation_6.jpg", "train/b/0.jpg");
    let set = ddae_data::datasets::open("folder", Some(folder.path())).expect("a data set");
    assert_eq!(set.read_as(&parse(&["--orient"])).expect("a data set").train.shape(), [3, 8, 12]);
}
