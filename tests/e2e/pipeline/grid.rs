//! `ddae-probe grid`: its numbers are those of the commands that it stands for.

use std::fs;

use serde_json::{Value, json};

use crate::place::Place;
use crate::tiny::{CLASSES, TAPS, TEST, TRAIN, trained, with};

const GRID: &str = "ddae-probe grid run --data-root data --timesteps 1,11 --threads 1";

/// The work folder of the result that is called so by default.
const WORK: &str = "grid.json.work";

fn place() -> Place {
    with(&["data", "run"])
}

/// What a grid prints with `--json`.
#[track_caller]
fn grid(place: &Place, line: &str) -> Value {
    place.run(&format!("{line} --json")).json()
}

fn pairs(timesteps: &[i64]) -> Vec<String> {
    timesteps.iter().flat_map(|timestep| TAPS.iter().map(move |tap| format!("t{timestep}/{tap}"))).collect()
}

/// The accuracy of each pair.
#[track_caller]
fn accuracies(grid: &Value) -> Vec<(String, f64)> {
    let cells = grid["cells"].as_array().expect("cells").iter();
    let of = |cell: &Value| {
        let features = cell["features"].as_str().expect("a name").to_string();
        (features, cell["accuracy"].as_f64().expect("an accuracy"))
    };
    cells.map(of).collect()
}

/// The same graph, features, held-out part and heads: nothing may differ in the last digit.
#[test]
fn a_grid_gives_what_the_commands_give_by_hand() {
    let place = place();
    for head in ["linear", "logistic", "knn"] {
        let found = grid(&place, &format!("{GRID} --head {head} --keep"));
        let line = format!("ddae-probe {head} --train train.h5 --test test.h5 --json");
        let by_hand = trained().run(&line).json();
        let probe = &found["probe"];
        for key in ["features", "dim", "accuracy", "standard_error", "correct", "classes", "confusion"] {
            assert_eq!(probe[key], by_hand[key], "{head}: {key}");
        }
        assert_eq!(found["choice"]["features"], by_hand["features"]);
        assert_eq!(found["choice"]["accuracy"], by_hand["accuracy"]);
        let trials = by_hand["selection"]["trials"].as_array().expect("trials");
        let expected: Vec<(String, f64)> = trials
            .iter()
            .map(|trial| {
                let features = trial["features"].as_str().expect("a name").to_string();
                (features, trial["held_out_accuracy"].as_f64().expect("an accuracy"))
            })
            .collect();
        assert_eq!(accuracies(&found), expected, "{head}");
        assert_eq!(probe["selection"]["held_out_samples"], by_hand["selection"]["held_out_samples"]);
        assert_eq!(probe["protocol"]["seed"], by_hand["protocol"]["seed"]);
        assert_eq!((&found["head"], &found["search"]["search"]), (&json!(head), &json!("full")));
    }
    // The files are those of the commands, byte for byte.
    assert!(place.read("grid.json.work/train.h5") == trained().read("train.h5"), "the features differ");
    let found: Value = serde_json::from_str(&place.text("grid.json")).expect("the last result");
    let chosen = found["choice"]["timestep"].as_i64().expect("a timestep");
    assert!(place.path(&format!("grid.json.work/test_t{chosen}.h5")).is_file());
}

