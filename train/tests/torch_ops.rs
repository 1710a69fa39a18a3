//! Every operation through libtorch: results against the reference interpreter, gradients against finite differences.

use ddae_model::graph::Graph;
use ddae_model::reference;
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_tests::ops::{Case, cases, random_edm2_network, random_network, random_song_network};
use ddae_tests::{relative_error, rule_values, tolerance};
use ddae_train::torch::{Layout, Mode, Network, Parameters, convert};
use tch::{Device, Kind, Tensor};

const SEED: u64 = 7;
const LAYOUTS: [Layout; 2] = [Layout::Contiguous, Layout::ChannelsLast];

/// A case in libtorch.
struct Trial<'a> {
    case: &'a Case,
    network: Network,
    parameters: Parameters,
    inputs: Vec<(&'a str, Tensor)>,
}

impl<'a> Trial<'a> {
    fn new(case: &'a Case, kind: Kind, layout: Layout) -> Trial<'a> {
        let graph: &Graph = &case.graph;
        let inputs = case.inputs.iter().map(|(name, array)| {
            let tensor = convert::to_torch(array).expect("a tensor");
            let float = array.dtype() == DType::F32;
            (name.as_str(), if float { tensor.to_kind(kind) } else { tensor })
        });
        Trial {
            case,
            network: Network::new(graph, Device::Cpu, kind, layout).expect("a network"),
            parameters: Parameters::new(graph, &case.weights, Device::Cpu, kind, layout, true)
                .expect("parameters"),
            inputs: inputs.collect(),
        }
    }

    fn forward(&self) -> Vec<Tensor> {
        let inputs: Vec<(&str, &Tensor)> = self.inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        self.network
            .forward(&self.parameters, &inputs, Mode::EVALUATION)
            .unwrap_or_else(|e| panic!("{}: {e}", self.case.name))
    }

    /// What the case can be differentiated by.
    fn variables(&self) -> Vec<(&str, &Tensor)> {
        let find = |name: &'a str| {
            let input = self.inputs.iter().find(|(known, _)| *known == name).map(|(_, tensor)| tensor);
            (name, input.or_else(|| self.parameters.get(name)).expect("an input or a parameter"))
        };
        self.case.differentiable.iter().map(|name| find(name)).collect()
    }
}

fn assert_like_reference(case: &Case, kind: Kind, layout: Layout, tolerance: f64) {
    let trial = Trial::new(case, kind, layout);
    let results = tch::no_grad(|| trial.forward());
    let inputs = case.inputs();
    let expected = match kind {
        Kind::Double => reference::run::<f64>(&case.graph, &case.weights, &inputs),
        _ => reference::run::<f32>(&case.graph, &case.weights, &inputs),
    };
    let expected = expected.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    assert_eq!(results.len(), expected.len(), "{}", case.name);
    for (result, (output, theirs)) in results.iter().zip(&expected) {
        let what = format!("{} {output} {kind:?} {layout:?}", case.name);
        let ours = convert::from_torch(result).expect("an array");
        assert_eq!((ours.shape(), ours.dtype()), (theirs.shape(), theirs.dtype()), "{what}");
        if is_zero(theirs) {
            assert!(is_zero(&ours), "{what}");
            continue;
        }
        let error = relative_error(&ours.to_f64_vec(), &theirs.to_f64_vec());
        assert!(error <= tolerance, "{what}: relative error {error:e}");
    }
}

fn is_zero(array: &Array) -> bool {
    array.to_f64_vec().iter().all(|&x| x == 0.0)
}

/// One thread: images this small are not worth more, and tests run beside each other.
fn start() {
    tch::set_num_threads(1);
}

#[test]
fn operations_agree_with_the_reference() {
    start();
    for case in cases(SEED) {
        for layout in LAYOUTS {
            assert_like_reference(&case, Kind::Float, layout, tolerance::CLOSE);
            assert_like_reference(&case, Kind::Double, layout, 1e-12);
        }
    }
}

