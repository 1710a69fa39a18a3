//! Group norms with what stands before and after them: `silu(norm(x + residual + bias + shift))` as one operator.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ddae_model::graph::{Graph, Op, Shape, Value};
use ddae_model::tensor::Tensor;
use ddae_onnx::messages::{AttributeProto, NodeProto, ValueInfoProto};
use ddae_onnx::operators::{DOMAIN, GROUP_NORM_SILU};

use super::{Image, last, sum, vector};
use crate::lower::fusion::Fusion;
use crate::lower::{Lowered, Lowering};

/// A norm to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Norm {
    /// The norm itself.
    norm: Value,
    /// What is computed: the norm, or the SiLU that alone uses it.
    result: Value,
    /// What goes in.
    x: Value,
    /// What is added to each channel, `[B,C,1,1]` or `[1,C,1,1]`.
    shift: Option<Value>,
    /// The other term of the sum that is normalised, and the sum, which others use too.
    residual: Option<(Value, Value)>,
}

/// The norms of a graph, by the node at which they are written.
#[derive(Debug, Default)]
pub(super) struct Plans {
    at: HashMap<Value, Norm>,
    absorbed: HashSet<Value>,
}

impl Plans {
    pub(super) fn at(&self, value: Value) -> Option<&Norm> {
        self.at.get(&value)
    }

    /// Whether another node does its work.
    pub(super) fn is_absorbed(&self, value: Value) -> bool {
        self.absorbed.contains(&value)
    }
}

/// Finds the norms. A sum goes into the first norm that takes it.
pub(super) fn plan(graph: &Graph, constants: &[Option<Cow<'_, Tensor>>], fusions: &[Fusion]) -> Plans {
    let users = graph.users();
    let is_known = |value: Value| constants[value.index()].is_some();
    let mut plans = Plans::default();
    for (norm, node) in graph.values() {
        let known_weights = node.inputs.iter().skip(1).all(|&input| is_known(input));
        if !matches!(node.op, Op::GroupNorm { .. }) || is_known(norm) || !known_weights {
            continue;
        }
        let result = users.only(norm).filter(|&user| graph.node(user).op == Op::Silu).unwrap_or(norm);
        let x = node.inputs[0];
        let mut plan = Norm { norm, result, x, shift: None, residual: None };
        let add = graph.node(x);
        let is_sum = add.op == Op::Add && fusions[x.index()] == Fusion::Alone && !plans.at.contains_key(&x);
        let mut written_at = norm;
        if is_sum && !is_known(x) {
            let (a, b) = (add.inputs[0], add.inputs[1]);
            let is_alone = users.count(x) == 1;
            let term = |one: Value, other: Value| per_channel(graph.shape(one), graph.shape(other));
            if is_alone && term(a, b) {
                plan = Norm { x: a, shift: Some(b), ..plan };
                written_at = x;
            } else if is_alone && term(b, a) {
                plan = Norm { x: b, shift: Some(a), ..plan };
                written_at = x;
            } else if graph.shape(a) == graph.shape(b) && !is_known(a) && !is_known(b) {
                plan = Norm { x: a, residual: Some((b, x)), ..plan };
                written_at = x;
            }
        }
        // What only shaped the shift for the sum.
        let is_only_shape = |shift: &Value| {
            let node = graph.node(*shift);
            let rows = &graph.shape(*shift).dims()[..2];
            node.op == Op::Reshape && users.count(*shift) == 1 && graph.shape(node.inputs[0]).dims() == rows
        };
        plans.absorbed.extend(plan.shift.filter(|shift| !is_known(*shift)).filter(is_only_shape));
        plans.absorbed.extend([norm, result].into_iter().filter(|&value| value != written_at));
        plans.at.insert(written_at, plan);
    }
    plans
}

/// Whether the other operand is a number for each channel of each image, or of all.
fn per_channel(image: &Shape, other: &Shape) -> bool {
    let (a, b) = (image.dims(), other.dims());
    let spatial = other.rank() == 4 && other.size(2) == Some(1) && other.size(3) == Some(1);
    let is_image = image.rank() == 4 && image != other;
    is_image && spatial && a[1] == b[1] && (a[0] == b[0] || other.size(0) == Some(1))
}

impl Lowering<'_, '_> {
    pub(super) fn norm_last(&mut self, plan: &Norm) -> Lowered<()> {
        let graph = self.graph;
        let node = graph.node(plan.norm);
        let Op::GroupNorm { groups, eps } = node.op else { return Ok(()) };
        let channels = node.shape.size(1).unwrap_or(0);
        let x = self.last(plan.x)?;
        let residual = plan.residual.map(|(residual, _)| self.last(residual)).transpose()?;
        let images: Vec<&Image> = std::iter::once(&x).chain(&residual).collect();
        let mut bias = sum(&images).unwrap_or_else(|| vec![0.0; channels]);
        let mut shift = String::new();
        if let Some(value) = plan.shift {
            if let Some(constant) = self.constants[value.index()].as_ref().and_then(|tensor| tensor.as_f32())
            {
                bias.iter_mut().zip(constant).for_each(|(bias, &shift)| *bias += f64::from(shift));
            } else {
                let rows = Shape::of(graph.shape(value).dims()[..2].to_vec());
                shift = self.rows(value, &rows)?;
            }
        }
        let [weight, beta] = match node.inputs[1..] {
            [weight, beta] => [self.operand(weight)?, self.operand(beta)?],
            _ => [self.filled(1.0, channels)?, self.filled(0.0, channels)?],
        };
        let mut inputs = vec![x.name.clone(), weight, beta];
        let bias = match bias.iter().any(|&x| x != 0.0) {
            true => self.initializer(&format!("{}/bias_before", node.name), Cow::Owned(vector(&bias)))?,
            false => String::new(),
        };
        inputs.extend([bias, shift, residual.map(|image| image.name).unwrap_or_default()]);
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let attributes = vec![
            AttributeProto::int("groups", groups as i64),
            AttributeProto::float("epsilon", eps),
            AttributeProto::int("silu", i64::from(plan.result != plan.norm)),
        ];
        let results = std::iter::once(plan.result).chain(plan.residual.map(|(_, sum)| sum));
        let mut outputs = Vec::new();
        for value in results {
            let name = format!("{}/last", graph.node(value).name);
            self.claim(&name)?;
            self.model.values.push(ValueInfoProto::tensor(&name, node.dtype, &last(graph.shape(value))));
            self.keep_image(value, name.clone(), None);
            outputs.push(name);
        }
        let (inputs, outputs): (Vec<&str>, Vec<&str>) =
            (inputs.iter().map(String::as_str).collect(), outputs.iter().map(String::as_str).collect());
        let node = NodeProto::new(GROUP_NORM_SILU, &node.name, &inputs, attributes, &outputs);
        self.model.nodes.push(node.in_domain(DOMAIN));
        Ok(())
    }

    /// `[B,C,1,1]` as `rows`, `[B,C]`: what it was reshaped from, where that is it.
    fn rows(&mut self, value: Value, rows: &Shape) -> Lowered<String> {
        let node = self.graph.node(value);
        if let (Op::Reshape, [from]) = (&node.op, &*node.inputs)
            && self.graph.shape(*from) == rows
        {
            return self.operand(*from);
        }
        let x = self.operand(value)?;
        let target = self.shape(rows)?;
        self.part(value, "rows", "Reshape", &[&x, &target], vec![], rows)
    }
}
