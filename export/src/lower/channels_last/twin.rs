//! The twin of a file for GPUs that runs on the CPU, to check it with.

use std::collections::HashMap;

use ddae_onnx::messages::{AttributeProto, NodeProto};
use ddae_onnx::operators::NHWC_CONV;
use ddae_onnx::write::Model;

/// The same model with standard convolutions between transpositions in place of ONNX Runtime's channels-last ones, which
/// it has no kernels of for CPUs. Everything else, this project's operators included, stays what it is.
pub fn portable_twin<'w>(model: &Model<'w>) -> Model<'w> {
    let mut twin = model.clone();
    let mut kernels: HashMap<String, String> = HashMap::new();
    twin.nodes = Vec::with_capacity(model.nodes.len());
    for node in &model.nodes {
        let ([x, weight], NHWC_CONV) = (&node.input[..], node.op_type.as_str()) else {
            twin.nodes.push(node.clone());
            continue;
        };
        let part = |name: &str| format!("{}/twin/{name}", node.name);
        let transpose = |from: &str, to: &str, perm: [usize; 4]| {
            NodeProto::new(
                "Transpose",
                &format!("{to}/transposition"),
                &[from],
                vec![AttributeProto::ints("perm", perm)],
                &[to],
            )
        };
        let kernel = match kernels.get(weight) {
            Some(name) => name.clone(),
            None => {
                let name = part("weight");
                twin.nodes.push(transpose(weight, &name, [0, 3, 1, 2]));
                kernels.insert(weight.clone(), name.clone());
                name
            }
        };
        let (image, result) = (part("x"), part("y"));
        twin.nodes.push(transpose(x, &image, [0, 3, 1, 2]));
        let attributes = node.attribute.clone();
        twin.nodes.push(NodeProto::new("Conv", &node.name, &[&image, &kernel], attributes, &[&result]));
        twin.nodes.push(transpose(&result, &node.output[0], [0, 2, 3, 1]));
    }
    twin
}
