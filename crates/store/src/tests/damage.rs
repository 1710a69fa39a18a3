//! Files that are not what they should be.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hdf5::file::File;

use super::*;

/// Labels, indices, paths, features and all that a file says of itself.
type Content = (Vec<i64>, Vec<u64>, Vec<String>, Vec<Array2<f32>>, Layout);

fn read_all(path: &Path) -> Result<Content, FeatureError> {
    let file = FeatureFile::open(path)?;
    let mut features = Vec::new();
    for key in file.keys() {
        for view in 0..file.views() {
            features.push(file.read(key, view, 0..file.len())?);
        }
    }
    let (paths, layout) = (file.paths(0..file.len())?, file.layout().clone());
    Ok((file.labels()?, file.indices()?, paths, features, layout))
}

/// One shard of a job, and its file's bytes.
fn written(folder: &Path, layout: &Layout) -> (std::path::PathBuf, Vec<u8>) {
    write_job(&folder.join("train"), 1, layout);
    let path = shard_path(folder.join("train"), 0, 1);
    let bytes = fs::read(&path).expect("the shard");
    (path, bytes)
}

#[test]
fn foreign_files_are_refused_in_one_line() {
    let folder = folder();
    let path = folder.path().join("file.h5");
    assert!(message(FeatureFile::open(&path)).ends_with("file.h5: No such file or directory (os error 2)"));
    assert!(message(FeatureFile::open(folder.path())).contains("Is a directory"));
    for (bytes, expected) in [
        (&b""[..], "file.h5: not a feature file: it is empty"),
        (b"\x89HD", "it is not an HDF5 file"),
        (b"PK\x03\x04 a zip file and more", "it is not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\nbut not really HDF5", "the file is damaged: "),
    ] {
        fs::write(&path, bytes).expect("written");
        let error = message(FeatureFile::open(&path));
        assert!(error.contains(expected), "{error}");
    }
    fs::remove_file(&path).expect("removed");
    drop(File::create(&path).expect("HDF5"));
    let error = message(FeatureFile::open(&path));
    assert!(
        error.contains("not a feature file: an HDF5 file without the attributes of one; it must be"),
        "{error}"
    );
    let file = File::create(&path).expect("HDF5");
    file.new_attr::<i64>().create("format").expect("created").write_scalar(&3).expect("written");
    drop(file);
    assert!(message(FeatureFile::open(&path)).contains("not a feature file: attribute format"));
}

/// A file that another process writes is whole as far as anybody knows: nobody is told to delete it.
#[test]
fn a_locked_file_is_in_use_and_not_damaged() {
    let folder = folder();
    let (path, _) = written(folder.path(), &layout());
    let other = fs::File::open(&path).expect("the shard");
    other.lock().expect("a lock");
    let error = message(FeatureFile::open(&path));
    assert!(error.contains("train.0000-of-0001.h5: is in use by another process ("), "{error}");
    assert!(error.contains("wait until that has ended"), "{error}");
    other.unlock().expect("unlocked");
    // Readers do not disturb each other.
    other.lock_shared().expect("a lock");
    read_all(&path).expect("content");
}

#[test]
fn truncated_files_are_refused() {
    let folder = folder();
    let (path, bytes) = written(folder.path(), &layout());
    for length in (8..bytes.len()).step_by(bytes.len() / 100).chain([bytes.len() - 1]) {
        fs::write(&path, &bytes[..length]).expect("written");
        let error = message(read_all(&path));
        assert!(error.contains("train.0000-of-0001.h5: the file is damaged: "), "{length}: {error}");
    }
}