#[test]
fn the_result_says_what_was_searched_and_what_it_cost() {
    let place = place();
    let found = grid(&place, GRID);
    let names: Vec<String> = accuracies(&found).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, pairs(&[1, 11]));
    assert_eq!((&found["timesteps"], &found["layers"]), (&json!([1, 11]), &json!(TAPS)));
    let images = 3 * TRAIN;
    assert_eq!(found["data"]["train_images"], images);
    // A fifth is held out.
    let learned = images - images / 5;
    let cost = json!([2 * images, 8 * learned * 15]);
    assert_eq!(json!([found["search"]["network_calls"], found["search"]["head_rows"]]), cost);
    assert_eq!(found["search"]["full"]["network_calls"], 2 * images);
    assert_eq!(found["measurement"], json!({ "network_calls": 3 * TEST, "head_rows": images * 15 }));
    // Nothing is left but the result, which holds what was printed.
    assert_eq!(place.names("").iter().filter(|name| name.starts_with("grid")).count(), 1);
    let written: Value = serde_json::from_str(&place.text("grid.json")).expect("JSON");
    assert_eq!(written, found);
    let command = found["made_by"]["command"].as_str().expect("a command");
    assert!(command.starts_with("ddae-probe grid run --data-root data"), "{command}");
    let next = found["next"].as_array().expect("commands");
    let layer = found["choice"]["layer"].as_str().expect("a layer");
    let export = format!(
        "ddae-export run --graph features --taps {layer} --timestep {} -o chosen.onnx",
        found["choice"]["timestep"]
    );
    assert_eq!(next[0], export);
    assert_eq!(next[1], "ddae-infer features chosen.onnx --split train --data-root data -o chosen_train");
    assert_eq!(next[2], "ddae-infer features chosen.onnx --split test --data-root data -o chosen_test");
    let (probe, others) = next.split_last().expect("commands");
    for command in others {
        place.done(command.as_str().expect("a command"));
    }
    // A timestep that is built in may change the last digits of features, and with them an image.
    let report = place.run(&format!("{} --json", probe.as_str().expect("a command"))).json();
    let [again, first] =
        [&report["accuracy"], &found["choice"]["accuracy"]].map(|of| of.as_f64().expect("one"));
    assert!((again - first).abs() < 1.5 / (3.0 * TEST as f64), "{again} and {first}");
}

