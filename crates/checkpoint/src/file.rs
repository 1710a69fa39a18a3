//! An open checkpoint: what it holds, without reading it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::averages::{NamelessAverage, name_averages};
use super::bytes::Bytes;
use super::checksums::Checksums;
use super::contents::{Contents, Format};
use super::layout::Layout;
use super::pytorch::PickledModule;
use super::sets::{NamedWeights, sets};
use super::stored::StoredTensor;
use super::training::{FORMAT, Record, TrainingState};
use super::{CheckpointError, WeightSet, pytorch, safetensors};
use ddae_model::config::RunConfig;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

/// Endings that promise a checkpoint.
const ENDINGS: [&str; 6] = [".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl"];

/// Parts of names that `torch.compile`, FSDP and activation checkpointing put before those of what they wrap.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Whether a file's name is that of an index of several: `….index.json`, `….index.fp16.json`.
fn is_index(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".json") else { return false };
    stem.ends_with(".index") || stem.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with(".index"))
}

/// Leaves parts of names out that only say how a network was wrapped, wherever they stand, unless two names would become
/// one.
fn without_wrappers(tensors: &mut Vec<StoredTensor>) {
    let is_wrapped = |name: &str| name.split('.').any(|part| WRAPPERS.contains(&part));
    if !tensors.iter().any(|tensor| is_wrapped(tensor.name())) {
        return;
    }
    let plain =
        |name: &str| name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".");
    let names: HashSet<String> = tensors.iter().map(|tensor| plain(tensor.name())).collect();
    if names.len() == tensors.len() {
        let renamed = |tensor: StoredTensor| {
            let name = plain(tensor.name());
            tensor.named(name)
        };
        *tensors = std::mem::take(tensors).into_iter().map(renamed).collect();
    }
}

/// An open checkpoint file of any [`Format`]. Tensors are read when they are asked for.
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    /// The file, or the index and the files that it names.
    files: Vec<Bytes>,
    /// Sorted by name.
    tensors: Vec<StoredTensor>,
    values: Vec<(String, String)>,
    left_out: usize,
    /// Sorted by name.
    unread: Vec<(String, String)>,
    foreign: Vec<String>,
    modules: Vec<PickledModule>,
    metadata: HashMap<String, String>,
    /// What a training checkpoint of ours says of its tensors' bytes.
    checksums: Option<Checksums>,
    config: Option<RunConfig>,
    state: Option<TrainingState>,
    layout: Layout,
    sets: Vec<NamedWeights>,
    nameless: Vec<NamelessAverage>,
}

/// Elements that a tensor in a file of any size may have by repeating those of its storage.
const FREE_REPETITION: usize = 1 << 16;