/// Whatever byte changes, the numbers are right or there is an error.
#[test]
fn changed_bytes_never_read_as_other_numbers() {
    let classes = (0..50).map(|class| format!("class {class}")).collect();
    let config = Some("a: 1\n".repeat(1_000));
    let long =
        Provenance { config, classes: Some(classes), timesteps: Some((0..200).collect()), ..provenance() };
    for (compression, provenance) in [(Compression::Off, provenance()), (Compression::Zlib, long)] {
        let folder = folder();
        let (path, bytes) = written(folder.path(), &Layout { compression, provenance, ..layout() });
        let expected = read_all(&path).expect("content");
        let step = (bytes.len() / 1000).max(1);
        let (mut errors, mut tried) = (0, 0);
        // The texts of attributes, which HDF5 does not guard, closely.
        let texts = crate::heap::texts(&bytes);
        assert!(texts.len() > 10);
        let mut begins: Vec<usize> = texts.iter().map(|&[begin, ..]| begin as usize).collect();
        begins.dedup();
        let near = begins.into_iter().flat_map(|begin| (begin..begin + 4096).step_by(11));
        for (number, position) in (0..bytes.len()).step_by(step).chain(near).enumerate() {
            let mut changed = bytes.clone();
            let position = position.min(bytes.len() - 1);
            changed[position] ^= 1 << (number % 8);
            fs::write(&path, &changed).expect("written");
            tried += 1;
            match read_all(&path) {
                Ok(found) => assert_eq!(found, expected, "byte {position}"),
                Err(error) => {
                    let error = error.to_string();
                    errors += 1;
                    assert!(error.contains("train.0000-of-0001.h5: ") && !error.contains('\n'), "{error}");
                }
            }
        }
        assert!(errors > 100, "{errors} of {tried} changes noticed");
    }
}

#[test]
fn a_changed_feature_is_noticed_in_shards_and_through_virtual_files() {
    let folder = folder();
    let layout = layout();
    let (path, mut bytes) = written(folder.path(), &layout);
    // The numbers of the first rows, as they lie in the file.
    let first = features(0, 0, 0..2, 20);
    let needle: Vec<u8> = first.iter().flat_map(|value| value.to_le_bytes()).collect();
    let position = bytes.windows(needle.len()).position(|window| window == needle).expect("the features");
    bytes[position + 2] ^= 0x10;
    fs::write(&path, &bytes).expect("written");
    let joined = folder.path().join("virtual.h5");
    merge(folder.path().join("train"), 1, &joined, MergeMode::Virtual).expect("joined");
    let key = &layout.keys[0].0;
    for file in [&path, &joined] {
        let error = message(FeatureFile::open(file).expect("a file").read(key, 0, 0..10));
        assert!(error.contains("the file is damaged: features/t11/out_6: "), "{error}");
    }
    let error =
        message(merge(folder.path().join("train"), 1, folder.path().join("copy.h5"), MergeMode::Copy));
    assert!(error.contains("train.0000-of-0001.h5: the file is damaged: features/t11/out_6: "), "{error}");
    assert_eq!(names(folder.path()), ["train.0000-of-0001.h5", "virtual.h5"]);
}

