//! Validation losses, scores and sheets of several ranks are those of one.

use std::fs;
use std::path::Path;

use ddae_tests::programs::{Ended, Running};
use serde_json::Value;

use crate::labels::{CLASSIFIER, FINE_TUNING};
use crate::program::Place;
use crate::runs::{COMMON, by_environment, with};

/// What a run has found out about its average in the end.
#[derive(Debug, PartialEq)]
struct Findings {
    /// The validation loss, where there is one.
    loss: Option<f64>,
    /// The line of scores, likewise.
    scores: Option<Value>,
    /// The last sheet, likewise.
    sheet: Option<Vec<u8>>,
}

/// What only lines of what was found have.
const KEYS: [&str; 3] = ["validation_loss", "knn_accuracy", "protocol"];

impl Findings {
    fn read(run: &Path, sheet: &str) -> Findings {
        let text = fs::read_to_string(run.join("stats.jsonl")).expect("statistics");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let last = |key: &str| lines.iter().rev().find(|line| line.get(key).is_some());
        Findings {
            loss: last("validation_loss").and_then(|line| line["validation_loss"].as_f64()),
            scores: last("protocol").cloned(),
            sheet: fs::read(run.join("samples").join(sheet)).ok(),
        }
    }

    /// Has a run forget them, as one that was ended before it could look.
    fn forget(run: &Path) {
        let stats = run.join("stats.jsonl");
        let text = fs::read_to_string(&stats).expect("statistics");
        let kept = |line: &&str| !KEYS.iter().any(|key| line.contains(key));
        let kept: String = text.lines().filter(kept).map(|line| format!("{line}\n")).collect();
        fs::write(&stats, kept).expect("written");
        for sheet in fs::read_dir(run.join("samples")).into_iter().flatten() {
            fs::remove_file(sheet.expect("an entry").path()).expect("removed");
        }
    }
}

/// What two ranks find, and one process of the same weights, with options of their own. Of the work of the two, each had a share
/// that is said.
fn found(place: &Place, common: &[&str], [of_two, of_one]: [&[&str]; 2], shares: [&str; 2]) -> [Findings; 2] {
    let run = place.path("run");
    let ended = place.train(&[common, of_two, &["--nproc", "2", "-v"]].concat());
    for (rank, share) in shares.into_iter().enumerate() {
        let told = format!("[{rank}] rank {rank} of 2 evaluates images {share}");
        assert!(ended.stderr.lines().any(|line| line == told), "{told}: {}", ended.stderr);
    }
    let two = Findings::read(&run, "epoch_0001.png");
    Findings::forget(&run);
    place.train(&[common, of_one, &["--resume"]].concat());
    [two, Findings::read(&run, "epoch_0001.png")]
}

/// 36 images to train on, 12 to validate with in three batches, 20 samples in three.
const DIFFUSION: [&str; 16] = [
    "--config",
    "ddpm.yaml",
    "--epochs",
    "1",
    "--hold-out",
    "0.25",
    "--sample-steps",
    "4",
    "--set",
    "n_sample=20",
    "--set",
    "validation_images=12",
    "--set",
    "optim_args={eps: 1.0e-3}",
    "--set",
    "batch_size=4",
];

#[test]
fn two_ranks_find_what_one_finds_in_the_same_batches() {
    let place = Place::new();
    let shares = ["0 to 3 of 12", "8 to 19 of 20"];
    let [two, one] = found(&place, &DIFFUSION, [&[], &["--accumulate", "2"]], shares);
    assert!(two.loss.is_some_and(|loss| loss > 0.0) && two.scores.is_none(), "{:?}", two.loss);
    assert_eq!(two.loss.map(f64::to_bits), one.loss.map(f64::to_bits), "{:?} and {:?}", two.loss, one.loss);
    assert!(two.sheet.is_some() && two.sheet == one.sheet, "the same pixels");
}