#[test]
fn a_table_the_choice_and_the_next_command_are_shown() {
    let place = place();
    let ended = place.run(&format!("{GRID} --image heat.svg --seeds 2"));
    let printed = ended.success();
    assert!(printed.starts_with("linear probe: accuracy in % on 18 held-out training images\n"), "{printed}");
    for wanted in
        ["t1 ", "t11 ", "out_4 ", "\n  choice    timestep ", "\n  test ", "\n  seeds ", "result: grid.json"]
    {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let stars = printed.matches('*').count();
    assert_eq!(stars, 1, "the choice is marked: {printed}");
    assert!(ended.stderr.contains("next: ddae-export run --graph features --taps out_"), "{ended}");
    let heat = place.text("heat.svg");
    assert!(heat.starts_with("<svg ") && heat.contains(">out_4<") && heat.contains(">11<"), "{heat}");
    place.done(&format!("{GRID} --image heat.png"));
    assert!(crate::formats::decode_png(&place.read("heat.png")).width() > 100);
}

/// Test images under other labels: the accuracy falls, and nothing else changes.
#[test]
fn the_choice_does_not_see_the_test_images() {
    let place = place();
    let line = format!("{GRID} --head knn");
    let before = grid(&place, &line);
    let of = |class: &str| place.path(&format!("data/test/{class}"));
    let [first, second, third] = CLASSES.map(of);
    let aside = place.path("data/aside");
    fs::rename(&first, &aside).expect("renamed");
    fs::rename(&second, &first).expect("renamed");
    fs::rename(&third, &second).expect("renamed");
    fs::rename(&aside, &third).expect("renamed");
    let after = grid(&place, &line);
    assert_eq!(after["cells"], before["cells"]);
    for key in ["features", "held_out_accuracy", "as_good"] {
        assert_eq!(after["choice"][key], before["choice"][key], "{key}");
    }
    let accuracy = |found: &Value| found["choice"]["accuracy"].as_f64().expect("an accuracy");
    assert!(accuracy(&after) < 0.1 && accuracy(&before) > 0.9, "{} {}", after["choice"], before["choice"]);
}

#[test]
fn the_published_protocol_chooses_on_the_test_images() {
    let place = place();
    let found = grid(&place, &format!("{GRID} --head knn --protocol published --views 2 --keep"));
    let options = "--data-root data --timesteps 1,11 --threads 1";
    place.done("ddae-export run --graph features --taps all -o features.onnx");
    place.done(&format!(
        "ddae-infer features features.onnx --split train --views 2 --crop --flip -o train {options}"
    ));
    place.done(&format!("ddae-infer features features.onnx --split test -o test {options}"));
    let by_hand =
        place.run("ddae-probe knn --train train.h5 --test test.h5 --protocol published --json").json();
    let expected: Vec<(String, f64)> = by_hand["selection"]["trials"]
        .as_array()
        .expect("trials")
        .iter()
        .map(|trial| {
            let features = trial["features"].as_str().expect("a name").to_string();
            (features, trial["test_accuracy"].as_f64().expect("an accuracy"))
        })
        .collect();
    assert_eq!(accuracies(&found), expected);
    assert_eq!(found["probe"]["confusion"], by_hand["confusion"]);
    assert_eq!(found["choice"]["held_out_accuracy"], Value::Null);
    assert_eq!(found["search"]["network_calls"], 2 * (2 * 3 * TRAIN + 3 * TEST));
    let warnings = found["probe"]["warnings"].to_string();
    assert!(warnings.contains("chosen on the test set, as published: the best of 8"), "{warnings}");
    let printed = place.run(&format!("{GRID} --protocol published"));
    assert!(printed.stderr.contains("note: 4 stored views of each training image"), "{printed}");
}

/// Every seed measures all pairs on the test images; the best mean is the choice, which all seeds then measure.
#[test]
fn published_seeds_choose_by_their_mean() {
    let place = place();
    let line = format!("{GRID} --protocol published --views 1 --keep");
    let found = grid(&place, &format!("{line} --seeds 2"));
    let alone = [0, 1].map(|seed| {
        let probe =
            format!("ddae-probe linear --train {WORK}/train.h5 --test {WORK}/test.h5 --protocol published");
        place.run(&format!("{probe} --seed {seed} --json")).json()
    });
    let trials = |report: &Value, pair: usize| {
        report["selection"]["trials"][pair]["test_accuracy"].as_f64().expect("an accuracy")
    };
    let of_cells = accuracies(&found);
    for (pair, (name, accuracy)) in of_cells.iter().enumerate() {
        let mean = (trials(&alone[0], pair) + trials(&alone[1], pair)) / 2.0;
        assert!((mean - accuracy).abs() < 1e-12, "{name}: {accuracy} and {mean}");
        assert!(found["cells"][pair]["deviation"].is_f64());
    }
    let best = of_cells.iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max);
    let chosen = of_cells.iter().position(|(_, accuracy)| *accuracy == best).expect("the first of the best");
    assert_eq!(found["choice"]["features"], json!(of_cells[chosen].0));
    let seeds = &found["probe"]["seeds"];
    assert_eq!(seeds["accuracies"], json!([trials(&alone[0], chosen), trials(&alone[1], chosen)]));
    assert_eq!(seeds["features"], json!([of_cells[chosen].0, of_cells[chosen].0]));
    assert_eq!((&found["search"]["seeds"], &found["search"]["held_out"]), (&json!(2), &Value::Null));
}

/// Stopped while features are computed, and while heads are trained.
#[test]
fn an_interrupted_grid_goes_on() {
    let place = place();
    let line = format!("{GRID} --views 6 --seeds 12 -o stopped.json");
    let found = |place: &Place| -> Value {
        let mut found: Value = serde_json::from_str(&place.text("stopped.json")).expect("a result");
        found["made_by"] = Value::Null;
        found
    };
    place.done(&line);
    let whole = found(&place);
    fs::remove_file(place.path("stopped.json")).expect("removed");
    let work = place.path("stopped.json.work");
    assert!(!work.exists());
    for (made, is_training) in [("features.onnx", false), ("train.h5", true)] {
        let ended = place.start(&line).wait_until(|| work.join(made).exists()).interrupt().wait();
        let error = ended.error(&[130]);
        let wanted = "interrupted; what was computed stays in the work folder, and the same command goes on";
        assert!(error.contains(wanted), "{ended}");
        assert!(!place.path("stopped.json").exists() && work.join("features.onnx").exists());
        if is_training {
            assert!(work.join("train.h5").exists(), "{:?}", place.names(""));
        }
        let partial =
            place.names("").into_iter().filter(|name| name.contains("partial") || name.contains("lock"));
        assert_eq!(partial.collect::<Vec<_>>(), [""; 0]);
    }
    // What is computed again would be so again.
    let line_anew = line.replace("stopped", "anew");
    let graph = place.path("anew.json.work/features.onnx");
    let ended =
        place.start(&format!("{line_anew} --overwrite")).wait_until(|| graph.exists()).interrupt().wait();
    assert!(ended.error(&[130]).contains("the same command without --overwrite goes on"), "{ended}");
    let made = fs::metadata(work.join("train.h5")).expect("features").modified().expect("a time");
    place.done(&format!("{line} --keep"));
    assert_eq!(fs::metadata(work.join("train.h5")).expect("features").modified().expect("a time"), made);
    let mut again = found(&place);
    assert_eq!(again["work"], "stopped.json.work");
    again["work"] = Value::Null;
    assert_eq!(again, whole);
}

