//! An ONNX file.

use std::io::Write;

use ddae_base::json;
use ddae_base::text::excerpt;
use ddae_infer::model_file::ModelFile;
use serde_json::{Map, Value, json};

use super::Arguments;

/// Characters of a value that are shown.
const SHOWN: usize = 100;

pub(super) fn show(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    // Nothing is computed with it, so that a changed file is only said to be one.
    let model = ModelFile::open(&arguments.file, &[], "inspect", true)?;
    let entries = model.description.to_entries().into_iter();
    let entries = entries.map(|(key, value)| (key.trim_start_matches("ddae.").to_string(), value));
    if arguments.json {
        let description: Map<String, Value> = entries.map(|(key, value)| (key, json!(value))).collect();
        let object = json!({
            "file": arguments.file,
            "is": "onnx",
            "description": description,
            "inputs": model.inputs,
            "graph_digest": model.graph_digest,
            "edited": model.is_edited,
        });
        return Ok(json::print("ddae.inspect_graph/1", &object)?);
    }
    let file = ddae_base::plain(model.path.display());
    writeln!(out, "{file}: ONNX graph of kind {}", model.description.kind.name())?;
    writeln!(out, "inputs        {}", model.inputs.join(", "))?;
    writeln!(out, "graph_digest  {}", model.graph_digest)?;
    if model.is_edited {
        writeln!(out, "edited        it was changed after ddae-export wrote it")?;
    }
    for (key, value) in entries {
        let first = value.lines().next().unwrap_or_default();
        let more = value.lines().count().saturating_sub(1);
        let more = if more > 0 { format!(" … and {more} lines more") } else { String::new() };
        writeln!(out, "{key:<13} {}{more}", excerpt(first, SHOWN))?;
    }
    Ok(())
}
