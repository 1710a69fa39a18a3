//! Functions and arithmetic, element by element.

use super::Built;
use crate::graph::{Graph, Op, Value};
use crate::tensor::DType;

impl Graph {
    /// `max(x, 0)`.
    pub fn relu(&mut self, x: Value) -> Built {
        self.elementwise(Op::Relu, x)
    }

    /// `x * sigmoid(x)`.
    pub fn silu(&mut self, x: Value) -> Built {
        self.elementwise(Op::Silu, x)
    }

    /// `x` times the normal distribution up to `x`, approximated with tanh.
    pub fn gelu_tanh(&mut self, x: Value) -> Built {
        self.elementwise(Op::GeluTanh, x)
    }

    /// Square root.
    pub fn sqrt(&mut self, x: Value) -> Built {
        self.elementwise(Op::Sqrt, x)
    }

    /// Exponential.
    pub fn exp(&mut self, x: Value) -> Built {
        self.elementwise(Op::Exp, x)
    }

    /// Logarithm of the softmax over the last axis.
    pub fn log_softmax(&mut self, x: Value) -> Built {
        self.want_f32("LogSoftmax", x)?;
        let shape = self.shape(x);
        if shape.rank() < 2 || shape.size(shape.rank() - 1).is_none() {
            let message = format!("wants [.., classes], got {shape}");
            return self.fail("LogSoftmax", message);
        }
        self.elementwise(Op::LogSoftmax, x)
    }

    /// `factor * x + shift`.
    pub fn affine(&mut self, x: Value, factor: f64, shift: f64) -> Built {
        self.elementwise(Op::Affine { factor, shift }, x)
    }

    /// `x` limited to `[min, max]`.
    pub fn clamp(&mut self, x: Value, min: f64, max: f64) -> Built {
        self.elementwise(Op::Clamp { min, max }, x)
    }

    /// Sine.
    pub fn sin(&mut self, x: Value) -> Built {
        self.elementwise(Op::Sin, x)
    }

    /// Cosine.
    pub fn cos(&mut self, x: Value) -> Built {
        self.elementwise(Op::Cos, x)
    }

    /// Dropout in training.
    pub fn dropout(&mut self, x: Value, p: f64) -> Built {
        if !(0.0..1.0).contains(&p) {
            return self.fail("Dropout", format!("the probability {p} is not in [0, 1)"));
        }
        self.elementwise(Op::Dropout { p }, x)
    }

    /// `x` as another element type.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Built {
        let op = Op::Cast(dtype);
        let (name, shape) = (self.generated(&op), self.shape(x).clone());
        self.push(name, op, vec![x], shape, dtype)
    }

    fn elementwise(&mut self, op: Op, x: Value) -> Built {
        let dtype = self.node(x).dtype;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return self.fail(op.name(), format!("wants f32 or f64, got {dtype}"));
        }
        let shape = self.shape(x).clone();
        self.add_node(op, &[x], shape)
    }

    /// `a + b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn add(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Add, a, b)
    }

    /// `a - b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn sub(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Sub, a, b)
    }

    /// `a * b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn mul(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Mul, a, b)
    }

    /// `a / b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn div(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Div, a, b)
    }

    fn binary(&mut self, op: Op, a: Value, b: Value) -> Built {
        let (left, right) = (self.node(a), self.node(b));
        match left.shape.broadcast(&right.shape) {
            Some(shape) if left.dtype == right.dtype => self.add_node(op, &[a, b], shape),
            _ => {
                let message = format!(
                    "{} {} and {} {} do not broadcast ({} and {})",
                    left.dtype, left.shape, right.dtype, right.shape, left.name, right.name
                );
                self.fail(op.name(), message)
            }
        }
    }
}
