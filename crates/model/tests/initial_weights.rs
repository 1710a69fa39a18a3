//! Values of parameters and buffers before training.

use ddae_model::graph::{Graph, Init, Path, Shape, Value};
use ddae_model::tensor::DType;
use ddae_model::weights::Weights;

fn with_image() -> (Graph, Value) {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[6, 4, 4])).unwrap();
    (g, x)
}

#[test]
fn buffers_are_stored_but_not_counted() {
    let (mut g, x) = with_image();
    g.batch_norm(&Path::root().at("bn1"), x, 1e-5).unwrap();
    let weights = Weights::initial(&g, 0);
    let names: Vec<&str> = weights.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.weight"]);
    for (name, value) in [("bn1.running_mean", 0.0), ("bn1.running_var", 1.0), ("bn1.weight", 1.0)] {
        assert_eq!(weights.get(name).and_then(|tensor| tensor.as_f32()), Some(&[value; 6][..]), "{name}");
    }
    assert_eq!(g.parameter_count(), 12);
    let mut short: Weights = weights.into_iter().filter(|(name, _)| name != "bn1.running_var").collect();
    assert!(short.check(&g).unwrap_err().to_string().starts_with("parameter 'bn1.running_var' [6]"));
    short.insert("bn1.running_var", ddae_model::tensor::Tensor::f32(&[6], vec![1.0; 6]));
    assert_eq!(short.check(&g), Ok(()));
}

#[test]
fn a_layer_may_be_given_other_initial_values() {
    let (mut g, x) = with_image();
    let p = Path::root().at("linear");
    g.linear(&p, x, 1000, true).unwrap();
    g.initialise(&p.at("weight"), Init::Normal { std: 0.02 }).unwrap();
    let table: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    g.initialise(&p.at("bias"), Init::Values(table.as_slice().into())).unwrap();
    let weights = Weights::initial(&g, 3);
    assert_eq!(weights.get("linear.bias").and_then(|t| t.as_f32()), Some(&table[..]));

    // 4000 draws: the mean is within 3.5 of its standard errors, the variance within 4.
    let values = weights.get("linear.weight").unwrap().to_f64_vec();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    assert!(mean.abs() < 3.5 * 0.02 / count.sqrt(), "{mean}");
    assert!((variance / 0.0004 - 1.0).abs() < 4.0 * (2.0 / count).sqrt(), "{variance}");
    let beyond = values.iter().filter(|x| x.abs() > 0.04).count() as f64 / count;
    assert!((beyond - 0.0455).abs() < 0.015, "{beyond}");
    assert_eq!(weights, Weights::initial(&g, 3));
    assert_ne!(weights, Weights::initial(&g, 4));
}
