//! Running ONNX files in ONNX Runtime on the CPU.

pub mod integers;
pub mod operators;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ddae_model::tensor::{Data, Tensor};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, TensorRef};

/// Why a file does not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum RuntimeError {
    #[error(
        "cannot load ONNX Runtime from {path}: {message}; run `cargo xtask setup`, or set ORT_DYLIB_PATH to libonnxruntime.so"
    )]
    Library { path: PathBuf, message: String },
    #[error("ONNX Runtime cannot load {path}: {message}")]
    Load { path: PathBuf, message: String },
    #[error("ONNX Runtime cannot run {path}: {message}")]
    Run { path: PathBuf, message: String },
}

/// Where the library is: `ORT_DYLIB_PATH`, else `lib` beside the program's folder, else the program's folder, else where
/// it was when this was built, else wherever the system's loader looks.
pub fn library_path() -> PathBuf {
    const NAME: &str = "libonnxruntime.so";
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let folder = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_path_buf()));
    let candidates = folder.iter().flat_map(|folder| [folder.join("../lib").join(NAME), folder.join(NAME)]);
    let built_with = option_env!("ORT_DYLIB_PATH").map(PathBuf::from);
    candidates.chain(built_with).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(NAME))
}

/// The process's one environment of the runtime, made on first use.
pub fn environment() -> Result<&'static Environment, RuntimeError> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    let path = library_path();
    ENVIRONMENT
        .get_or_init(|| {
            let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
            builder.with_name("ddae").with_telemetry(false).build().map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(|message| RuntimeError::Library { path: library_path(), message: first_line(message) })
}

/// An ONNX file ready to run.
pub struct OnnxNetwork {
    path: PathBuf,
    session: Session,
}

impl OnnxNetwork {
    /// Loads a file with all optimisations. Threads that wait sleep: other programs may be at work.
    ///
    /// # Errors
    /// When the library is missing or refuses the file.
    pub fn open(path: &Path, threads: usize) -> Result<OnnxNetwork, RuntimeError> {
        let builder = builder(path, |builder| {
            Ok(builder.with_intra_threads(threads)?.with_intra_op_spinning(false)?)
        })?;
        let session = load(builder, path)?;
        Ok(OnnxNetwork { path: path.to_path_buf(), session })
    }

    /// Names of the inputs.
    pub fn inputs(&self) -> Vec<&str> {
        self.session.inputs().iter().map(|input| input.name()).collect()
    }

    /// Computes all outputs, in the file's order, from the inputs by name.
    ///
    /// # Errors
    /// When an input is missing or does not fit, or the runtime fails.
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, RuntimeError> {
        self.compute(inputs, |outputs| {
            outputs.iter().map(|(name, value)| Ok((name.to_string(), owned(&value)?))).collect()
        })
    }

    /// Computes all outputs and shows those of float32 to `look`, by name, where the runtime has them.
    ///
    /// # Errors
    /// Like [`OnnxNetwork::run`].
    pub fn run_with(
        &mut self,
        inputs: &[(&str, Tensor)],
        mut look: impl FnMut(&str, &[f32]),
    ) -> Result<(), RuntimeError> {
        self.compute(inputs, |outputs| {
            for (name, value) in outputs.iter() {
                if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
                    look(name, values);
                }
            }
            Ok(())
        })
    }

    fn compute<T>(
        &mut self,
        inputs: &[(&str, Tensor)],
        take: impl FnOnce(&SessionOutputs<'_>) -> ort::Result<T>,
    ) -> Result<T, RuntimeError> {
        let session = &mut self.session;
        let compute = || -> ort::Result<T> {
            let inputs: Vec<(&str, SessionInputValue)> = inputs
                .iter()
                .map(|(name, tensor)| Ok((*name, borrowed(tensor)?)))
                .collect::<ort::Result<_>>()?;
            take(&session.run(inputs)?)
        };
        compute().map_err(|error| RuntimeError::Run {
            path: self.path.clone(),
            message: first_line(&error.to_string()),
        })
    }
}

/// Writes what the runtime makes of a file, with its own operators, to `copy`: how it will be computed on this machine.
///
/// # Errors
/// When the library is missing or refuses the file, or the copy cannot be written.
pub fn optimized_copy(path: &Path, copy: &Path) -> Result<(), RuntimeError> {
    let mut builder = builder(path, |builder| Ok(builder.with_optimized_model_path(copy)?))?;
    alone_until_first(|| builder.commit_from_file(path)).map(drop).map_err(refused(path))
}

/// Loads the file at `path` as this machine's processor runs it fastest ([`integers`]), with the options of `builder`.
///
/// # Errors
/// When the library is missing or refuses the file.
pub fn load(mut builder: SessionBuilder, path: &Path) -> Result<Session, RuntimeError> {
    let products = if integers::has_amx() { integers::as_products(path)? } else { None };
    let loaded = alone_until_first(|| match products {
        None => builder.commit_from_file(path),
        Some(bytes) => builder
            .with_optimization_level(GraphOptimizationLevel::Disable)
            .map_err(ort::Error::from)
            .and_then(|mut builder| builder.commit_from_memory(&bytes)),
    });
    loaded.map_err(refused(path))
}

/// Makes a session with `open`, one at a time until the first of the process is made, and at will after that.
///
/// The first session that brings operators enters their domain in a table of the process, which looks and enters
/// without a lock: of two at once, the later is refused because "the domain is already exist". Every session with
/// [`operators`] is made through this.
///
/// # Errors
/// Those of `open`.
pub fn alone_until_first<T, E>(open: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static ENTRANCE: Mutex<()> = Mutex::new(());
    if ENTERED.load(Ordering::Acquire) {
        return open();
    }
    let _alone = ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = open()?;
    ENTERED.store(true, Ordering::Release);
    Ok(opened)
}

/// A session's options: all optimisations, and what `adapt` adds.
fn builder(
    path: &Path,
    adapt: impl FnOnce(SessionBuilder) -> ort::Result<SessionBuilder>,
) -> Result<SessionBuilder, RuntimeError> {
    let environment = environment()?;
    let build = || -> ort::Result<SessionBuilder> {
        let builder = Session::builder(environment)?
            .with_log_level(LogLevel::Error)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_operators(operators::on_cpu()?)?;
        adapt(builder)
    };
    build().map_err(refused(path))
}

/// The error for a file that the runtime does not take.
fn refused(path: &Path) -> impl Fn(ort::Error) -> RuntimeError {
    |error| RuntimeError::Load { path: path.to_path_buf(), message: first_line(&error.to_string()) }
}

/// The number of threads that use the whole machine.
pub fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A tensor as a value of the runtime, over the same memory.
fn borrowed(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape();
    Ok(match tensor.data() {
        Data::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::F64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::U8(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
    })
}

fn owned(value: &DynValue) -> ort::Result<Tensor> {
    let fits = |shape: &ort::value::Shape, data: Data| {
        let shape: Vec<usize> = shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
        Tensor::new(&shape, data).ok_or_else(|| ort::Error::new("an output does not fill its shape"))
    };
    macro_rules! try_each {
        ($($element:ty => $data:path),+) => {
            $(if let Ok((shape, values)) = value.try_extract_tensor::<$element>() {
                return fits(shape, $data(values.to_vec()));
            })+
        };
    }
    try_each!(f32 => Data::F32, f64 => Data::F64, i64 => Data::I64);
    let (shape, values) = value.try_extract_tensor::<u8>()?;
    fits(shape, Data::U8(values.to_vec()))
}

/// The runtime's messages are paragraphs; the first line says what happened.
fn first_line(message: &str) -> String {
    message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given").to_string()
}
