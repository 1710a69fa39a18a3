//! Folders: with a folder for each split or without, with a folder for each class or without, with a table of labels
//! beside the images, or with streams in them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::{Given, Words};
use super::found::{Found, Part};
use super::labels::{self, Beside, METADATA};
use super::names::composed;
use super::walk::{self, LeftOut, Listing, file_name, images_below, list, others_below};
use super::{parquet, tar};
use crate::datasets::DataError;
use crate::datasets::encoded::Files;
use crate::datasets::split_names::{Role, numbered, of_file, role};

const EXPECTED: &str = "train/CLASS/*.png (or .jpg, .webp, .bmp, .gif, .tif, .ppm …) and, if there is a test set, test/ or val/ likewise";
/// Folders above streams: those of configurations and of splits.
const STREAM_DEPTH: usize = 3;
/// Folders below which images are looked for beside streams.
const IMAGE_DEPTH: usize = 8;
/// With more folders than this at its top, a folder is not searched for streams.
const MOST_STREAM_FOLDERS: usize = 64;

/// What lies in the folder `root`.
pub(super) fn read(root: &Path) -> Result<Found, DataError> {
    let top = list(root)?;
    if let Some(found) = streams(root, &top)? {
        return Ok(found);
    }
    let splits: Vec<PathBuf> = top.folders.iter().filter(|folder| has_role(folder)).cloned().collect();
    if splits.is_empty() {
        return unsplit(root, top);
    }
    let others: Vec<PathBuf> = top.folders.iter().filter(|folder| !has_role(folder)).cloned().collect();
    if others.is_empty() {
        metadata_above_splits(root, &top)?;
        return split(root, splits, top.images.into_iter().chain(top.others).collect());
    }
    // A class may be called 'train', too: a split has folders of its own.
    let mut has_folders = false;
    for folder in &splits {
        has_folders |= !list(folder)?.folders.is_empty();
    }
    let names = |folders: &[PathBuf]| {
        let names: Vec<String> = folders.iter().take(3).map(|folder| file_name(folder)).collect();
        ddae_base::text::excerpt(names.join(", "), 60)
    };
    let (of_splits, of_others) = (names(&splits), names(&others));
    let mut found = match has_folders {
        true => {
            metadata_above_splits(root, &top)?;
            split(root, splits, others.into_iter().chain(top.images).chain(top.others).collect())?
        }
        false => unsplit(root, top)?,
    };
    found.notes.insert(
        0,
        match has_folders {
            true => format!("{of_splits} are taken for splits, and other folders left out: {of_others}"),
            false => format!(
                "{of_splits} are taken for classes, since they lie beside {of_others} and hold images only"
            ),
        },
    );
    Ok(found)
}

/// Refuses labels beside the folders of splits, which would be left out in silence.
fn metadata_above_splits(root: &Path, top: &Listing) -> Result<(), DataError> {
    let table = top.others.iter().find(|path| METADATA.contains(&file_name(path).as_str()));
    let Some(table) = table else { return Ok(()) };
    if !labels::has_labels(root, table)? {
        return Ok(());
    }
    let found = "it has labels, and lies beside the folders of splits, where it is not read";
    let wanted = "a table in each split's folder, or '--labels FILE', or the table itself as the source";
    Err(DataError::format(table, found, wanted))
}

/// The data set `folder`: a folder for each split in `root`, `train` among them.
pub(super) fn of_splits(root: &Path) -> Result<Found, DataError> {
    let folders = if root.is_dir() { walk::subfolders(root)? } else { Vec::new() };
    let splits: Vec<PathBuf> = folders.into_iter().filter(|folder| has_role(folder)).collect();
    let train = splits.iter().find(|folder| role(&file_name(folder)) == Some(Role::Train));
    let Some(train) = train else {
        return Err(DataError::Missing {
            name: "a data set of folders".into(),
            root: root.to_path_buf(),
            expected: EXPECTED.into(),
        });
    };
    if walk::subfolders(train)?.is_empty() {
        return Err(DataError::format(train, "it has no folders", EXPECTED));
    }
    split(root, splits, Vec::new())
}

fn has_role(folder: &Path) -> bool {
    role(&file_name(folder)).is_some()
}

