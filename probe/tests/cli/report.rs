//! `ddae-probe report`: what it takes, prints and writes. The page itself is tested in `ddae-report`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::files::{BOTH, Features, folder};
use crate::{probe, refuses, report};

fn ids(report: &Value) -> Vec<&str> {
    let plots = report["plots"].as_array().expect("plots");
    plots.iter().map(|plot| plot["id"].as_str().expect("an id")).collect()
}

/// Writes what a command prints with `--json`.
fn result(folder: &Path, name: &str, arguments: &[&str]) -> Value {
    let value = report(folder, arguments);
    fs::write(folder.join(name), value.to_string()).expect("written");
    value
}

#[test]
fn results_and_features_become_a_page_and_its_plots_files() {
    let folder = folder();
    let knn = result(folder.path(), "knn.json", &[&["knn"][..], &BOTH].concat());
    let logistic = [&["logistic"][..], &BOTH, &["--features", "t11/out_6", "--c", "1"]].concat();
    result(folder.path(), "logistic.json", &logistic);
    let line =
        ["report", "--probe", "knn.json", "--probe", "logistic.json", "--samples", "60", "-o", "page.html"];
    let more = ["--svg", "plots", "--png", "plots", "--title", "A & B"];
    let found = report(folder.path(), &[&line[..], &BOTH, &more].concat());
    assert_eq!(found["schema"], "ddae.report/1");
    assert_eq!(found["file"], "page.html");
    let page = fs::read_to_string(folder.path().join("page.html")).expect("a page");
    assert_eq!(found["bytes"], page.len());
    assert!(page.contains("<h1>A &amp; B</h1>"));
    assert_eq!(
        found["results"][0],
        json!({ "file": "knn.json", "name": "knn t21/out_7", "accuracy": knn["accuracy"] })
    );
    // The features are those that the best result chose.
    assert!(
        page.contains("Where test samples lie by t21&#x2f;out_7.") && page.contains("60 of 200 test samples")
    );
    let expected =
        ["accuracy", "heat-knn-t21-out-7", "classes-knn-t21-out-7", "projection-pca", "projection-tsne"];
    for id in expected {
        assert!(ids(&found).contains(&id), "{id} among {:?}", ids(&found));
    }
    for plot in found["plots"].as_array().expect("plots") {
        for kind in ["svg", "png"] {
            let path = folder.path().join(plot[kind].as_str().expect("a file"));
            assert!(fs::metadata(&path).expect("written").len() > 500, "{}", path.display());
        }
    }
    let missing: Vec<&str> = found["missing"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|part| part["part"].as_str())
        .collect();
    assert_eq!(
        missing,
        [
            "loss curves and samples",
            "accuracy against noise",
            "alignment and uniformity",
            "images of the samples",
            "real images"
        ]
    );
    // Made again, byte by byte.
    let again = probe(folder.path(), &[&line[..], &BOTH, &more].concat());
    assert!(again.success().starts_with("page.html: "), "{again}");
    let command = |page: &str| page.replace(" --json", "");
    assert_eq!(
        command(&fs::read_to_string(folder.path().join("page.html")).expect("a page")),
        command(&page)
    );
}

#[test]
fn the_command_of_a_result_finds_it_again() {
    let folder = folder();
    for arguments in [
        &["knn", "--features", "t21/out_7", "-k", "5", "--votes", "distance"][..],
        &["logistic", "--features", "t11/out_6", "--c", "0.1", "--normalise", "none"],
        &["linear", "--features", "t11/out_6", "--epochs", "2", "--seed", "4"],
    ] {
        let mut value = result(folder.path(), "result.json", &[arguments, BOTH.as_slice()].concat());
        let made_by = value.as_object_mut().expect("an object").remove("made_by").expect("how it was made");
        let line = made_by["command"].as_str().expect("a command");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "ddae-probe");
        assert_eq!(made_by["tool"], concat!("ddae-probe ", env!("CARGO_PKG_VERSION")));
        let again = probe(folder.path(), &words[1..]).json();
        assert_eq!(again["confusion"], value["confusion"], "{line}");

        // Of files that do not say it, the protocol tells it.
        fs::write(folder.path().join("result.json"), value.to_string()).expect("written");
        let found = ddae_report::result::read(&folder.path().join("result.json")).expect("a result");
        let [ddae_report::result::Measured::Probe(read)] = found.as_slice() else { panic!("{found:?}") };
        let line = read.command();
        let words: Vec<&str> = line.split(' ').skip(1).chain(["--json"]).collect();
        let again = probe(folder.path(), &words).json();
        assert_eq!(again["confusion"], value["confusion"], "{line}");
    }
}

#[test]
fn images_are_those_of_the_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let attributes = |features: Features, split: &str| {
        features.attribute("data_set", json!(format!("fashion-sample/{split}")))
    };
    attributes(Features::new(40, "train"), "train").write(folder.path(), "train");
    attributes(Features::new(20, "test"), "test").write(folder.path(), "test");
    let line = [&["report"][..], &BOTH, &["--data", "fashion-sample"]].concat();
    let found = report(folder.path(), &line);
    let page = fs::read_to_string(folder.path().join("report.html")).expect("a page");
    // Width and height on the page, columns, and rows: 20 test images and 8 neighbours of each.
    assert!(page.contains("data-thumbs=\"28 28 24 8\""), "thumbs");
    assert!(found["sections"].as_array().expect("sections").contains(&json!("Nearest neighbours")));
    assert!(!page.contains("class=\"thumb\" style=\"\""), "each has its place");
    assert_eq!(page.matches("class=\"thumb\"").count(), 20 * 9);

    // A data set of fewer images is not that of the features.
    fs::create_dir_all(folder.path().join("few/train/a")).expect("created");
    fs::create_dir_all(folder.path().join("few/test/a")).expect("created");
    for name in ["few/train/a/1.png", "few/test/a/1.png"] {
        image::RgbImage::new(4, 4).save(folder.path().join(name)).expect("written");
    }
    let wanted = "test.h5: row 2 is of image 2, and few/test has 1: give --data the data set of the features";
    refuses(folder.path(), [(1, "report --train train.h5 --test test.h5 --data few", wanted)]);
}

#[test]
fn what_cannot_be_reported_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("text.json"), "accuracy: 80 %").expect("written");
    let both = BOTH.join(" ");
    let cases = [
        (
            2,
            "report".to_string(),
            "there is nothing to report on: give run folders, --probe FILE.json, or --train and --test",
        ),
        (1, "report nowhere".to_string(), "nowhere: holds no run…"),
        (1, "report --probe absent.json".to_string(), "absent.json: …"),
        (1, "report --probe text.json".to_string(), "text.json: is not what 'ddae-probe … --json' prints…"),
        (2, "report --train train.h5".to_string(), "…--test…"),
        (
            2,
            format!("report {both}"),
            "--features: train.h5 and test.h5 have t11/out_6, t21/out_7: name one…",
        ),
        (
            2,
            format!("report {both} --features t11/out_6,t21/out_7"),
            "--features: a report shows one of the features…",
        ),
        (1, format!("report {both} --features t11/out_9"), "…there is no feature t11/out_9…"),
        (2, format!("report {both} --samples 0"), "…a whole number from 1 to 1000 is wanted…"),
        (2, format!("report {both} --features t11/out_6 --data nothing"), "…nothing…"),
        (1, format!("report {both} --features t11/out_6 -o absent/page.html"), "--output…absent…"),
    ];
    refuses(folder.path(), cases);
    assert!(!folder.path().join("report.html").exists());
}