/// Of a sheet, every pixel: its batches are the same for all.
#[test]
fn in_other_batches_they_find_almost_the_same() {
    let place = Place::new();
    let common = [&DIFFUSION[..], &["--batch-of", "all"]].concat();
    let [two, one] = found(&place, &common, [&[], &[]], ["0 to 5 of 12", "8 to 19 of 20"]);
    assert!(two.sheet.is_some() && two.sheet == one.sheet, "the same pixels");
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
        "--hold-out",
        "0.25",
        "--sample-steps",
        "3",
        "--set",
        "n_sample=12",
        "--set",
        "batch_size=8",
    ];
    let shares = ["0 to 15 of 36", "8 to 11 of 12"];
    let [two, one] = found(&place, &common, [&[], &["--accumulate", "2"]], shares);
    assert!(two.scores.as_ref().is_some_and(|line| line.get("knn_accuracy").is_some()), "{:?}", two.scores);
    assert_eq!(two.scores, one.scores);
    assert!(two.sheet.is_some() && two.sheet == one.sheet, "the same pixels");
}

const EDM: &str = "model_type: EDM
diffusion: {sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1,
  S_noise: 1.007}
";

/// Accuracies on 12 images in batches of 5, and at so many timesteps, are the same.
#[track_caller]
fn assert_as_one(found: &[Findings; 2], timesteps: usize) {
    let [two, one] = found;
    let line = two.scores.as_ref().expect("scores");
    assert!(line["accuracy"].is_number() && line["count"]["images"] == 12, "{line}");
    let by_timestep = line.get("by_timestep").and_then(Value::as_array).map_or(0, Vec::len);
    assert_eq!(by_timestep, timesteps, "{line}");
    assert_eq!(two.scores, one.scores);
    assert_eq!(two.loss.map(f64::to_bits), one.loss.map(f64::to_bits));
}

const CLASSES: [&str; 6] = ["--epochs", "1", "--hold-out", "0.25", "--set", "batch_size=5"];
const OF_CLASSES: [&str; 2] = ["0 to 4 of 12", "5 to 11 of 12"];

#[test]
fn two_ranks_of_a_classifier_know_as_many_as_one() {
    let (start, rest) = CLASSIFIER.split_once("model_type").expect("a process");
    let (_, rest) = rest.split_once("net_type").expect("a network");
    let place = Place::of("classifier");
    place.write("classifier.yaml", format!("{start}{EDM}net_type{rest}"));
    let common = with(&CLASSES, &["--config", "classifier.yaml"]);
    assert_as_one(&found(&place, &common, [&[], &["--accumulate", "2"]], OF_CLASSES), 18);
}

/// One that sees images at one timestep.
#[test]
fn two_ranks_of_a_fine_tuned_denoiser_know_as_many_as_one() {
    let place = Place::new();
    place.train(&["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0", "--run", "denoiser"]);
    place.write("tune.yaml", FINE_TUNING.replace("layer: out_2", "layer: out_2, timestep: 11"));
    let place = place.into_of("finetune");
    let common = with(&CLASSES, &["--config", "tune.yaml"]);
    let ways: [&[&str]; 2] = [&["--init", "denoiser"], &["--accumulate", "2"]];
    assert_as_one(&found(&place, &common, ways, OF_CLASSES), 0);
}

/// A sheet of millions of network calls, longer than any test may take: nothing else is due after the one epoch.
const LONG_SHEET: [&str; 15] = [
    "--config",
    "ddpm.yaml",
    "--epochs",
    "1",
    "--validate-every",
    "0",
    "--sample-steps",
    "3900",
    "--set",
    "n_sample=10000",
    "--set",
    "diffusion.n_T=4000",
    "--rank-timeout",
    "10",
    "-v",
];

/// What rank 0 says when it begins to sample.
const SAMPLING: &str = "rank 0 of 2 evaluates images 0 to 4999 of 10000";