impl Checkpoint {
    /// Opens a file and reads what it says of its tensors, not their elements. A file whose name ends in
    /// `.index.json` (or `.index.VARIANT.json`) is the index of several, which lie beside it.
    ///
    /// # Errors
    /// When it cannot be read, is no complete checkpoint of a known format, refers to anything that a file of tensors
    /// has no need of, or is a checkpoint of a newer version of ours.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let bytes = map(path)?;
        if is_index(&path.to_string_lossy()) {
            return Checkpoint::sharded(path, bytes);
        }
        let (format, contents) = read(path, &bytes)?;
        Checkpoint::assemble(path, format, vec![bytes], contents)
    }

    /// The same of bytes in memory; `path` is the name in messages.
    ///
    /// # Errors
    /// Like [`Checkpoint::open`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        let (format, contents) = read(path, &bytes)?;
        Checkpoint::assemble(path, format, vec![Bytes::Owned(bytes)], contents)
    }

    /// Whether a file's first bytes or its name promise a checkpoint: a broken one is then reported as what it should
    /// have been.
    pub fn recognises(path: &Path) -> bool {
        let name = path.to_string_lossy();
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) || is_index(&name) {
            return true;
        }
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(9).read_to_end(&mut start));
        read.is_ok() && Format::of(&start).is_some()
    }

    fn sharded(path: &Path, bytes: Bytes) -> Result<Checkpoint, CheckpointError> {
        let index = safetensors::Index::read(&bytes).map_err(CheckpointError::at(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = vec![bytes];
        let mut all = Contents::default();
        for (file, names) in index.files() {
            let part = folder.join(file);
            let bytes = map(&part)?;
            let (_, contents) = read(&part, &bytes)?;
            let held: HashMap<&str, &StoredTensor> =
                contents.tensors.iter().map(|tensor| (tensor.name(), tensor)).collect();
            for name in names {
                let Some(&tensor) = held.get(name) else {
                    let message = format!("says that '{name}' is in {file}, which does not hold it");
                    return Err(CheckpointError::format(path, message));
                };
                all.tensors.push(tensor.clone().in_file(files.len()));
            }
            files.push(bytes);
        }
        Checkpoint::assemble(path, Format::Sharded, files, all)
    }

    fn assemble(
        path: &Path,
        format: Format,
        files: Vec<Bytes>,
        contents: Contents,
    ) -> Result<Checkpoint, CheckpointError> {
        let Contents { mut tensors, values, left_out, mut unread, foreign, modules, groups, metadata } =
            contents;
        unread.sort();
        without_wrappers(&mut tensors);
        // PyTorch keeps the order of the network, which tells the names of a list.
        let unordered = match format {
            Format::Safetensors => Some("safetensors keep no order, which would tell them"),
            Format::Sharded => Some("an index keeps no order, which would tell them"),
            Format::PyTorch | Format::PyTorchLegacy | Format::Pickle => None,
        };
        let nameless = name_averages(&mut tensors, unordered);
        tensors.sort_by(|a, b| a.name().cmp(b.name()));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
            let message = format!("holds two tensors '{}'", pair[0].name());
            return Err(CheckpointError::format(path, message));
        }
        let checksums =
            Checksums::read(&metadata, &tensors).map_err(|message| CheckpointError::format(path, message))?;
        let (config, state) = training(path, &metadata)?;
        let names: Vec<&str> = tensors.iter().map(StoredTensor::name).collect();
        let layout = Layout::recognise(&names, &groups, state.is_some());
        let sets = sets(&tensors, state.is_some());
        let path = path.to_path_buf();
        Ok(Checkpoint {
            path,
            format,
            files,
            tensors,
            values,
            left_out,
            unread,
            foreign,
            modules,
            metadata,
            checksums,
            config,
            state,
            layout,
            sets,
            nameless,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How it arranges its weights.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The configuration of a training checkpoint.
    pub fn config(&self) -> Option<&RunConfig> {
        self.config.as_ref()
    }

    /// Where the run stood, of a training checkpoint.
    pub fn state(&self) -> Option<&TrainingState> {
        self.state.as_ref()
    }

    /// All metadata entries of a safetensors file.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// SHA-256 of the whole file, in hexadecimal; of several files, of the index and then of each in order of name.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.files.iter().for_each(|bytes| bytes.hash(&mut hash));
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// All tensors, sorted by name. Names in a PyTorch file are the keys that lead to a tensor, joined with dots:
    /// `EMA.ema_model.nn_model.norm.weight`.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.tensors
    }

    /// What a PyTorch file holds beside tensors: names, and the values as Python prints them, abridged.
    pub fn values(&self) -> &[(String, String)] {
        &self.values
    }

    /// How many values there are beside those of [`Checkpoint::values`], which are the first of very many.
    pub fn values_left_out(&self) -> usize {
        self.left_out
    }

    /// What stands among the values of a PyTorch file and may have been meant as a tensor: names, and what is there, such as a
    /// call that is not understood, or a tensor of a type that is not read. Sorted by name.
    pub fn unread(&self) -> &[(String, String)] {
        &self.unread
    }

    /// The Python objects that a PyTorch file refers to and that tensors have no need of, by name. They are data:
    /// nothing was looked up or called.
    pub fn foreign_objects(&self) -> &[String] {
        &self.foreign
    }

    /// The modules of a pickle that holds them with their classes, outer ones before their parts.
    pub fn modules(&self) -> &[PickledModule] {
        &self.modules
    }

    /// The sets of weights in it that names and shapes tell, sorted by prefix.
    pub fn sets(&self) -> &[NamedWeights] {
        &self.sets
    }

    /// Moving averages without the names of their weights, which no weights beside them tell.
    pub fn nameless_averages(&self) -> &[NamelessAverage] {
        &self.nameless
    }

    /// The sets of weights that its arrangement tells, the one to prefer first.
    pub fn weight_sets(&self) -> Vec<WeightSet> {
        self.layout.sets()
    }

    /// The tensor of a name.
    pub fn find(&self, name: &str) -> Option<&StoredTensor> {
        let at = self.tensors.binary_search_by(|tensor| tensor.name().cmp(name)).ok()?;
        self.tensors.get(at)
    }

    /// Compares every tensor with the checksum that was written with it. Files of earlier versions and of others have
    /// none, and nothing is read of them.
    ///
    /// # Errors
    /// The first tensor that is damaged.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        if self.checksums.is_none() {
            return Ok(());
        }
        for tensor in &self.tensors {
            let checked = self.check(tensor);
            self.files[tensor.file].release(tensor.bytes());
            checked?;
        }
        Ok(())
    }

    fn check(&self, tensor: &StoredTensor) -> Result<(), CheckpointError> {
        let Some(checksums) = &self.checksums else { return Ok(()) };
        let bytes = self.files[tensor.file].get(tensor.bytes()).unwrap_or_default();
        checksums.check(tensor, bytes).map_err(|message| CheckpointError::format(&self.path, message))
    }

    /// Reads a tensor. Floats of 8 and 16 bits become float32, small integers int64, booleans uint8.
    ///
    /// # Errors
    /// When there is none of this name, its type is not read, it repeats elements of its storage to more than the file has
    /// bytes, or it has not the checksum that was written with it.
    pub fn read(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let tensor = self.find(name).ok_or_else(|| {
            let message = format!("holds no tensor '{name}' among its {}", self.tensors.len());
            CheckpointError::format(&self.path, message)
        })?;
        self.read_stored(tensor)
    }

    pub(super) fn read_stored(&self, tensor: &StoredTensor) -> Result<Tensor, CheckpointError> {
        let file = &self.files[tensor.file];
        self.check(tensor)?;
        let read = tensor.read(file, file.len().max(FREE_REPETITION));
        let read = read.map_err(|message| CheckpointError::format(&self.path, message));
        file.release(tensor.bytes());
        read
    }

    /// The tensors whose names begin with `prefix`.
    pub(super) fn below(&self, prefix: &str) -> &[StoredTensor] {
        let start = self.tensors.partition_point(|tensor| tensor.name() < prefix);
        let rest = &self.tensors[start..];
        &rest[..rest.partition_point(|tensor| tensor.name().starts_with(prefix))]
    }

    /// Reads all tensors whose name begins with `prefix`; their names in the result are without it.
    ///
    /// # Errors
    /// When one has an element type that is not read.
    pub fn tensors_with_prefix(&self, prefix: &str) -> Result<Weights, CheckpointError> {
        let mut weights = Weights::new();
        for tensor in self.below(prefix) {
            weights.insert(&tensor.name()[prefix.len()..], self.read_stored(tensor)?);
        }
        Ok(weights)
    }

    /// The recorded outputs of a training checkpoint; of a SODA, those of its decoder.
    ///
    /// # Errors
    /// When the record is incomplete.
    pub fn record(&self) -> Result<Option<Record>, CheckpointError> {
        self.recorded("record.", "y")
    }

    /// The recorded latents of a SODA's training checkpoint: the encoder's input `x` and what it gave for it.
    ///
    /// # Errors
    /// When the record is incomplete.
    pub fn encoder_record(&self) -> Result<Option<Record>, CheckpointError> {
        self.recorded("record_encoder.", "z")
    }

    fn recorded(&self, prefix: &str, output: &str) -> Result<Option<Record>, CheckpointError> {
        let mut tensors: Vec<(String, Tensor)> = self.tensors_with_prefix(prefix)?.into_iter().collect();
        if tensors.is_empty() {
            return Ok(None);
        }
        let Some(at) = tensors.iter().position(|(name, _)| name == output) else {
            let message = format!("its record has inputs but no '{prefix}{output}'");
            return Err(CheckpointError::format(&self.path, message));
        };
        let (_, y) = tensors.remove(at);
        Ok(Some(Record { inputs: tensors, y }))
    }
}

