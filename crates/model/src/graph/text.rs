//! A graph as text, a node a line: for reading, and for golden files.

use std::fmt;

use super::{Graph, Op, Window};

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { kernel, stride, padding } = self;
        write!(f, "{kernel}x{kernel}, stride {stride}, padding {padding}")
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            write!(f, "{}: {} {} = {}", node.name, node.dtype, node.shape, node.op.name())?;
            match &node.op {
                Op::Conv2d { stride, padding: [t, l, b, r] } => {
                    write!(f, "(stride {stride}, padding {t} {l} {b} {r})")?
                }
                Op::BatchNorm { eps, momentum } => write!(f, "(eps {eps:e}, momentum {momentum})")?,
                Op::LayerNorm { eps } => write!(f, "(eps {eps:e})")?,
                Op::RmsNorm { axis, eps } => write!(f, "(axis {axis}, eps {eps:e})")?,
                Op::WeightNorm { eps, rms } => write!(f, "(rms {rms}, eps {eps:e})")?,
                Op::GroupNorm { groups, eps } => write!(f, "({groups} groups, eps {eps:e})")?,
                Op::Attention { heads, layout } => write!(f, "({heads} heads, {layout:?})")?,
                Op::Transpose { axes } => write!(f, "({axes:?})")?,
                Op::Concat { axis } => write!(f, "(axis {axis})")?,
                Op::Slice { axis, start, length } => write!(f, "(axis {axis}, {start}..{})", start + length)?,
                Op::Affine { factor, shift } => write!(f, "({factor} x + {shift})")?,
                Op::Clamp { min, max } => write!(f, "({min}..{max})")?,
                Op::UpsampleNearest { factor } => write!(f, "(x{factor})")?,
                Op::ResizeBilinear { height, width } => write!(f, "({height}x{width})")?,
                Op::MaxPool(window) => write!(f, "({window})")?,
                Op::AvgPool { window, count_include_pad: true } if window.padding > 0 => {
                    write!(f, "({window}, counted)")?
                }
                Op::AvgPool { window, .. } => write!(f, "({window})")?,
                Op::Pad { axis, before, after } => {
                    write!(f, "(axis {axis}, {before} before, {after} after)")?
                }
                Op::Mean { axes } => write!(f, "(axes {axes:?})")?,
                Op::Dropout { p } => write!(f, "(p {p})")?,
                _ => {}
            }
            for (i, input) in node.inputs.iter().enumerate() {
                write!(f, "{}{}", if i == 0 { " " } else { ", " }, self.node(*input).name)?;
            }
            writeln!(f)?;
        }
        for (name, value) in &self.taps {
            writeln!(f, "tap {name} = {}", self.node(*value).name)?;
        }
        for (name, value) in &self.outputs {
            writeln!(f, "output {name} = {}", self.node(*value).name)?;
        }
        Ok(())
    }
}
