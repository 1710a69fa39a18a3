//! A rank among the others.

use std::cell::{OnceCell, RefCell};
use std::env;
use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use ddae_base::device::{DeviceChoice, DeviceName};
use ddae_base::{Stop, system};

use super::command::{Command, Opening};
use super::division::Division;
use super::environment::Place;
use super::watch::{self, Guard, Watch};
use crate::TrainError;
use crate::torch::shim::ranks::{Group, Store};
use crate::torch::{TorchError, device};

/// How long ranks wait for each other at the start.
const START: Duration = Duration::from_secs(600);
/// How long nothing is said about it.
const UNTOLD: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an exchange may take: for ever. A rank that is gone is found by its signs of life.
const EXCHANGE: Duration = Duration::from_secs(100 * 24 * 3600);
/// How long rank 0 keeps the store for the others at the end.
const FAREWELL: Duration = Duration::from_secs(15);

/// A rank among the others.
#[derive(Debug)]
pub struct Ranks {
    place: Place,
    store: Store,
    /// On the CPU, for what rank 0 says.
    control: Group,
    /// Where gradients are.
    gradients: OnceCell<Arc<Group>>,
    watch: RefCell<Option<Watch>>,
    /// How long a rank may be silent.
    patience: Duration,
    stop: Stop,
}

impl Ranks {
    /// Meets the others. A rank that gives no sign of life for `patience` ends all; a `stop` of any is one of all.
    ///
    /// # Errors
    /// When they do not come, or cannot be reached.
    pub fn join(place: &Place, patience: Duration, stop: &Stop) -> Result<Ranks, TrainError> {
        let mut waiting = Waiting { place, stop, start: Instant::now(), is_told: false };
        let [store, of_watch] = connected(&mut waiting)?;
        let guard = Guard::start(place, patience)?;
        let joined = meet(&store, &mut waiting, &guard).and_then(|()| {
            let watch = Watch::start(of_watch, place, patience, stop, guard)?;
            Ok((watch, gloo(&store, place)?))
        });
        let (watch, control) = joined.inspect_err(|error| {
            if !store.has(watch::FAILED).unwrap_or(true) {
                let _ = store.set(watch::FAILED, &ended(place.rank, error));
            }
            if place.serves() {
                // The store ends with this process: time for the others to read it.
                thread::sleep(Duration::from_secs(1));
            }
        })?;
        Ok(Ranks {
            place: place.clone(),
            store,
            control,
            gradients: OnceCell::new(),
            watch: RefCell::new(Some(watch)),
            patience,
            stop: stop.clone(),
        })
    }