/// Maps a file.
fn map(path: &Path) -> Result<Bytes, CheckpointError> {
    Bytes::open(path).map_err(|source| match source.kind() {
        ErrorKind::IsADirectory => {
            CheckpointError::format(path, "is a folder; a checkpoint file is wanted here")
        }
        _ => CheckpointError::io(path)(source),
    })
}

/// Reads what one file says of its tensors.
fn read(path: &Path, bytes: &[u8]) -> Result<(Format, Contents), CheckpointError> {
    if bytes.is_empty() {
        return Err(CheckpointError::format(path, "is empty; a checkpoint is wanted here"));
    }
    let Some(format) = Format::of(bytes) else {
        if let Some(kind) = ddae_base::kind_of(bytes) {
            let message = format!("is {kind}; a checkpoint (safetensors or PyTorch) is wanted here");
            return Err(CheckpointError::format(path, message));
        }
        let message = "is not a complete safetensors file, nor a PyTorch file; copy it here again, or take another checkpoint";
        return Err(CheckpointError::format(path, message));
    };
    let contents = match format {
        Format::PyTorch => pytorch::read_archive(bytes).map(|contents| (format, contents)),
        Format::PyTorchLegacy | Format::Pickle => pytorch::read_pickles(bytes),
        Format::Safetensors | Format::Sharded => safetensors::read(bytes).map(|contents| (format, contents)),
    };
    let (format, contents) = contents.map_err(CheckpointError::at(path))?;
    if let (true, [first, others @ ..]) = (contents.tensors.is_empty(), &*contents.foreign) {
        let others = match others.len() {
            0 => String::new(),
            n => format!(" and {n} other{}", if n == 1 { "" } else { "s" }),
        };
        let message = format!(
            "holds no tensors, but refers to the Python object '{}'{others}, which is not known here: nothing was run; \
             take a file that holds tensors (a state dict)",
            first.escape_debug()
        );
        return Err(CheckpointError::format(path, message));
    }
    Ok((format, contents))
}

/// What the metadata of a training checkpoint of ours say.
fn training(
    path: &Path,
    metadata: &HashMap<String, String>,
) -> Result<(Option<RunConfig>, Option<TrainingState>), CheckpointError> {
    match metadata.get("ddae.format").map(String::as_str) {
        None => Ok((None, None)),
        Some(FORMAT) => {
            let wanted = |key: &str| {
                let missing = || {
                    CheckpointError::format(path, format!("holds no '{key}': it is not a whole checkpoint"))
                };
                metadata.get(key).ok_or_else(missing)
            };
            let config = RunConfig::parse(wanted("ddae.config")?, "the checkpoint's config")
                .map_err(|e| CheckpointError::format(path, e.to_string()))?;
            let state = serde_json::from_str(wanted("ddae.state")?).map_err(|e| {
                CheckpointError::format(path, format!("its 'ddae.state' cannot be read ({e})"))
            })?;
            Ok((Some(config), Some(state)))
        }
        Some(other) => {
            let message =
                format!("is of format '{other}' and this version reads '{FORMAT}': use a newer ddae");
            Err(CheckpointError::format(path, message))
        }
    }
}
