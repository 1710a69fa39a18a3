//! Which layers are written together.

use std::borrow::Cow;

use ddae_model::graph::{Graph, Op, QkvLayout, Users, Value};
use ddae_model::tensor::Tensor;

/// What happens to a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fusion {
    /// It is written by itself.
    Alone,
    /// A later node does its work.
    Absorbed,
    /// A convolution, ending here.
    Conv(FusedConv),
    /// Attention between the pixels of an image, ending here.
    PixelAttention(PixelAttention),
}

/// A convolution with what is folded into it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FusedConv {
    pub conv: Value,
    /// Its input, or the image before doubling when [`FusedConv::doubled`].
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
pub(super) struct PixelAttention {
    /// The image `[B,C,H,W]`, before the norm.
    pub input: Value,
    /// The group norm before the projection.
    pub norm: Option<Value>,
    /// The linear layer to queries, keys and values.
    pub projection: Value,
    /// The division of each head's queries, keys and values by their root mean square. Then there is no norm before the
    /// projection, and no bias in it.
    pub unit: Option<Value>,
    pub attention: Value,
    pub heads: usize,
    /// Order of the projection's channels.
    pub layout: QkvLayout,
    /// The linear layer after attention.
    pub output: Value,
}

/// What happens to every node, by position; without `fuse` each is written by itself.
pub(super) fn fusions(graph: &Graph, constants: &[Option<Cow<'_, Tensor>>], fuse: bool) -> Vec<Fusion> {
    let matcher = Matcher { graph, constants, users: graph.users() };
    let mut fusions = vec![Fusion::Alone; graph.nodes().len()];
    for (value, node) in graph.values() {
        let found = match &node.op {
            Op::Conv2d { .. } => Some(matcher.conv(value, fuse)),
            Op::Add if fuse => matcher.conv_and_constant(&fusions, value),
            Op::BatchNorm { .. } if fuse => matcher.conv_and_norm(&fusions, value),
            Op::Reshape if fuse => matcher.pixel_attention(value),
            _ => None,
        };
        if let Some((fusion, absorbed)) = found {
            fusions[value.index()] = fusion;
            for value in absorbed {
                fusions[value.index()] = Fusion::Absorbed;
            }
        }
    }
    fusions
}

struct Matcher<'a> {
    graph: &'a Graph,
    constants: &'a [Option<Cow<'a, Tensor>>],
    users: Users<'a>,
}

type Match = Option<(Fusion, Vec<Value>)>;

impl Matcher<'_> {
    /// The only user of `value` is the node in hand, and `wanted` holds for its operation.
    fn only_here(&self, value: Value, wanted: impl Fn(&Op) -> bool) -> Option<Value> {
        let is_free = self.users.count(value) == 1 && !self.is_known(value);
        (is_free && wanted(&self.graph.node(value).op)).then_some(value)
    }

    fn is_known(&self, value: Value) -> bool {
        self.constants[value.index()].is_some()
    }

    fn input(&self, value: Value, i: usize) -> Value {
        self.graph.node(value).inputs[i]
    }

    fn conv(&self, conv: Value, fuse: bool) -> (Fusion, Vec<Value>) {
        let x = self.input(conv, 0);
        let doubled = fuse && !self.is_known(x) && self.users.feeds_doubled_conv(x);
        let (input, absorbed) = if doubled { (self.input(x, 0), vec![x]) } else { (x, vec![]) };
        (Fusion::Conv(FusedConv { conv, input, doubled, added: None, norm: None }), absorbed)
    }

    fn conv_and_constant(&self, fusions: &[Fusion], add: Value) -> Match {
        let [a, b] = [self.input(add, 0), self.input(add, 1)];
        [(a, b), (b, a)].into_iter().find_map(|(conv, added)| {
            let channels = self.graph.shape(conv).size(1)?;
            let constant = self.constants[added.index()].as_ref()?;
            let fits = constant.shape() == [1, channels, 1, 1] && constant.as_f32().is_some();
            self.only_here(conv, |op| fits && matches!(op, Op::Conv2d { .. }))?;
            let Fusion::Conv(fused) = &fusions[conv.index()] else { return None };
            Some((Fusion::Conv(FusedConv { added: Some(added), ..fused.clone() }), vec![conv]))
        })
    }

    /// A batch norm that alone uses a convolution. Runtimes fold it into the weights too, but not before they look for
    /// integers.
    fn conv_and_norm(&self, fusions: &[Fusion], norm: Value) -> Match {
        let conv = self.only_here(self.input(norm, 0), |op| matches!(op, Op::Conv2d { .. }))?;
        let is_known = |i: usize| self.is_known(self.input(norm, i));
        let Fusion::Conv(fused) = &fusions[conv.index()] else { return None };
        let fits = !fused.doubled && self.is_known(self.input(conv, 1)) && (1..5).all(is_known);
        fits.then(|| (Fusion::Conv(FusedConv { norm: Some(norm), ..fused.clone() }), vec![conv]))
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
        let fused = PixelAttention { input, norm, projection, unit, attention, heads, layout, output };
        Some((Fusion::PixelAttention(fused), absorbed))
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
