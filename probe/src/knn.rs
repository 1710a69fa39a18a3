//! k-NN as a probe.

use ddae_classify::knn::{Labelled, Metric, Votes, rank};
use ddae_classify::labels::Classes;
use ddae_classify::ranking::Ranks;
use ddae_classify::rows::Rows;
use ddae_classify::scaling::{Normalisation, Scaled};
use serde_json::{Map, json};

use crate::error::Result;
use crate::experiment::{Classified, Probe, Progress, TOP, Tables, Tuned, describe};

/// k-NN with its normalisation.
#[derive(Clone, Debug)]
pub struct KnnProbe {
    /// What is done to features first.
    pub normalisation: Normalisation,
    /// How far apart two rows are.
    pub metric: Metric,
    /// What a neighbour's vote counts.
    pub votes: Votes,
    /// Numbers of neighbours to choose from, at least one; they are searched for once.
    pub ks: Vec<usize>,
}

impl KnnProbe {
    /// The best classes of each row to measure on, for each number of neighbours.
    fn rank(&self, tables: &Tables, progress: &mut dyn Progress) -> Result<Vec<Ranks>> {
        let (train, test) = (&tables.learn, &tables.measure);
        let labels = train.labels();
        let classes = Classes::of(&labels)?;
        let scaling = self.normalisation.fit(train)?;
        let queries = Scaled { rows: test, scaling: &scaling };
        let rows = Scaled { rows: train, scaling: &scaling };
        let base_classes = classes.indices(&labels, train.origin())?;
        let base = Labelled { rows: &rows, classes: &base_classes, class_count: classes.len() };
        let distances = test.len() as u64 * train.len() as u64;
        progress.begin(&describe("searching neighbours", train), Some(distances));
        let progress = &mut |distances| progress.advance(distances);
        Ok(rank(&queries, &base, &self.ks, self.metric, self.votes, TOP, progress)?)
    }

    fn tune_one(&self, tables: &Tables, progress: &mut dyn Progress) -> Result<Tuned<usize>> {
        let mut tuned = Tuned { setting: self.ks[0], accuracy: -1.0, tried: Vec::new() };
        for (&k, ranks) in self.ks.iter().zip(self.rank(tables, progress)?) {
            let accuracy = tables.accuracy(&ranks)?;
            if self.ks.len() > 1 {
                tuned.tried.push((format!("k = {k}"), accuracy));
            }
            if accuracy > tuned.accuracy {
                (tuned.setting, tuned.accuracy) = (k, accuracy);
            }
        }
        Ok(tuned)
    }

    fn classify_one(
        &self,
        tables: &Tables,
        setting: Option<usize>,
        progress: &mut dyn Progress,
    ) -> Result<Classified> {
        let of_ks = self.rank(tables, progress)?;
        let chosen = setting.and_then(|chosen| self.ks.iter().position(|&k| k == chosen)).unwrap_or(0);
        let mut protocol = Map::new();
        protocol.insert("k".into(), json!(self.ks[chosen]));
        if self.ks.len() > 1 {
            protocol.insert("k_from".into(), json!("chosen on held-out training samples"));
        }
        protocol.insert("metric".into(), json!(self.metric.name()));
        protocol.insert("votes".into(), json!(self.votes.name()));
        if let Votes::Temperature(temperature) = self.votes {
            protocol.insert("temperature".into(), json!(temperature));
        }
        protocol.insert("normalise".into(), json!(self.normalisation.name()));
        protocol
            .insert("computed_in".into(), json!("f64; rows ruled out by bounded products in bf16 or f32"));
        let ranks = of_ks[chosen].clone();
        let by_setting = match self.ks.len() {
            1 => Vec::new(),
            _ => self.ks.iter().map(|k| format!("k = {k}")).zip(of_ks).collect(),
        };
        Ok(Classified { ranks, by_setting, protocol, warnings: Vec::new() })
    }
}

impl Probe for KnnProbe {
    /// k.
    type Setting = usize;

    fn name(&self) -> &'static str {
        "knn"
    }

    fn title(&self) -> &'static str {
        "k-nearest neighbours"
    }

    fn open_setting(&self) -> Option<(&'static str, &'static str)> {
        (self.ks.len() > 1).then_some(("k", "give one, such as -k 20"))
    }

    fn tune(&self, tables: &[Tables], progress: &mut dyn Progress) -> Result<Vec<Tuned<usize>>> {
        tables.iter().map(|tables| self.tune_one(tables, progress)).collect()
    }

    fn classify(
        &self,
        tables: &[Tables],
        settings: &[Option<usize>],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Classified>> {
        let tables = tables.iter().zip(settings);
        tables.map(|(tables, setting)| self.classify_one(tables, *setting, progress)).collect()
    }
}
