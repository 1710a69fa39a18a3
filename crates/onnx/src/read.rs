//! Reading ONNX files without their weights.

use std::fs::File;
use std::path::{Path, PathBuf};

use prost::Message;

use super::identity;
use super::messages::ModelProto;

/// Why a file is no readable ONNX model.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum ReadError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0} is empty: the copy or download that made it was cut off; get it again")]
    Empty(PathBuf),
    #[error("{0} is a folder; an ONNX file is wanted here")]
    Folder(PathBuf),
    #[error("{path} is {kind}; an ONNX file is wanted here")]
    Kind { path: PathBuf, kind: &'static str },
    #[error("{path} is not an ONNX file, or it was cut off ({detail}); export it again")]
    Foreign { path: PathBuf, detail: String },
}

/// Reads graph and metadata of an ONNX file; the weights stay on disk.
///
/// # Errors
/// [`ReadError`] names the file.
pub fn model(path: &Path) -> Result<ModelProto, ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let info = file.metadata().map_err(io)?;
    if info.is_dir() {
        return Err(ReadError::Folder(path.to_path_buf()));
    }
    if info.len() == 0 {
        return Err(ReadError::Empty(path.to_path_buf()));
    }
    drop(file);
    let bytes = identity::map(path).map_err(io)?;
    parse(&bytes).map_err(|detail| match ddae_base::kind_of(&bytes) {
        Some(kind) => ReadError::Kind { path: path.to_path_buf(), kind },
        None => ReadError::Foreign { path: path.to_path_buf(), detail },
    })
}

/// Decodes a model's bytes.
///
/// # Errors
/// A phrase that says what does not fit.
pub fn parse(bytes: &[u8]) -> Result<ModelProto, String> {
    let model = ModelProto::decode(bytes).map_err(|error| error.to_string())?;
    let graph = model.graph.as_ref().ok_or("it holds no graph")?;
    if graph.node.is_empty() && graph.output.is_empty() {
        return Err("its graph has neither nodes nor outputs".to_string());
    }
    if model.opset_import.is_empty() {
        return Err("it names no operator set".to_string());
    }
    Ok(model)
}
