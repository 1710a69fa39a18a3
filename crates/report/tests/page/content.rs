//! What is in a page and what is not.

use std::collections::BTreeSet;

use ddae_report::page::{Page, Report};
use ddae_report::result;
use ddae_report::run::{Run, tell_apart};
use serde_json::{Value, json};

use crate::dom::{Element, elements};
use crate::fixture::{EVIL, Place, contrastive, made_by, probe, run_folder, whole};

fn page(report: &Report) -> (Page, Vec<Element>) {
    let page = report.page().expect("a page");
    let found = elements(&page.html);
    (page, found)
}

fn ids(page: &Page) -> Vec<&str> {
    page.figures.iter().map(|figure| figure.id.as_str()).collect()
}

fn parts(page: &Page) -> Vec<&str> {
    page.missing.iter().map(|missing| missing.part.as_str()).collect()
}

#[test]
fn a_whole_report_has_every_part() {
    let place = Place::new();
    let (page, found) = page(&whole(&place));
    assert_eq!(
        page.sections,
        [
            "Results",
            "Training",
            "Images",
            "Layers and timesteps",
            "Noise",
            "Classes",
            "Alignment and uniformity",
            "Features in a plane",
            "Nearest neighbours"
        ]
    );
    assert_eq!(parts(&page), [""; 0]);
    for id in [
        "accuracy",
        "accuracy-by-epoch",
        "shots",
        "accuracy-by-noise",
        "loss",
        "scores",
        "alignment",
        "uniformity",
        "projection-pca",
        "projection-tsne",
    ] {
        assert!(ids(&page).contains(&id), "{id} among {:?}", ids(&page));
    }
    for start in ["heat-r-knn", "noise-r-knn", "classes-r-knn", "confusion-r-knn"] {
        assert_eq!(
            ids(&page).iter().filter(|id| id.starts_with(start)).count(),
            2,
            "{start}: {:?}",
            ids(&page)
        );
    }
    let unique: BTreeSet<&str> = ids(&page).into_iter().collect();
    assert_eq!(unique.len(), page.figures.len(), "names of files: {:?}", ids(&page));
    // Both widths of every plot, each with what the pointer finds.
    let count = |name: &str| found.iter().filter(|element| element.name == name).count();
    assert_eq!(count("svg"), 2 * page.figures.len());
    let marks = found.iter().filter(|e| e.attribute("type") == Some("application/json"));
    for marks in marks {
        let marks: Vec<Vec<serde_json::Value>> = serde_json::from_str(&marks.text).expect("JSON");
        assert!(!marks.is_empty() && marks.iter().all(|mark| mark.len() == 7), "{marks:?}");
    }
    let texts: String = found.iter().find(|e| e.name == "body").expect("a body").text.clone();
    for wanted in [
        "80.00 ± 4.00 %",
        "ddae-probe knn --train train.h5 --test 'test & <b>.h5'",
        "ddae-train diffusion --config",
        "CPU, threads: 2, seed 0",
        "the features are few",
        "Two principal components hold 50.00 % and 25.00 %",
        "taken for shirt",
        // Of several draws the mean, and their deviation.
        "60.00 ± 2.00 %",
        "noise-mlp out_3",
        "after epoch 4",
        "1 joined features were tried besides",
    ] {
        assert!(texts.contains(wanted), "{wanted}");
    }
    assert!(page.html.len() < 3_000_000, "{} bytes", page.html.len());
}

#[test]
fn mistakes_come_first_among_neighbours() {
    let place = Place::new();
    let (_, found) = page(&whole(&place));
    let rows: Vec<bool> = found
        .iter()
        .filter_map(|element| element.attribute("class"))
        .filter(|class| *class == "row" || *class == "row wrong")
        .map(|class| class == "row wrong")
        .collect();
    assert_eq!(rows.len(), 24);
    let mistakes = rows.iter().take_while(|wrong| **wrong).count();
    assert_eq!(mistakes, 4, "of samples 3, 10, 17 and 24");
    assert!(!rows[mistakes..].contains(&true));
}

