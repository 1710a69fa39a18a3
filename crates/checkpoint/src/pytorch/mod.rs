//! Files of `torch.save`: zip archives, and the format of PyTorch before 1.6.
//!
//! Both hold a pickle of nested dictionaries in which a tensor is a recorded call: a storage by its key, an offset,
//! sizes and strides. [`tree`] walks the dictionaries, [`storages`] resolves the keys to places in the file, which
//! [`archive`] (by way of [`members`]) and [`legacy`] know. In plain pickles, which are not of `torch.save`, each storage is a
//! file of it in a string ([`nested`]), and EDM's code pickles modules with what they were made with ([`persistent`]). Nothing of the file is executed: see [`ddae_pickle`].

mod archive;
mod legacy;
mod members;
mod nested;
mod persistent;
mod storages;
mod tree;

pub(super) use archive::read as read_archive;
pub(super) use legacy::read as read_pickles;
pub use persistent::PickledModule;

/// Python objects that every file of tensors may refer to; others are named where there is something to say of them. Calls
/// of any of them are recorded, never made; [`tree`] and [`storages`] say what a recorded call stands for.
const PLAIN: &[&str] = &[
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    nested::FUNCTION,
    persistent::FUNCTION,
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    "torch.storage.UntypedStorage",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "torch.float64",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.int64",
    "torch.int32",
    "torch.int16",
    "torch.int8",
    "torch.uint8",
    "torch.bool",
    // The settings of a training script (DiT's `args`).
    "argparse.Namespace",
    // Numbers of numpy, such as a loss or a learning rate.
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
];
