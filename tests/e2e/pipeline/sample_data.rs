//! The data set that is built in: a few steps of training and some of its features.

use std::fs;

use ddae_store::FeatureFile;
use ddae_tests::programs;

use crate::formats::decode_png;
use crate::place::Place;
use crate::tiny::ddpm;

#[test]
fn the_built_in_images_go_the_whole_way() {
    let place = Place::new();
    let config = ddpm()
        .replace("dataset: folder", "dataset: fashion-sample")
        .replace("classes: 3", "classes: 10")
        .replace("[1, 8, 8]", "[1, 28, 28]");
    place.write("fashion.yaml", config);
    // An epoch takes too long here: Ctrl-C ends the run after a few steps, with a checkpoint.
    let stats = place.path("run/stats.jsonl");
    let begun = || fs::read_to_string(&stats).is_ok_and(|text| text.lines().count() >= 2);
    let train = "ddae-train diffusion --config fashion.yaml --device cpu --threads 1 --log-every 1";
    let ended = place.start(train).wait_until(begun).interrupt().wait();
    assert!(ended.error(&[130]).contains("Go on with: "), "{ended}");

    place.done("ddae-export run --graph features --taps out_2 --timestep 11 -o features.onnx");
    for split in ["train", "test"] {
        place.done(&format!(
            "ddae-infer features features.onnx --split {split} --limit 300 --shards 2 -o {split}"
        ));
    }
    let file = FeatureFile::open(place.path("train.h5")).expect("a feature file");
    assert_eq!(file.attributes()["data_set"], "fashion-sample/train");
    assert_eq!(file.attributes()["classes"].as_array().map(Vec::len), Some(10));
    assert_eq!(file.len(), 300);
    let report = place.run("ddae-probe logistic --train train.h5 --test test.h5 --c 1 --json").json();
    assert!(report["accuracy"].as_f64().expect("an accuracy") > 0.3, "chance is 0.1: {report}");

    let info = place.run("ddae-data info fashion-sample --json").json();
    assert_eq!((&info["train"]["pictures"], &info["test"]["pictures"]), (&6000.into(), &10_000.into()));
    let printed = place.done("ddae-data preview fashion-sample --by-class -o sheet.png");
    // Configurations are named as seen from the checkout.
    let next = printed.lines().find_map(|line| line.strip_prefix("next: ")).expect("a next command");
    let mut next = place.command(&format!("{next} --dry-run"));
    programs::run(next.current_dir(programs::repository())).success();
    let sheet = decode_png(&place.read("sheet.png"));
    assert!(sheet.width() > 8 * 28 && sheet.height() > 10 * 28);
}