    /// Who this is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same in evaluating the average of the weights.
    pub fn division(&self) -> Division<'_> {
        Division::among(&self.control, self.place.rank, &self.stop)
    }

    /// The device of this rank: of the GPUs of a machine, each of its ranks has its own.
    ///
    /// # Errors
    /// When there is no such GPU, one is named for several ranks, or ranks do not agree on GPUs or CPUs.
    pub fn device(&self, choice: DeviceChoice) -> Result<(Device, Option<String>), TrainError> {
        let Place { local_rank, local_world, .. } = self.place;
        let own = DeviceChoice::Named(DeviceName::Cuda(u16::try_from(local_rank).unwrap_or(u16::MAX)));
        let (device, reason) = match choice {
            DeviceChoice::Named(DeviceName::Cuda(number)) if number > 0 && local_world > 1 => {
                return Err(TrainError::Argument(format!(
                    "--device cuda:{number} is one GPU for {local_world} ranks of this machine: give --device cuda, and each rank \
                     takes that of its LOCAL_RANK"
                )));
            }
            DeviceChoice::Named(DeviceName::Cuda(0)) => device::resolve(own)?,
            DeviceChoice::Auto => match device::resolve(choice)? {
                (Device::Cuda(_), _) => device::resolve(own)?,
                cpu => cpu,
            },
            named => device::resolve(named)?,
        };
        let kinds = self
            .control
            .gather(&Tensor::from(i64::from(device.is_cuda())).f_reshape([1]).map_err(failed)?)?;
        let kinds = Vec::<i64>::try_from(kinds.f_reshape([-1]).map_err(failed)?).map_err(failed)?;
        if let Some(other) = kinds.iter().position(|kind| *kind != kinds[0]) {
            let of = |rank: usize| if kinds[rank] == 1 { "a GPU" } else { "the CPU" };
            return Err(TrainError::Argument(format!(
                "rank 0 computes on {} and rank {other} on {}: give all the same --device",
                of(0),
                of(other)
            )));
        }
        Ok((device, reason))
    }

    /// The group that sums gradients on `device`: by Gloo on the CPU, by NCCL on GPUs.
    ///
    /// # Errors
    /// When it cannot be made: without NCCL in libtorch, there is none on GPUs.
    pub fn gradients(&self, device: Device) -> Result<Arc<Group>, TrainError> {
        if let Some(group) = self.gradients.get() {
            return Ok(Arc::clone(group));
        }
        let Place { rank, world, ref host, port, .. } = self.place;
        // Keys of their own: both groups look for their ranks in one store.
        let store = Store::connect(host, port, false, START, &format!("{}/gradients", self.place.prefix()))?;
        let group = match device {
            Device::Cuda(_) => Group::nccl(&store, [rank, world], EXCHANGE)?,
            _ => gloo(&store, &self.place)?,
        };
        Ok(Arc::clone(self.gradients.get_or_init(|| Arc::new(group))))
    }

    /// Tells the others how the run begins. Only for rank 0.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn open(&self, opening: &Opening) -> Result<(), TrainError> {
        let text = serde_json::to_string(opening).map_err(|e| TorchError::Input(e.to_string()))?;
        Ok(self.store.set("opening", &text)?)
    }

    /// What rank 0 tells of the run's beginning, which is waited for.
    ///
    /// # Errors
    /// When the store does not answer, or rank 0 is of another version.
    pub fn opening(&self) -> Result<Opening, TrainError> {
        let text = self.store.get("opening", EXCHANGE)?;
        let opening =
            Opening::read(&text).map_err(|e| TorchError::Input(format!("what rank 0 says: {e}")))?;
        let rank = self.place.rank;
        opening.ok_or_else(|| {
            lost(format!(
                "rank {rank} has another version of this program than rank 0: give all ranks the same"
            ))
        })
    }

    /// Has all ranks do something; only for rank 0. Whether any of them was asked to stop.
    ///
    /// # Errors
    /// When a rank does not answer.
    pub fn lead(&self, command: Command) -> Result<bool, TrainError> {
        Ok(self.exchange(command.words())?.1)
    }

    /// What rank 0 says, which is waited for, and whether any rank was asked to stop, as [`Ranks::lead`] gives it.
    ///
    /// # Errors
    /// When a rank does not answer.
    pub fn follow(&self) -> Result<(Command, bool), TrainError> {
        let (words, stop) = self.exchange([0; 4])?;
        let unknown = || TorchError::Input("rank 0 says what this version does not know".to_string());
        Ok((Command::of(words).ok_or_else(unknown)?, stop))
    }

    fn exchange(&self, [kind, a, b, c]: [i64; 4]) -> Result<([i64; 4], bool), TrainError> {
        let words =
            Tensor::f_from_slice(&[kind, a, b, c, i64::from(self.stop.is_requested())]).map_err(failed)?;
        self.control.largest(&words)?;
        let words = Vec::<i64>::try_from(&words).map_err(failed)?;
        match words[..] {
            [kind, a, b, c, stop] => Ok(([kind, a, b, c], stop != 0)),
            _ => Err(TorchError::Input("ranks exchange what is not five words".to_string()).into()),
        }
    }

    /// Compares tensors with those of the other ranks, to the bit; all ranks call it. `names` are those of the tensors.
    ///
    /// # Errors
    /// [`TrainError::Ranks`] names the first rank and tensor that differ from those of rank 0.
    pub fn compare(&self, tensors: &[Tensor], names: &[String], step: u64) -> Result<(), TrainError> {
        let sums = fingerprints(tensors).map_err(failed)?;
        let all = self.control.gather(&sums)?;
        let differs = all.f_ne_tensor(&all.f_narrow(0, 0, 1).map_err(failed)?).map_err(failed)?;
        let places =
            Vec::<i64>::try_from(differs.f_nonzero().and_then(|at| at.f_reshape([-1])).map_err(failed)?);
        match places.map_err(failed)?[..] {
            [rank, tensor, ..] => Err(lost(format!(
                "the weights of rank {rank} are not those of rank 0 after step {step}: '{}' differs first. Ranks on unlike \
                 machines may round differently; go on from the last checkpoint with --resume",
                names.get(tensor as usize).map_or("", String::as_str)
            ))),
            _ => Ok(()),
        }
    }

    /// Takes leave after this rank's work came to `result`, so that the others end too: in good order, or naming this rank's error.
    /// What is said instead where another rank's end is the reason is said here.
    pub fn leave<T>(&self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        let Place { rank, world, .. } = self.place;
        let mut result = result;
        if let Ok(_) | Err(TrainError::Interrupted { .. }) = result
            && self.place.leads()
        {
            let interrupted = result.is_err();
            if let Err(error) = self.lead(Command::Finish { interrupted }) {
                result = result.and(Err(error));
            }
        }
        if let Err(error) = &result
            && !matches!(error, TrainError::Interrupted { .. })
        {
            if is_of_exchange(error) {
                // Somebody else has ended. The watch finds out who, says so and ends this process.
                thread::sleep(self.patience + Duration::from_secs(10));
            }
            // Without a store, the others find out by themselves.
            let _ = self.store.set(watch::FAILED, &ended(rank, error));
        }
        // The guard stays: on a network that is cut, the store is not heard of here either.
        let guard = self.watch.borrow_mut().take().map(Watch::end);
        let _ = self.store.set(&watch::gone(rank), "");
        if self.place.serves() {
            let start = Instant::now();
            let all_gone = || (0..world).all(|rank| self.store.has(&watch::gone(rank)).unwrap_or(true));
            while !all_gone() && start.elapsed() < FAREWELL {
                guard.iter().for_each(Guard::answered);
                thread::sleep(Duration::from_millis(20));
            }
        }
        if let Some(guard) = guard {
            guard.end();
        }
        result
    }
}

