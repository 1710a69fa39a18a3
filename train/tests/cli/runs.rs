//! `ddae-train list` and `compare`.

use std::fs;
use std::process::Command;

use ddae_tests::programs::{self, Ended};
use serde_json::Value;

use crate::program::Place;

fn ddae_train(place: &Place, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-train"));
    programs::run(command.current_dir(place.path("")).args(arguments))
}

/// Two runs that differ in a key and the seed, and a third that was never more than begun.
fn runs() -> Place {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--log-every", "3", "--hold-out", "0.25"];
    place.train(&[&common[..], &["--run", "runs/narrow", "--epochs", "2"]].concat());
    let wide = ["--run", "runs/wide", "--set", "lrate=2.0e-3", "--seed", "7", "--epochs", "2"];
    place.train(&[&common[..], &wide].concat());
    fs::create_dir_all(place.path("runs/half/checkpoints")).expect("created");
    fs::write(place.path("runs/half/log.txt"), "").expect("written");
    place
}

#[test]
fn runs_are_listed_with_what_came_of_them() {
    let place = runs();
    let ended = ddae_train(&place, &["list"]);
    let lines: Vec<&str> = ended.success().lines().collect();
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<&str>>();
    assert_eq!(words(0)[..6], ["run", "state", "epoch", "step", "loss", "validation"]);
    assert_eq!(words(1)[..5], ["runs/half", "begun", "0/-", "0", "-"]);
    assert_eq!(words(2)[..4], ["runs/narrow", "finished", "2/2", "10"]);
    assert_eq!(words(3)[..4], ["runs/wide", "finished", "2/2", "10"]);
    assert!(lines[2].ends_with("folder DDPM UNet  lrate=0.001 seed=0"), "{}", lines[2]);
    assert!(lines[3].ends_with("folder DDPM UNet  lrate=0.002 seed=7"), "{}", lines[3]);
    assert!(lines[4].starts_with("note: runs/half: config.yaml: "), "{ended}");

    let ended = ddae_train(&place, &["list", "runs/wide", "--json"]);
    let list = ended.json();
    assert_eq!(list["schema"], "ddae.list/1");
    let run = &list["runs"][0];
    assert_eq!((&run["run"], &run["state"]), (&Value::from("runs/wide"), &Value::from("finished")));
    assert_eq!((&run["epoch"], &run["epochs"], &run["step"]), (&2.into(), &2.into(), &10.into()));
    assert_eq!((&run["settings"]["seed"], &run["settings"]["lrate"]), (&7.into(), &2e-3.into()));
    let stats = fs::read_to_string(place.path("runs/wide/stats.jsonl")).expect("statistics");
    let lines: Vec<Value> = stats.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = |key: &str| lines.iter().rev().find_map(|line| line.get(key)).expect("a value").clone();
    assert_eq!(run["loss"]["loss"], last("loss"));
    assert_eq!(run["validation"]["loss"], last("validation_loss"));

    // Each once, in the order of the command line.
    let list = ddae_train(&place, &["list", "runs/wide", "runs/narrow", "runs", "--json"]).json();
    let names: Vec<&Value> = list["runs"].as_array().expect("runs").iter().map(|run| &run["run"]).collect();
    assert_eq!(names, ["runs/wide", "runs/narrow", "runs/half"]);

    let nothing = ddae_train(&place, &["list", "data", "--depth", "1"]);
    assert_eq!(nothing.success(), "no runs in data, looked 1 folders deep (--depth)\n");
}

#[test]
fn runs_are_compared_key_by_key() {
    let place = runs();
    let ended = ddae_train(&place, &["compare", "runs/narrow", "runs/wide"]);
    let text = ended.success();
    let row = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line[name.len()..].split_whitespace().map(String::from).collect::<Vec<String>>()
    };
    assert_eq!(
        text.lines().next().expect("a line").split_whitespace().collect::<Vec<_>>(),
        ["runs/narrow", "runs/wide"]
    );
    assert_eq!(row("state"), ["finished", "finished"]);
    assert_eq!(row("epoch"), ["2/2", "2/2"]);
    assert_eq!(row("lrate"), ["0.001", "0.002"]);
    assert_eq!(row("seed"), ["0", "7"]);
    assert_eq!(row("validation loss").len(), 2);
    assert!(!text.contains("batch_size") && !text.contains("save_dir"), "{text}");

    let object = ddae_train(&place, &["compare", "runs/narrow", "runs/wide", "runs/half", "--json"]).json();
    assert_eq!(object["schema"], "ddae.compare/1");
    assert_eq!(object["differences"]["lrate"], serde_json::json!([0.001, 0.002, null]));
    assert_eq!(
        object["differences"].as_object().map(serde_json::Map::len),
        Some(2),
        "{}",
        object["differences"]
    );

    let same = ddae_train(&place, &["compare", "runs/wide", "runs/wide"]);
    assert!(same.success().ends_with("\nno key of their configurations differs\n"), "{same}");
    let refused = ddae_train(&place, &["compare", "runs/wide", "data"]);
    assert_eq!(
        refused.error(&[1]),
        "error: data: holds no run: 'ddae-train list' shows where there are some"
    );
    ddae_train(&place, &["compare", "runs/wide"]).error(&[2]);
    ddae_train(&place, &["list", "nowhere"]).error(&[1]);
}

#[test]
fn a_run_in_work_is_running_and_a_stopped_one_stopped() {
    use crate::resume::{steps, stop_after};

    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--log-every", "1", "--epochs", "400"];
    let state = || ddae_train(&place, &["list", "run", "--json"]).json()["runs"][0]["state"].clone();
    let stats = place.path("run/stats.jsonl");
    let running = programs::Running::start(&mut place.command(&common)).wait_until(|| steps(&stats) >= 2);
    let found = state();
    running.signal("INT").wait().error(&[130]);
    assert_eq!(found, "running");
    assert_eq!(state(), "stopped");
    let resumed = [&common[..], &["--resume"]].concat();
    stop_after(&place, &resumed, "run", steps(&stats) + 3, "KILL");
    assert_eq!(state(), "stopped");
}