#[test]
fn missing_and_misshapen_datasets_are_named() {
    let folder = folder();
    let (path, bytes) = written(folder.path(), &layout());
    let after = |change: &dyn Fn(&File)| {
        fs::write(&path, &bytes).expect("written");
        let file = File::open_rw(&path).expect("HDF5");
        change(&file);
        file.close().expect("closed");
        message(FeatureFile::open(&path))
    };
    let replace = |file: &File, name: &str, shape: &[usize]| {
        file.unlink(name).expect("unlinked");
        file.new_dataset::<f32>().shape(shape).create(name).expect("created");
    };
    for (error, expected) in [
        (after(&|file| file.unlink("features/t11/out_6").expect("unlinked")), "dataset features/t11/out_6: "),
        (after(&|file| file.unlink("labels").expect("unlinked")), "dataset labels: "),
        (after(&|file| replace(file, "paths", &[103])), "paths has type float32 instead of texts"),
        (after(&|file| replace(file, "paths", &[102])), "paths has shape [102] instead of [103]"),
        (
            after(&|file| {
                let value: hdf5::types::VarLenUnicode = "f16".parse().expect("a text");
                file.attr("dtype").expect("dtype").write_scalar(&value).expect("written");
            }),
            "its attributes are not those that were written",
        ),
        (after(&|file| file.delete_attr("text_checksums").expect("deleted")), "attribute text_checksums: "),
        (
            after(&|file| replace(file, "features/t2/up.5.res", &[2, 103])),
            "features/t2/up.5.res has shape [2, 103] instead of [2, 103, 3]",
        ),
        (
            after(&|file| replace(file, "features/t2/up.5.res", &[2, 102, 3])),
            "features/t2/up.5.res has shape [2, 102, 3] instead of [2, 103, 3]",
        ),
        (after(&|file| replace(file, "labels", &[103])), "labels has type float32 instead of int64"),
        (after(&|file| file.delete_attr("views").expect("deleted")), "attribute views: "),
        (
            after(&|file| file.attr("rows").expect("rows").write_scalar(&104i64).expect("written")),
            "its rows are not those of the job",
        ),
        (
            after(&|file| file.attr("views").expect("views").write_scalar(&-1i64).expect("written")),
            "attribute views is -1",
        ),
    ] {
        assert!(error.contains("train.0000-of-0001.h5: the file is damaged: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let error =
        after(&|file| file.attr("format_version").expect("version").write_scalar(&3i64).expect("written"));
    let wanted = "not a feature file: its format version is 3, this program reads 1 and 2";
    assert!(error.contains(wanted), "{error}");
}

#[test]
fn a_virtual_file_with_a_shard_of_another_job_is_refused() {
    let folder = folder();
    let (mut layout, prefix) = (layout(), folder.path().join("train"));
    write_job(&prefix, 2, &layout);
    merge(&prefix, 2, merged_path(&prefix), MergeMode::Virtual).expect("joined");
    layout.provenance.seed = Some(5);
    write_shard(&prefix, 1, 2, &layout).expect("a shard");
    let error = message(FeatureFile::open(merged_path(&prefix)));
    assert!(error.contains("train.0001-of-0002.h5 holds seed 5 where this job has 184"), "{error}");
}

/// Runs the test `name` of this program alone, in a process of its own, with `path` for it to work on.
fn run_alone(shell: &str, name: &str, path: &Path) -> Output {
    let program = std::env::current_exe().expect("this program");
    let name = format!("{}::{name}", module_path!().split_once("::").expect("a crate").1);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{shell} exec \"$0\" \"$@\"")).arg(program);
    command.args(["--exact", &name, "--nocapture"]).env("DDAE_TEST_PATH", path);
    command.output().expect("a process")
}

/// In the process of [`run_alone`], what to work on.
fn path_to_work_on() -> Option<std::path::PathBuf> {
    std::env::var_os("DDAE_TEST_PATH").map(Into::into)
}

fn assert_silent_success(output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn hdf5_does_not_print_its_own_errors() {
    let folder = folder();
    let (path, bytes) = written(folder.path(), &layout());
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    assert_silent_success(&run_alone("", "alone_reads_a_damaged_file", &path));
}

#[test]
fn alone_reads_a_damaged_file() {
    let Some(path) = path_to_work_on() else { return };
    message(FeatureFile::open(&path));
    // HDF5 may keep the switch for each thread.
    std::thread::spawn(move || message(FeatureFile::open(&path))).join().expect("a thread");
}

#[test]
fn a_full_disk_leaves_no_file() {
    let folder = folder();
    // A limit on the size of files stands in for the disk's: half a megabyte at most.
    let output = run_alone("trap '' XFSZ; ulimit -f 512;", "alone_fills_the_disk", folder.path());
    assert_silent_success(&output);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn alone_fills_the_disk() {
    let Some(folder) = path_to_work_on() else { return };
    let key = FeatureKey::new(11, "out_6");
    let layout = Layout { keys: vec![(key.clone(), 256)], total: 4096, views: 1, ..layout() };
    let fill = |batch: usize| -> Result<(), FeatureError> {
        let mut writer = ShardWriter::create(folder.join("train"), 0, 1, 0..4096, &layout)?;
        writer.write_labels(0, &[0; 4096])?;
        for begin in (0..4096).step_by(batch) {
            writer.write(&key, 0, begin, features(0, 0, begin..begin + batch, 256).view())?;
        }
        writer.finish().map(drop)
    };
    // Noticed while writing, and where one write is all there is.
    for batch in [64, 4096] {
        let error = message(fill(batch));
        assert!(error.contains("train.0000-of-0001.h5: cannot write: File too large"), "{error}");
        assert_eq!(names(&folder), [""; 0]);
    }
    // Noticed by nobody before the shard is given up.
    let views = Layout { views: 16, ..layout.clone() };
    let mut writer = ShardWriter::create(folder.join("train"), 0, 1, 0..4096, &views).expect("a shard");
    for view in 0..16 {
        writer.write(&key, view, 0, features(0, 0, 0..1, 256).view()).expect("kept in memory");
    }
    drop(writer);
    assert_eq!(names(&folder), [""; 0]);
    // The library is still in order.
    let small = Layout { total: 10, keys: vec![(key, 4)], ..layout };
    write_shard(&folder.join("small"), 0, 1, &small).expect("a shard");
    check_content(&shard_path(folder.join("small"), 0, 1), &small, 0..10);
    remove_shards(&folder.join("small"), 1);
}
