//! What a search costs.

use std::iter::Sum;

use serde::Serialize;

/// Work that was done, by this run or by runs that it goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Images that went through the network, each counted for every timestep and view. All layers of a call come with it.
    pub network_calls: u64,
    /// Rows of features that heads learned from, each counted for every head and epoch. The steps of a solver, each of
    /// which sees all rows, and its penalties are not counted, nor is what chooses a penalty.
    pub head_rows: u64,
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |all, cost| Cost {
            network_calls: all.network_calls + cost.network_calls,
            head_rows: all.head_rows + cost.head_rows,
        })
    }
}

/// One round of successive halving.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundReport {
    /// Its number, from 1.
    pub round: usize,
    /// Pairs that were compared.
    pub pairs: usize,
    /// Their timesteps.
    pub timesteps: Vec<i64>,
    /// Training images that they were compared on.
    pub images: usize,
    /// Those whose features were computed for it.
    pub new_images: usize,
    /// Rows in a step of its heads; none of heads that take none.
    pub batch: Option<usize>,
    /// Epochs of its heads; 1 of heads that have none.
    pub epochs: usize,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// The pairs that it kept.
    pub kept: Vec<String>,
}

/// How the choice was made, and what that cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchReport {
    /// `full` or `halving`.
    pub search: &'static str,
    /// `held-out` or `published`.
    pub protocol: &'static str,
    /// How many seeds chose, by their mean.
    pub seeds: u64,
    /// What the heads learned from and were measured on.
    pub division: &'static str,
    /// The share of the smallest training class that was held out for the choice; none where none was.
    pub held_out: Option<f64>,
    /// Training images on which the choice was made that its heads did not learn from.
    pub held_out_samples: usize,
    /// The rounds of successive halving.
    pub rounds: Vec<RoundReport>,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// What a full search with as many seeds costs.
    pub full: Cost,
}

impl SearchReport {
    /// The shares of a full search's network calls and head rows.
    pub fn shares(&self) -> [f64; 2] {
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        [
            share(self.cost.network_calls, self.full.network_calls),
            share(self.cost.head_rows, self.full.head_rows),
        ]
    }
}
