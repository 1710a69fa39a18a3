//! Which layers are written together.

use std::borrow::Cow;

use ddae_model::graph::{Dim, Graph, Op, QkvLayout, Value};
use ddae_model::tensor::Tensor;

use super::Options;

/// What happens to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// It is written by itself.
    Alone,
    /// A later node does its work.
    Absorbed,
    /// A convolution, ending here.
    Conv(Conv),
    /// Attention between the pixels of an image, ending here.
    PixelAttention(PixelAttention),
}

/// A convolution with what is folded into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// The convolution.
    pub conv: Value,
    /// Its input, or the image before doubling when [`Conv::doubled`].
    pub input: Value,
    /// Whether the input is doubled in size (nearest neighbour) first.
    pub doubled: bool,
    /// A constant `[1, C, 1, 1]` that is added to the result.
    pub added: Option<Value>,
    /// The batch norm of the result, by known statistics.
    pub norm: Option<Value>,
}

/// Attention between pixels: `[norm,] flatten, projection, [heads, unit, joined,] attention, output, unflatten`.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelAttention {
    /// The image `[B,C,H,W]`, before the norm.
    pub input: Value,
    /// The group norm before the projection.
    pub norm: Option<Value>,
    /// The linear layer to queries, keys and values.
    pub projection: Value,
    /// The division of each head's queries, keys and values by their root mean square. Then there is no norm before the
    /// projection, and no bias in it.
    pub unit: Option<Value>,
    /// The attention.
    pub attention: Value,
    /// Number of heads.
    pub heads: usize,
    /// Order of the projection's channels.
    pub layout: QkvLayout,
    /// The linear layer after attention.
    pub output: Value,
}

/// The plan of every node, by position.
pub fn plan(graph: &Graph, constants: &[Option<Cow<'_, Tensor>>], options: Options) -> Vec<Plan> {
    let mut uses = vec![0usize; graph.nodes().len()];
    let used =
        graph.nodes().iter().flat_map(|node| &node.inputs).chain(graph.outputs().iter().map(|(_, v)| v));
    for value in used {
        uses[value.index()] += 1;
    }
    let matcher = Matcher { graph, constants, uses };
    let mut plans = vec![Plan::Alone; graph.nodes().len()];
    for (value, node) in graph.values() {
        let found = match &node.op {
            Op::Conv2d { .. } => Some(matcher.conv(value, options)),
            Op::Add if options.fuse => matcher.conv_and_constant(&plans, value),
            Op::BatchNorm { .. } if options.fuse => matcher.conv_and_norm(&plans, value),
            Op::Reshape if options.fuse => matcher.pixel_attention(value),
            _ => None,
        };
        if let Some((plan, absorbed)) = found {
            plans[value.index()] = plan;
            for value in absorbed {
                plans[value.index()] = Plan::Absorbed;
            }
        }
    }
    plans
}

struct Matcher<'a> {
    graph: &'a Graph,
    constants: &'a [Option<Cow<'a, Tensor>>],
    uses: Vec<usize>,
}

type Match = Option<(Plan, Vec<Value>)>;

