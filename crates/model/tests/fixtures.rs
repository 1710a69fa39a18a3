//! Every fixture through the reference interpreter.

use ddae_model::graph::Graph;
use ddae_model::reference::run;
use ddae_model::weights::Weights;
use ddae_tests::cases::Run;

fn reference(graph: &Graph, weights: &Weights) -> Run {
    let (graph, weights) = (graph.clone(), weights.clone());
    Box::new(move |inputs| run::<f32>(&graph, &weights, inputs).expect("a run"))
}

ddae_tests::fixture_tests!(reference);
