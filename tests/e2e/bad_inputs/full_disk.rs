//! A disk that is full, and output that nobody reads.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ddae_tests::programs::{self, Ended};

use crate::place::Place;
use crate::tiny::{TRAINING, with};

/// Runs "$0" "$@" with the folder `small` on a disk of its own, then lists the files there.
const SMALL_DISK: &str = "
    mount -t tmpfs -o size=${ROOM}k none small || exit 99
    [ ! -d given ] || cp given/* small/ || exit 99
    \"$0\" \"$@\"; code=$?
    find small -type f > left.txt
    exit $code";

/// A limit on the size of files, which also stands for a small disk where none can be mounted. `ulimit` counts in 512
/// bytes.
const SMALL_FILES: &str = "
    [ ! -d given ] || cp given/* small/ || exit 99
    (ulimit -f $((2 * ROOM)); exec \"$0\" \"$@\"); code=$?
    find small -type f > left.txt
    exit $code";

/// Whether a new user and mount namespace may mount a disk.
fn can_mount() -> bool {
    static CAN_MOUNT: OnceLock<bool> = OnceLock::new();
    *CAN_MOUNT.get_or_init(|| {
        let place = Place::new();
        fs::create_dir(place.path("small")).expect("a folder");
        let mut command = Command::new("unshare");
        command.args(["-rm", "mount", "-t", "tmpfs", "none", "small"]).current_dir(place.path(""));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// What there is little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Little {
    /// On the disk.
    Room,
    /// In a file.
    Size,
}

/// Runs a command line in whose folder `small` there is only room for `kibibytes`, and what was in the folder `given`;
/// gives the files it leaves there. Once on a small disk, where one can be mounted, and once with a limit on the size of
/// files.
#[track_caller]
fn with_little_room(
    kibibytes: usize,
    line: &str,
    place: impl Fn() -> Place,
    check: impl Fn(&Ended, &[String]),
) {
    for little in [Little::Room, Little::Size] {
        if little == Little::Size || can_mount() {
            let (ended, left) = with_little(little, &place(), kibibytes, line);
            assert_full(&ended);
            check(&ended, &left);
        }
    }
}

#[track_caller]
fn with_little(little: Little, place: &Place, kibibytes: usize, line: &str) -> (Ended, Vec<String>) {
    fs::create_dir_all(place.path("small")).expect("a folder");
    let command = place.command(line);
    let (mut limited, script) = match little {
        Little::Room => (Command::new("unshare"), SMALL_DISK),
        Little::Size => (Command::new("env"), SMALL_FILES),
    };
    if little == Little::Room {
        limited.arg("-rm");
    }
    limited.args(["sh", "-c", script]).arg(command.get_program()).args(command.get_args());
    limited.current_dir(place.path("")).env_remove("DDAE_DATA").env("ROOM", kibibytes.to_string());
    let ended = programs::run(&mut limited);
    let mut left: Vec<String> = place.text("left.txt").lines().map(String::from).collect();
    left.sort();
    (ended, left)
}

/// The program fails in one line that names a file in `small` and what the system says.
#[track_caller]
fn assert_full(ended: &Ended) {
    let error = ended.error(&[1]);
    assert!(error.contains("small/"), "{ended}");
    assert!(
        error.contains("no space is left on its disk") || error.contains("the file would be too large"),
        "{ended}"
    );
}

#[test]
fn training() {
    let line = format!("ddae-train diffusion --config ddpm.yaml --run small/run {TRAINING}");
    with_little_room(
        2000,
        &line,
        || with(&["data", "ddpm.yaml"]),
        |_, left| {
            assert!(!left.iter().any(|name| name.contains("checkpoints/")), "{left:?}");
        },
    );
}

#[test]
fn exporting() {
    let line = "ddae-export run/checkpoints/latest.safetensors --graph sampler -o small/sampler.onnx";
    with_little_room(
        400,
        line,
        || with(&["run/checkpoints/latest.safetensors"]),
        |_, left| {
            assert!(left.is_empty(), "{left:?}");
        },
    );
}

#[test]
fn features() {
    let line =
        "ddae-infer features features.onnx --data-root data --timesteps 1 --views 4 --shards 3 -o small/out";
    // Three shards of 120 kB, and room for one.
    with_little_room(
        200,
        line,
        || with(&["data", "features.onnx"]),
        |_, left| {
            assert!(left.iter().all(|name| name.ends_with("-of-0003.h5")), "only whole shards: {left:?}");
        },
    );
}

/// The shards are on the disk, and there is no room for the joined file; they stay.
#[test]
fn merging() {
    let shards: Vec<String> = (0..3).map(|shard| format!("out.000{shard}-of-0003.h5")).collect();
    let place = with(&["data", "features.onnx"]);
    let options = "--data-root data --timesteps 1 --views 4";
    let mut largest = 0;
    for (shard, name) in shards.iter().enumerate() {
        // Each in a folder of its own, so that none of them joins the others.
        place.done(&format!(
            "ddae-infer features features.onnx {options} --shard {shard}/3 -o own{shard}/out"
        ));
        fs::create_dir_all(place.path("given")).expect("a folder");
        let (from, to) = (place.path(&format!("own{shard}/{name}")), place.path(&format!("given/{name}")));
        largest = largest.max(fs::copy(from, to).expect("a copy").div_ceil(1024) as usize);
    }
    // Of the disk, all shards and half of them again; of a file, two shards and no three.
    for (little, kibibytes) in [(Little::Room, 5 * largest), (Little::Size, 2 * largest)] {
        if little == Little::Size || can_mount() {
            let (ended, left) = with_little(little, &place, kibibytes, "ddae-infer merge small/out");
            assert_full(&ended);
            let wanted: Vec<String> = shards.iter().map(|name| format!("small/{name}")).collect();
            assert_eq!(left, wanted, "{ended}");
        }
    }
}

#[test]
fn images() {
    let line = "ddae-infer sample sampler.onnx --steps 1 --seeds 0-299 -o small/images --npy small/array.npy";
    with_little_room(
        16,
        line,
        || with(&["sampler.onnx"]),
        |_, left| {
            assert!(left.iter().all(|name| name.ends_with(".png") || name.ends_with("run.json")), "{left:?}");
        },
    );
}

#[test]
fn sheets() {
    for line in [
        "ddae-data preview fashion-sample --rows 20 --columns 20 -o small/sheet.png",
        "ddae-probe knn --train train.h5 --test test.h5 --confusion small/matrix.png",
    ] {
        with_little_room(
            8,
            line,
            || with(&["train.h5", "test.h5"]),
            |_, left| assert!(left.is_empty(), "{left:?}"),
        );
    }
}

/// Commands that print something, and what they need.
const PRINTING: [&str; 9] = [
    "ddae-data info fashion-sample",
    "ddae-data preview fashion-sample -o sheet.png",
    "ddae-train diffusion --config ddpm.yaml --data-root data --dry-run",
    "ddae-export run/checkpoints/latest.safetensors --list-taps",
    "ddae-export inspect sampler.onnx",
    "ddae-infer sample sampler.onnx --seeds 0-1 --steps 2 -o images",
    "ddae-infer features features.onnx --data-root data --split test -o features",
    "ddae-infer features features.onnx --data-root data --split test -o others --dry-run",
    "ddae-probe knn --train train.h5 --test test.h5",
];

const PRINTING_NEEDS: [&str; 7] = [
    "data",
    "ddpm.yaml",
    "run/checkpoints/latest.safetensors",
    "sampler.onnx",
    "features.onnx",
    "train.h5",
    "test.h5",
];

/// `ddae-… > FILE` on a full disk.
#[test]
fn standard_output_on_a_full_disk() {
    if !Path::new("/dev/full").exists() {
        eprintln!("not tested: this system has no /dev/full");
        return;
    }
    let place = with(&PRINTING_NEEDS);
    for line in PRINTING {
        let command = place.command(line);
        let mut redirected = Command::new("sh");
        redirected.args(["-c", "exec \"$0\" \"$@\" > /dev/full"]).arg(command.get_program());
        redirected.args(command.get_args()).current_dir(place.path(""));
        let ended = programs::run(&mut redirected);
        let wanted = "error: cannot write to standard output: no space is left on its disk";
        assert!(ended.error(&[1]).starts_with(wanted), "{ended}");
    }
}

/// `ddae-… | head -0`: the reader has seen enough, which is no failure.
#[test]
fn a_reader_that_goes_away() {
    let place = with(&PRINTING_NEEDS);
    for line in PRINTING {
        let mut command = place.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its output");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{line}: {stderr}");
    }
}

/// `ddae-… 2>&1 | head -0`, or an error that nobody reads: the exit code stays what it is.
#[test]
fn nobody_reads_standard_error() {
    let place = with(&PRINTING_NEEDS);
    let failing = [
        "ddae-data info imagenet",
        "ddae-infer sample missing.onnx -o missing",
        "ddae-probe knn --train a --test b",
    ];
    let runs = PRINTING
        .iter()
        .map(|line| (*line, 0))
        .chain(failing.iter().zip([2, 1, 1]).map(|(line, code)| (*line, code)));
    for (line, code) in runs {
        let mut command = place.command(line);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        drop(child.stderr.take());
        assert_eq!(child.wait().expect("its end").code(), Some(code), "{line}");
    }
}
