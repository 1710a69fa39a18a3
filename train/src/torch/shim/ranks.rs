//! c10d of libtorch: the store that ranks meet in, groups of ranks, sums of gradients, batch norms over ranks.

use std::ffi::{CString, c_char, c_double, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use tch::Tensor;

use super::{Pointer, TorchError, check, made, pointer, pointers};

unsafe extern "C" {
    fn ddae_ranks_store(
        host: *const c_char,
        port: c_int,
        serves: c_int,
        timeout_ms: i64,
        prefix: *const c_char,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_ranks_store_free(store: *mut c_void);
    fn ddae_ranks_store_set(
        store: *mut c_void,
        key: *const c_char,
        value: *const c_char,
        length: usize,
    ) -> c_int;
    fn ddae_ranks_store_get(
        store: *mut c_void,
        key: *const c_char,
        timeout_ms: i64,
        value: *mut *const c_char,
        length: *mut usize,
    ) -> c_int;
    fn ddae_ranks_store_has(store: *mut c_void, key: *const c_char, out: *mut c_int) -> c_int;
    fn ddae_ranks_gloo(
        store: *mut c_void,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        host: *const c_char,
        interface: *const c_char,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_ranks_nccl(
        store: *mut c_void,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_ranks_group_free(group: *mut c_void);
    fn ddae_ranks_all_reduce(group: *mut c_void, tensor: Pointer, largest: c_int) -> c_int;
    fn ddae_ranks_broadcast(group: *mut c_void, tensors: *const Pointer, count: usize, root: c_int) -> c_int;
    fn ddae_ranks_all_gather(group: *mut c_void, tensor: Pointer, out: *mut *mut c_void) -> c_int;
    fn ddae_ranks_send(group: *mut c_void, tensor: Pointer, to: c_int) -> c_int;
    fn ddae_ranks_receive(group: *mut c_void, tensor: Pointer, from: c_int) -> c_int;
    fn ddae_ranks_reducer(
        group: *mut c_void,
        parameters: *const Pointer,
        count: usize,
        first_bytes: usize,
        bytes: usize,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_ranks_reducer_free(reducer: *mut c_void);
    fn ddae_ranks_reducer_begin(reducer: *mut c_void) -> c_int;
    fn ddae_ranks_reducer_finish(
        reducer: *mut c_void,
        early: *mut i64,
        buckets: *mut i64,
        waited: *mut c_double,
    ) -> c_int;
    fn ddae_ranks_reducer_cancel(reducer: *mut c_void);
    fn ddae_ranks_batch_norm(
        group: *mut c_void,
        input: Pointer,
        weight: Pointer,
        bias: Pointer,
        mean: Pointer,
        variance: Pointer,
        eps: c_double,
        momentum: c_double,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_ranks_end_process(code: c_int);
}

/// Bytes of gradients that are summed at once, and of those that are there first, as in PyTorch's data parallelism.
pub const BUCKET: usize = 25 << 20;
/// The first bucket is small, so that there is something to send early.
pub const FIRST_BUCKET: usize = 1 << 20;

fn text(text: &str) -> Result<CString, TorchError> {
    CString::new(text).map_err(|e| TorchError::Input(e.to_string()))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A connection to the store that ranks meet in: keys and values that all see.
#[derive(Debug)]
pub struct Store(*mut c_void);

// SAFETY: c10d's store is bound to no thread.
unsafe impl Send for Store {}

impl Store {
    /// Connects to the store at `host:port`, for at most `timeout`; one rank, or who started them, `serves` it. All keys begin with
    /// `prefix`.
    ///
    /// # Errors
    /// When there is no answer, or the port is in use.
    pub fn connect(
        host: &str,
        port: u16,
        serves: bool,
        timeout: Duration,
        prefix: &str,
    ) -> Result<Store, TorchError> {
        let (host, prefix) = (text(host)?, text(prefix)?);
        let mut out = null_mut();
        // SAFETY: both texts are C strings for the length of the call; `out` is where the function writes.
        let status = unsafe {
            ddae_ranks_store(
                host.as_ptr(),
                c_int::from(port),
                c_int::from(serves),
                milliseconds(timeout),
                prefix.as_ptr(),
                &mut out,
            )
        };
        check("store of the ranks", status)?;
        Ok(Store(out))
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn set(&self, key: &str, value: &str) -> Result<(), TorchError> {
        let key = text(key)?;
        // SAFETY: a store that lives, a C string, and a value of the length that is said.
        let status =
            unsafe { ddae_ranks_store_set(self.0, key.as_ptr(), value.as_ptr().cast(), value.len()) };
        check("store of the ranks", status)
    }

    /// The value of a key, which is waited for.
    ///
    /// # Errors
    /// When it is not there within `timeout`, or the store does not answer.
    pub fn get(&self, key: &str, timeout: Duration) -> Result<String, TorchError> {
        let key = text(key)?;
        let (mut value, mut length) = (null(), 0);
        // SAFETY: a store that lives, a C string, and two places where the function writes.
        let status = unsafe {
            ddae_ranks_store_get(self.0, key.as_ptr(), milliseconds(timeout), &mut value, &mut length)
        };
        check("store of the ranks", status)?;
        if length == 0 {
            return Ok(String::new());
        }
        // SAFETY: `length` bytes that are this thread's until its next call, copied at once.
        let bytes = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length) };
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Whether a key was set.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn has(&self, key: &str) -> Result<bool, TorchError> {
        let key = text(key)?;
        let mut out = 0;
        // SAFETY: a store that lives, a C string, and a place where the function writes.
        check("store of the ranks", unsafe { ddae_ranks_store_has(self.0, key.as_ptr(), &mut out) })?;
        Ok(out != 0)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by the function's counterpart, and nobody else has it.
        unsafe { ddae_ranks_store_free(self.0) }
    }
}

/// Ranks that exchange tensors. All call the same functions in the same order.
#[derive(Debug)]
pub struct Group {
    group: *mut c_void,
    world: usize,
}

// SAFETY: c10d's groups may be called from any thread; the order of calls is the caller's.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    /// A group on the CPU, by Gloo, which listens at the address of `host` or on the network `interface` (several with commas),
    /// where they are given.
    ///
    /// # Errors
    /// When the others cannot be reached within `timeout`, which is also that of every exchange.
    pub fn gloo(
        store: &Store,
        [rank, world]: [usize; 2],
        timeout: Duration,
        host: &str,
        interface: &str,
    ) -> Result<Group, TorchError> {
        let (host, interface) = (text(host)?, text(interface)?);
        let mut group = null_mut();
        // SAFETY: a store that lives, two C strings, and a place where the function writes.
        let status = unsafe {
            ddae_ranks_gloo(
                store.0,
                rank as c_int,
                world as c_int,
                milliseconds(timeout),
                host.as_ptr(),
                interface.as_ptr(),
                &mut group,
            )
        };
        check("group of ranks", status)?;
        Ok(Group { group, world })
    }

    /// A group on GPUs, by NCCL.
    ///
    /// # Errors
    /// When libtorch's CUDA half is not loaded or has no NCCL.
    pub fn nccl(store: &Store, [rank, world]: [usize; 2], timeout: Duration) -> Result<Group, TorchError> {
        let mut group = null_mut();
        // SAFETY: a store that lives, and a place where the function writes; it looks for what it calls itself.
        let status = unsafe {
            ddae_ranks_nccl(store.0, rank as c_int, world as c_int, milliseconds(timeout), &mut group)
        };
        check("group of ranks", status)?;
        Ok(Group { group, world })
    }

    /// Number of ranks.
    pub fn world(&self) -> usize {
        self.world
    }

    /// Replaces a tensor by the sum of those of all ranks.
    ///
    /// # Errors
    /// When another rank does not answer.
    pub fn sum(&self, tensor: &Tensor) -> Result<(), TorchError> {
        // SAFETY: the group lives, and so does the tensor.
        check("sum over ranks", unsafe { ddae_ranks_all_reduce(self.group, pointer(tensor), 0) })
    }

    /// Replaces every element by the largest of those of all ranks.
    ///
    /// # Errors
    /// When another rank does not answer.
    pub fn largest(&self, tensor: &Tensor) -> Result<(), TorchError> {
        // SAFETY: the group lives, and so does the tensor.
        check("largest over ranks", unsafe { ddae_ranks_all_reduce(self.group, pointer(tensor), 1) })
    }

    /// Replaces tensors by those of rank 0.
    ///
    /// # Errors
    /// When another rank does not answer.
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<(), TorchError> {
        let list = pointers(tensors);
        // SAFETY: the group lives; a list of `list.len()` pointers to living tensors.
        let status = unsafe { ddae_ranks_broadcast(self.group, list.as_ptr(), list.len(), 0) };
        check("broadcast to ranks", status)
    }

    /// The tensors of all ranks, `[world, ...]`.
    ///
    /// # Errors
    /// When another rank does not answer.
    pub fn gather(&self, tensor: &Tensor) -> Result<Tensor, TorchError> {
        let mut out = null_mut();
        // SAFETY: the group lives, and so does the tensor; `out` is where the function writes.
        let status = unsafe { ddae_ranks_all_gather(self.group, pointer(tensor), &mut out) };
        check("gathering from ranks", status)?;
        Ok(made(out))
    }

    /// Sends a contiguous tensor of the CPU to the rank `to`, which [receives](Group::receive) it. Ranks on CPUs alone can.
    ///
    /// # Errors
    /// When that rank does not answer.
    pub fn send(&self, tensor: &Tensor, to: usize) -> Result<(), TorchError> {
        // SAFETY: the group lives, and so does the tensor.
        check("sending to a rank", unsafe { ddae_ranks_send(self.group, pointer(tensor), to as c_int) })
    }

    /// Fills a contiguous tensor with the one of the same size and kind that the rank `from` sends.
    ///
    /// # Errors
    /// When that rank does not answer.
    pub fn receive(&self, tensor: &Tensor, from: usize) -> Result<(), TorchError> {
        // SAFETY: the group lives, and so does the tensor, into which as many bytes are written as it has.
        let status = unsafe { ddae_ranks_receive(self.group, pointer(tensor), from as c_int) };
        check("receiving from a rank", status)
    }

    /// A batch norm in training of `x [B,C,...]` with the statistics of the values of all ranks, as PyTorch's `SyncBatchNorm`; the
    /// running `mean` and `variance`, `[C]` like `weight` and `bias`, are moved. The group must be there until the backward pass is
    /// over.
    ///
    /// # Errors
    /// When the tensors are not such, or another rank does not answer.
    pub fn batch_norm(
        &self,
        x: &Tensor,
        [weight, bias, mean, variance]: [&Tensor; 4],
        eps: f64,
        momentum: f64,
    ) -> Result<Tensor, TorchError> {
        let mut out = null_mut();
        let [w, b, m, v] = [weight, bias, mean, variance].map(pointer);
        // SAFETY: the group and the tensors live, and `out` is where the function writes; it checks sizes itself.
        let status =
            unsafe { ddae_ranks_batch_norm(self.group, pointer(x), w, b, m, v, eps, momentum, &mut out) };
        check("batch norm over ranks", status)?;
        Ok(made(out))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by the function's counterpart, and nobody else has it.
        unsafe { ddae_ranks_group_free(self.group) }
    }
}

/// How a sum of gradients went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// Buckets that were on their way before the backward pass was over.
    pub early: u64,
    /// Buckets in all.
    pub buckets: u64,
    /// Seconds that were waited for them after it.
    pub waited: f64,
}

/// Sums gradients over ranks while the backward pass goes on.
#[derive(Debug)]
pub struct Reducer {
    reducer: *mut c_void,
    /// Must outlive it.
    _group: Arc<Group>,
}

// SAFETY: it locks itself.
unsafe impl Send for Reducer {}

impl Reducer {
    /// For the gradients of `parameters`, in buckets of at most [`FIRST_BUCKET`] and [`BUCKET`] bytes in the reverse order of the
    /// parameters, which is about that in which gradients are computed.
    ///
    /// # Errors
    /// When one of them is not trained.
    pub fn new(group: Arc<Group>, parameters: &[Tensor]) -> Result<Reducer, TorchError> {
        Reducer::with_buckets(group, parameters, FIRST_BUCKET, BUCKET)
    }

    /// The same with other sizes of buckets.
    ///
    /// # Errors
    /// When one of them is not trained.
    pub fn with_buckets(
        group: Arc<Group>,
        parameters: &[Tensor],
        first: usize,
        bytes: usize,
    ) -> Result<Reducer, TorchError> {
        let list = pointers(parameters);
        let mut reducer = null_mut();
        // SAFETY: the group lives as long as the reducer; a list of `list.len()` pointers to living tensors, which it keeps.
        let status =
            unsafe { ddae_ranks_reducer(group.group, list.as_ptr(), list.len(), first, bytes, &mut reducer) };
        check("gradients of ranks", status)?;
        Ok(Reducer { reducer, _group: group })
    }

    /// Runs a backward pass. After it, the gradients are the sums of all ranks'.
    ///
    /// # Errors
    /// Those of the pass, and when another rank does not answer.
    pub fn sum_during<E: From<TorchError>>(
        &self,
        backward: impl FnOnce() -> Result<(), E>,
    ) -> Result<Overlap, E> {
        // SAFETY: the reducer lives.
        check("gradients of ranks", unsafe { ddae_ranks_reducer_begin(self.reducer) })?;
        backward().inspect_err(|_| {
            // SAFETY: the reducer lives.
            unsafe { ddae_ranks_reducer_cancel(self.reducer) }
        })?;
        let (mut early, mut buckets, mut waited) = (0, 0, 0.0);
        // SAFETY: the reducer lives, and three places where the function writes.
        let status =
            unsafe { ddae_ranks_reducer_finish(self.reducer, &mut early, &mut buckets, &mut waited) };
        check("gradients of ranks", status)?;
        Ok(Overlap { early: early as u64, buckets: buckets as u64, waited })
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: made by the function's counterpart, and nobody else has it.
        unsafe { ddae_ranks_reducer_free(self.reducer) }
    }
}

/// Ends the process at once, whatever its other threads wait for: a thread that waits for a rank that is gone waits for ever.
pub fn end_process(code: i32) -> ! {
    // SAFETY: takes a number; the system closes what is open.
    unsafe { ddae_ranks_end_process(code) };
    std::process::exit(code)
}