#[test]
fn random_networks_agree_with_the_reference() {
    start();
    for seed in 0..6 {
        for layout in LAYOUTS {
            for case in [random_network(seed), random_edm2_network(seed), random_song_network(seed)] {
                assert_like_reference(&case, Kind::Float, layout, tolerance::NETWORK);
            }
        }
    }
}

/// A random projection of all float results to one number.
fn projection(results: &[Tensor], directions: &[Tensor]) -> Tensor {
    let products =
        results.iter().zip(directions).map(|(result, direction)| (result * direction).sum(Kind::Double));
    products.fold(Tensor::from(0f64), |sum, product| sum + product)
}

/// A direction to move `tensor` in, of magnitude 1. From a stream of its own: libtorch's generator is shared by all
/// tests of the process, so what it gives would depend on the others.
fn direction(tensor: &Tensor, name: &str) -> Tensor {
    let values = rule_values(name, tensor.numel(), -3f64.sqrt(), 3f64.sqrt());
    Tensor::from_slice(&values).to_kind(Kind::Double).reshape(tensor.size())
}

/// The derivative along random directions, by autograd and by central differences.
fn assert_gradients(case: &Case, layout: Layout) {
    const STEP: f64 = 1e-5;
    let trial = Trial::new(case, Kind::Double, layout);
    let variables = trial.variables();
    for (_, variable) in &variables {
        let _ = variable.set_requires_grad(true);
    }
    let results = trial.forward();
    let floats = |results: &[Tensor]| -> Vec<Tensor> {
        results.iter().filter(|t| t.is_floating_point()).map(Tensor::shallow_clone).collect()
    };
    let directions: Vec<Tensor> =
        floats(&results).iter().enumerate().map(|(i, t)| direction(t, &format!("result {i}"))).collect();
    projection(&floats(&results), &directions).backward();
    let norm = |variable: &Tensor| variable.grad().norm().double_value(&[]);
    let largest = variables.iter().map(|(_, v)| norm(v)).fold(0.0, f64::max);

    for (name, variable) in &variables {
        let gradient = variable.grad();
        assert!(gradient.defined(), "{} by {name}: no gradient", case.name);
        for turn in 0..2 {
            let direction = direction(variable, &format!("{name} {turn}"));
            let along = (&gradient * &direction).sum(Kind::Double).double_value(&[]);
            let mut moved = variable.detach();
            let mut at = |step: f64| {
                tch::no_grad(|| {
                    let _ = moved.g_add_(&(&direction * step));
                    projection(&floats(&trial.forward()), &directions).double_value(&[])
                })
            };
            let (above, below) = (at(STEP), at(-2.0 * STEP));
            at(STEP);
            let difference = (above - below) / (2.0 * STEP);
            // The size that a derivative along a random direction usually has.
            let scale = norm(variable).max(along.abs());
            // Where nothing depends on the variable (a bias before a norm over its own channel), the difference is the
            // rounding of the rest, which grows with the rest's derivatives.
            let error = (difference - along).abs() / scale.max(1e-3).max(1e-4 * largest);
            let what = format!("{} by {name}, {layout:?}", case.name);
            assert!(error <= tolerance::GRADIENT, "{what}: {along:e} but {difference:e}: {error:e}");
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    start();
    for case in cases(SEED) {
        if case.differentiable.is_empty() {
            continue;
        }
        for layout in LAYOUTS {
            assert_gradients(&case, layout);
        }
    }
}

#[test]
fn gradients_of_a_network_agree_with_finite_differences() {
    start();
    // A modulated decoder and a UNet with attention; each network of EDM2; SongUNets.
    let cases = [2, 11].map(random_network).into_iter().chain([0, 1, 2].map(random_edm2_network));
    let cases = cases.chain([1, 4].map(random_song_network));
    for case in cases {
        for layout in LAYOUTS {
            assert_gradients(&case, layout);
        }
    }
}
