//! Every operation through its ONNX file in ONNX Runtime, against the reference interpreter.

mod onnx;

use ddae_export::lower::{lower, lower_plainly};
use ddae_model::reference;
use ddae_model::tensor::{DType, Tensor};
use ddae_tests::ops::{Case, cases, random_edm2_network, random_network, random_song_network};
use ddae_tests::{relative_error, tolerance};
use onnx::opened;

fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    let (ours, theirs) = (ours.to_f64_vec(), theirs.to_f64_vec());
    // 0 against 0 is no difference.
    if ours == theirs { 0.0 } else { relative_error(&ours, &theirs) }
}

fn check(case: &Case, limit: f64) -> Result<(), String> {
    let inputs = case.inputs();
    let expected = reference::run::<f32>(&case.graph, &case.weights, &inputs).map_err(|e| e.to_string())?;
    for (is_fused, lowered) in [true, false].into_iter().zip([lower, lower_plainly]) {
        let model = lowered(&case.graph, &case.weights).map_err(|e| e.to_string())?;
        let found = opened(&model).run(&inputs).map_err(|e| e.to_string())?;
        for ((name, ours), (_, theirs)) in found.iter().zip(&expected) {
            let same_kind = (ours.shape(), ours.dtype()) == (theirs.shape(), theirs.dtype());
            let is_exact = matches!(theirs.dtype(), DType::I64 | DType::U8);
            let limit = if is_exact { 0.0 } else { limit };
            let error = if same_kind { difference(ours, theirs) } else { f64::INFINITY };
            if error > limit {
                let shapes = (ours.dtype(), ours.shape(), theirs.dtype(), theirs.shape());
                return Err(format!("{}, fused {is_fused}, {name}: {error:.1e} {shapes:?}", case.name));
            }
        }
    }
    Ok(())
}

#[test]
fn operations() {
    let cases = cases(1);
    assert!(cases.len() > 50);
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case, tolerance::CLOSE).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn random_networks() {
    let cases =
        (0..8).flat_map(|seed| [random_network(seed), random_edm2_network(seed), random_song_network(seed)]);
    let failures: Vec<String> = cases.filter_map(|case| check(&case, tolerance::NETWORK).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_graph_gives_the_same_bytes() {
    let case = random_network(3);
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = |name: &str| {
        let path = folder.path().join(name);
        let model = lower(&case.graph, &case.weights).expect("an ONNX graph");
        model.write(&path, &[("key".to_string(), "value".to_string())], u64::MAX).expect("a file");
        std::fs::read(path).expect("the file")
    };
    assert!(bytes("a.onnx") == bytes("b.onnx"));
}
