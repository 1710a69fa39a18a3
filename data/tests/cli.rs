//! The binary: output, messages, exit codes.

mod layouts;

use std::path::Path;
use std::process::Command;

use ddae_tests::golden::assert_help;
use ddae_tests::programs::{Ended, run};
use ddae_tests::refusals::refused;
use layouts::*;

fn ddae_data(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-data"));
    run(command.args(arguments).current_dir(folder).env_remove("DDAE_DATA"))
}

/// Standard output of a run that must succeed.
fn stdout(arguments: &[&str]) -> String {
    ddae_data(Path::new("."), arguments).success().to_string()
}

/// Command lines that fail ([`refused`]), in `folder`.
#[track_caller]
fn refuses<L: AsRef<str>, W: AsRef<str>>(folder: &Path, cases: impl IntoIterator<Item = (i32, L, W)>) {
    let run = |line: &str| ddae_data(folder, &line.split_whitespace().collect::<Vec<_>>());
    refused(folder, run, cases);
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

#[test]
fn help_texts() {
    let lines = [
        ("ddae-data", "--help"),
        ("prepare", "prepare --help"),
        ("info", "info --help"),
        ("preview", "preview --help"),
        ("preview-short", "preview -h"),
    ];
    assert_help(env!("CARGO_BIN_EXE_ddae-data"), "tests/help", &lines);
}

#[test]
fn info_of_the_built_in_sample() {
    let out = stdout(&["info", "fashion-sample"]);
    assert!(
        out.starts_with(
            "fashion-sample: built in\n  shape    1x28x28\n  train    6000 images in 10 classes\n"
        )
    );
    assert!(out.contains("\n  mean     0.2869\n  std      0.3538\n"), "{out}");
    assert!(out.contains("\nAnkle boot       600     1000\n"), "{out}");
    assert!(out.ends_with("\nnext: ddae-data preview fashion-sample -o fashion-sample.png\n"), "{out}");
}

#[test]
fn info_as_json() {
    let root = folder();
    write_all(&root.path().join("cifar-10-batches-bin"), &cifar10_binary());
    let out = stdout(&["info", "cifar", "--root", path(root.path()), "--json"]);
    let info: serde_json::Value = serde_json::from_str(&out).expect("JSON and nothing else");
    assert_eq!(info["name"], "cifar10");
    assert_eq!(info["train"]["pictures"], 20);
    assert_eq!(info["train"]["shape"], serde_json::json!([3, 32, 32]));
    assert_eq!(info["test"]["classes"]["cat"], 1);
    assert_eq!(info["mean"].as_array().map(Vec::len), Some(3));
    let published = info["published_normalisation"]["std"][2].as_f64().expect("a number");
    assert!((published - 0.2010).abs() < 1e-6);
}

#[test]
fn info_names_the_image_that_cannot_be_read() {
    let root = folder();
    write(root.path().join("train/a/1.png"), encoded("1.png", [1, 2, 3], false, 8, 8));
    write(root.path().join("train/a/2.png"), b"hello");
    let wanted = "./train/a/2.png: it is text, which is not read; expected a whole image (PNG, JPEG, WebP, BMP, GIF, TIFF or \
                  PNM)";
    refuses(root.path(), [(1, "info folder --root .", wanted)]);
    let out = stdout(&["info", "folder", "--root", path(root.path()), "--skip-broken"]);
    assert!(out.contains("  train    1 images in 1 classes"), "{out}");
    assert!(
        out.contains("broken: train/a/2.png: it is text, which is not read; expected a whole image"),
        "{out}"
    );
    let out = stdout(&["info", "folder", "--root", path(root.path()), "--skip-broken", "--json"]);
    let info: serde_json::Value = serde_json::from_str(&out).expect("JSON and nothing else");
    assert_eq!(info["broken"][0]["key"], "train/a/2.png");
}

#[test]
fn info_says_what_was_resized_and_how() {
    let root = folder();
    write(root.path().join("train/a/1.png"), encoded("1.png", [1, 2, 3], false, 8, 6));
    write(root.path().join("train/a/2.png"), encoded("2.png", [1, 2, 3], false, 9, 5));
    let info =
        |options: &[&str]| stdout(&[&["info", "folder", "--root", path(root.path())], options].concat());
    let out = info(&[]);
    assert!(out.contains("  shape    3x6x8\n  sizes    2 among 2 images that were asked"), "{out}");
    let note =
        "note: images of 2 sizes, from 5x9 to 6x8 (height x width) were brought to 6x8 by --resize cover";
    assert!(out.contains(&format!("{note}, as none was asked for\n")), "{out}");
    let out = info(&["--resize", "edm", "--colour", "grey"]);
    assert!(
        out.contains("  shape    1x6x8") && out.contains("were brought to 6x8 by --resize edm\n"),
        "{out}"
    );
    let json: serde_json::Value = serde_json::from_str(&info(&["--resize", "adm", "--json"])).expect("JSON");
    assert_eq!(json["reading"], "--resize adm");
    let wanted = "./train/a/2.png: it is of 3x5x9; expected 3x6x8, like the others: --resize none brings no image to another \
                  size";
    refuses(root.path(), [(1, "info folder --root . --resize none", wanted)]);
}

#[test]
fn prepare_unpacks_and_says_what_it_found() {
    let root = folder();
    let archive =
        write(root.path().join("cifar-10-binary.tar.gz"), tar_gz("cifar-10-batches-bin", &cifar10_binary()));
    let wanted = "…but the published archive's is c32a1d4ab5d03f1284b67883e8d87530…";
    refuses(root.path(), [(1, "prepare cifar-10-binary.tar.gz", wanted)]);
    let out = stdout(&["prepare", "--no-verify", path(&archive)]);
    let here = root.path().display();
    assert_eq!(
        out,
        format!(
            "cifar10: CIFAR-10, binary version: md5 not checked, unpacked to {here}/cifar-10-batches-bin\n\
             \x20 train  20 images of 3x32x32 in 10 classes, 0 to 5 each\n\
             \x20 test   4 images of 3x32x32 in 10 classes, 0 to 1 each\n\n\
             next: ddae-data preview cifar10 --root {here} -o cifar10.png\n"
        )
    );
    let out = stdout(&["prepare", "--root", path(root.path()), "cifar10"]);
    assert!(out.contains("was unpacked before, in"), "{out}");
    let out = stdout(&["prepare", "fashion-sample"]);
    assert!(out.starts_with("fashion-sample: built in, nothing to prepare\n"), "{out}");
}

#[test]
fn preview_writes_a_sheet() {
    let root = folder();
    let sheet = root.path().join("sheet.png");
    let output = path(&sheet);
    let size = || image::image_dimensions(output).expect("a PNG");
    let out = stdout(&["preview", "fashion-sample", "-o", output, "--rows", "2", "--columns", "5"]);
    assert!(out.starts_with(&format!("{output}: 10 of 6000 images of fashion-sample/train\n")), "{out}");
    assert!(out.ends_with("\nnext: ddae-train diffusion --config configs/demo.yaml\n"), "{out}");
    let plain = std::fs::read(output).expect("written");
    let (width, height) = size();
    assert!(width > 5 * 28 && height > 2 * 28 && width > height);
    stdout(&["preview", "fashion-sample", "-o", output, "--rows", "2", "--columns", "5", "--seed", "0"]);
    assert_eq!(std::fs::read(output).expect("written"), plain, "the same seed gives the same sheet");
    let options = ["--flip", "--crop-padding", "4", "--edm-augment", "0.5"];
    let small = ["preview", "fashion-sample", "-o", output, "--rows", "2", "--columns", "5"];
    stdout(&[small.as_slice(), &options].concat());
    assert_eq!(size(), (width, height));
    assert_ne!(std::fs::read(output).expect("written"), plain);
    let out = stdout(&["preview", "fashion-sample", "-o", output, "--split", "test", "--by-class"]);
    assert!(out.starts_with(&format!("{output}: 80 of 10000 images of fashion-sample/test\n")), "{out}");
    assert_eq!(listing(root.path()), ["sheet.png"]);
}

#[test]
fn preview_suggests_how_to_train_on_the_images() {
    let root = folder();
    mnist(root.path(), false);
    write_all(&root.path().join("cifar-10-batches-bin"), &cifar10_binary());
    write(root.path().join("train/a/1.png"), encoded("1.png", [1, 2, 3], false, 8, 8));
    let (here, sheet) = (path(root.path()), root.path().join("sheet.png"));
    for (name, expected) in [
        ("mnist", "configs/demo.yaml --data mnist"),
        ("cifar", "configs/DDPM_ddpm.yaml"),
        ("folder", "configs/DDPM_ddpm.yaml --data folder"),
    ] {
        let out = stdout(&["preview", name, "--data-root", here, "-o", path(&sheet)]);
        let next = format!("\nnext: ddae-train diffusion --config {expected} --data-root {here}\n");
        assert!(out.ends_with(&next), "{out}");
    }
}

#[test]
fn images_are_given_by_their_path() {
    let root = folder();
    for (number, name) in ["train/ant/1.png", "train/bee/2.png", "val/bee/3.png"].into_iter().enumerate() {
        let bytes = encoded(name, [9 * number as u8, 2, 3], false, 8, 8);
        write(root.path().join("b c").join(name), bytes);
    }
    write(root.path().join("b c/notes.txt"), "-");
    let run = |arguments: &[&str]| ddae_data(root.path(), arguments);
    let ended = run(&["info", "b c"]);
    let out = ended.success();
    let wanted = "b c: class folders for train, val in b c\n  shape    3x8x8\n  train    2 images in 2 classes\n  val      \
                  1 images\n";
    assert!(out.starts_with(wanted), "{out}");
    assert!(
        out.contains("\nclass    train      val\nant          1        0\nbee          1        1\n"),
        "{out}"
    );
    assert!(out.ends_with("\nnext: ddae-data preview 'b c' -o preview.png\n"), "{out}");
    let notes = &run(&["info", "b c", "--json"]).json()["notes"];
    assert_eq!(notes[0], "1 file that is no image is left out: notes.txt");
    let ended = run(&["prepare", "b c"]);
    let out = ended.success();
    assert!(
        out.starts_with("b c: read as it is, nothing to unpack\n  train  2 images of 3x8x8 in 2"),
        "{out}"
    );
    let ended = run(&["preview", "b c", "--split", "valid", "--rows", "1", "--columns", "1", "-o", "v.png"]);
    let out = ended.success();
    assert!(out.starts_with("v.png: 1 of 1 images of b c/val\n"), "{out}");
    assert!(
        out.ends_with("\nnext: ddae-train diffusion --config configs/DDPM_ddpm.yaml --data 'b c'\n"),
        "{out}"
    );
    let flat = ["preview", "b c/train/ant", "-o", "f.png", "--columns", "1"];
    assert!(run(&flat).success().contains("1 of 1 images of ant/train"));
    refuses(
        root.path(),
        [
            (2, "preview b/ --split test -o x.png", "b/: there is no such file or folder; wanted is …"),
            (2, "info fashion-sample --labels l.csv", "--labels l.csv: fashion-sample has labels already"),
        ],
    );
}

#[test]
fn what_cannot_be_done_is_refused() {
    let root = folder();
    write_all(&root.path().join("cifar/cifar-10-batches-bin"), &cifar10_binary());
    let preview = |line: &str| format!("preview fashion-sample -o sheet.png {line}");
    refuses(
        root.path(),
        [
            (2, preview("--crop-padding 29"), "a crop padding of 29 is more than the images' 28x28"),
            (2, preview("--edm-augment 2"), "an augmentation probability of 2: it must lie between 0 and 1"),
            (
                2,
                "preview cifar10 --root cifar -o sheet.png --by-class --columns 200 --split test".to_string(),
                "no class of cifar10/test has 200 images: give fewer --columns",
            ),
            (2, preview("--rows 0"), "…"),
            (2, preview("--split all"), "…"),
            (1, "preview fashion-sample -o no/such/folder.png".to_string(), "…folder.png…"),
            (2, "unpack".to_string(), "…"),
            (2, "info".to_string(), "…"),
            (2, "preview fashion-sample".to_string(), "…"),
            (2, "info imagenet".to_string(), "there is no data set named 'imagenet'; known…"),
            (
                2,
                "info folder".to_string(),
                "the data set 'folder' needs its folder: give --data-root DIR with train/CLASS/*.png inside",
            ),
            (1, "info cifar10 --root .".to_string(), "cifar10 is not in …"),
        ],
    );
    assert_eq!(ddae_data(Path::new("."), &[]).code, Some(2));
}

/// A file of a few kilobytes is not decoded into a gigabyte, unless it is asked for.
#[test]
fn large_images_are_refused_until_the_limit_is_raised() {
    let root = folder();
    let train = root.path().join("train/a");
    std::fs::create_dir_all(&train).expect("a folder");
    image::GrayImage::new(7_500, 7_000).save(train.join("large.png")).expect("an image");
    let line = ["info", "folder", "--root", "."];
    let ended = ddae_data(root.path(), &line);
    assert_eq!(
        ended.error(&[1]),
        "error: ./train/a/large.png: it has 7500x7000 pixels, and images of more than 50 megapixels are not decoded; \
         expected a smaller image, or the environment variable DDAE_MAX_MEGAPIXELS=53"
    );
    let with = |limit: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-data"));
        run(command.args(line).current_dir(root.path()).env("DDAE_MAX_MEGAPIXELS", limit))
    };
    assert!(with("53").success().contains("shape    1x7000x7500"));
    let error = with("more");
    assert!(error.error(&[2]).starts_with("error: DDAE_MAX_MEGAPIXELS is 'more'; a whole number"));
}

