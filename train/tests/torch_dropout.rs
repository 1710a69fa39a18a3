//! Dropout in a network. Alone in its program: the generator's seed is the process's.

use ddae_model::graph::{Graph, Path, Shape};
use ddae_model::tensor::DType;
use ddae_model::weights::Weights;
use ddae_tests::{relative_error, tolerance};
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).expect("numbers")
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    let error = relative_error(&values(ours), &values(theirs));
    assert!(error <= tolerance, "{what}: relative error {error:e}");
}

/// A graph of one dropout, alone and after a normalisation.
fn dropout_graph(joined: bool) -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[32, 8, 8])).expect("x");
    let h = if joined { g.group_norm(&Path::root().at("norm"), x, 8, 1e-5).expect("norm") } else { x };
    let y = g.dropout(h, 0.25).expect("dropout");
    g.output("y", y);
    g
}

#[test]
fn dropout_acts_in_training_only() {
    for (joined, layout) in
        [(false, Layout::Contiguous), (true, Layout::Contiguous), (true, Layout::ChannelsLast)]
    {
        let graph = dropout_graph(joined);
        let network = Network::new(&graph, Device::Cpu, Kind::Float, layout).expect("a network");
        let parameters =
            Parameters::new(&graph, &Weights::initial(&graph, 0), Device::Cpu, Kind::Float, layout, false)
                .expect("parameters");
        let x = Tensor::randn([16, 32, 8, 8], CPU);
        let run = |train| {
            let mode = Mode { train, precision: Precision::Full };
            network.forward(&parameters, &[("x", &x)], mode).expect("a run").remove(0)
        };
        let identity = run(false);
        if joined {
            let ones = Tensor::ones([32], CPU);
            let normalised = x.group_norm(8, Some(&ones), Some(&ones.zeros_like()), 1e-5, false);
            assert_close("evaluation", &identity, &normalised, tolerance::CLOSE);
        } else {
            assert_eq!(identity, x);
        }
        tch::manual_seed(11);
        let dropped = run(true);
        let zeros = dropped.eq(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        // 32,768 draws: a standard deviation of 0.0024.
        assert!((zeros - 0.25).abs() < 0.012, "{zeros}");
        let kept = dropped.ne(0.0);
        assert_close(
            "kept",
            &dropped.masked_select(&kept),
            &(identity.masked_select(&kept) / 0.75),
            tolerance::CLOSE,
        );
        assert_ne!(run(true), dropped, "every step drops others");
        tch::manual_seed(11);
        assert_eq!(run(true), dropped, "a seeded run repeats itself");
    }
}
