//! Making cases: a graph, and random values for its parameters and inputs.

use std::fmt;

use ddae_model::graph::{Graph, GraphError, Op, Value};
use ddae_model::tensor::{DType, Data, Tensor};
use ddae_model::weights::Weights;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub type Built = Result<Value, GraphError>;

/// A graph with values for everything it needs.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique; says what is tested.
    pub name: String,
    /// What is computed, into one output or several.
    pub graph: Graph,
    /// Its parameters, of magnitude about 1.
    pub weights: Weights,
    /// Its inputs by name.
    pub inputs: Vec<(String, Tensor)>,
    /// The float inputs and the trained parameters with respect to which the float outputs are differentiable, at these
    /// values and in their neighbourhood.
    pub differentiable: Vec<String>,
}

impl Case {
    /// A case with values drawn from `rng`: parameters and float inputs keep the magnitude of what flows through the
    /// graph near 1, indices are within their tables.
    pub fn draw(name: String, graph: Graph, batch: usize, rng: &mut ChaCha8Rng) -> Case {
        let mut weights = Weights::new();
        for (_, node) in graph.parameters() {
            let shape = node.shape.resolve(1);
            let values = if shape.len() >= 2 {
                let fan_in: usize = shape[1..].iter().product();
                uniform(rng, &shape, (3.0 / fan_in as f64).sqrt(), 0.0)
            } else {
                let is_scale = node.name.ends_with("weight") || node.name.ends_with("running_var");
                uniform(rng, &shape, 0.5, if is_scale { 1.0 } else { 0.0 })
            };
            weights.insert(node.name.clone(), Tensor::f32(&shape, values));
        }
        let inputs = graph
            .inputs()
            .map(|(value, node)| {
                let shape = node.shape.resolve(batch);
                let count = shape.iter().product();
                let data = match node.dtype {
                    DType::F32 => Data::F32(uniform(rng, &shape, 3f64.sqrt(), 0.0)),
                    DType::F64 => Data::F64((0..count).map(|_| rng.random_range(-1.75..1.75)).collect()),
                    DType::I64 => {
                        let rows = rows_indexed_by(&graph, value);
                        Data::I64((0..count).map(|_| rng.random_range(0..rows as i64)).collect())
                    }
                    DType::U8 => Data::U8((0..count).map(|_| rng.random()).collect()),
                };
                (node.name.clone(), Tensor::new(&shape, data).expect("as many values as the shape holds"))
            })
            .collect();
        let differentiable = differentiable(&graph);
        Case { name, graph, weights, inputs, differentiable }
    }

    /// The inputs as interpreters take them.
    pub fn inputs(&self) -> Vec<(&str, Tensor)> {
        self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect()
    }

    /// Moves the values of an input away from `points`, where the graph has no derivative or a large one: those
    /// nearer than `margin` go to that distance.
    pub fn keep_away(&mut self, input: &str, points: &[f64], margin: f64) -> &mut Case {
        self.map(input, |x| {
            let near = points.iter().find(|point| (x - *point).abs() < margin);
            near.map_or(x, |point| if x < *point { point - margin } else { point + margin })
        })
    }

    /// Replaces every third value of an input by one of `values`, in turn.
    pub fn sprinkle(&mut self, input: &str, values: &[f64]) -> &mut Case {
        let mut turn = 0;
        self.map(input, |x| {
            turn += 1;
            if turn % 3 == 0 { values[turn / 3 % values.len()] } else { x }
        })
    }

    /// Declares that there are no gradients to check.
    pub fn without_gradients(&mut self) -> &mut Case {
        self.differentiable.clear();
        self
    }

    fn map(&mut self, input: &str, mut change: impl FnMut(f64) -> f64) -> &mut Case {
        let found = self.inputs.iter_mut().find(|(name, _)| name == input);
        let (_, tensor) = found.unwrap_or_else(|| panic!("{}: no input '{input}'", self.name));
        let data = match tensor.data() {
            Data::F32(values) => Data::F32(values.iter().map(|&x| change(x.into()) as f32).collect()),
            Data::F64(values) => Data::F64(values.iter().map(|&x| change(x)).collect()),
            _ => panic!("{}: input '{input}' holds no floats", self.name),
        };
        *tensor = Tensor::new(tensor.shape(), data).expect("as many values as before");
        self
    }
}

/// Cases in the making.
pub struct Suite {
    rng: ChaCha8Rng,
    cases: Vec<Case>,
}

impl Suite {
    pub fn new(seed: u64) -> Suite {
        Suite { rng: ChaCha8Rng::seed_from_u64(seed), cases: Vec::new() }
    }

    pub fn into_cases(self) -> Vec<Case> {
        self.cases
    }

    /// Adds a graph and draws its values, for a batch of 1 to 3 images. What `build` gives becomes the output `y`,
    /// beside those it declares itself.
    pub fn add(
        &mut self,
        name: impl fmt::Display,
        build: impl FnOnce(&mut Graph, &mut Self) -> Built,
    ) -> &mut Case {
        let name = format!("{name} #{}", self.cases.len());
        let mut graph = Graph::new();
        let y = build(&mut graph, self).unwrap_or_else(|e| panic!("{name}: {e}"));
        graph.output("y", y);
        let batch = self.between(1, 3);
        self.cases.push(Case::draw(name, graph, batch, &mut self.rng));
        self.cases.last_mut().expect("the case just added")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        self.rng.random_range(low..=high)
    }

    /// A float32 constant of the given shape.
    pub fn constant(&mut self, g: &mut Graph, shape: &[usize]) -> Built {
        let values = uniform(&mut self.rng, shape, 3f64.sqrt(), 0.0);
        g.constant(Tensor::f32(shape, values))
    }
}

fn uniform(rng: &mut ChaCha8Rng, shape: &[usize], half_width: f64, middle: f64) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    (0..count).map(|_| (middle + half_width * rng.random_range(-1.0..1.0)) as f32).collect()
}

/// The rows of the smallest table that `index` selects from; 10 where it selects from none.
fn rows_indexed_by(graph: &Graph, index: Value) -> usize {
    let gathers = graph.nodes().iter().filter(|node| node.op == Op::Gather && node.inputs[1] == index);
    gathers.filter_map(|node| graph.shape(node.inputs[0]).size(0)).min().unwrap_or(10)
}

/// The float inputs and trained parameters from which a float output is reached without passing through an integer.
fn differentiable(graph: &Graph) -> Vec<String> {
    let is_float = |value: Value| matches!(graph.node(value).dtype, DType::F32 | DType::F64);
    let mut reached = vec![false; graph.nodes().len()];
    for (_, value) in graph.outputs() {
        reached[value.index()] = is_float(*value);
    }
    for (i, node) in graph.nodes().iter().enumerate().rev().filter(|(_, node)| !node.inputs.is_empty()) {
        if reached[i] {
            for input in node.inputs.iter().filter(|input| is_float(**input)) {
                reached[input.index()] = true;
            }
        }
    }
    let leaves = graph.nodes().iter().enumerate().filter(|(i, _)| reached[*i]).map(|(_, node)| node);
    leaves
        .filter(|node| matches!(node.op, Op::Input | Op::Parameter { trained: true, .. }))
        .map(|node| node.name.clone())
        .collect()
}
