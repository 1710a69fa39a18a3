//! From a graph's nodes to the steps of an interpreter: what runs as one operation, where each operand comes from, and
//! when it may go.

use std::collections::HashMap;

use ddae_model::graph::{Dim, Graph, Node, Op, Shape, Users, Value};
use ddae_model::tensor::{DType, Tensor};

/// Where a step finds an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    /// The result of the step with this number.
    Step(usize),
    /// Position in [`Plan::inputs`].
    Input(usize),
    /// Position in [`Plan::parameters`].
    Parameter(usize),
    /// Position in [`Plan::constants`].
    Constant(usize),
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kernel {
    /// One node.
    Op(Op),
    /// A group normalisation with what surrounds it in a residual block; the first operand is `x`.
    Norm(Norm),
    /// Each pixel doubled along both axes, then a 3x3 convolution; operands `x`, `weight` and, perhaps, `bias`.
    UpsampleConv,
    /// A convolution's result, another like it and the convolution's bias, added.
    BiasSum,
}

/// `dropout(silu(group_norm(x + before + shift) * weight + bias))`, of which only the normalisation need be there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Norm {
    pub groups: usize,
    pub eps: f64,
    /// Which operand is `weight`: `[C]`, or `[B,C,1,1]`.
    pub weight: Option<usize>,
    /// Which operand is `bias [C]`.
    pub bias: Option<usize>,
    /// Which operand is `shift [B,C,1,1]`.
    pub shift: Option<usize>,
    /// Which operand is `before [C]`, the bias of the convolution that makes `x`. Only where there is a `shift`.
    pub before: Option<usize>,
    pub silu: bool,
    /// 0 for none.
    pub dropout: f64,
    /// Its number among the graph's norms.
    pub layer: usize,
}

impl Norm {
    /// The normalisation alone, of a node of so many inputs.
    pub fn new(groups: usize, eps: f64, inputs: usize) -> Norm {
        let [weight, bias] = [1, 2].map(|at| (inputs > at).then_some(at));
        Norm { groups, eps, weight, bias, shift: None, before: None, silu: false, dropout: 0.0, layer: 0 }
    }
}

/// One operation.
#[derive(Debug)]
pub(super) struct Step {
    /// The node's name, for errors.
    pub name: String,
    pub kernel: Kernel,
    pub operands: Vec<Operand>,
    pub shape: Shape,
    /// Steps whose results nothing needs after this one.
    pub last_uses: Vec<usize>,
}

/// A graph ready to be run.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// Name, element type and shape of every input.
    pub inputs: Vec<(String, DType, Shape)>,
    pub parameters: Vec<String>,
    pub constants: Vec<Tensor>,
    /// Names and sources of the results.
    pub outputs: Vec<(String, Operand)>,
}

impl Plan {
    /// With `late_bias`, the bias of a convolution that only a norm with a shift or a sum uses is added there.
    pub fn new(graph: &Graph, late_bias: bool) -> Plan {
        let mut plan = Plan::default();
        let mut norms = 0;
        let users = graph.users();
        let mut places: HashMap<Value, Operand> = HashMap::new();
        for (value, node) in graph.values() {
            let place = match &node.op {
                Op::Input => {
                    plan.inputs.push((node.name.clone(), node.dtype, node.shape.clone()));
                    Operand::Input(plan.inputs.len() - 1)
                }
                Op::Parameter { .. } => {
                    plan.parameters.push(node.name.clone());
                    Operand::Parameter(plan.parameters.len() - 1)
                }
                Op::Constant(array) => {
                    plan.constants.push(array.clone());
                    Operand::Constant(plan.constants.len() - 1)
                }
                Op::Add if joined_shift(graph, &users, value).is_some() => continue,
                Op::Add if late_bias => plan.sum(graph, node, &users, &places),
                Op::UpsampleNearest { .. } if users.feeds_doubled_conv(value) => continue,
                Op::Silu | Op::Dropout { .. } | Op::Mul => match plan.joined(graph, node, &users, &places) {
                    Some(place) => place,
                    None => plan.push(node, Kernel::Op(node.op.clone()), &node.inputs, &places),
                },
                Op::GroupNorm { groups, eps } => {
                    let mut inputs = node.inputs.clone();
                    let mut norm = Norm { layer: norms, ..Norm::new(*groups, *eps, inputs.len()) };
                    norms += 1;
                    if let Some((x, shift)) = joined_shift(graph, &users, inputs[0]) {
                        norm.shift = Some(inputs.len());
                        inputs[0] = x;
                        inputs.push(shift);
                        let bias = late_bias.then(|| plan.take_bias(graph, x, &users, &places)).flatten();
                        norm.before = bias.is_some().then_some(inputs.len());
                        inputs.extend(bias);
                    }
                    plan.push(node, Kernel::Norm(norm), &inputs, &places)
                }
                Op::Conv2d { .. } if users.feeds_doubled_conv(node.inputs[0]) => {
                    let mut inputs = node.inputs.clone();
                    inputs[0] = graph.node(inputs[0]).inputs[0];
                    plan.push(node, Kernel::UpsampleConv, &inputs, &places)
                }
                op => plan.push(node, Kernel::Op(op.clone()), &node.inputs, &places),
            };
            places.insert(value, place);
        }
        plan.outputs = graph.outputs().iter().map(|(name, value)| (name.clone(), places[value])).collect();
        plan.find_last_uses();
        plan
    }

