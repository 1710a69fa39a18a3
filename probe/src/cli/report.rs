//! `ddae-probe report`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::made_by::MadeBy;
use ddae_base::{files, json, shell};
use ddae_data::datasets::{self, DataSet};
use ddae_probe::ProbeError;
use ddae_probe::neighbourhood::{self, Request};
use ddae_probe::source::feature_set::FeatureSet;
use ddae_probe::source::{Input, ProbeSource};
use ddae_report::features::FeatureView;
use ddae_report::images::{Atlas, sheet};
use ddae_report::page::{Page, Picture, Report};
use ddae_report::result::{self, Measured};
use ddae_report::run::{self, Run};
use ddae_report::{ReportError, noised};
use serde_json::{Value, json};

use super::experiment::check_folder;
use super::progress::Shown;

/// Real images on their sheet, in so many columns.
const REAL: (usize, u32) = (64, 8);
/// Images of which noised ones are shown.
const NOISED: usize = 3;

/// One HTML file about runs, probes and features, that needs nothing else
///
/// The page shows what it is given: of run folders configuration, losses, scores and sheets of samples; of what probes
/// printed with --json accuracies with their errors, accuracy by layer and timestep, confusion, alignment and uniformity;
/// of features where test samples lie in a plane and their nearest neighbours, mistakes first. Several runs stand side
/// by side. What is not there is listed with the command that makes it. The file is interactive without a network and
/// loads nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe report runs/demo
  ddae-probe report runs/demo runs/wide --probe knn.json --probe logistic.json
  ddae-probe report --train train.h5 --test test.h5 --features t11/out_6 --data cifar10
  ddae-probe report runs/demo --probe knn.json --svg plots --png plots -o demo.html")]
pub struct Arguments {
    /// Run folders of ddae-train
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// File with what a probe printed with --json; may be given several times
    #[arg(long, value_name = "FILE.json", value_delimiter = ',')]
    probe: Vec<PathBuf>,

    /// File with training features, for neighbours: of ddae-infer, or another's
    #[arg(long, value_name = "FILE[:NAMES]", requires = "test", help_heading = "Features")]
    train: Option<PathBuf>,

    /// File with test features, made in the same way
    #[arg(long, value_name = "FILE[:NAMES]", requires = "train", help_heading = "Features")]
    test: Option<PathBuf>,

    /// Features to show, such as t11/out_6 [default: those of the best result of --probe, or the only ones]
    #[arg(long, value_name = "KEY", requires = "train", help_heading = "Features")]
    features: Option<String>,

    /// Test samples to show, evenly spaced
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = whole::<u16>(1..=1000), help_heading = "Features")]
    samples: u16,

    /// Data set with the images of the features, and for real images beside samples: a name, folder, list or archive
    #[arg(long, value_name = "SOURCE", help_heading = "Features")]
    data: Option<String>,

    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(
        long,
        value_name = "DIR",
        visible_alias = "data-root",
        requires = "data",
        help_heading = "Features"
    )]
    root: Option<PathBuf>,

    /// Heading of the page
    #[arg(long, value_name = "TEXT", help_heading = "Output")]
    title: Option<String>,

    /// The page; a report that is there is replaced
    #[arg(short, long, value_name = "FILE.html", default_value = "report.html", help_heading = "Output")]
    output: PathBuf,

    /// Write the plots as SVG into this folder, too
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    svg: Option<PathBuf>,

    /// Write the plots as PNG into this folder, too
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    png: Option<PathBuf>,

    /// Print as JSON what was written
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.runs.is_empty() && arguments.probe.is_empty() && arguments.train.is_none() {
        let advice =
            "there is nothing to report on: give run folders, --probe FILE.json, or --train and --test";
        return Err(ProbeError::Usage(advice.to_string()).into());
    }
    check_folder(&arguments.output, "--output")?;
    let report = arguments.gather()?;
    let page = report.page()?;
    let written = arguments.write(&page)?;
    arguments.show(&report, &page, &written)
}

/// Files of a plot.
#[derive(Default)]
struct PlotFiles {
    svg: Option<PathBuf>,
    png: Option<PathBuf>,
}

impl Arguments {
    /// Reads all that was given.
    fn gather(&self) -> Result<Report> {
        let mut runs = self.runs.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<_>, _>>()?;
        run::tell_apart(&mut runs);
        let mut results = Vec::new();
        for file in &self.probe {
            results.extend(result::read(file)?);
        }
        result::name(&mut results);
        let open = |name| datasets::open(name, self.root.as_deref()).map_err(ProbeError::from);
        let data = self.data.as_deref().map(open).transpose()?;
        let mut report = Report { title: self.title(&runs), runs, results, ..Report::default() };
        let made_by = MadeBy::this();
        report.made_by =
            result::MadeBy { tool: made_by.tool, command: made_by.command, machine: made_by.machine };
        if let Some(data) = &data {
            report.notes.extend(data.notes.iter().cloned());
            self.add_images(&mut report, data)?;
        }
        if let (Some(train), Some(test)) = (&self.train, &self.test) {
            let (view, notes) = self.features(train, test, &report.results, data.as_ref())?;
            report.features = Some(view);
            report.notes.extend(notes);
        }
        Ok(report)
    }

    fn title(&self, runs: &[Run]) -> String {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        match (&self.title, names.as_slice()) {
            (Some(title), _) => title.clone(),
            (None, []) => "Features and probes".to_string(),
            (None, names) => ddae_base::text::listed(names, "and"),
        }
    }