/// A folder for each split.
fn split(root: &Path, folders: Vec<PathBuf>, beside: Vec<PathBuf>) -> Result<Found, DataError> {
    let mut left_out = LeftOut::default();
    left_out.add(beside.into_iter().filter(|path| !path.is_dir()));
    let mut parts = Vec::new();
    let mut notes = Vec::new();
    let mut what = Layout::default();
    // Training images first: the others have their classes and their shape.
    let is_train = |folder: &PathBuf| role(&file_name(folder)) == Some(Role::Train);
    let (train, others): (Vec<PathBuf>, Vec<PathBuf>) = folders.into_iter().partition(is_train);
    let mut classes: Option<Words> = None;
    for folder in train.into_iter().chain(others) {
        let part = part(root, &folder, &mut left_out, &mut notes, &mut what)?;
        if let Given::Names(words) = &part.labels {
            let known = classes.get_or_insert_with(|| words.clone());
            if let Some(stranger) = words.all.iter().find(|name| !known.has(name)) {
                let path = walk::subfolders(&folder)?;
                let path =
                    path.into_iter().find(|path| composed(&file_name(path)) == *stranger).unwrap_or(folder);
                let first = parts.first().map_or("train", |part: &Part| part.name.as_str());
                let (found, count) = (format!("there is no such class in {first}/"), known.all.len());
                return Err(DataError::format(&path, found, format!("one of its {count} classes")));
            }
        }
        parts.push(part);
    }
    notes.extend(left_out.note(root, "file that is no image", "files that are no images"));
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let what = format!("{} for {}", what.name(), names.join(", "));
    Ok(Found { what, by_folder: true, notes, ..Found::of(parts, root) })
}

/// A folder without splits: all of it is for training.
fn unsplit(root: &Path, top: Listing) -> Result<Found, DataError> {
    let (mut left_out, mut notes, mut what) = (LeftOut::default(), Vec::new(), Layout::default());
    let part =
        Part { name: "train".to_string(), ..listed(root, root, top, &mut left_out, &mut notes, &mut what)? };
    notes.extend(left_out.note(root, "file that is no image", "files that are no images"));
    Ok(Found { what: what.name().to_string(), by_folder: true, notes, ..Found::of(vec![part], root) })
}

/// What splits were taken for.
#[derive(Default)]
struct Layout {
    has_classes: bool,
    has_table: bool,
    is_flat: bool,
}

impl Layout {
    fn name(&self) -> &'static str {
        match (self.has_classes, self.has_table, self.is_flat) {
            (_, true, _) => "images with a table of labels",
            (true, false, false) => "class folders",
            (true, false, true) => "class folders and folders without classes",
            _ => "images without classes",
        }
    }
}

fn part(
    root: &Path,
    folder: &Path,
    left_out: &mut LeftOut,
    notes: &mut Vec<String>,
    what: &mut Layout,
) -> Result<Part, DataError> {
    listed(root, folder, list(folder)?, left_out, notes, what)
}

/// The images of one split, in `folder`.
fn listed(
    root: &Path,
    folder: &Path,
    listing: Listing,
    left_out: &mut LeftOut,
    notes: &mut Vec<String>,
    what: &mut Layout,
) -> Result<Part, DataError> {
    let table = listing.others.iter().find(|path| METADATA.contains(&file_name(path).as_str()));
    if let Some(table) = table {
        match labels::beside(root, folder, table, notes)? {
            Beside::Labels(part) => {
                what.has_table = true;
                return Ok(*part);
            }
            Beside::NoLabels => notes.push(format!("{}: it has no labels", table.display())),
            Beside::NoPaths => notes.push(format!("{}: it names no images", table.display())),
        }
    }
    let name = file_name(folder);
    let items = |paths: Vec<PathBuf>| Arc::new(Files { root: Some(root.to_path_buf()), paths });
    if listing.folders.is_empty() {
        left_out.add(listing.others);
        if listing.images.is_empty() {
            return Err(walk::no_images(folder));
        }
        what.is_flat = true;
        let count = listing.images.len();
        return Ok(Part::unlabelled(&name, items(listing.images), count));
    }
    // The class is the first level, at whatever depth an image lies below it.
    left_out.add(listing.others);
    let mut beside = LeftOut::default();
    beside.add(listing.images);
    notes.extend(beside.note(root, "image beside folders of classes", "images beside folders of classes"));
    what.has_classes = true;
    let (mut paths, mut words) = (Vec::new(), Words::default());
    let mut seen = HashMap::new();
    for class in listing.folders {
        let images = images_below(&class, left_out)?;
        if images.is_empty() {
            return Err(walk::no_images(&class));
        }
        let (path, class) = (class.clone(), file_name(&class));
        // Names in composed and decomposed characters, or in bytes that are no UTF-8.
        if let Some(other) = seen.insert(composed(&class).into_owned(), path.clone()) {
            let found =
                format!("its name reads as that of another folder beside it, {:?}", other.file_name());
            return Err(DataError::format(&path, found, "names that tell classes apart, in UTF-8"));
        }
        images.iter().for_each(|_| words.push(&class));
        paths.extend(images);
    }
    let count = paths.len();
    Ok(Part { name, items: items(paths), count, labels: Given::Names(words) })
}