#[test]
fn class_names_are_shown_in_one_line_without_control_characters() {
    let root = folder();
    for class in ["a\nerror: b", "c\u{1b}[2J\u{9b}31m"] {
        let class = root.path().join("train").join(class);
        std::fs::create_dir_all(&class).expect("a folder");
        image::GrayImage::new(4, 4).save(class.join("1.png")).expect("an image");
    }
    let out = ddae_data(root.path(), &["info", "folder", "--root", "."]);
    let out = out.success();
    assert!(out.contains("\na\\nerror: b") && out.contains("\nc\\u{1b}[2J\\u{9b}31m"), "{out}");
    let json = ddae_data(root.path(), &["info", "folder", "--root", ".", "--json"]);
    assert!(!json.success().contains(['\u{1b}', '\u{9b}']), "{json}");
    let classes = &json.json()["train"]["classes"];
    assert_eq!(classes["c\u{1b}[2J\u{9b}31m"], 1, "{classes}");
}

#[test]
fn archives_of_several_members_are_read() {
    let root = folder();
    let packed = tar_gz("cifar-10-batches-bin", &cifar10_binary());
    let bytes = {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut bytes)
            .expect("unpacked");
        bytes
    };
    let members: Vec<u8> = bytes.chunks(bytes.len() / 3 + 1).flat_map(gzip).collect();
    write(root.path().join("cifar-10-binary.tar.gz"), members);
    let ended = ddae_data(root.path(), &["prepare", "--no-verify", "cifar10", "--root", "."]);
    assert!(ended.success().contains("md5 not checked, unpacked to "), "{ended}");
}