/// What the ranks leave that were stopped while they sampled.
#[track_caller]
fn assert_stopped(place: &Place, ended: &Ended, prefix: &str) {
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(ended.stderr.contains(&format!("{prefix}error: stopped after step ")), "{ended}");
    let samples = fs::read_dir(place.path("run/samples")).expect("a folder").count();
    assert_eq!(samples, 0, "no sheet, and none half done");
    assert_eq!(place.checkpoint("run/checkpoints/latest.safetensors").state.epoch, 1);
}

/// A signal on the way ends all ranks in good order: with a checkpoint, and nothing half done.
#[test]
fn ranks_that_sample_stop_together() {
    let place = Place::new();
    let arguments = [&LONG_SHEET[..], &["--nproc", "2"]].concat();
    let sampling = Running::start(&mut place.command(&arguments)).wait_until_it_says(SAMPLING);
    assert_stopped(&place, &sampling.signal("INT").wait(), "[0] ");
}

/// One machine of several is taken away, and tells its ranks alone: the others end in the middle of their parts.
#[test]
fn a_rank_that_is_stopped_stops_those_that_sample() {
    let place = Place::new();
    let mut commands = by_environment(&place, &LONG_SHEET, 2);
    let second = Running::start(&mut commands[1]);
    let first = Running::start(&mut commands[0]).wait_until_it_says(SAMPLING);
    let second = second.signal("INT").wait();
    let first = first.wait();
    assert_stopped(&place, &first, "");
    assert_eq!(second.code, Some(130), "{second}");
}

/// A machine may have other data. What is found out about images that others do not have is worth nothing.
#[test]
fn ranks_with_other_test_images_are_refused() {
    let machine = |levels: &[u8]| {
        let place = Place::new();
        for (number, &level) in levels.iter().enumerate() {
            for class in ["bright", "dark"] {
                let folder = place.path("data/test").join(class);
                fs::create_dir_all(&folder).expect("created");
                let path = folder.join(format!("{number}.png"));
                let levels = [f32::from(level) / 255.0; 64];
                ddae_data::sheet::write_png_image(path, &levels, [1, 8, 8]).expect("written");
            }
        }
        place
    };
    let first = machine(&[10, 20]);
    let refused = |second: Place, more: &[&str]| {
        let common = with(&COMMON, &["--epochs", "1", "--force"]);
        let mut commands = by_environment(&first, &common, 2);
        let mut of_second = second.command(&with(&common, more));
        of_second.envs(commands[1].get_envs().filter_map(|(name, value)| Some((name, value?))));
        commands[1] = of_second;
        // One rank on each machine.
        let of_each = [("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"), ("GLOO_SOCKET_IFNAME", "lo")];
        let ranks: Vec<Running> =
            commands.iter_mut().map(|command| Running::start(command.envs(of_each))).collect();
        let errors: Vec<String> = ranks.into_iter().map(|rank| rank.wait().error(&[1]).to_string()).collect();
        assert_eq!(errors[0], errors[1].replace("error: ", "error: rank 1 ended: "));
        errors[1].clone()
    };
    let error = refused(machine(&[]), &[]);
    assert_eq!(
        error,
        "error: rank 1 has validation images none and test images none, and rank 0 validation images 3 of folder/test and test \
         images 4 of folder/test: give all ranks the same images"
    );
    let error = refused(machine(&[10]), &[]);
    let wanted =
        "error: rank 1 has validation images 2 of folder/test and test images 2 of folder/test, and rank 0 ";
    assert!(error.starts_with(wanted), "{error}");
    let error = refused(machine(&[10, 21]), &[]);
    assert_eq!(error, "error: rank 1 has another data set folder/test than rank 0: give all ranks the same");
    let error = refused(machine(&[10, 20]), &["--sample-steps", "7"]);
    assert_eq!(error, "error: rank 1 has another --sample-steps than rank 0: give all ranks the same");
}
