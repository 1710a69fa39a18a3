//! Running graphs by way of their ONNX files in tract.

use std::path::Path;

use ddae_export::lower::lower;
use ddae_model::graph::Graph;
use ddae_model::tensor::{Data, Tensor};
use ddae_model::weights::Weights;
use ddae_onnx::write::{LARGEST_MESSAGE, Model};
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, TValue, TVec,
};

/// How tract is told of the batch.
#[derive(Clone, Copy, PartialEq)]
pub enum Batch {
    /// As a symbol, whose value it sees with the inputs.
    Free,
    /// As a number: its bilinear resizing knows no symbols.
    Fixed,
}

/// The outputs of a graph that was written as an ONNX file and loaded by tract.
pub fn through_tract(
    graph: &Graph,
    weights: &Weights,
    inputs: &[(&str, Tensor)],
    batch: Batch,
) -> Vec<(String, Tensor)> {
    let write =
        |model: &mut Model<'_>, path: &Path| drop(model.write(path, &[], LARGEST_MESSAGE).expect("a file"));
    through_tract_as(graph, weights, inputs, batch, write)
}

/// The same of a file that `write` makes of the operators.
pub fn through_tract_as(
    graph: &Graph,
    weights: &Weights,
    inputs: &[(&str, Tensor)],
    batch: Batch,
    write: impl FnOnce(&mut Model<'_>, &Path),
) -> Vec<(String, Tensor)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("graph.onnx");
    write(&mut lower(graph, weights).expect("an ONNX graph"), &path);

    let is_fixed = batch == Batch::Fixed;
    let reader = tract_onnx::onnx().with_ignore_value_info(is_fixed).with_ignore_output_shapes(is_fixed);
    let mut model = reader.model_for_path(&path).expect("a file that tract reads");
    let value = |name: &str| {
        let (_, tensor) = inputs.iter().find(|(given, _)| *given == name).expect("an input for each name");
        into_tract(tensor).into()
    };
    let values: TVec<TValue> =
        model.inputs.iter().map(|outlet| value(&model.node(outlet.node).name)).collect();
    for (position, value) in values.iter().enumerate().filter(|_| is_fixed) {
        let fact = InferenceFact::dt_shape(value.datum_type(), value.shape());
        model = model.with_input_fact(position, fact).expect("an input that fits");
    }
    let runnable =
        model.into_optimized().and_then(|model| model.into_runnable()).expect("a graph that tract knows");
    let results = runnable.run(values).expect("outputs");
    graph.outputs().iter().zip(results).map(|((name, _), value)| (name.clone(), from_tract(&value))).collect()
}

fn into_tract(tensor: &Tensor) -> tract_onnx::prelude::Tensor {
    let shape = tensor.shape();
    match tensor.data() {
        Data::F32(values) => tract_onnx::prelude::Tensor::from_shape(shape, values),
        Data::F64(values) => tract_onnx::prelude::Tensor::from_shape(shape, values),
        Data::I64(values) => tract_onnx::prelude::Tensor::from_shape(shape, values),
        Data::U8(values) => tract_onnx::prelude::Tensor::from_shape(shape, values),
    }
    .expect("as many values as the shape holds")
}

fn from_tract(value: &TValue) -> Tensor {
    let (shape, values) = (value.shape(), value.try_as_plain_ram().expect("values in memory"));
    match value.datum_type() {
        DatumType::F32 => Tensor::f32(shape, values.as_slice::<f32>().expect("floats").to_vec()),
        DatumType::F64 => Tensor::f64(shape, values.as_slice::<f64>().expect("doubles").to_vec()),
        other => panic!("an output of type {other:?}"),
    }
}
