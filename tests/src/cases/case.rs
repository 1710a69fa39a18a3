//! A graph, what it is run with, and what the published code computed.

use ddae_model::graph::Graph;
use ddae_model::tensor::{Data, Tensor};
use ddae_model::weights::Weights;

use crate::{parameter_shapes, relative_error, tolerance};

/// An interpreter with a graph and its weights: named inputs to named outputs, in the graph's order.
pub type Run = Box<dyn FnMut(&[(&str, Tensor)]) -> Vec<(String, Tensor)>>;

/// A graph, what it is run with, and what the published code computed.
#[derive(Clone)]
pub struct Case {
    /// The case's name, for messages.
    pub name: String,
    /// Its outputs are those of `expected`.
    pub graph: Graph,
    /// Every parameter and buffer.
    pub weights: Weights,
    /// Every input.
    pub inputs: Vec<(&'static str, Tensor)>,
    /// The outputs, in the graph's order.
    pub expected: Vec<(String, Tensor)>,
    /// Whether what was published is the mean of each output over the batch.
    pub of_batch: bool,
}

impl Case {
    /// Asserts that the graph stores what the published code does: names and shapes of the fixture's parameters that
    /// begin with `prefix`, but for those `ignored`.
    ///
    /// # Panics
    /// When a name or a shape differs.
    pub fn named(self, fixture: &str, prefix: &str, ignored: &[&str]) -> Case {
        let mut published = parameter_shapes(fixture);
        published.retain(|(name, _)| name.starts_with(prefix) && !ignored.contains(&name.as_str()));
        published.sort();
        assert_eq!(stored(&self.graph), published, "{}", self.name);
        self
    }

    /// Asserts that an interpreter's outputs are the published ones.
    ///
    /// # Panics
    /// When a name, a shape or a number differs.
    pub fn check(&self, outputs: &[(String, Tensor)]) {
        assert_eq!(outputs.len(), self.expected.len(), "{}", self.name);
        for ((ours, tensor), (theirs, expected)) in outputs.iter().zip(&self.expected) {
            let mean = || Tensor::f32(&[1], vec![mean(tensor)]);
            let tensor = &if self.of_batch { mean() } else { tensor.clone() };
            assert_eq!((ours, tensor.shape()), (theirs, expected.shape()), "{}", self.name);
            let error = relative_error(tensor.as_f32().expect("f32"), expected.as_f32().expect("f32"));
            println!("{} {ours}: {error:.1e}", self.name);
            assert!(error <= tolerance::NETWORK, "{} {ours}: relative error {error:e}", self.name);
        }
    }

    /// The same of all samples at once, and of the last by itself: another batch size.
    ///
    /// # Panics
    /// Like [`Case::check`].
    pub fn check_whole_and_single(&self, run: &mut Run) {
        self.check(&run(&self.inputs));
        if self.of_batch {
            return;
        }
        let inputs: Vec<_> = self.inputs.iter().map(|(name, tensor)| (*name, last(tensor))).collect();
        let last = Case {
            name: format!("{}, its last sample", self.name),
            graph: Graph::new(),
            weights: Weights::default(),
            expected: self.expected.iter().map(|(name, tensor)| (name.clone(), last(tensor))).collect(),
            inputs: vec![],
            of_batch: false,
        };
        last.check(&run(&inputs));
    }
}

impl From<Case> for Vec<Case> {
    fn from(case: Case) -> Vec<Case> {
        vec![case]
    }
}

fn mean(tensor: &Tensor) -> f32 {
    let values = tensor.to_f64_vec();
    (values.iter().sum::<f64>() / values.len() as f64) as f32
}

/// The last row of a tensor.
fn last(tensor: &Tensor) -> Tensor {
    fn rows<T: Copy>(values: &[T], count: usize) -> Vec<T> {
        values[values.len() - count..].to_vec()
    }
    let mut shape = tensor.shape().to_vec();
    shape[0] = 1;
    let count = shape.iter().product();
    match tensor.data() {
        Data::F32(values) => Tensor::f32(&shape, rows(values, count)),
        Data::F64(values) => Tensor::f64(&shape, rows(values, count)),
        Data::I64(values) => Tensor::i64(&shape, rows(values, count)),
        Data::U8(values) => Tensor::new(&shape, Data::U8(rows(values, count))).expect("a row"),
    }
}

/// The names and shapes of a graph's parameters and buffers, sorted.
pub fn stored(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    let mut stored: Vec<_> =
        graph.parameters().map(|(_, node)| (node.name.clone(), node.shape.resolve(1))).collect();
    stored.sort();
    stored
}
