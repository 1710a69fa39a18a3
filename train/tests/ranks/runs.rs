//! Several ranks of one run.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use ddae_checkpoint::Checkpoint;
use ddae_tests::programs::{self, Ended, Running};
use ddae_train::runs::Overview;

use crate::program::Place;

/// Where gradients are almost zero, Adam makes steps of rounding errors: its eps is larger here.
pub const COMMON: [&str; 8] =
    ["--config", "ddpm.yaml", "--set", "n_sample=0", "--set", "optim_args={eps: 1.0e-3}", "--log-every", "1"];

/// The last step that the statistics tell of.
pub fn steps(stats: &Path) -> u64 {
    let text = fs::read_to_string(stats).unwrap_or_default();
    let last = text.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    last.and_then(|line| line["step"].as_u64()).unwrap_or(0)
}

pub fn with<'a>(common: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [common, more].concat()
}

/// The largest difference between tensors of the last checkpoints of two runs, weights and average, and where it is.
fn difference(place: &Place, one: &str, other: &str) -> (f32, String) {
    let open = |run: &str| {
        let path = place.path(run).join("checkpoints/latest.safetensors");
        let file = Checkpoint::open(&path).expect("a checkpoint");
        file.tensors_with_prefix("").expect("tensors")
    };
    let (one, other) = (open(one), open(other));
    let mut most = (0.0, String::new());
    for (name, tensor) in
        one.iter().filter(|(name, _)| name.starts_with("model.") || name.starts_with("ema."))
    {
        let of_other = other.get(name).expect(name);
        for (a, b) in tensor.as_f32().expect("f32").iter().zip(of_other.as_f32().expect("f32")) {
            let difference = (a - b).abs();
            if difference > most.0 {
                most = (difference, name.to_string());
            }
        }
    }
    most
}

#[track_caller]
pub fn assert_alike(place: &Place, one: &str, other: &str) {
    let (difference, name) = difference(place, one, other);
    assert!(difference <= 1e-5, "{one} and {other}: {difference:e} in {name}");
    assert!(difference > 0.0 || one == other, "they were computed in one way");
}

#[test]
fn two_ranks_take_the_steps_of_one_with_twice_the_batch() {
    let place = Place::new();
    // 48 images: 3 steps of 14 and one of 6.
    let two = place.train(&with(&COMMON, &["--set", "batch_size=7", "--nproc", "2", "--run", "two"]));
    assert!(
        two.stderr.contains("[0] ranks       2 ranks x 7 images = 14 a step; learning rate x 2 ("),
        "{}",
        two.stderr
    );
    assert!(two.stdout.starts_with("trained 3 epochs (12 steps): loss "), "{}", two.stdout);
    assert!(!two.stderr.contains("[1] "), "rank 0 speaks for all: {}", two.stderr);
    let lone = ["--set", "batch_size=14", "--set", "lrate=2.0e-3", "--run", "lone"];
    place.train(&with(&COMMON, &lone));
    assert_alike(&place, "two", "lone");
    // One rank in two passes does the same.
    place.train(&with(&COMMON, &["--set", "batch_size=7", "--accumulate", "2", "--run", "passes"]));
    assert_alike(&place, "passes", "lone");
    // The mean loss of a step is that over all its images.
    let losses = |run: &str| -> Vec<f64> {
        let text = fs::read_to_string(place.path(run).join("stats.jsonl")).expect("statistics");
        let line =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["loss"].as_f64();
        text.lines().map(|text| line(text).expect("a loss")).collect()
    };
    for (two, lone) in losses("two").iter().zip(losses("lone")) {
        assert!((two - lone).abs() < 1e-4 * lone, "{two} and {lone}");
    }
    let log = fs::read_to_string(place.path("two/log.txt")).expect("a log");
    assert!(log.contains("buckets a step were on their way before the backward pass was over"), "{log}");
}

#[test]
fn four_ranks_divide_the_batch_of_one() {
    let place = Place::new();
    let four = ["--nproc", "4", "--batch-of", "all", "--epochs", "1", "--run", "four"];
    place.train(&with(&COMMON, &four));
    place.train(&with(&COMMON, &["--epochs", "1", "--run", "lone"]));
    assert_alike(&place, "four", "lone");
}

