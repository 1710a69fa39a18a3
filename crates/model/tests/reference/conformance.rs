//! The conformance suite, run by the reference itself: it must be complete, valid and precise.

use std::collections::BTreeSet;

use ddae_model::graph::Op;
use ddae_model::reference::run;
use ddae_model::tensor::DType;
use ddae_tests::ops::{cases, missing_kinds, random_network};
use ddae_tests::{relative_error, tolerance};

#[test]
fn every_operation_has_a_case() {
    let cases = cases(0);
    assert_eq!(missing_kinds(cases.iter().map(|case| &case.graph)), Vec::<&str>::new());
    let without_conv = cases.iter().map(|case| &case.graph);
    let without_conv = without_conv.filter(|g| !g.nodes().iter().any(|n| matches!(n.op, Op::Conv2d { .. })));
    assert_eq!(missing_kinds(without_conv), ["Conv2d"]);
}

#[test]
fn cases_have_names_of_their_own_and_follow_their_seed() {
    let all = cases(1);
    assert_eq!(all.iter().map(|case| &case.name).collect::<BTreeSet<_>>().len(), all.len());
    let inputs = |seed| cases(seed).into_iter().map(|case| case.inputs).collect::<Vec<_>>();
    assert!(inputs(1) == inputs(1));
    assert!(inputs(1) != inputs(2));
}

#[test]
fn every_operation_with_derivatives_is_differentiated() {
    let cases = cases(0);
    let differentiated = cases.iter().filter(|case| !case.differentiable.is_empty());
    let missing = missing_kinds(differentiated.map(|case| &case.graph));
    assert_eq!(missing, Vec::<&str>::new());
    let to_integers = cases.iter().filter(|case| case.name.contains("to i64") || case.name.contains("to u8"));
    for case in to_integers {
        assert!(case.differentiable.is_empty(), "{}", case.name);
    }
}

#[test]
fn f32_and_f64_agree_on_every_case() {
    for seed in 0..3 {
        for case in cases(seed).iter().chain(&[random_network(seed)]) {
            let name = &case.name;
            let single = run::<f32>(&case.graph, &case.weights, &case.inputs())
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let double = run::<f64>(&case.graph, &case.weights, &case.inputs())
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            for ((output, single), (_, double)) in single.iter().zip(&double) {
                assert_eq!(single.shape(), double.shape(), "{name} {output}");
                let exact = single.dtype() != DType::F32;
                assert_eq!(
                    double.dtype(),
                    if exact { single.dtype() } else { DType::F64 },
                    "{name} {output}"
                );
                let error = relative_error(&single.to_f64_vec(), &double.to_f64_vec());
                let limit = if name.starts_with("network") { tolerance::NETWORK } else { tolerance::CLOSE };
                assert!(error <= limit, "{name} {output}: {error:e}");
            }
        }
    }
}