#[test]
fn nothing_from_outside_becomes_html_or_leaves_the_page() {
    let place = Place::new();
    let (page, found) = page(&whole(&place));
    let scripts: Vec<&Element> = found
        .iter()
        .filter(|e| e.name == "script" && e.attribute("type") != Some("application/json"))
        .collect();
    assert_eq!(scripts.len(), 1, "the page's own");
    assert!(scripts[0].text.contains("'use strict'") && !scripts[0].text.contains("alert("));
    for element in &found {
        for (name, value) in &element.attributes {
            assert!(!name.starts_with("on"), "{name} of {}", element.name);
            let leads = ["src", "href", "xlink:href", "srcset", "action", "data"].contains(&name.as_str());
            assert!(
                !leads || value.starts_with('#') || value.starts_with("data:image/png;base64,"),
                "{name}={value}"
            );
        }
    }
    // The text is there, as text.
    let title = found.iter().find(|element| element.name == "title").expect("a title");
    assert_eq!(title.text, format!("demo {EVIL}"));
    assert!(!page.html.contains("<script>alert"), "unescaped");
    let policy = found
        .iter()
        .find(|e| e.attribute("http-equiv") == Some("Content-Security-Policy"))
        .expect("a policy");
    let policy = policy.attribute("content").expect("a content");
    assert!(
        policy.starts_with("default-src 'none'; img-src data:;") && policy.contains("script-src 'sha256-"),
        "{policy}"
    );
    let own = page.html.replace("http://www.w3.org/2000/svg", "");
    assert!(!own.contains("http://") && !own.contains("https://"), "an address");
}

#[test]
fn what_is_not_there_is_said_with_the_command_that_makes_it() {
    let place = Place::new();
    let run = place.run("lone", 1, 0.1);
    std::fs::remove_dir_all(place.path("lone/samples")).expect("removed");
    std::fs::write(place.path("lone/stats.jsonl"), "").expect("emptied");
    let run = Run::read(&run.folder).expect("a run");
    let (page, found) =
        page(&Report { title: "lone".into(), made_by: made_by(), runs: vec![run], ..Report::default() });
    assert_eq!(page.sections, ["Training", "Not in this report"]);
    assert_eq!(page.figures.len(), 0);
    assert_eq!(
        parts(&page),
        [
            "lone: loss curve",
            "lone: validation losses",
            "lone: sheets of samples",
            "accuracies",
            "accuracy by layer and timestep",
            "accuracy against noise",
            "alignment and uniformity",
            "features in a plane and nearest neighbours",
            "real images"
        ]
    );
    let texts = &found.iter().find(|e| e.name == "main").expect("main").text;
    assert!(texts.contains("ddae-probe contrastive views.h5 --json > contrastive.json"), "{texts}");
}

#[test]
fn parts_follow_the_data() {
    let place = Place::new();
    // A result that chose nothing: no heat map; no epoch: no curve.
    let mut one = probe("trouser", 3, 0.9);
    one["selection"]["trials"] = serde_json::json!([]);
    let mut results = result::read(&place.write("one.json", one.to_string())).expect("a result");
    result::name(&mut results);
    let (page, _) = page(&Report { results, made_by: made_by(), ..Report::default() });
    assert_eq!(ids(&page), ["accuracy", "classes-knn-t1-out-2", "confusion-knn-t1-out-2"]);
    assert!(parts(&page).contains(&"accuracy by layer and timestep"), "{:?}", parts(&page));

    // One checkpoint of contrastive: a row for each of the features.
    let results = result::read(&place.write("two.json", contrastive(1).to_string())).expect("a result");
    let (page, found) = self::page(&Report { results, made_by: made_by(), ..Report::default() });
    assert_eq!(ids(&page), ["alignment", "uniformity"]);
    assert!(found.iter().any(|e| e.name == "td" && e.text == "0.290000"), "alignment of out_1");
}

