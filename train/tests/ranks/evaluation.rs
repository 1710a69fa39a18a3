//! Validation losses, scores and sheets of several ranks are those of one.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ddae_tests::programs::Running;
use serde_json::Value;

use crate::program::Place;

/// What a run has found out about its average in the end.
#[derive(Debug, PartialEq)]
struct Findings {
    /// The validation loss, where there is one.
    loss: Option<f64>,
    /// The line of scores, likewise.
    scores: Option<Value>,
    /// The last sheet.
    sheet: Vec<u8>,
}

impl Findings {
    fn read(run: &Path, sheet: &str) -> Findings {
        let text = fs::read_to_string(run.join("stats.jsonl")).expect("statistics");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let last = |key: &str| lines.iter().rev().find(|line| line.get(key).is_some());
        Findings {
            loss: last("validation_loss").and_then(|line| line["validation_loss"].as_f64()),
            scores: last("knn_accuracy").cloned(),
            sheet: fs::read(run.join("samples").join(sheet)).expect("a sheet"),
        }
    }

    /// Has a run forget them, as one that was ended before it could look.
    fn forget(run: &Path) {
        let stats = run.join("stats.jsonl");
        let text = fs::read_to_string(&stats).expect("statistics");
        let kept = |line: &&str| !["validation_loss", "knn_accuracy"].iter().any(|key| line.contains(key));
        let kept: String = text.lines().filter(kept).map(|line| format!("{line}\n")).collect();
        fs::write(&stats, kept).expect("written");
        for sheet in fs::read_dir(run.join("samples")).expect("a folder") {
            fs::remove_file(sheet.expect("an entry").path()).expect("removed");
        }
    }
}

/// What two ranks find, and one process of the same weights with `alone` among its options.
fn found(place: &Place, common: &[&str], alone: &[&str]) -> [Findings; 2] {
    let run = place.path("run");
    place.train(&[common, &["--nproc", "2"]].concat());
    let of_two = Findings::read(&run, "epoch_0001.png");
    Findings::forget(&run);
    place.train(&[common, alone, &["--resume"]].concat());
    [of_two, Findings::read(&run, "epoch_0001.png")]
}

/// 36 images to train on, 12 to validate with in three batches, 5 samples in two.
const DIFFUSION: [&str; 14] = [
    "--config",
    "ddpm.yaml",
    "--epochs",
    "1",
    "--hold-out",
    "0.25",
    "--sample-steps",
    "4",
    "--set",
    "n_sample=5",
    "--set",
    "optim_args={eps: 1.0e-3}",
    "--set",
    "batch_size=4",
];

#[test]
fn two_ranks_find_what_one_finds_in_the_same_batches() {
    let place = Place::new();
    let [two, one] = found(&place, &DIFFUSION, &["--accumulate", "2"]);
    assert!(two.loss.is_some_and(|loss| loss > 0.0) && two.scores.is_none(), "{:?}", two.loss);
    assert_eq!(two.loss.map(f64::to_bits), one.loss.map(f64::to_bits), "{:?} and {:?}", two.loss, one.loss);
    assert!(two.sheet == one.sheet, "the same pixels");
}

#[test]
fn in_other_batches_they_find_almost_the_same() {
    let place = Place::new();
    let common = [&DIFFUSION[..], &["--batch-of", "all"]].concat();
    let [two, one] = found(&place, &common, &[]);
    let (two, one) = (two.loss.expect("a loss"), one.loss.expect("a loss"));
    assert!((two - one).abs() <= 1e-6 * one, "{two} and {one}");
}

/// Its scores and the images that it makes of latents.
#[test]
fn two_ranks_of_a_soda_score_as_one() {
    let place = Place::of("soda");
    let common = [
        "--config",
        "soda.yaml",
        "--epochs",
        "1",
        "--sample-steps",
        "3",
        "--set",
        "n_sample=12",
        "--set",
        "batch_size=8",
    ];
    let [two, one] = found(&place, &common, &["--accumulate", "2"]);
    assert!(two.scores.is_some(), "{:?}", two.scores);
    assert_eq!(two.scores, one.scores);
    assert!(two.sheet == one.sheet, "the same pixels");
}

/// A signal on the way ends all ranks in good order: with a checkpoint, and nothing half done.
#[test]
fn ranks_that_sample_stop_together() {
    let place = Place::new();
    // A sheet that takes longer than the test waits for it.
    let slow = ["n_sample=400", "diffusion.n_T=1000", "batch_size=4"];
    let mut arguments = vec![
        "--config",
        "ddpm.yaml",
        "--epochs",
        "1",
        "--hold-out",
        "0.25",
        "--sample-steps",
        "900",
        "--nproc",
        "2",
    ];
    slow.iter().for_each(|key| arguments.extend(["--set", key]));
    let checkpoint = place.path("run/checkpoints/epoch_0001.safetensors");
    let sampling = Running::start(&mut place.command(&arguments)).wait_until(|| checkpoint.is_file());
    thread::sleep(Duration::from_millis(300));
    let ended = sampling.signal("INT").wait();
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(ended.stderr.contains("[0] error: stopped after step "), "{ended}");
    let samples = fs::read_dir(place.path("run/samples")).expect("a folder").count();
    assert_eq!(samples, 0, "no sheet, and none half done");
}
