//! Properties of graphs.

use ddae_model::graph::{Conv, Dim, Graph, GraphError, Path, Shape, Value};
use ddae_model::reference::run;
use ddae_model::tensor::DType;
use ddae_tests::ops::{Case, random_network};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A chain of random layers on an image, each layer tapped, some using an earlier one as well.
fn chain(choices: &[(u8, usize)]) -> Graph {
    let mut g = Graph::new();
    let mut layers = vec![g.input("x", DType::F32, Shape::batch(&[2, 4, 4])).expect("an input")];
    for (i, &(choice, earlier)) in choices.iter().enumerate() {
        let p = Path::root().at(i);
        let x = *layers.last().expect("the input at least");
        let earlier = layers[earlier % layers.len()];
        let next = match choice % 7 {
            0 => g.conv2d(&p, x, Conv::same(2, 3)),
            1 => g.group_norm(&p, x, 2, 1e-5),
            2 => g.silu(x),
            3 => g.add(x, earlier),
            4 => g.mul(earlier, x),
            5 => g.dropout(x, 0.5),
            _ => {
                let joined = g.concat(&[x, earlier], 1).expect("two images");
                g.conv2d(&p, joined, Conv::same(2, 1))
            }
        };
        let next = next.expect("layers fit each other");
        g.tap(&format!("layer-{i}"), next);
        layers.push(next);
    }
    g
}

/// Each tap alone, and all at once, give the same values.
fn assert_keep_changes_nothing(case: &Case, graph: &Graph) -> Result<(), TestCaseError> {
    let names: Vec<&str> = graph.taps().iter().map(|(name, _)| name.as_str()).collect();
    let inputs_of = |graph: &Graph| {
        let given = case.inputs().into_iter();
        given.filter(|(name, _)| graph.inputs().any(|(_, node)| node.name == *name)).collect::<Vec<_>>()
    };
    let all = graph.keep(&names).expect("the graph's own taps");
    let together = run::<f32>(&all, &case.weights, &inputs_of(&all)).expect("a run");
    prop_assert_eq!(together.len(), names.len());
    for (name, together) in names.iter().zip(together) {
        let one = graph.keep(&[name]).expect("the graph's own tap");
        prop_assert!(one.nodes().len() <= all.nodes().len() && one.flops() <= all.flops());
        let alone = run::<f32>(&one, &case.weights, &inputs_of(&one)).expect("a run");
        prop_assert_eq!(&alone, &[together]);
        let again = one.keep(&[name]).expect("its only output");
        prop_assert_eq!(again, one);
    }
    Ok(())
}

fn dim() -> impl Strategy<Value = Dim> {
    prop_oneof![Just(Dim::Batch(1)), Just(Dim::Batch(2)), (1usize..4).prop_map(Dim::Size)]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop::collection::vec(dim(), 0..5).prop_map(Shape::of)
}

/// Path and message of an error that must be one of shapes.
fn shape_error(result: Result<Value, GraphError>) -> (String, String) {
    match result {
        Err(GraphError::Shape { path, message }) => (path, message),
        other => panic!("expected an error of shapes, got {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn keeping_a_layer_never_changes_its_value(
        choices in prop::collection::vec((any::<u8>(), any::<usize>()), 1..12),
        seed: u64,
    ) {
        let graph = chain(&choices);
        let case = Case::draw("chain".to_string(), graph.clone(), 2, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_keep_changes_nothing(&case, &graph)?;
    }

    #[test]
    fn broadcasting_is_symmetric_and_numpys(a in shape(), b in shape()) {
        let both = a.broadcast(&b);
        prop_assert_eq!(&both, &b.broadcast(&a));
        prop_assert_eq!(a.broadcast(&a), Some(a.clone()));
        prop_assert_eq!(a.broadcast(&Shape::fixed(&[])), Some(a.clone()));
        // A batch of a prime size, so that it equals no fixed size by chance.
        let (x, y) = (a.resolve(11), b.resolve(11));
        let rank = x.len().max(y.len());
        let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
        let numpy: Option<Vec<usize>> = (0..rank)
            .map(|i| match (at(&x, i), at(&y, i)) {
                (p, q) if p == q || q == 1 => Some(p),
                (1, q) => Some(q),
                _ => None,
            })
            .collect();
        prop_assert_eq!(both.map(|shape| shape.resolve(11)), numpy);
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_both_named(a in shape(), b in shape()) {
        prop_assume!(a.broadcast(&b).is_none());
        let mut g = Graph::new();
        let left = g.input("left", DType::F32, a.clone()).unwrap();
        let right = g.input("right", DType::F32, b.clone()).unwrap();
        let (path, message) = shape_error(g.mul(left, right));
        prop_assert_eq!(path, "Mul");
        for part in [a.to_string(), b.to_string(), "left".to_string(), "right".to_string()] {
            prop_assert!(message.contains(&part), "{} lacks {}", message, part);
        }
    }

    #[test]
    fn layers_that_do_not_fit_name_their_path_and_the_numbers(
        (channels, groups, side, kernel) in (1usize..20, 2usize..20, 1usize..5, 6usize..9),
    ) {
        let p = Path::root().at("up").at(3).at("norm1");
        let mut g = Graph::new();
        let x = g.input("x", DType::F32, Shape::batch(&[channels, side, side])).unwrap();
        if channels % groups != 0 {
            let (path, message) = shape_error(g.group_norm(&p, x, groups, 1e-5));
            prop_assert_eq!(path, "up.3.norm1");
            prop_assert_eq!(message, format!("{channels} channels do not split into {groups} groups"));
        }
        let conv = Conv::same(1, kernel).padding([0; 4]).without_bias();
        let (path, message) = shape_error(g.conv2d(&p.at("conv"), x, conv));
        prop_assert_eq!(path, "up.3.norm1.conv");
        let expected = format!("a {kernel}x{kernel} kernel with stride 1 does not fit {side}x{side}");
        prop_assert_eq!(message, expected);
        let (_, message) = shape_error(g.reshape(x, Shape::batch(&[channels, side])).and_then(|_| {
            g.reshape(x, Shape::batch(&[channels * side * side + 1]))
        }));
        prop_assert!(message.contains(&format!("[B, {channels}, {side}, {side}]")), "{}", message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn keeping_a_layer_of_a_network_never_changes_its_value(seed in 0u64..1000) {
        let case = random_network(seed);
        assert_keep_changes_nothing(&case, &case.graph)?;
    }
}

#[test]
fn an_unknown_layer_is_answered_with_those_there_are() {
    let graph = chain(&[(2, 0), (2, 0)]);
    assert_eq!(
        graph.keep(&["out_9"]).unwrap_err().to_string(),
        "no layer 'out_9' in this network; it has layer-0, layer-1"
    );
    assert!(graph.find_tap("out_9").unwrap_err().to_string().contains("layer-0, layer-1"));
}

#[test]
fn one_name_is_one_parameter() {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[2, 4, 4])).unwrap();
    let p = Path::root().at("conv");
    g.conv2d(&p, x, Conv::same(2, 3)).unwrap();
    let error = g.conv2d(&p, x, Conv::same(2, 3)).unwrap_err();
    assert_eq!(error.to_string(), "conv.weight: a node of this name exists already");
}