/// Ranks that wait for each other at the start.
struct Waiting<'a> {
    place: &'a Place,
    stop: &'a Stop,
    start: Instant,
    /// Whether it was said for whom.
    is_told: bool,
}

impl Waiting<'_> {
    /// Looks whether it makes sense to wait on, and after a while says for whom.
    fn look(&mut self, missing: &str) -> Result<(), TrainError> {
        let Place { rank, world, host, port, launcher, .. } = self.place;
        if self.stop.is_requested() {
            return Err(TrainError::NotMet);
        }
        if launcher.is_some_and(|launcher| parent_id() != launcher) {
            return Err(lost(watch::NO_LAUNCHER.to_string()));
        }
        if !self.is_told && self.start.elapsed() > UNTOLD {
            self.is_told = true;
            if !ddae_base::is_quiet() {
                ddae_base::tell(format_args!(
                    "note        rank {rank} of {world} waits for {missing} at {host}:{port}, {} s at most",
                    START.as_secs()
                ));
            }
        }
        Ok(())
    }
}

/// Two connections to the store.
fn connected(waiting: &mut Waiting) -> Result<[Store; 2], TrainError> {
    let place = waiting.place;
    let who = if place.agent.is_some() { "torchrun" } else { "rank 0" };
    let (sender, receiver) = channel();
    let of = place.clone();
    // libtorch waits without looking at anything else.
    let work = move || {
        let connect = |serves| Store::connect(&of.host, of.port, serves, START, &of.prefix());
        let stores = connect(of.serves()).and_then(|store| Ok([store, connect(false)?]));
        let _ = sender.send(stores);
    };
    let no_thread = |e| TorchError::Input(format!("no thread to look for ranks with: {e}"));
    thread::Builder::new().name("ddae-store".into()).spawn(work).map_err(no_thread)?;
    loop {
        match receiver.recv_timeout(PAUSE) {
            Ok(stores) => {
                return stores.map_err(|error| {
                    let Place { rank, world, host, port, .. } = place;
                    lost(format!("rank {rank} of {world} does not find {who} at {host}:{port}: {error}"))
                });
            }
            Err(RecvTimeoutError::Timeout) => waiting.look(who)?,
            Err(RecvTimeoutError::Disconnected) => {
                let message = "the thread that looks for ranks ended without a result".to_string();
                return Err(TorchError::Input(message).into());
            }
        }
    }
}

