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
    \"$0\" \"$@\"; code=$?
    find small -type f > left.txt
    exit $code";

/// Where disks cannot be mounted, a limit on the size of files stands for a small one. The signal that comes with it is
/// ignored, so that writing fails as on a full disk. `ulimit` counts in 512 bytes.
const SMALL_FILES: &str = "
    (trap '' XFSZ; ulimit -f $((2 * ROOM)); exec \"$0\" \"$@\"); code=$?
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

/// Runs a command line in whose folder `small` there is only room for `kibibytes`; gives the files it leaves there.
#[track_caller]
fn with_little_room(place: &Place, kibibytes: usize, line: &str) -> (Ended, Vec<String>) {
    fs::create_dir_all(place.path("small")).expect("a folder");
    let command = place.command(line);
    let (mut limited, script) = match can_mount() {
        true => (Command::new("unshare"), SMALL_DISK),
        false => (Command::new("env"), SMALL_FILES),
    };
    if can_mount() {
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
    assert!(error.contains("No space left on device") || error.contains("File too large"), "{ended}");
}

#[test]
fn training() {
    let place = with(&["data", "ddpm.yaml"]);
    let line = format!("ddae-train diffusion --config ddpm.yaml --run small/run {TRAINING}");
    let (ended, left) = with_little_room(&place, 2000, &line);
    assert_full(&ended);
    assert!(!left.iter().any(|name| name.contains("checkpoints/")), "{left:?}");
}

#[test]
fn exporting() {
    let place = with(&["run/checkpoints/latest.safetensors"]);
    let line = "ddae-export run/checkpoints/latest.safetensors --graph sampler -o small/sampler.onnx";
    let (ended, left) = with_little_room(&place, 400, line);
    assert_full(&ended);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn features() {
    let place = with(&["data", "features.onnx"]);
    let line =
        "ddae-infer features features.onnx --data-root data --timesteps 1 --views 4 --shards 3 -o small/out";
    // Three shards of 120 kB, and room for one.
    let (ended, left) = with_little_room(&place, 200, line);
    assert_full(&ended);
    assert!(left.iter().all(|name| name.ends_with("-of-0003.h5")), "only whole shards: {left:?}");
}

#[test]
fn images() {
    let place = with(&["sampler.onnx"]);
    let line = "ddae-infer sample sampler.onnx --steps 1 --seeds 0-299 -o small/images --npy small/array.npy";
    let (ended, left) = with_little_room(&place, 16, line);
    assert_full(&ended);
    assert!(left.iter().all(|name| name.ends_with(".png") || name.ends_with("run.json")), "{left:?}");
}

#[test]
fn sheets() {
    let place = with(&["train.h5", "test.h5"]);
    for line in [
        "ddae-data preview fashion-sample --rows 20 --columns 20 -o small/sheet.png",
        "ddae-probe knn --train train.h5 --test test.h5 --confusion small/matrix.png",
    ] {
        let (ended, left) = with_little_room(&place, 8, line);
        assert_full(&ended);
        assert!(left.is_empty(), "{left:?}");
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
        let wanted = "error: cannot write to standard output: No space left on device";
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
