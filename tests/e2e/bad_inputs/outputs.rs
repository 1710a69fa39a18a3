//! Outputs that are there and no regular files: devices, folders, links; and links planted where programs write.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use crate::place::Place;
use crate::tiny::with;

const NEEDS: [&str; 7] = [
    "data",
    "run/checkpoints/latest.safetensors",
    "sampler.onnx",
    "features.onnx",
    "train.h5",
    "test.h5",
    "ddpm.yaml",
];

/// Every command that writes a file, with OUT in its place.
const WRITING: [&str; 6] = [
    "ddae-data preview fashion-sample -o OUT",
    "ddae-export run/checkpoints/latest.safetensors --graph sampler --force -o OUT",
    "ddae-infer sample sampler.onnx --seeds 0-1 --steps 2 --no-png --npy OUT",
    "ddae-infer sample sampler.onnx --seeds 0-1 --steps 2 --no-png --sheet OUT",
    "ddae-probe knn --train train.h5 --test test.h5 --confusion OUT",
    FEATURES,
];

/// Adds `.h5` to the name by itself.
const FEATURES: &str =
    "ddae-infer features features.onnx --data-root data --split test --timesteps 1 --overwrite -o OUT";

/// A command line that writes `out`, which ends in `.h5`.
fn line(command: &str, out: &str) -> String {
    command.replace(
        "OUT",
        if command == FEATURES { out.strip_suffix(".h5").expect("a feature file") } else { out },
    )
}

#[test]
fn what_is_no_regular_file_is_refused_and_stays() {
    let place = with(&NEEDS);
    fs::create_dir(place.path("folder.h5")).expect("created");
    // As root, nothing else keeps a device from being replaced: a copy of the link to it is as good as the device.
    symlink("/dev/null", place.path("device.h5")).expect("a link");
    symlink("nowhere", place.path("dangling.h5")).expect("a link");
    for command in WRITING {
        for (out, why) in
            [("folder.h5", "folder"), ("device.h5", "device"), ("dangling.h5", "does not exist")]
        {
            let before = names(&place);
            let ended = place.run(&line(command, out));
            let error = ended.error(&[1, 2]);
            assert!(error.contains(out) && error.contains(why), "{ended}");
            assert_eq!(names(&place), before, "{ended}");
        }
        if command != FEATURES {
            let ended = place.run(&line(command, "/dev/null"));
            assert!(ended.error(&[1, 2]).contains("/dev/null"), "{ended}");
        }
    }
    let device = fs::symlink_metadata("/dev/null").expect("the device").file_type();
    assert!(device.is_char_device() && place.path("device.h5").is_symlink());
}

#[test]
fn a_link_to_a_file_is_written_through() {
    for command in WRITING {
        let place = with(&NEEDS);
        place.write("elsewhere/file", "old");
        if command == FEATURES {
            // Without a file of another job in the way.
            place.write("elsewhere/file", place.read("test.h5"));
        }
        symlink("elsewhere/file", place.path("out.h5")).expect("a link");
        let before = place.read("elsewhere/file");
        place.done(&line(command, "out.h5"));
        assert_eq!(
            fs::read_link(place.path("out.h5")).expect("a link"),
            Path::new("elsewhere/file"),
            "{command}"
        );
        assert!(place.read("elsewhere/file") != before, "{command}");
        let left = fs::read_dir(place.path("elsewhere")).expect("a folder").count();
        assert_eq!(left, 1, "{command}");
    }
}

/// Links under the names that earlier versions used on the way, and under that of the lock.
#[test]
fn planted_links_are_not_followed() {
    let place = with(&NEEDS);
    place.write("mine", "mine");
    for command in WRITING {
        let shard = "out.0000-of-0001.h5";
        for name in ["out.h5.partial", "out.h5.1.partial", &format!("{shard}.partial")] {
            let _ = fs::remove_file(place.path(name));
            symlink("mine", place.path(name)).expect("a link");
        }
        place.done(&line(command, "out.h5"));
        assert_eq!(place.text("mine"), "mine", "{command}");
        assert!(!place.path("out.h5").is_symlink(), "{command}");
        fs::remove_file(place.path("out.h5")).expect("removed");
        for target in ["mine", "nowhere"] {
            symlink(target, place.path("out.h5.lock")).expect("a link");
            let ended = place.run(&line(command, "out.h5"));
            assert!(ended.error(&[1]).contains("out.h5.lock is there and is no lock"), "{ended}");
            fs::remove_file(place.path("out.h5.lock")).expect("still a link");
        }
        assert!(!place.path("nowhere").exists() && place.text("mine") == "mine", "{command}");
    }
}

fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("")).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