#[test]
fn plots_are_files_of_their_own() {
    let place = Place::new();
    let (page, _) = page(&whole(&place));
    for figure in &page.figures {
        let svg = figure.drawing.svg(&figure.title);
        assert!(
            svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>"),
            "{}",
            figure.id
        );
        assert!(!svg.contains("var(--") && !svg.contains("<script"), "{}: needs no page", figure.id);
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count(), "{}", figure.id);
        let png = figure.drawing.png().expect("a PNG");
        let image = image::load_from_memory(&png).expect("read again").into_rgb8();
        let inked = image.pixels().filter(|pixel| pixel.0 != [255; 3]).count();
        assert!(image.width() == 1200 && inked > 1000, "{}: {inked} pixels", figure.id);
    }
    let loss = page.figures.iter().find(|figure| figure.id == "loss").expect("the losses");
    let names: Vec<&str> = loss.series.iter().map(|(_, _, name)| name.as_str()).collect();
    assert_eq!(names, ["demo: training", "demo: validation", "wide <b>: training", "wide <b>: validation"]);
    assert!(loss.drawing.svg("").contains("wide &lt;b&gt;: validation"), "the legend of a file");
}

#[test]
fn runs_of_one_name_are_told_apart() {
    let place = Place::new();
    let mut runs = vec![place.run("a/demo", 1, 0.1), place.run("b/demo", 1, 0.1), place.run("c", 1, 0.1)];
    tell_apart(&mut runs);
    assert!(runs[0].name.ends_with("a/demo") && runs[1].name.ends_with("b/demo"), "{}", runs[0].name);
    assert_eq!(runs[2].name, "c");
    let error = Run::read(&place.path("a")).expect_err("no run").to_string();
    assert!(error.ends_with("holds no run: 'ddae-train list' shows where there are some"), "{error}");
}

#[test]
fn of_many_sheets_the_first_the_last_and_some_between_are_shown() {
    let place = Place::new();
    let run = place.run("long", 20, 0.1);
    let epochs: Vec<u64> = run.sheets.iter().map(|sheet| sheet.epoch).collect();
    assert_eq!((epochs.as_slice(), run.sheets_found), (&[1, 3, 6, 9, 11, 14, 17, 20][..], 20));
}

#[test]
fn noised_images_follow_the_process_of_the_run() {
    let place = Place::new();
    let run = place.run("demo", 1, 0.1);
    let image: Vec<u8> = (0..28 * 28).map(|i| (i % 251) as u8).collect();
    let strip = ddae_report::noised::strips(&run, &[image.clone(), image], [1, 28, 28])
        .expect("strips")
        .expect("a DDPM");
    assert!(
        strip.caption.starts_with("demo: images as they are, and at t10, t50, t100, "),
        "{}",
        strip.caption
    );
    let picture = image::load_from_memory(&strip.png).expect("a PNG").into_rgb8();
    assert_eq!((picture.width(), picture.height()), (9 * 30 + 2, 2 * 30 + 2));
    // The first column as it is; at the last timestep little of the image is left.
    let level = |column: u32, x: u32, y: u32| f64::from(picture.get_pixel(2 + 30 * column + x, 2 + y).0[0]);
    assert_eq!(level(0, 5, 0), 5.0);
    let error =
        |column: u32| (0..28).map(|x| (level(column, x, 3) - level(0, x, 3)).abs()).sum::<f64>() / 28.0;
    assert!(error(1) < 20.0 && error(8) > 40.0, "{} {}", error(1), error(8));
    assert!(
        ddae_report::noised::strips(&run, &[], [3, 28, 28]).expect("no strips").is_none(),
        "images of another shape"
    );
}