/// Two rounds on few images against all of them.
#[test]
fn halving_finds_a_pair_as_good_at_a_tenth_of_the_calls() {
    let place = with(&["run"]);
    let data = "--data fashion-sample --resize cover --limit 4000 --timesteps 1,11";
    let line = |search: &str| format!("ddae-probe grid run {data} --search {search}");
    let full = grid(&place, &line("full"));
    let halving = grid(&place, &line("halving"));
    let rounds = halving["search"]["rounds"].as_array().expect("rounds");
    let shown: Vec<Value> =
        rounds.iter().map(|round| json!([round["pairs"], round["images"], round["new_images"]])).collect();
    assert_eq!(shown, [json!([8, 200, 200]), json!([4, 400, 200])]);
    let calls = |found: &Value| found["network_calls"].as_u64().expect("a number");
    assert_eq!(calls(&full["search"]), 8000);
    assert_eq!(calls(&halving["search"]["full"]), 8000);
    assert!(calls(&halving["search"]) <= 800, "{}", halving["search"]);
    let rows = |found: &Value| found["head_rows"].as_u64().expect("a number") as f64;
    assert_eq!(rows(&halving["search"]["full"]), 5.0 * rows(&full["search"]), "five seeds");
    assert!(rows(&halving["search"]) < 0.15 * rows(&halving["search"]["full"]), "{}", halving["search"]);
    assert_eq!(halving["search"]["held_out"], Value::Null);
    assert!(halving["probe"]["protocol"].get("held_out").is_none(), "{}", halving["probe"]["protocol"]);
    // 15 epochs of 3,200 images in batches of 128 are 375 steps, which the heads of either half of a round make too.
    for round in rounds {
        let number = |key: &str| round[key].as_u64().expect("a number");
        let steps = number("epochs") * (number("images") / 2).div_ceil(number("batch"));
        assert!((375..=450).contains(&steps), "{steps} steps: {round}");
    }
    // Pairs that were given up keep their round.
    let of_round = |number: u64| {
        let cells = halving["cells"].as_array().expect("cells").iter();
        cells.filter(|cell| cell["round"] == number).count()
    };
    assert_eq!((of_round(1), of_round(2)), (4, 4));
    // What the full search says of the choice.
    let all = accuracies(&full);
    let best = all.iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max);
    let chosen = halving["choice"]["features"].as_str().expect("a name");
    let (_, accuracy) = all.iter().find(|(name, _)| name == chosen).expect("a cell");
    assert!(accuracy + 0.03 > best, "{chosen}: {accuracy}, and the best {best}");
    assert_eq!(grid(&place, &line("halving"))["cells"], halving["cells"], "the same again");
    let printed = place.done(&line("halving"));
    assert!(
        printed.contains("(1) 8 pairs at 2 timesteps on 200 images, the better half goes on"),
        "{printed}"
    );
    assert!(printed.contains(" % of a full search"), "{printed}");
}

#[test]
fn a_report_shows_a_grid() {
    let place = place();
    place.done(&format!("{GRID} --seeds 2"));
    let report = place.run("ddae-probe report run --probe grid.json --json").json();
    let plots = report["plots"].as_array().expect("plots");
    assert!(plots.iter().any(|plot| plot["id"].as_str().is_some_and(|id| id.starts_with("heat-linear"))));
    let page = place.text("report.html");
    assert!(page.contains("Accuracy by layer and timestep: linear t"), "the heat map");
    assert!(page.contains("ddae-probe grid run --data-root data"), "the command");
}