/// Tar or parquet files, where the folder holds such.
fn streams(root: &Path, top: &Listing) -> Result<Option<Found>, DataError> {
    let is_metadata = |path: &PathBuf| file_name(path).starts_with("metadata");
    let mut files = top.others.clone();
    let are_searched = top.images.is_empty() && top.folders.len() <= MOST_STREAM_FOLDERS;
    if are_searched {
        for folder in &top.folders {
            files.extend(others_below(folder, STREAM_DEPTH - 1)?);
        }
    }
    files.retain(|path| !is_metadata(path));
    let of = |ending: &str| -> Vec<PathBuf> {
        files.iter().filter(|path| walk::ending(path) == ending).cloned().collect()
    };
    let (tars, parquets) = (of("tar"), of("parquet"));
    if let Some(stream) = tars.first().or(parquets.first()) {
        // An archive that lies about would take the place of the images.
        for folder in &top.folders {
            if let Some(image) = walk::first_image_below(folder, IMAGE_DEPTH)? {
                let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
                let found = format!("it holds {} and images in folders ({})", below(stream), below(&image));
                let wanted = "one or the other: name the file or its folder, or the folder of the images, or move one away";
                return Err(DataError::format(root, found, wanted));
            }
        }
    }
    match (tars.is_empty(), parquets.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(DataError::format(
            root,
            format!(
                "it holds tar files ({}) and parquet files ({})",
                tars[0].display(),
                parquets[0].display()
            ),
            "files of one kind; name them, or their folder",
        )),
        (false, true) => {
            one_configuration(root, &tars, "tar")?;
            with_beside(root, top, "tar", tar::read(root, tars)?).map(Some)
        }
        (true, false) => {
            one_configuration(root, &parquets, "parquet")?;
            with_beside(root, top, "parquet", parquet::read(root, parquets)?).map(Some)
        }
    }
}

/// Says which images beside streams were left out.
fn with_beside(root: &Path, top: &Listing, ending: &str, mut found: Found) -> Result<Found, DataError> {
    let mut left_out = LeftOut::default();
    left_out.add(top.images.iter().cloned());
    let what = format!("beside the .{ending} files");
    found.notes.extend(left_out.note(root, &format!("image {what}"), &format!("images {what}")));
    Ok(found)
}

/// Refuses files of several configurations, which Hugging Face's hub keeps in folders beside each other, or of several data
/// sets.
fn one_configuration(root: &Path, files: &[PathBuf], kind: &str) -> Result<(), DataError> {
    let mut configurations: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for file in files {
        let mut folder = file.parent().unwrap_or(root).to_path_buf();
        while folder != root && (has_role(&folder) || file_name(&folder) == "data") {
            folder.pop();
        }
        *configurations.entry(folder).or_default() += 1;
    }
    if configurations.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = configurations.keys().take(8).map(|path| path.display().to_string()).collect();
    let found = format!("it holds {kind} files of {} configurations", configurations.len());
    Err(DataError::format(root, found, format!("one of their folders: {}", names.join(", "))))
}

/// The files of each split, by their folders and names below `root`, in the order of their paths. Where no name says a
/// split, all are for training; where some do, others are called by their names.
///
/// # Errors
/// When a name says several splits, or files of one split are numbered under several names.
pub(super) fn of_names(root: &Path, files: Vec<PathBuf>) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let said = |path: &PathBuf| {
        let below = path.strip_prefix(root).unwrap_or(path);
        let folders = below.parent().into_iter().flat_map(Path::components);
        let folder = folders
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .rfind(|name| role(name).is_some());
        match folder {
            Some(folder) => Ok(Some(folder)),
            None => of_file(&stem(path)).map_err(|(one, other)| {
                let found = format!("its name says two splits, {one} and {other}");
                DataError::format(path, found, "a name with one of them, or a folder for each split")
            }),
        }
    };
    let splits: Vec<Option<String>> = files.iter().map(said).collect::<Result<_, _>>()?;
    let is_any = splits.iter().any(Option::is_some);
    let mut parts: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (path, split) in files.into_iter().zip(splits) {
        let own = || match is_any {
            true => stem(&path),
            false => "train".to_string(),
        };
        parts.entry(split.unwrap_or_else(own)).or_default().push(path);
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.iter_mut().for_each(|(_, files)| files.sort());
    for (split, files) in &parts {
        one_name(root, split, files)?;
    }
    // Training images first.
    parts.sort_by_key(|(name, _)| role(name) != Some(Role::Train));
    Ok(parts)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Refuses `clean-train-00000-of-00002` and `noisy-train-00000-of-00002` as one split.
fn one_name(root: &Path, split: &str, files: &[PathBuf]) -> Result<(), DataError> {
    let stems: Vec<String> = files.iter().map(|path| stem(path)).collect();
    let mut bases = stems.iter().filter_map(|stem| numbered(stem).map(|(base, _, _)| base));
    let Some(first) = bases.next() else { return Ok(()) };
    let Some(other) = bases.find(|base| *base != first) else { return Ok(()) };
    let found = format!("split {split} has files of two names, {first}-* and {other}-*");
    Err(DataError::format(
        root,
        found,
        "files of one name, given by a pattern such as 'train-{00000..00003}.tar'",
    ))
}
