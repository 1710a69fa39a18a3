//! The page: sections of blocks, filled into a template.
//!
//! | module | makes |
//! | --- | --- |
//! | [`blocks`] | what a section is made of |
//! | `training` | runs: settings, curves, scores, sheets |
//! | `probes` | results: accuracies, confusion |
//! | `choices` | how features were chosen: heat maps |
//! | `noise` | accuracy against noise, of heads and of classifiers, and against the number of labels |
//! | `features` | projections and neighbours |
//! | `missing` | what is not there, and which command makes it |

pub mod blocks;
mod choices;
mod features;
mod missing;
mod noise;
mod probes;
mod training;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::ReportError;
use crate::features::FeatureView;
use crate::plot::paint;
use crate::result::{MadeBy, Measured};
use crate::run::Run;
use blocks::{Figure, Section};
pub use choices::heat;
pub use missing::Missing;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What a page is made of.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its heading.
    pub title: String,
    /// How it is made.
    pub made_by: MadeBy,
    /// The runs, in the order of the columns.
    pub runs: Vec<Run>,
    /// The results.
    pub results: Vec<Measured>,
    /// Two files of features.
    pub features: Option<FeatureView>,
    /// A sheet of images of the data set.
    pub real: Option<Picture>,
    /// Images of the data set at rising noise, of each run that has a process.
    pub noised: Vec<Picture>,
    /// What the reader should know of what was given.
    pub notes: Vec<String>,
}

/// A picture with what it shows.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it shows.
    pub caption: String,
    /// The PNG file.
    pub png: Vec<u8>,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The file.
    pub html: String,
    /// Its plots.
    pub figures: Vec<Figure>,
    /// Titles of its sections.
    pub sections: Vec<String>,
    /// What is not in it.
    pub missing: Vec<Missing>,
}

/// The small images of a page.
#[derive(Serialize)]
struct Thumbs {
    uri: String,
    /// Width and height of one on the page, and columns and rows.
    layout: [u32; 4],
}

impl Report {
    /// Draws the plots and fills the page.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn page(&self) -> Result<Page, ReportError> {
        let mut sections: Vec<Section> = Vec::new();
        sections.extend(probes::overview(&self.results)?);
        sections.extend(training::section(&self.runs)?);
        sections.extend(training::sheets(&self.runs, self.real.as_ref(), &self.noised));
        sections.extend(choices::choices(&self.results)?);
        sections.extend(noise::section(&self.results, &self.runs)?);
        sections.extend(probes::classes(&self.results)?);
        sections.extend(probes::contrast(&self.results)?);
        if let Some(view) = &self.features {
            sections.extend(features::sections(view)?);
        }
        let missing = missing::find(self);
        sections.extend(missing::section(&missing));
        let thumbs = self.features.as_ref().filter(|view| !view.atlas.is_empty()).map(
            |view| -> Result<_, ReportError> {
                let [width, height, columns, rows] = view.atlas.layout();
                let scale = (48 / width.max(height)).max(1);
                let layout = [width * scale, height * scale, columns, rows];
                Ok(Thumbs { uri: data_uri(&view.atlas.png()?), layout })
            },
        );
        let thumbs = thumbs.transpose()?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template("page.html", TEMPLATE)?;
        let digest = STANDARD.encode(Sha256::digest(SCRIPT));
        let html = environment.get_template("page.html")?.render(context! {
            title => self.title.as_str(),
            made_by => Value::from(Serde(&self.made_by)),
            notes => Value::from(Serde(&self.notes)),
            sections => Value::from(Serde(&sections)),
            thumbs => Value::from(Serde(&thumbs)),
            style => STYLE,
            light => paint::variables(false),
            dark => paint::variables(true),
            script => SCRIPT,
            digest => digest,
        })?;
        let titles = sections.iter().map(|section| section.title.clone()).collect();
        let figures = sections.into_iter().flat_map(Section::into_figures).collect();
        Ok(Page { html, figures, sections: titles, missing })
    }
}

/// An image that is written into the page itself.
fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