#[test]
fn what_cannot_be_searched_is_named() {
    let place = with(&["data", "run", "features.onnx", "sampler.onnx"]);
    place.done("ddae-export run --graph features --taps out_2,out_3 --timestep 11 -o fixed.onnx");
    place.write("notes.json", "{}");
    place.write("plain/a.png", place.read(&first_image(&place)));
    let grid = |rest: &str| format!("ddae-probe grid {rest} --data-root data");
    place.refuses([
        (1, grid("sampler.onnx"), "sampler.onnx is a graph of kind 'sampler', and 'grid' wants 'features'…"),
        (2, grid("fixed.onnx"), "timestep 11 is built into this graph, and a grid compares several…"),
        (2, grid("run --timesteps 1,200"), "--timesteps 200: this model has 1 to 100"),
        (2, grid("run --layers out_2,out3"), "--layers out3: there is no such layer (did you mean out_3?); there are out_1, out_2, out_3, out_4"),
        (2, grid("features.onnx --layers out_9"), "--layers out_9: there is no such layer (did you mean out_1?)…"),
        (2, grid("run --layers out_2 --timesteps 11"), "there is nothing to choose: t11/out_2 is the only pair…"),
        (2, grid("features.onnx --weights ema"), "--weights is for weights, and features.onnx is a graph already"),
        (2, grid("run --search halving --protocol published"), "--search halving chooses on training images…"),
        (2, grid("run --search halving --held-out 0.3"), "--held-out: with --search halving nothing is held out but halves…"),
        (2, grid("run --protocol published --held-out 0.3"), "--held-out: with --protocol published the test images choose…"),
        (2, grid("run --protocol published --head knn --seeds 2"), "--seeds: nearest neighbours on the test images draw nothing…"),
        (2, grid("run --train-split test"), "…would be both learned from and measured on: give --train-split and --test-split…"),
        (2, grid("run -o notes.json"), "-o notes.json: a file is there that is no result of a grid…"),
        (2, grid("run -o data"), "-o data: this is a folder; give the name of a file"),
        (2, grid("run --image heat.jpg"), "--image heat.jpg: give a name that ends with .svg or .png"),
        (2, grid("run --data plain"), "…has no labels, which a grid needs…"),
        (2, grid("run --seeds 0"), "--seeds '0': a whole number from 1 to 1000 is wanted…"),
    ]);
    let ended = place.run(&grid("absent"));
    assert!(ended.error(&[1]).contains("absent"), "{ended}");
}

fn first_image(place: &Place) -> String {
    let names = place.names("data/train/flat");
    format!("data/train/flat/{}", names.first().expect("an image"))
}

/// A work folder of another job is not taken for this one's.
#[test]
fn what_another_job_left_is_refused() {
    let place = place();
    place.done(&format!("{GRID} --keep"));
    let ended = place.run(&format!("{GRID} --seed 1"));
    assert!(ended.error(&[1, 2]).contains("train.h5 holds seed 0 where this job has 1"), "{ended}");
    let ended = place.run(&format!("{GRID} --layers out_1,out_2"));
    assert!(
        ended.error(&[1, 2]).contains("features.onnx: it was made of the same weights in another way"),
        "{ended}"
    );
    place.done(&format!("{GRID} --seed 1 --overwrite"));
    assert!(!place.path("grid.json.work").exists(), "nothing was to be kept");
}

/// A job without --keep that uses what an earlier one kept.
#[test]
fn kept_files_stay_after_a_later_job() {
    let place = place();
    place.done(&format!("{GRID} --head knn --keep"));
    place.done(&format!("{GRID} --head logistic"));
    let left = place.names("grid.json.work");
    assert!(["train.h5", "features.onnx"].iter().all(|name| left.iter().any(|l| l == name)), "{left:?}");
}

/// Only what the job made is removed.
#[test]
fn files_of_others_in_the_work_folder_stay() {
    let place = place();
    place.write("grid.json.work/mine.txt", "mine");
    place.done(GRID);
    let left: Vec<String> = place.names("grid.json.work");
    assert_eq!(left, ["mine.txt"]);
}
