//! The files that PyTorch itself wrote.

use ddae_model::tensor::Tensor;
use ddae_tests::{fixture, fixtures};

use crate::place::{Place, distance};

fn path(name: &str) -> String {
    fixtures().join(name).display().to_string()
}

fn inputs() -> Vec<(&'static str, Tensor)> {
    let case = fixture("ddae_checkpoint");
    ["x", "t"].map(|name| (name, case.tensor(&format!("input.{name}")))).to_vec()
}

#[test]
fn a_published_checkpoint_gives_its_recorded_outputs() {
    let place = Place::new();
    for (set, output) in [("ema", "output.y_ema"), ("model", "output.y_model")] {
        let file = format!("{set}.onnx");
        place.done(&format!("{} --image-size 16x16 --weights {set} -o {file}", path("ddae_checkpoint.pth")));
        let found = place.outputs(&file, &inputs());
        let error = distance(&found[0].1, &fixture("ddae_checkpoint").tensor(output));
        assert!(error <= ddae_tests::tolerance::NETWORK, "{set}: {error:e}");
    }
    let metadata = &place.json("inspect model.onnx")["metadata"];
    assert_eq!(
        (&metadata["ddae.weights"], &metadata["ddae.checkpoint"]),
        (&"model".into(), &"ddae_checkpoint.pth".into())
    );
}

#[test]
fn bare_and_legacy_state_dicts_are_exported() {
    let place = Place::new();
    let exact = fixture("ddae_checkpoint").tensor("output.y_ema");
    for name in ["legacy_state_dict.pt", "bare_half_state_dict.pt"] {
        place.done(&format!("{} --image-size 16x16 -o {name}.onnx", path(name)));
        let found = place.outputs(&format!("{name}.onnx"), &inputs());
        let error = distance(&found[0].1, &exact);
        // Their halves have 11 bits.
        assert!(error <= 1e-3, "{name}: {error:e}");
    }
}

#[test]
fn a_malicious_file_is_refused_by_name() {
    let place = Place::new();
    let output = place.run(&format!("{} --image-size 16", path("malicious.pth")));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("system"), "{said}");
}