    fn push(
        &mut self,
        node: &Node,
        kernel: Kernel,
        inputs: &[Value],
        places: &HashMap<Value, Operand>,
    ) -> Operand {
        let operands = inputs.iter().map(|input| places[input]).collect();
        let (name, shape) = (node.name.clone(), node.shape.clone());
        self.steps.push(Step { name, kernel, operands, shape, last_uses: vec![] });
        Operand::Step(self.steps.len() - 1)
    }

    /// A sum, with the bias of a convolution that it alone uses.
    fn sum(
        &mut self,
        graph: &Graph,
        node: &Node,
        users: &Users<'_>,
        places: &HashMap<Value, Operand>,
    ) -> Operand {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        if graph.shape(a) == graph.shape(b) && a != b {
            for (x, other) in [(a, b), (b, a)] {
                if let Some(bias) = self.take_bias(graph, x, users, places) {
                    return self.push(node, Kernel::BiasSum, &[x, other, bias], places);
                }
            }
        }
        self.push(node, Kernel::Op(Op::Add), &node.inputs, places)
    }

    /// Takes the bias off the convolution that makes `x`, if that is one with a bias and nothing else uses it.
    fn take_bias(
        &mut self,
        graph: &Graph,
        x: Value,
        users: &Users<'_>,
        places: &HashMap<Value, Operand>,
    ) -> Option<Value> {
        let node = graph.node(x);
        let Operand::Step(at) = places[&x] else { return None };
        let is_conv = matches!(node.op, Op::Conv2d { .. }) && node.inputs.len() == 3 && users.count(x) == 1;
        let step = &mut self.steps[at];
        if !is_conv || step.operands.len() != 3 {
            return None;
        }
        step.operands.truncate(2);
        Some(node.inputs[2])
    }

    /// Makes an activation, a dropout or a scale of each image's channels part of the normalisation before it, where
    /// nothing else uses that.
    fn joined(
        &mut self,
        graph: &Graph,
        node: &Node,
        users: &Users<'_>,
        places: &HashMap<Value, Operand>,
    ) -> Option<Operand> {
        let normalised = |value: Value| match places[&value] {
            Operand::Step(at) if users.count(value) == 1 => Some(at),
            _ => None,
        };
        let source = match node.op {
            Op::Mul => *node.inputs.iter().find(|input| graph.shape(**input) == &node.shape)?,
            _ => node.inputs[0],
        };
        let at = normalised(source)?;
        let step = &mut self.steps[at];
        let Kernel::Norm(norm) = &mut step.kernel else { return None };
        match node.op {
            Op::Silu if !norm.silu && norm.dropout == 0.0 => norm.silu = true,
            Op::Dropout { p } if norm.dropout == 0.0 => norm.dropout = p,
            Op::Mul if norm.weight.is_none() && !norm.silu && norm.dropout == 0.0 => {
                let scale = *node.inputs.iter().find(|input| **input != source)?;
                let per_channel = node.shape.with(2, Dim::Size(1)).with(3, Dim::Size(1));
                let is_known = !matches!(places[&scale], Operand::Step(of) if of > at);
                if *graph.shape(scale) != per_channel || !is_known {
                    return None;
                }
                norm.weight = Some(step.operands.len());
                step.operands.push(places[&scale]);
            }
            _ => return None,
        }
        Some(Operand::Step(at))
    }

    fn find_last_uses(&mut self) {
        // A result that nothing uses goes at once.
        let mut last: Vec<usize> = (0..self.steps.len()).collect();
        for (at, step) in self.steps.iter().enumerate() {
            for operand in &step.operands {
                if let Operand::Step(of) = operand {
                    last[*of] = at;
                }
            }
        }
        for (_, operand) in &self.outputs {
            if let Operand::Step(of) = operand {
                last[*of] = usize::MAX;
            }
        }
        for (of, at) in last.into_iter().enumerate() {
            if let Some(step) = self.steps.get_mut(at) {
                step.last_uses.push(of);
            }
        }
    }
}

/// The operands `(x, shift)` of an addition of one number per image and channel that only feeds a group normalisation:
/// `x [B,C,H,W]`, `shift [B,C,1,1]`.
fn joined_shift(graph: &Graph, users: &Users<'_>, sum: Value) -> Option<(Value, Value)> {
    let node = graph.node(sum);
    let user = graph.node(users.only(sum)?);
    if node.op != Op::Add || !matches!(user.op, Op::GroupNorm { .. }) || user.inputs[0] != sum {
        return None;
    }
    let per_channel = node.shape.with(2, Dim::Size(1)).with(3, Dim::Size(1));
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let fits = |x: Value, shift: Value| *graph.shape(x) == node.shape && *graph.shape(shift) == per_channel;
    [(a, b), (b, a)].into_iter().find(|&(x, shift)| fits(x, shift))
}