impl Matcher<'_> {
    /// The only user of `value` is the node in hand, and `wanted` holds for its operation.
    fn only_here(&self, value: Value, wanted: impl Fn(&Op) -> bool) -> Option<Value> {
        let op = &self.graph.node(value).op;
        (self.uses[value.index()] == 1 && self.constants[value.index()].is_none() && wanted(op))
            .then_some(value)
    }

    fn input(&self, value: Value, i: usize) -> Value {
        self.graph.node(value).inputs[i]
    }

    fn conv(&self, conv: Value, options: Options) -> (Plan, Vec<Value>) {
        let input = self.input(conv, 0);
        let weight = self.graph.shape(self.input(conv, 1));
        let is_3x3 = weight.dims()[2..] == [Dim::Size(3); 2]
            && self.graph.node(conv).op == Op::Conv2d { stride: 1, padding: [1, 1, 1, 1] };
        let doubling = self.only_here(input, |op| *op == Op::UpsampleNearest { factor: 2 });
        match doubling.filter(|_| options.fuse && is_3x3) {
            Some(up) => {
                let input = self.input(up, 0);
                (Plan::Conv(Conv { conv, input, doubled: true, added: None, norm: None }), vec![up])
            }
            None => (Plan::Conv(Conv { conv, input, doubled: false, added: None, norm: None }), vec![]),
        }
    }

    fn conv_and_constant(&self, plans: &[Plan], add: Value) -> Match {
        let [a, b] = [self.input(add, 0), self.input(add, 1)];
        [(a, b), (b, a)].into_iter().find_map(|(conv, added)| {
            let channels = self.graph.shape(conv).size(1)?;
            let constant = self.constants[added.index()].as_ref()?;
            let fits = constant.shape() == [1, channels, 1, 1] && constant.as_f32().is_some();
            self.only_here(conv, |op| fits && matches!(op, Op::Conv2d { .. }))?;
            let Plan::Conv(plan) = &plans[conv.index()] else { return None };
            Some((Plan::Conv(Conv { added: Some(added), ..plan.clone() }), vec![conv]))
        })
    }

    /// A batch norm that alone uses a convolution. Runtimes fold it into the weights too, but not before they look for
    /// integers.
    fn conv_and_norm(&self, plans: &[Plan], norm: Value) -> Match {
        let conv = self.only_here(self.input(norm, 0), |op| matches!(op, Op::Conv2d { .. }))?;
        let is_known = |i: usize| self.constants[self.input(norm, i).index()].is_some();
        let Plan::Conv(plan) = &plans[conv.index()] else { return None };
        let fits =
            !plan.doubled && self.constants[self.input(conv, 1).index()].is_some() && (1..5).all(is_known);
        fits.then(|| (Plan::Conv(Conv { norm: Some(norm), ..plan.clone() }), vec![conv]))
    }

    fn pixel_attention(&self, unflatten: Value) -> Match {
        let is_swap = |op: &Op| *op == Op::Transpose { axes: vec![0, 2, 1] };
        let is_linear = |op: &Op| *op == Op::Linear;
        if self.graph.shape(unflatten).rank() != 4 {
            return None;
        }
        let back = self.only_here(self.input(unflatten, 0), is_swap)?;
        let output = self.only_here(self.input(back, 0), is_linear)?;
        let attention = self.only_here(self.input(output, 0), |op| matches!(op, Op::Attention { .. }))?;
        let Op::Attention { heads, layout } = self.graph.node(attention).op else { return None };
        let (unit, projection) = self.projection(attention, heads)?;
        let swap = self.only_here(self.input(projection, 0), is_swap)?;
        let flatten = self.only_here(self.input(swap, 0), |op| *op == Op::Reshape)?;
        let image = self.input(flatten, 0);
        let (from, flat, to) =
            (self.graph.shape(image), self.graph.shape(flatten), self.graph.shape(unflatten));
        let pixels = from.size(2).zip(from.size(3)).map(|(h, w)| h * w);
        let keeps_channels = from.size(1) == flat.size(1) && flat.size(2) == pixels;
        let gives_back = self.graph.shape(output).size(2) == to.size(1);
        if from.rank() != 4 || !from.has_batch() || !keeps_channels || !gives_back {
            return None;
        }
        let mut absorbed = vec![back, output, attention, projection, swap, flatten];
        let norm = self.only_here(image, |op| unit.is_none() && matches!(op, Op::GroupNorm { .. }));
        absorbed.extend(norm);
        absorbed
            .extend(unit.into_iter().flat_map(|unit| [self.input(unit, 0), unit, self.input(attention, 0)]));
        let input = norm.map_or(image, |norm| self.input(norm, 0));
        let plan = PixelAttention { input, norm, projection, unit, attention, heads, layout, output };
        Some((Plan::PixelAttention(plan), absorbed))
    }

    /// The linear layer that gives an attention its queries, keys and values, and what divides those between.
    fn projection(&self, attention: Value, heads: usize) -> Option<(Option<Value>, Value)> {
        let is_linear = |op: &Op| *op == Op::Linear;
        let packed = self.input(attention, 0);
        if let Some(projection) = self.only_here(packed, is_linear) {
            return Some((None, projection));
        }
        let joined = self.only_here(packed, |op| *op == Op::Reshape)?;
        let unit = self.only_here(self.input(joined, 0), |op| matches!(op, Op::RmsNorm { axis: 3, .. }))?;
        let split = self.only_here(self.input(unit, 0), |op| *op == Op::Reshape)?;
        let projection = self.only_here(self.input(split, 0), is_linear)?;
        let (shape, from) = (self.graph.shape(unit), self.graph.shape(projection));
        let of_heads = shape.rank() == 4 && shape.size(1) == from.size(1) && shape.size(2) == Some(3 * heads);
        let fits = of_heads && self.graph.node(projection).inputs.len() == 2;
        fits.then_some((Some(unit), projection))
    }
}
