//! A feature file, or one of its rows.

use std::io::Write;

use ddae_base::json;
use ddae_base::text::excerpt;
use ddae_infer::InferError;
use ddae_infer::features::formats::description;
use ddae_store::FeatureFile;
use serde_json::{Map, Value, json};

use super::Arguments;

/// Characters of a value, classes, and numbers of a row that are shown.
const SHOWN: usize = 100;
const CLASSES: usize = 8;
const NUMBERS: usize = 8;
/// Paths that are looked through at a time.
const PATH_ROWS: usize = 4096;

pub(super) fn show(arguments: &Arguments) -> anyhow::Result<()> {
    let file = FeatureFile::open(&arguments.file)?;
    let row = match (&arguments.path, arguments.row) {
        (Some(path), _) => Some(find(&file, path)?),
        (None, Some(row)) if row >= file.len() => {
            let message = format!("--row {row}: {} has {} rows, counted from 0", name(&file), file.len());
            return Err(InferError::Argument(message).into());
        }
        (None, row) => row,
    };
    let mut out = ddae_base::stdout();
    match (row, arguments.json) {
        (None, true) => json::print("ddae.inspect_features/1", &object(&file))?,
        (None, false) => tell(&file, &mut out)?,
        (Some(row), true) => json::print("ddae.inspect_row/1", &row_object(&file, row)?)?,
        (Some(row), false) => tell_row(&file, row, &mut out)?,
    }
    Ok(())
}

fn name(file: &FeatureFile) -> String {
    ddae_base::plain(file.path().display())
}

/// The row of the image with the key `path`.
fn find(file: &FeatureFile, path: &str) -> Result<usize, InferError> {
    if !file.has_paths() {
        let message = format!(
            "--path: {} is of format version {} and has no paths; its rows have numbers alone (--row)",
            name(file),
            file.version()
        );
        return Err(InferError::Argument(message));
    }
    let mut first = None;
    for begin in (0..file.len()).step_by(PATH_ROWS) {
        let paths = file.paths(begin..file.len().min(begin + PATH_ROWS))?;
        if let Some(place) = paths.iter().position(|found| found == path) {
            return Ok(begin + place);
        }
        first = first.or_else(|| paths.into_iter().next());
    }
    let first = first.unwrap_or_default();
    Err(InferError::Argument(format!(
        "--path: no row of {} is of '{}'; its paths are like '{}'",
        name(file),
        excerpt(path, SHOWN),
        excerpt(first, SHOWN)
    )))
}

fn object(file: &FeatureFile) -> Value {
    let mut object = Map::new();
    object.insert("file".to_string(), json!(file.path()));
    object.insert("is".to_string(), json!("features"));
    if let Value::Object(description) = description(file) {
        object.extend(description);
    }
    object.insert("compression".to_string(), json!(file.layout().compression.to_string()));
    object.insert("virtual".to_string(), json!(file.is_virtual()));
    object.insert("paths".to_string(), json!(file.has_paths()));
    object.into()
}

fn tell(file: &FeatureFile, out: &mut impl Write) -> anyhow::Result<()> {
    let (layout, provenance) = (file.layout(), file.provenance());
    let what =
        provenance.data_set.as_deref().map_or(String::new(), |set| format!(" of {}", excerpt(set, SHOWN)));
    writeln!(out, "{}: features{what}, format version {}", name(file), file.version())?;
    let (rows, total) = (file.rows(), layout.total);
    let part = if rows.len() < total { format!(", rows {rows:?} of {total}") } else { String::new() };
    writeln!(out, "images      {}{part}, {} view{} each", rows.len(), layout.views, plural(layout.views))?;
    let place = if file.is_virtual() { ", in shards beside it" } else { "" };
    writeln!(out, "stored      {}, compression {}{place}", layout.dtype, layout.compression)?;
    for (key, width) in &layout.keys {
        let shape = file.map_shape(key).map(|sides| {
            let sides: Vec<String> = sides.iter().map(usize::to_string).collect();
            format!(" of {}", sides.join("x"))
        });
        let shape = shape.unwrap_or_default();
        writeln!(out, "features    {key} [{}, {}, {width}]{shape}", layout.views, rows.len())?;
    }
    if let Some(classes) = &provenance.classes {
        let first: Vec<_> = classes.iter().take(CLASSES).map(|class| excerpt(class, SHOWN)).collect();
        let more = if classes.len() > CLASSES { ", …" } else { "" };
        writeln!(out, "classes     {}: {}{more}", classes.len(), first.join(", "))?;
    }
    match file.has_paths() {
        true => {
            let first = file.paths(0..1)?.concat();
            writeln!(out, "paths       the first is {}", excerpt(first, SHOWN))?;
        }
        false => writeln!(out, "paths       none: files of format version 1 do not have them")?,
    }
    writeln!(out, "made of and by")?;
    for (attribute, value) in file.attributes().iter().filter(|(attribute, _)| *attribute != "classes") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let first = text.lines().next().unwrap_or_default();
        let more = text.lines().count().saturating_sub(1);
        let more =
            if more > 0 { format!(" … and {more} line{} more", plural(more)) } else { String::new() };
        writeln!(out, "  {:<16} {}{more}", excerpt(attribute, SHOWN), excerpt(first, SHOWN))?;
    }
    Ok(())
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What a row is of: number in the split, key, label, and its class where that has a name.
fn row_of(file: &FeatureFile, row: usize) -> Result<(u64, Option<String>, i64, Option<String>), InferError> {
    let path = if file.has_paths() { file.paths(row..row + 1)?.pop() } else { None };
    let (label, index) = (file.labels()?[row], file.indices()?[row]);
    let classes = file.provenance().classes.as_deref().unwrap_or_default();
    let class = usize::try_from(label).ok().and_then(|label| classes.get(label).cloned());
    Ok((index, path, label, class))
}

fn row_object(file: &FeatureFile, row: usize) -> Result<Value, InferError> {
    let (index, path, label, class) = row_of(file, row)?;
    let mut features = Map::new();
    for key in file.keys() {
        let views =
            (0..file.views()).map(|view| Ok(file.read(key, view, row..row + 1)?.into_iter().collect()));
        let views = views.collect::<Result<Vec<Vec<f32>>, InferError>>()?;
        features.insert(key.to_string(), json!(views));
    }
    Ok(json!({
        "file": file.path(), "row": row, "index": index, "path": path, "label": label, "class": class,
        "features": features,
    }))
}

fn tell_row(file: &FeatureFile, row: usize, out: &mut impl Write) -> anyhow::Result<()> {
    let (index, path, label, class) = row_of(file, row)?;
    let path = path.map_or(String::new(), |path| format!(", {}", excerpt(path, SHOWN)));
    writeln!(out, "row {row} of {}: image {index}{path}", name(file))?;
    let class = class.map_or(String::new(), |class| format!(" ({})", excerpt(class, SHOWN)));
    writeln!(out, "label {label}{class}")?;
    for (key, width) in &file.layout().keys {
        for view in 0..file.views() {
            let features = file.read(key, view, row..row + 1)?;
            let first: Vec<_> = features.iter().take(NUMBERS).map(|value| format!("{value:.4}")).collect();
            let more = if *width > NUMBERS { " …" } else { "" };
            let view = if file.views() > 1 { format!(" view {view}") } else { String::new() };
            writeln!(out, "{key}{view} [{width}]: {}{more}", first.join(" "))?;
        }
    }
    Ok(())
}
