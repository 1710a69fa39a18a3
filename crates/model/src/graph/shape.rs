//! Shapes whose first dimension may be the batch, known only when the graph runs.

use std::fmt;

/// One dimension of a graph value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// The batch size times this factor (2 for a doubled, guided batch).
    Batch(usize),
    /// A size known when the graph is built.
    Size(usize),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Dim {
        Dim::Size(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Batch(1) => f.write_str("B"),
            Dim::Batch(n) => write!(f, "{n}B"),
            Dim::Size(n) => write!(f, "{n}"),
        }
    }
}

/// The shape of a graph value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// A shape of fixed sizes, without a batch.
    pub fn fixed(sizes: &[usize]) -> Shape {
        Shape(sizes.iter().map(|&n| Dim::Size(n)).collect())
    }

    /// `[B, sizes…]`.
    pub fn batch(sizes: &[usize]) -> Shape {
        Shape(std::iter::once(Dim::Batch(1)).chain(sizes.iter().map(|&n| Dim::Size(n))).collect())
    }

    /// A shape of the given dimensions.
    pub fn of(dims: Vec<Dim>) -> Shape {
        Shape(dims)
    }

    /// The dimensions.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The fixed size along `axis`, or `None` for the batch or a missing axis.
    pub fn size(&self, axis: usize) -> Option<usize> {
        match self.0.get(axis) {
            Some(Dim::Size(n)) => Some(*n),
            _ => None,
        }
    }

    /// The same shape with the dimension at `axis` replaced.
    pub fn with(&self, axis: usize, dim: impl Into<Dim>) -> Shape {
        let mut dims = self.0.clone();
        dims[axis] = dim.into();
        Shape(dims)
    }

    /// Whether a dimension is the batch.
    pub fn has_batch(&self) -> bool {
        self.0.iter().any(|d| matches!(d, Dim::Batch(_)))
    }

    /// The sizes when the batch holds `batch` samples.
    pub fn resolve(&self, batch: usize) -> Vec<usize> {
        self.0
            .iter()
            .map(|d| match d {
                Dim::Batch(n) => n * batch,
                Dim::Size(n) => *n,
            })
            .collect()
    }

    /// Elements per sample: the product of the fixed sizes and of the batch factors.
    pub fn per_sample(&self) -> usize {
        self.resolve(1).iter().product()
    }

    /// The shape that `self` and `other` broadcast to (NumPy's rule), or `None`.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let at = |shape: &Shape, i: usize| {
            let missing = rank - shape.rank();
            if i < missing { Dim::Size(1) } else { shape.0[i - missing] }
        };
        (0..rank)
            .map(|i| match (at(self, i), at(other, i)) {
                (a, b) if a == b => Some(a),
                (Dim::Size(1), b) => Some(b),
                (a, Dim::Size(1)) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}
