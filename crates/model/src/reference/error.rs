//! Why a graph could not be run.

use crate::tensor::DType;
use crate::weights::WeightsError;

/// Inputs, parameters or a graph that [`super::run`] cannot take.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// An input of the graph is not given.
    #[error("input '{name}' {dtype} {shape} is missing")]
    MissingInput {
        /// The input.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its shape in the graph.
        shape: String,
    },
    /// A tensor for no input of the graph.
    #[error("'{name}' is no input of this graph; it has {known}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// The graph's inputs.
        known: String,
    },
    /// Two tensors for one input.
    #[error("input '{0}' is given twice")]
    RepeatedInput(String),
    /// An input of another element type.
    #[error("input '{name}' is {found}; the graph wants {expected}")]
    InputType {
        /// The input.
        name: String,
        /// Its element type in the graph.
        expected: DType,
        /// That of the tensor given.
        found: DType,
    },
    /// An input of another shape, or of an empty batch.
    #[error("input '{name}' is {found:?}; the graph wants {expected} with B at least 1")]
    InputShape {
        /// The input.
        name: String,
        /// Its shape in the graph.
        expected: String,
        /// That of the tensor given.
        found: Vec<usize>,
    },
    /// Inputs of different batch sizes.
    #[error(
        "input '{name}' is {found:?} with a batch of {batch}, input '{other}' is {other_found:?} with {other_batch}"
    )]
    Batch {
        /// The second input.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// Its batch size.
        batch: usize,
        /// The first input.
        other: String,
        /// Its shape.
        other_found: Vec<usize>,
        /// Its batch size.
        other_batch: usize,
    },
    /// A parameter is missing or of another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A row that a table does not have.
    #[error("'{name}' holds {index}, but the table '{table}' has {rows} rows, counted from 0")]
    Index {
        /// The value that holds the indices.
        name: String,
        /// The table.
        table: String,
        /// The index.
        index: i64,
        /// Number of rows.
        rows: usize,
    },
    /// An operation that does not exist for these element types.
    #[error("{node}: {op} is not defined on {types}")]
    Type {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// The types of its operands.
        types: String,
    },
}
