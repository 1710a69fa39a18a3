//! What a section of the page is made of.

use serde::Serialize;
use serde_json::{Value, json};

use crate::ReportError;
use crate::plot::{Drawing, Plot};

/// Widths of a plot in pixels: on wide pages and on narrow ones.
const WIDTHS: [u32; 2] = [600, 352];

/// A section.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// What links lead to.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What it shows and how to read it.
    pub lead: String,
    /// Its content.
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// A plot.
    Figure(Box<Figure>),
    /// A table.
    Table(Table),
    /// A result or a run with all it depends on, folded.
    Details {
        /// What is unfolded.
        title: String,
        /// Names and values.
        facts: Vec<[String; 2]>,
        /// What to know before trusting it.
        warnings: Vec<String>,
        /// The commands that make it again, with what each is for.
        commands: Vec<[String; 2]>,
    },
    /// Pictures to choose from by a slider.
    Pictures {
        /// What they are.
        title: String,
        /// Each with its caption.
        pictures: Vec<Shown>,
    },
    /// Test images with their nearest training images.
    Neighbours {
        /// The rows.
        rows: Vec<NeighbourRow>,
    },
    /// What is not there, and what makes it.
    Missing {
        /// The parts.
        parts: Vec<super::Missing>,
    },
}

/// A picture of the page.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Below it.
    pub caption: String,
    /// The image itself.
    pub uri: String,
}

/// A table; cells of the first column are names.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// Heads of the columns.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// Whether the cells are numbers, which stand to the right.
    pub numbers: bool,
}

/// A test image and its neighbours.
#[derive(Clone, Debug, Serialize)]
pub struct NeighbourRow {
    /// Of the test image.
    pub image: Option<usize>,
    /// What it is called.
    pub key: String,
    /// Its class.
    pub class: String,
    /// What its neighbours say.
    pub predicted: String,
    /// Whether they are wrong.
    pub wrong: bool,
    /// The neighbours.
    pub neighbours: Vec<NeighbourCell>,
}

/// A neighbour.
#[derive(Clone, Debug, Serialize)]
pub struct NeighbourCell {
    /// Its image.
    pub image: Option<usize>,
    /// Its class.
    pub class: String,
    /// Whether that is the class of the test image.
    pub same: bool,
    /// What it is called, and how far it is.
    pub text: String,
}

/// A plot with its caption and the values under the pointer.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name, also that of its files.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What to know of it.
    pub caption: String,
    /// The values, for those who cannot point.
    pub table: Option<Table>,
    /// The series that can be hidden: group, colour variable, name.
    pub series: Vec<(u16, String, String)>,
    /// The plot for wide and narrow pages: SVG and marks.
    pub sizes: Vec<Drawn>,
    /// The drawing for files.
    #[serde(skip)]
    pub drawing: Drawing,
}

/// A plot at one width.
#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    /// `wide` or `narrow`.
    pub name: &'static str,
    /// The plot.
    pub svg: String,
    /// `[x, y, width, height, group, text, image]` of each mark.
    pub marks: Vec<Value>,
}

impl Figure {
    /// Draws a plot for all widths.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn new(
        id: &str,
        title: &str,
        caption: &str,
        plot: &Plot,
        table: Option<Table>,
    ) -> Result<Figure, ReportError> {
        let drawings = WIDTHS.map(|width| plot.draw(width));
        let [wide, narrow] = drawings;
        let (wide, narrow) = (wide?, narrow?);
        let sized = |name, drawing: &Drawing| Drawn {
            name,
            svg: drawing.inline(title),
            marks: drawing.marks.iter().map(mark).collect(),
        };
        let colour = |paint| match paint {
            crate::plot::paint::Paint::Series(number) => format!("--s{number}"),
            _ => "--ink".to_string(),
        };
        Ok(Figure {
            id: slug(id),
            title: title.to_string(),
            caption: caption.to_string(),
            table,
            series: plot
                .series()
                .into_iter()
                .map(|(group, paint, name)| (group, colour(paint), name))
                .collect(),
            sizes: vec![sized("wide", &wide), sized("narrow", &narrow)],
            drawing: wide,
        })
    }
}

fn mark(mark: &crate::plot::Mark) -> Value {
    let tenths = |value: f32| (f64::from(value) * 10.0).round() / 10.0;
    let (width, height) = mark.size;
    json!([tenths(mark.x), tenths(mark.y), tenths(width), tenths(height), mark.group, mark.text, mark.image])
}

/// A name of letters, digits and dashes, for links and files.
fn slug(text: &str) -> String {
    let words: String =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    words.split_whitespace().collect::<Vec<_>>().join("-").chars().take(80).collect()
}

impl Section {
    pub(super) fn new(id: &str, title: &str, lead: &str, blocks: Vec<Block>) -> Option<Section> {
        let text = |text: &str| text.to_string();
        (!blocks.is_empty()).then(|| Section { id: text(id), title: text(title), lead: text(lead), blocks })
    }

    pub(super) fn into_figures(self) -> impl Iterator<Item = Figure> {
        self.blocks.into_iter().filter_map(|block| match block {
            Block::Figure(figure) => Some(*figure),
            _ => None,
        })
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A share with its standard error.
pub(super) fn with_error(share: f64, error: f64) -> String {
    format!("{:.2} ± {:.2} %", 100.0 * share, 100.0 * error)
}

/// A JSON value without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_string(),
        Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_string(),
        other => other.to_string(),
    }
}
