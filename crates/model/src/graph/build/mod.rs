//! Building: one method per operation, shapes checked at once, parameters named by their path.
//!
//! Inputs, stored values and constants are here; operations are in files of their families.

mod elementwise;
mod images;
mod layers;
mod shaping;

pub use layers::Conv;

use std::fmt;

use super::{Graph, GraphError, Init, Op, Shape, Value};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// Where a layer sits in the network: the prefix of its parameters' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The network itself.
    pub fn root() -> Path {
        Path::default()
    }

    /// A part of this layer.
    pub fn at(&self, part: impl fmt::Display) -> Path {
        Path(if self.0.is_empty() { part.to_string() } else { format!("{}.{part}", self.0) })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Graph {
    fn fail<T>(&self, path: impl fmt::Display, message: String) -> Result<T, GraphError> {
        Err(GraphError::Shape { path: path.to_string(), message })
    }

    /// A name for a layer without parameters.
    fn generated(&self, op: &Op) -> String {
        format!("{}_{}", op.name(), self.nodes.len())
    }

    fn add_node(&mut self, op: Op, inputs: &[Value], shape: Shape) -> Built {
        let dtype = inputs.first().map_or(DType::F32, |v| self.node(*v).dtype);
        let name = self.generated(&op);
        self.push(name, op, inputs.to_vec(), shape, dtype)
    }

    /// Refuses operands that are not float32: what layers with parameters compute with.
    fn want_f32(&self, path: impl fmt::Display, x: Value) -> Result<(), GraphError> {
        match self.node(x).dtype {
            DType::F32 => Ok(()),
            other => self.fail(path, format!("wants f32, got {other}")),
        }
    }

    /// The fixed sizes `[C, H, W]` of an image value.
    fn image(&self, path: impl fmt::Display, x: Value) -> Result<[usize; 3], GraphError> {
        let shape = self.shape(x);
        match (shape.rank(), shape.size(1), shape.size(2), shape.size(3)) {
            (4, Some(c), Some(h), Some(w)) => Ok([c, h, w]),
            _ => self.fail(path, format!("wants [B, C, H, W], got {shape}")),
        }
    }

    /// A value given when the graph runs.
    pub fn input(&mut self, name: &str, dtype: DType, shape: Shape) -> Built {
        self.push(name.to_string(), Op::Input, vec![], shape, dtype)
    }

    /// A trained float32 value of the given name.
    pub fn parameter(&mut self, path: &Path, shape: &[usize], init: Init) -> Built {
        self.stored(path, shape, init, true)
    }

    /// A stored float32 value of the given name that is not trained: running statistics, a fixed table. Checkpoints
    /// and moving averages hold it as they do parameters.
    pub fn buffer(&mut self, path: &Path, shape: &[usize], init: Init) -> Built {
        self.stored(path, shape, init, false)
    }

    fn stored(&mut self, path: &Path, shape: &[usize], init: Init, trained: bool) -> Built {
        self.check_init(path, shape, &init)?;
        let op = Op::Parameter { init, trained };
        self.push(path.to_string(), op, vec![], Shape::fixed(shape), DType::F32)
    }

    /// Gives a parameter or buffer that a layer made another initial value.
    ///
    /// # Errors
    /// When there is none of this name, or the values do not fill it.
    pub fn initialise(&mut self, path: &Path, init: Init) -> Result<(), GraphError> {
        let Some(value) = self.names.get(&path.to_string()).copied() else {
            return self.fail(path, "there is no parameter of this name to initialise".to_string());
        };
        self.check_init(path, &self.shape(value).resolve(1), &init)?;
        match &mut self.nodes[value.index()].op {
            Op::Parameter { init: old, .. } => {
                *old = init;
                Ok(())
            }
            other => {
                let message = format!("is no parameter but {}, and cannot be initialised", other.name());
                self.fail(path, message)
            }
        }
    }

    fn check_init(&self, path: &Path, shape: &[usize], init: &Init) -> Result<(), GraphError> {
        match init {
            Init::Values(values) if values.len() != shape.iter().product::<usize>() => {
                self.fail(path, format!("{} initial values do not fill {shape:?}", values.len()))
            }
            _ => Ok(()),
        }
    }

    /// A value known now.
    pub fn constant(&mut self, value: Tensor) -> Built {
        let (shape, dtype) = (Shape::fixed(value.shape()), value.dtype());
        let op = Op::Constant(value);
        let name = self.generated(&op);
        self.push(name, op, vec![], shape, dtype)
    }
}
