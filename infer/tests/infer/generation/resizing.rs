//! How images come to the network's size.

use std::fs;

use ddae_infer::fid::Convention;
use ddae_tests::{fixture, relative_error};
use serde_json::json;

use super::{line, number, picture, save};
use crate::scene::{done, infer, refuses};

const TOOLS: [Convention; 3] = [Convention::PytorchFid, Convention::TorchFidelity, Convention::CleanFid];

#[test]
fn images_are_resized_as_by_the_tools() {
    let case = fixture("generation");
    for [height, width] in [[32, 32], [47, 64], [400, 350], [299, 299]] {
        let levels = picture("real", 3, [height, width]);
        for tool in TOOLS {
            let ours = tool.resized(&levels, [3, height, width], [299, 299]);
            let ours: Vec<f32> = (0..3 * 23 * 23)
                .map(|i| ours[(i / (23 * 23) * 299 + i / 23 % 23 * 13) * 299 + i % 23 * 13])
                // pytorch-fid resizes what is between 0 and 1 already.
                .map(|level| if tool == Convention::PytorchFid { level / 255.0 } else { level })
                .collect();
            let theirs = case.f32(&format!("output.resized.{tool}.{height}x{width}")).1;
            let error = relative_error(&ours, &theirs);
            println!("{tool} {height}x{width}: {error:.1e}");
            assert!(error <= 1e-6, "{tool} {height}x{width}: {error:e}");
        }
    }
}

#[test]
fn pictures_of_any_size_are_seen_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for (index, size) in [[32, 32], [20, 50], [310, 305]].into_iter().enumerate() {
        fs::create_dir_all(root.join("mixed")).expect("a folder");
        save(&root.join(format!("mixed/{index}.png")), &picture("real", index, size), size);
        fs::create_dir_all(root.join("apart")).expect("a folder");
        // Resized by hand to whole levels: not quite the same features.
        let resized =
            Convention::CleanFid.resized(&picture("real", index, size), [3, size[0], size[1]], [299, 299]);
        let levels: Vec<u8> = resized.iter().map(|level| level.round() as u8).collect();
        save(&root.join(format!("apart/{index}.png")), &levels, [299, 299]);
    }
    let found = infer(root, &line("fid mixed apart --inception INCEPTION --like clean-fid --json")).json();
    let fid = number(&found, "/fid");
    let scale = number(
        &infer(root, &line("fid mixed FAKE --inception INCEPTION --like clean-fid --json")).json(),
        "/fid",
    );
    assert!(fid < 1e-3 * scale, "{fid} of {scale}");
}

/// In place of a tool's way, and never under its name.
#[test]
fn a_rule_is_told_from_the_ways_of_tools() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir(root.join("few")).expect("a folder");
    for index in 0..3 {
        save(&root.join(format!("few/{index}.png")), &picture("real", index, [32, 32]), [32, 32]);
    }
    let options = "few few --inception INCEPTION --resize stretch --save-real real.npz";
    let found = infer(root, &line(&format!("fid {options} --json"))).json();
    assert_eq!((&found["like"], &found["resize"]), (&json!(null), &json!("stretch")));
    let network = found["real"]["network"].as_str().expect("a network");
    assert!(network.ends_with("/resize-stretch"), "{network}");
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("brought to it by --resize stretch, which is no tool's way"), "{warnings}");
    let text = done(root, &line(&format!("fid {options}")));
    assert!(
        text.contains("Inception's last layer; images resized to 299x299 by --resize stretch\n"),
        "{text}"
    );
    assert!(
        text.contains("\nnext: ddae-infer fid real.npz IMAGES --inception ")
            && text.ends_with(" --resize stretch\n"),
        "{text}"
    );

    // Features of the same graph that were brought to its size by a rule, asked for or not.
    for (name, option) in [("stretched", "--resize stretch"), ("covered", "")] {
        done(root, &line(&format!("features INCEPTION --data few -o {name} {option}")));
    }
    let same = infer(root, "fid real.npz stretched.h5 --json").json();
    assert!(number(&same, "/fid").abs() < 1e-6, "{same}");
    let covered = infer(root, "fid covered.h5 covered.h5 --json").json();
    assert_eq!((&covered["like"], &covered["resize"]), (&json!(null), &json!("cover")));
    refuses(
        root,
        [
            ("fid real.npz few --inception INCEPTION", 1, "/resize-stretch and the fake ones by "),
            ("fid real.npz covered.h5", 1, "/resize-stretch and the fake ones by "),
            ("fid covered.h5 few --inception INCEPTION", 1, "/resize-cover and the fake ones by "),
            ("fid few few --inception INCEPTION --resize none", 1, "it is 32x32 (height x width)"),
            (
                "fid few few --inception SMALL --like clean-fid",
                1,
                "as pytorch-fid does, and clean-fid does it otherwise",
            ),
        ]
        .map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))),
    );
}