/// Norms over almost equal values multiply rounding errors a thousandfold; images that keep their size have more of them, and a small
/// learning rate keeps what comes of it small. (In another memory layout, the same run ends 1e-2 elsewhere.)
#[test]
fn batch_norms_of_a_soda_see_the_images_of_all_ranks() {
    let place = Place::of("soda");
    let keys = [
        "n_sample=0",
        "optim_args.eps=1.0e-3",
        "batch_size=16",
        "lrate=1.0e-4",
        "encoder.cifar_small_image=True",
    ];
    let mut common = vec!["--config", "soda.yaml", "--epochs", "1"];
    keys.iter().for_each(|key| common.extend(["--set", key]));
    place.train(&with(&common, &["--nproc", "2", "--batch-of", "all", "--run", "two"]));
    place.train(&with(&common, &["--run", "lone"]));
    assert_alike(&place, "two", "lone");
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether a process is the rank of this number.
fn is_rank(process: u32, rank: usize) -> bool {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let wanted = format!("RANK={rank}");
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

fn kill(process: u32) {
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status().expect("kill");
    assert!(status.success());
}

fn kill_rank(rank: usize, running: Running) -> Ended {
    let processes = children(running.id());
    let of_rank = processes.into_iter().find(|process| is_rank(*process, rank)).expect("the rank");
    kill(of_rank);
    running.wait()
}

#[test]
fn stopped_and_killed_ranks_go_on_to_the_same_end() {
    let place = Place::new();
    let common = with(&COMMON, &["--nproc", "2", "--epochs", "12", "--save-every", "1"]);
    place.train(&with(&common, &["--run", "straight"]));
    let ranks = with(&common, &["--run", "ended"]);
    let stats = place.path("ended/stats.jsonl");
    // 3 steps an epoch, 36 in all.
    let start = |arguments: &[&str], step: u64| {
        Running::start(&mut place.command(arguments)).wait_until(|| steps(&stats) >= step)
    };
    let ended = start(&ranks, 4).signal("INT").wait();
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(ended.stderr.contains("[0] error: stopped after step "), "{ended}");
    assert!(ended.stderr.contains("--nproc 2"), "the command that goes on: {ended}");
    let state = place.checkpoint("ended/checkpoints/latest.safetensors").state;
    assert!((4..36).contains(&state.step), "{state:?}");

    let resumed = with(&ranks, &["--resume"]);
    for (rank, step) in [(1, 12), (0, 22)] {
        let ended = kill_rank(rank, start(&resumed, step));
        let error = ended.stderr.lines().last().unwrap_or_default();
        let wanted =
            format!("error: rank {rank} of 2 was ended by signal 9 (SIGKILL), and the others with it");
        assert!(error.starts_with(&wanted), "{ended}");
        assert_eq!(ended.code, Some(1));
    }
    place.train(&resumed);
    let last = "checkpoints/epoch_0012.safetensors";
    place.checkpoint(&format!("straight/{last}")).assert_same(&place.checkpoint(&format!("ended/{last}")));
}

/// Ranks by the environment alone, as `torchrun` starts them.
pub fn by_environment(place: &Place, arguments: &[&str], world: usize) -> Vec<Command> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let command = |rank: usize| {
        let mut command = place.command(arguments);
        let variables =
            [("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", world), ("LOCAL_WORLD_SIZE", world)];
        command.envs(variables.map(|(name, value)| (name, value.to_string())));
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        command
    };
    (0..world).map(command).collect()
}

#[test]
fn a_rank_that_is_lost_is_named_by_the_others() {
    let place = Place::new();
    let arguments = with(&COMMON, &["--epochs", "400", "--rank-timeout", "3"]);
    let stats = place.path("run/stats.jsonl");
    let mut ranks: Vec<Running> =
        by_environment(&place, &arguments, 3).iter_mut().map(Running::start).collect();
    while steps(&stats) < 4 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill(ranks[2].id());
    let lost = ranks.remove(2).wait();
    assert_eq!(lost.code, None);
    for (rank, running) in ranks.into_iter().enumerate() {
        let ended = running.wait();
        let error = ended.error(&[1]);
        assert!(
            error.starts_with("error: rank 2 of 3 was lost: no sign of life for "),
            "rank {rank}: {ended}"
        );
    }
}

#[test]
fn a_rank_that_fails_ends_the_others_with_its_reason() {
    let place = Place::new();
    for (arguments, what) in [
        (["--set", "network.dropout=0.3"], "configuration"),
        (["--accumulate", "2"], "--accumulate or --batch-of"),
    ] {
        let mut commands = by_environment(&place, &with(&COMMON, &["--force"]), 2);
        commands[1].args(arguments);
        let ranks: Vec<Running> = commands.iter_mut().map(Running::start).collect();
        let wanted = format!("rank 1 has another {what} than rank 0: give all ranks the same");
        let errors: Vec<String> = ranks.into_iter().map(|rank| rank.wait().error(&[1]).to_string()).collect();
        assert_eq!(errors[0], format!("error: rank 1 ended: {wanted}"));
        assert_eq!(errors[1], format!("error: {wanted}"));
    }
}

#[test]
fn what_ranks_are_refused_for_is_told_as_by_one_process() {
    let place = Place::new();
    place.train(&with(&COMMON, &["--epochs", "1"]));
    let ended = place.run(&with(&COMMON, &["--nproc", "2", "--resume", "--seed", "9", "--json"]));
    assert_eq!(ended.code, Some(2), "{ended}");
    let failure: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one object");
    assert_eq!((&failure["kind"], &failure["exit_code"]), (&"usage".into(), &2.into()));
    assert!(ended.stderr.contains("[0] error: "), "{ended}");
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let place = Place::new();
    let run = |more: &[&str]| place.train(&with(&COMMON, &with(&["--run", "run"], more)));
    run(&["--nproc", "2", "--epochs", "1"]);
    // As many parts in one process: the same steps.
    let ended = run(&["--accumulate", "2", "--epochs", "2", "--resume"]);
    let wanted = "ranks       1 x 2 (ranks x passes a step) where it was 2 x 1: the same steps, but for the order of sums";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("trained 2 epochs (6 steps)"), "{}", ended.stdout);
    let ended = run(&["--epochs", "3", "--resume"]);
    let wanted = "where it was 1 x 2: 8 images a step instead of 16, learning rate x 1 instead of x 2, 6 steps an epoch";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("trained 3 epochs (12 steps)"), "{}", ended.stdout);
    place.train(&with(&COMMON, &["--run", "straight", "--nproc", "2", "--epochs", "2"]));
    let state = place.checkpoint("run/checkpoints/epoch_0003.safetensors").state;
    assert_eq!((state.epoch, state.step, state.shared), (3, 12, None));
    // What lists and comparisons of runs know of it.
    let settings = |run: &str| {
        let settings = Overview::read(&place.path(run)).settings.expect("settings");
        ["ranks", "accumulate", "step_batch", "rate_factor"].map(|key| settings[key].as_f64().expect(key))
    };
    assert_eq!(settings("straight"), [2.0, 1.0, 16.0, 2.0]);
    assert_eq!(settings("run"), [1.0, 1.0, 8.0, 1.0]);
}

