//! Who a rank is, from the variables that `torchrun` and its like set.

use std::env;
use std::fmt::Display;
use std::str::FromStr;

use crate::TrainError;

/// The variables without which there are no ranks.
const WANTED: [&str; 4] = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"];
/// Those of one machine.
const LOCAL: [&str; 2] = ["LOCAL_RANK", "LOCAL_WORLD_SIZE"];
/// Set by [`super::launch()`] for the ranks that it starts: its own process.
pub(super) const LAUNCHER: &str = "DDAE_LAUNCHER";

/// A rank's place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// This process, counted from 0.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
    /// The same on this machine.
    pub local_rank: usize,
    /// Processes on this machine.
    pub local_world: usize,
    /// Where the store is in which ranks meet.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether who started the ranks keeps the store, rather than rank 0; and which start of them this is.
    pub agent: Option<u64>,
    /// The process of [`super::launch()`] that started this one.
    pub launcher: Option<u32>,
    /// What was not said and how it was taken.
    pub notes: Vec<String>,
}

impl Place {
    /// Whether this rank leads: it writes what is written.
    pub fn leads(&self) -> bool {
        self.rank == 0
    }

    /// Whether this rank keeps the store.
    pub fn serves(&self) -> bool {
        self.rank == 0 && self.agent.is_none()
    }

    /// What the keys of this start begin with: under `torchrun`, ranks that are started anew meet in the same store.
    pub(crate) fn prefix(&self) -> String {
        self.agent.map_or("ddae".to_string(), |attempt| format!("/worker/attempt_{attempt}/ddae"))
    }

