//! k-NN as a probe.

use ddae_classify::ConfusionMatrix;
use ddae_classify::knn::{KnnOptions, classify};
use ddae_classify::labels::Classes;
use ddae_classify::rows::Rows;
use ddae_classify::scaling::{Normalisation, Scaled};
use serde_json::{Map, json};

use crate::error::Result;
use crate::experiment::{Classified, Probe, Progress, Tuned, describe};
use crate::source::table::Table;

/// k-NN with its normalisation.
#[derive(Clone, Copy, Debug)]
pub struct KnnProbe {
    /// What is done to features first.
    pub normalisation: Normalisation,
    /// How to classify.
    pub options: KnnOptions,
}

impl KnnProbe {
    fn predict(&self, train: &Table, test: &Table, progress: &mut dyn Progress) -> Result<Vec<usize>> {
        let labels = train.labels();
        let classes = Classes::of(&labels)?;
        let scaling = self.normalisation.fit(train)?;
        let queries = Scaled { rows: test, scaling: &scaling };
        let base = Scaled { rows: train, scaling: &scaling };
        let base_classes = classes.indices(&labels, train.origin())?;
        let distances = test.len() as u64 * train.len() as u64;
        progress.begin(&describe("searching neighbours", train), Some(distances));
        let progress = &mut |distances| progress.advance(distances);
        Ok(classify(&queries, &base, &base_classes, classes.len(), &self.options, progress)?)
    }
}

impl Probe for KnnProbe {
    type Setting = ();

    fn name(&self) -> &'static str {
        "knn"
    }

    fn title(&self) -> &'static str {
        "k-nearest neighbours"
    }

    fn tune(&self, train: &Table, held_out: &Table, progress: &mut dyn Progress) -> Result<Tuned<()>> {
        let classes = Classes::of(&train.labels())?;
        let truth = classes.indices(&held_out.labels(), held_out.origin())?;
        let predictions = self.predict(train, held_out, progress)?;
        let accuracy = ConfusionMatrix::new(&truth, &predictions, classes.len()).accuracy();
        Ok(Tuned { setting: (), accuracy, tried: Vec::new() })
    }

    fn classify(
        &self,
        train: &Table,
        test: &Table,
        _setting: Option<()>,
        progress: &mut dyn Progress,
    ) -> Result<Classified> {
        let predictions = self.predict(train, test, progress)?;
        let mut protocol = Map::new();
        protocol.insert("k".into(), json!(self.options.k));
        protocol.insert("metric".into(), json!(self.options.metric.name()));
        protocol.insert("votes".into(), json!(self.options.votes.name()));
        protocol.insert("normalise".into(), json!(self.normalisation.name()));
        protocol.insert("computed_in".into(), json!("f32, neighbours measured again in f64"));
        Ok(Classified { predictions, protocol, warnings: Vec::new() })
    }
}