#[test]
fn two_jobs_in_one_folder_are_refused() {
    let place = Place::new();
    let stats = place.path("run/stats.jsonl");
    let long = with(&COMMON, &["--epochs", "400"]);
    let running = Running::start(&mut place.command(&long)).wait_until(|| steps(&stats) >= 1);
    let ended = place.run(&with(&COMMON, &["--nproc", "2", "--resume"]));
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("[0] error: run: another process is training in this folder"), "{ended}");
    running.signal("INT").wait();
}

#[test]
fn environments_that_make_no_sense_are_refused() {
    let place = Place::new();
    let refused = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command(&with(&COMMON, arguments));
        let ended = programs::run(command.envs(variables.iter().copied()));
        assert!(!Path::new(&place.path("run")).exists());
        ended.error(&[2]).to_string()
    };
    let error = refused(&[], &[("RANK", "0"), ("WORLD_SIZE", "2")]);
    assert!(
        error.starts_with("error: the environment has RANK and no MASTER_ADDR: ranks want RANK, "),
        "{error}"
    );
    let all = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")];
    let error = refused(&["--nproc", "2"], &all);
    assert!(
        error.starts_with("error: --nproc starts ranks, and this process is one of 2 already"),
        "{error}"
    );
    let error = refused(&["--batch-of", "all", "--accumulate", "3"], &[]);
    assert!(
        error
            .contains("batch_size is 8, of all ranks, and cannot be divided by 3 (ranks: 1, --accumulate 3)"),
        "{error}"
    );
    let error = refused(&["--accumulate", "7"], &[]);
    assert!(error.contains("a step has 56 images in 7 parts, but "), "{error}");
    // A rank alone is a run of one process.
    let alone = [("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")];
    let mut command = place.command(&with(&COMMON, &["--epochs", "1"]));
    programs::run(command.envs(alone)).success();
    place.train(&with(&COMMON, &["--epochs", "1", "--run", "plain"]));
    let last = "checkpoints/epoch_0001.safetensors";
    place.checkpoint(&format!("run/{last}")).assert_same(&place.checkpoint(&format!("plain/{last}")));
}

/// Under the `torchrun` that `DDAE_TORCHRUN` names: `cargo test -p ddae-train --test ranks -- --ignored torchrun`.
#[test]
#[ignore = "wants DDAE_TORCHRUN=…/bin/torchrun, of PyTorch from pip"]
fn torchrun_starts_ranks() {
    let torchrun = std::env::var_os("DDAE_TORCHRUN").expect("DDAE_TORCHRUN=PATH");
    let place = Place::new();
    let arguments = with(&COMMON, &["--set", "batch_size=7", "--run", "two"]);
    let program = place.command(&arguments);
    let mut command = Command::new(torchrun);
    command.current_dir(place.path("")).env_remove("DDAE_DATA");
    command.args(["--no-python", "--standalone", "--nproc-per-node", "2", "--"]);
    command.arg(program.get_program()).args(program.get_args());
    let ended = programs::run(&mut command);
    ended.success();
    assert!(ended.stdout.contains("trained 3 epochs (12 steps): loss "), "{ended}");
    place.train(&with(&COMMON, &["--set", "batch_size=7", "--nproc", "2", "--run", "own"]));
    let last = "checkpoints/epoch_0003.safetensors";
    place.checkpoint(&format!("two/{last}")).assert_same(&place.checkpoint(&format!("own/{last}")));
}