/// Says that this rank is here, and waits for all others.
fn meet(store: &Store, waiting: &mut Waiting, guard: &Guard) -> Result<(), TrainError> {
    let Place { rank, world, host, port, .. } = waiting.place;
    store.set(&format!("here/{rank}"), &std::process::id().to_string())?;
    loop {
        let mut missing = Vec::new();
        for other in 0..*world {
            if !store.has(&format!("here/{other}"))? {
                missing.push(other.to_string());
            }
        }
        guard.answered();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(", ");
        waiting.look(&format!("rank {names}"))?;
        if store.has(watch::FAILED)? {
            return Err(lost(store.get(watch::FAILED, START)?));
        }
        if waiting.start.elapsed() > START {
            let seconds = START.as_secs();
            return Err(lost(format!(
                "of {world} ranks, these did not come to {host}:{port} within {seconds} s: {names}"
            )));
        }
        thread::sleep(PAUSE);
    }
}

/// A group on the CPU.
fn gloo(store: &Store, place: &Place) -> Result<Group, TorchError> {
    let Place { rank, world, local_world, ref host, .. } = *place;
    let interface = env::var("GLOO_SOCKET_IFNAME").unwrap_or_default();
    // Ranks of one machine need no network.
    let local = local_world == world && (host == "localhost" || host.starts_with("127."));
    Group::gloo(store, [rank, world], EXCHANGE, if local { host } else { "" }, &interface)
}

/// A number for each tensor that differs where a bit of it does (but for changes that cancel out): the sum of its bits as numbers.
pub(crate) fn fingerprints(tensors: &[Tensor]) -> Result<Tensor, tch::TchError> {
    let sum = |tensor: &Tensor| tensor.detach().f_view_dtype(Kind::Int)?.f_sum(Kind::Int64);
    let sums = tensors.iter().map(sum).collect::<Result<Vec<_>, _>>()?;
    Tensor::f_stack(&sums, 0)?.f_to_device(Device::Cpu)
}

fn failed(error: tch::TchError) -> TrainError {
    TorchError::at("ranks", error).into()
}

/// What the others are told of a rank's error, the system's part of it in words.
fn ended(rank: usize, error: &TrainError) -> String {
    format!("rank {rank} ended: {}", system::in_words(&error.to_string()))
}

/// An error of being several.
pub(super) fn lost(message: String) -> TrainError {
    TrainError::Ranks(message)
}

/// Whether an error is what is seen of another rank's end: a connection that broke.
fn is_of_exchange(error: &TrainError) -> bool {
    let TrainError::Torch(TorchError::Operation { message, .. }) = error else { return false };
    ["gloo", "Gloo", "onnection", "NCCL", "Broken pipe", "ocket"].iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_differs_changes_the_fingerprint() {
        let weights = Tensor::from_slice(&[1.0f32, -2.0, 0.5]);
        let same = fingerprints(&[weights.copy()]).expect("a sum");
        let other = Tensor::from_slice(&[1.0f32, -2.0, f32::from_bits(0.5f32.to_bits() + 1)]);
        let [a, b] = [&weights, &other].map(|w| fingerprints(std::slice::from_ref(w)).expect("a sum"));
        assert_eq!(a, same);
        assert_ne!(a, b);
    }
}