    /// The place of this process. None where no variable says that there are ranks, or that there is but one.
    ///
    /// # Errors
    /// When some of the variables are missing, or what they say makes no sense.
    pub fn from_environment() -> Result<Option<Place>, TrainError> {
        Place::read(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Place>, TrainError> {
        let refuse = |message: String| Err(TrainError::Argument(message));
        let Some(set) = WANTED.into_iter().chain(LOCAL).find(|name| get(name).is_some()) else {
            return Ok(None);
        };
        if let Some(missing) = WANTED.into_iter().find(|name| get(name).is_none()) {
            return refuse(format!(
                "the environment has {set} and no {missing}: ranks want {}, as torchrun sets them; unset {set} for a run of \
                 one process",
                WANTED.join(", ")
            ));
        }
        let [rank, world] =
            [number(&get, "RANK")?, number(&get, "WORLD_SIZE")?].map(Option::unwrap_or_default);
        within("RANK", rank, "WORLD_SIZE", world)?;
        let port: u16 = number(&get, "MASTER_PORT")?.unwrap_or_default();
        let host = get("MASTER_ADDR").unwrap_or_default();
        if port == 0 || host.trim().is_empty() {
            let (name, value) = if port == 0 { ("MASTER_PORT", "0") } else { ("MASTER_ADDR", "") };
            return refuse(format!("{name} is '{value}' in the environment: it must say where ranks meet"));
        }
        let mut notes = Vec::new();
        let (local_rank, local_world) = match (number(&get, "LOCAL_RANK")?, number(&get, "LOCAL_WORLD_SIZE")?)
        {
            (Some(rank), Some(world)) => (rank, world),
            (Some(local), None) => {
                return refuse(format!(
                    "the environment has LOCAL_RANK={local} and no LOCAL_WORLD_SIZE: set it to the number of ranks on this machine"
                ));
            }
            (None, Some(local)) => {
                return refuse(format!(
                    "the environment has LOCAL_WORLD_SIZE={local} and no LOCAL_RANK: set it to this rank's number on this machine"
                ));
            }
            (None, None) => {
                notes.push("LOCAL_RANK is not set: taken as 0, one rank on each machine".to_string());
                (0, 1)
            }
        };
        within("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", local_world)?;
        if local_world > world {
            return refuse(format!(
                "LOCAL_WORLD_SIZE is {local_world} and WORLD_SIZE is {world}: it cannot be more"
            ));
        }
        let agent = get("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True");
        let attempt: Option<u64> = number(&get, "TORCHELASTIC_RESTART_COUNT")?;
        let agent = agent.then(|| attempt.unwrap_or(0));
        let launcher = number(&get, LAUNCHER)?;
        let place = Place { rank, world, local_rank, local_world, host, port, agent, launcher, notes };
        Ok((world > 1).then_some(place))
    }
}

fn number<T: FromStr>(get: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<T>, TrainError> {
    let Some(text) = get(name) else { return Ok(None) };
    // Rust's own reader of numbers would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse().ok().filter(|_| digits) {
        Some(number) => Ok(Some(number)),
        None => {
            Err(TrainError::Argument(format!("{name} is '{text}' in the environment: it must be a number")))
        }
    }
}

fn within(
    name: &str,
    rank: impl Display + PartialOrd<usize>,
    of: &str,
    world: usize,
) -> Result<(), TrainError> {
    if world == 0 {
        return Err(TrainError::Argument(format!("{of} is 0 in the environment: it must be 1 or more")));
    }
    if rank >= world {
        let last = world - 1;
        return Err(TrainError::Argument(format!(
            "{name} is {rank} and {of} is {world} in the environment: ranks are numbered from 0 to {last}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Place>, String> {
        let pairs: Vec<(&str, &str)> =
            text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let get =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Place::read(get).map_err(|error| error.to_string())
    }

    const THREE_OF_FOUR: &str = "RANK=3 WORLD_SIZE=4 MASTER_ADDR=node0 MASTER_PORT=29500";

    #[test]
    fn torchruns_variables_say_who_a_rank_is() {
        let text = format!(
            "{THREE_OF_FOUR} LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2"
        );
        let place = read(&text).expect("a place").expect("ranks");
        assert_eq!((place.rank, place.world, place.local_rank, place.local_world), (3, 4, 1, 2));
        assert_eq!((&*place.host, place.port, place.agent), ("node0", 29500, Some(2)));
        assert_eq!(place.prefix(), "/worker/attempt_2/ddae");
        assert!(!place.leads() && !place.serves() && place.notes.is_empty());
        let place = read(&THREE_OF_FOUR.replace("RANK=3", "RANK=0")).expect("a place").expect("ranks");
        assert!(place.leads() && place.serves());
        assert_eq!((place.local_rank, place.local_world, place.notes.len()), (0, 1, 1));
    }

    #[test]
    fn without_them_or_alone_there_are_no_ranks() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("PATH=/bin"), Ok(None));
        assert_eq!(read("RANK=0 WORLD_SIZE=1 MASTER_ADDR=a MASTER_PORT=1"), Ok(None));
    }

    #[test]
    fn what_is_half_set_or_makes_no_sense_is_refused_by_name() {
        for (text, wanted) in [
            ("RANK=0", "the environment has RANK and no WORLD_SIZE: ranks want RANK, WORLD_SIZE, "),
            ("MASTER_ADDR=a", "the environment has MASTER_ADDR and no RANK: "),
            ("LOCAL_RANK=0", "the environment has LOCAL_RANK and no RANK: "),
            ("RANK=0 WORLD_SIZE=2 MASTER_PORT=1", "the environment has RANK and no MASTER_ADDR: "),
            (
                "RANK=+1 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1",
                "RANK is '+1' in the environment: it must be a number",
            ),
            (
                "RANK=2 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1",
                "RANK is 2 and WORLD_SIZE is 2 in the environment: ",
            ),
            ("RANK=0 WORLD_SIZE=0 MASTER_ADDR=a MASTER_PORT=1", "WORLD_SIZE is 0 in the environment: "),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000",
                "MASTER_PORT is '70000' in the environment: ",
            ),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=0", "MASTER_PORT is '0' in the environment: "),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1 LOCAL_RANK=0",
                "the environment has LOCAL_RANK=0 and no LOCAL_WORLD_SIZE: ",
            ),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=3",
                "LOCAL_WORLD_SIZE is 3 and WORLD_SIZE is 2",
            ),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.starts_with(wanted), "{text}: {message}");
        }
    }
}