    /// Real images, and what becomes of them under each run's noise.
    fn add_images(&self, report: &mut Report, data: &DataSet) -> Result<()> {
        let chosen =
            data.split(None, "test").or_else(|_| data.split(None, "train")).map_err(ProbeError::from)?;
        let split = chosen.split;
        let (wanted, columns) = REAL;
        let mut atlas = Atlas::default();
        let mut first = Vec::new();
        let count = split.len().min(wanted);
        for i in 0..count {
            let mut levels = vec![0; split.image_len()];
            split.read(i * split.len() / count, &mut levels)?;
            atlas.add(&levels, split.shape())?;
            if first.len() < NOISED {
                first.push(levels);
            }
        }
        if count == 0 {
            report.notes.push(format!("{} has no images", split.name()));
            return Ok(());
        }
        let caption = format!("{count} images of {}, evenly spaced", split.name());
        report.real = Some(Picture { caption, png: sheet(&atlas, columns)? });
        for run in &report.runs {
            report.noised.extend(noised::strips(run, &first, split.shape())?);
        }
        Ok(())
    }

    fn features(
        &self,
        train: &Path,
        test: &Path,
        results: &[Measured],
        data: Option<&DataSet>,
    ) -> Result<(FeatureView, Vec<String>)> {
        let asked = self.features.as_deref().map(FeatureSet::parse_list).transpose()?;
        if asked.as_ref().is_some_and(|asked| asked.len() > 1) {
            let advice =
                "--features: a report shows one of the features, and here are several; join taps with a plus";
            return Err(ProbeError::Usage(advice.to_string()).into());
        }
        let source = ProbeSource::open(&Input::new(train), &Input::new(test))?;
        let best = || {
            let probes = results.iter().filter_map(|result| match result {
                Measured::Probe(probe) if Path::new(&probe.train.origin) == train => Some(probe),
                _ => None,
            });
            probes.max_by(|a, b| a.accuracy.total_cmp(&b.accuracy)).map(|probe| probe.features.as_str())
        };
        let features = match asked.and_then(|mut asked| asked.pop()) {
            Some(features) => Some(features),
            None => best().and_then(|name| FeatureSet::parse_list(name).ok()?.pop()),
        };
        let request = Request { features, samples: self.samples.into(), data };
        let mut progress = Shown::default();
        Ok(neighbourhood::view(&source, &request, &mut progress)?)
    }

    /// Writes plots and page; the files of each plot.
    fn write(&self, page: &Page) -> Result<Vec<PlotFiles>> {
        for (option, folder) in [("--svg", &self.svg), ("--png", &self.png)] {
            if let Some(folder) = folder {
                fs::create_dir_all(folder).with_context(|| format!("{option} {}", folder.display()))?;
            }
        }
        let mut all = Vec::new();
        for figure in &page.figures {
            let mut written = PlotFiles::default();
            if let Some(folder) = &self.svg {
                let path = folder.join(format!("{}.svg", figure.id));
                let svg = figure.drawing.svg(&figure.title);
                files::write_whole(&path, |out| out.write_all(svg.as_bytes())).map_err(ReportError::from)?;
                written.svg = Some(path);
            }
            if let Some(folder) = &self.png {
                let path = folder.join(format!("{}.png", figure.id));
                let png = figure.drawing.png()?;
                files::write_whole(&path, |out| out.write_all(&png)).map_err(ReportError::from)?;
                written.png = Some(path);
            }
            all.push(written);
        }
        files::write_whole(&self.output, |out| out.write_all(page.html.as_bytes()))
            .map_err(ReportError::from)?;
        Ok(all)
    }

    fn show(&self, report: &Report, page: &Page, written: &[PlotFiles]) -> Result<()> {
        if self.json {
            let results = report.results.iter().map(|result| match result {
                Measured::Probe(probe) => {
                    json!({ "file": probe.file, "name": probe.name, "accuracy": probe.accuracy })
                }
                Measured::Contrast(_) | Measured::Noise(_) => {
                    json!({ "file": result.file(), "name": Value::Null, "accuracy": Value::Null })
                }
            });
            let plots = page.figures.iter().zip(written).map(|(figure, files)| {
                json!({ "id": figure.id, "title": figure.title, "svg": files.svg, "png": files.png })
            });
            let object = json!({
                "file": self.output,
                "bytes": page.html.len(),
                "runs": self.runs,
                "results": results.collect::<Vec<_>>(),
                "sections": page.sections,
                "plots": plots.collect::<Vec<_>>(),
                "missing": page.missing,
                "warnings": report.notes,
            });
            return Ok(json::print("ddae.report/1", &object)?);
        }
        let mut out = ddae_base::stdout();
        let (file, size) = (self.output.display(), page.html.len() as f64 / 1e6);
        writeln!(
            out,
            "{}: {} sections, {} plots, {size:.1} MB",
            ddae_base::plain(file),
            page.sections.len(),
            page.figures.len()
        )?;
        for note in &report.notes {
            writeln!(out, "warning: {}", ddae_base::plain(note))?;
        }
        if !page.missing.is_empty() {
            let parts: Vec<&str> = page.missing.iter().map(|missing| missing.part.as_str()).collect();
            writeln!(
                out,
                "not in it: {}; the page says what makes them",
                ddae_base::plain(parts.join(", "))
            )?;
        }
        out.flush()?;
        ddae_base::note(format_args!("\nnext: open {} in a browser", shell::word(&self.output)));
        Ok(())
    }
}