/// The published comparison: what a head on features and a network on the images make of noise.
#[test]
fn heads_and_classifiers_share_a_plot() {
    let place = Place::new();
    let classifier = |name: &str, config: &str, timesteps: &[i64]| {
        run_folder(&place.path(name), 2, 0.05);
        place.write(&format!("{name}/config.yaml"), config);
        let at = |timestep: &i64| json!({ "timestep": timestep, "accuracy": 0.75, "correct": 75, "images": 100, "standard_error": 0.0433 });
        let at: Vec<Value> = timesteps.iter().map(at).collect();
        let count = json!({ "correct": 50, "images": 100, "standard_error": 0.05 });
        let line = json!({ "step": 20, "epoch": 2, "by_timestep": at, "count": count, "accuracy": 0.5, "protocol": {} });
        place.write(&format!("{name}/stats.jsonl"), format!("{line}\n"));
        std::fs::remove_dir_all(place.path(name).join("samples")).expect("removed");
        Run::read(&place.path(name)).expect("a run")
    };
    let vp = classifier("vp", include_str!("../../../../configs/WRN_vp.yaml"), &[1, 51, 951]);
    let ve = classifier("ve", include_str!("../../../../configs/WRN_ve.yaml"), &[1, 18]);
    assert!(vp.command().expect("a command").starts_with("ddae-train classifier --config "), "{vp:?}");
    let head = json!({
        "schema": "ddae.noise_probe/1", "tap": "out_6", "dim": 64,
        "timesteps": [{ "timestep": 1, "accuracy": 0.8, "standard_error": 0.04, "correct": 80 },
                      { "timestep": 951, "accuracy": 0.1, "standard_error": 0.03, "correct": 10 }],
        "protocol": { "optimiser": "adam" }, "warnings": [],
        "train": { "origin": "train.h5", "samples": 400, "attributes": {} },
        "test": { "origin": "test.h5", "samples": 100, "attributes": {} },
    });
    let mut results = result::read(&place.write("head.json", head.to_string())).expect("a result");
    result::name(&mut results);
    let report = Report {
        title: "noise".into(),
        made_by: made_by(),
        runs: vec![vp, ve],
        results,
        ..Report::default()
    };
    let (page, found) = page(&report);
    assert!(page.sections.contains(&"Noise".to_string()), "{:?}", page.sections);
    for id in ["accuracy-by-noise", "accuracy-by-noise-grid"] {
        assert!(ids(&page).contains(&id), "{id} among {:?}", ids(&page));
    }
    let texts: String = found.iter().find(|e| e.name == "body").expect("a body").text.clone();
    for wanted in [
        "noise-mlp out_6",
        "80.00 ± 4.00 %",
        "vp after epoch 2",
        "75.00 ± 4.33 %",
        "50.00 ± 5.00 %",
        "step of the grid of 18",
    ] {
        assert!(texts.contains(wanted), "{wanted}");
    }
    let missing = parts(&page);
    for part in ["sheets", "accuracies", "accuracy by layer", "features in a plane"] {
        assert!(!missing.iter().any(|missing| missing.contains(part)), "{part}: {missing:?}");
    }
    assert!(missing.contains(&"vp: validation losses"), "{missing:?}");
    let wrong = head.to_string().replace("0.8", "8.0");
    let error = result::read(&place.write("wrong.json", wrong)).expect_err("no share").to_string();
    assert!(error.contains("the accuracy at timestep 1 is 8, not between 0 and 1"), "{error}");
}

/// A grid with pairs that were given up earlier, on fewer images.
#[test]
fn a_grid_is_the_measure_of_its_choice() {
    let place = Place::new();
    let mut measure = probe("bag", 2, 0.8);
    measure["schema"] = serde_json::Value::Null;
    measure["made_by"] = serde_json::Value::Null;
    for trial in measure["selection"]["trials"].as_array_mut().expect("trials") {
        let is_late = trial["features"].as_str().expect("a name").starts_with("t101/");
        trial["samples"] = serde_json::json!(if is_late { 40 } else { 80 });
    }
    let grid = serde_json::json!({
        "schema": "ddae.grid/1", "probe": measure,
        "made_by": { "tool": "ddae-probe 0.1.0", "command": "ddae-probe grid runs/demo", "machine": "2 cores" },
    });
    let mut results = result::read(&place.write("grid.json", grid.to_string())).expect("a result");
    result::name(&mut results);
    let report = Report { results, made_by: made_by(), ..Report::default() };
    let (page, found) = page(&report);
    assert!(ids(&page).iter().any(|id| id.starts_with("heat-knn")), "{:?}", ids(&page));
    let text = &found.iter().find(|e| e.name == "body").expect("a body").text;
    for wanted in [
        "ddae-probe grid runs/demo",
        "40 to 80 held-out training samples: the sooner a pair was given up, the fewer",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    let broken = place.write("broken.json", r#"{"schema":"ddae.grid/1","probe":3}"#);
    let error = result::read(&broken).expect_err("no grid").to_string();
    assert!(error.contains("is no whole ddae.grid/1"), "{error}");
}
