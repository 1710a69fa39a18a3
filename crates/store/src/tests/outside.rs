//! Files that lead to others, and files that promise more than they hold.

use std::fs;
use std::path::{Path, PathBuf};

use hdf5::file::File;

use super::*;
use crate::file::Unfinished;
use crate::header::Header;

/// One shard of a small job, and what a change to its file does to opening it.
struct Shard {
    folder: TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Shard {
    fn new() -> Shard {
        Shard::of(&layout())
    }

    fn of(layout: &Layout) -> Shard {
        let folder = folder();
        let prefix = folder.path().join("train");
        write_job(&prefix, 1, layout);
        let path = shard_path(&prefix, 0, 1);
        let bytes = fs::read(&path).expect("the shard");
        // Another file with datasets that would fit.
        fs::write(folder.path().join("other.h5"), &bytes).expect("written");
        Shard { folder, path, bytes }
    }

    fn after(&self, change: impl FnOnce(&File)) -> String {
        fs::write(&self.path, &self.bytes).expect("written");
        let file = File::open_rw(&self.path).expect("HDF5");
        change(&file);
        file.close().expect("closed");
        message(FeatureFile::open(&self.path))
    }
}

#[test]
fn what_leads_to_other_files_is_refused_by_name() {
    let shard = Shard::new();
    let secret = shard.folder.path().join("secret");
    fs::write(&secret, [b'x'; 103 * 8]).expect("written");
    let is_refused = |error: String, expected: &str| {
        assert!(error.contains("train.0000-of-0001.h5: leads to other files: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(error.ends_with("names its shards, plain files beside it"), "{error}");
    };
    let labels = |file: &File| file.unlink("labels").expect("unlinked");
    let external = shard.after(|file| {
        labels(file);
        let builder =
            file.new_dataset::<i64>().shape(103).external(secret.to_str().expect("text"), 0, 103 * 8);
        builder.create("labels").expect("made");
    });
    is_refused(external, "labels lies in another file ('");
    let linked = shard.after(|file| {
        labels(file);
        file.link_external("other.h5", "labels", "labels").expect("linked");
    });
    is_refused(linked, "labels: 'labels' is an external link, to another file");
    let through_a_group = shard.after(|file| {
        file.unlink("features").expect("unlinked");
        file.link_external("other.h5", "features", "features").expect("linked");
    });
    is_refused(through_a_group, "features/t11/out_6: 'features' is an external link, to another file");
    let soft = shard.after(|file| {
        labels(file);
        file.link_external("other.h5", "labels", "there").expect("linked");
        file.link_soft("/there", "labels").expect("linked");
    });
    is_refused(soft, "labels: 'labels' is a soft link");
    let seen = shard.after(|file| {
        labels(file);
        let whole = || hdf5::Hyperslab::try_from(s![..]).expect("all");
        let builder = file.new_dataset::<i64>().shape(103);
        builder.virtual_map("other.h5", "labels", 103, whole(), 103, whole()).create("labels").expect("made");
    });
    is_refused(seen, "labels is a view of other files (a virtual dataset)");
}

#[test]
fn shards_of_a_joined_file_lie_beside_it() {
    let shard = Shard::new();
    let absolute = shard.folder.path().join("other.h5").display().to_string();
    for name in [absolute.as_str(), "../train.0000-of-0001.h5", "a/b.h5", "..", "./other.h5", "", "other.h5/"]
    {
        let mut target = Unfinished::create(&shard.path).expect("begun");
        let header = Header::new(layout(), 0..103, vec![name.to_string()]);
        header.begin(&mut target).expect("begun");
        target.finish().expect("a file");
        let error = message(FeatureFile::open(&shard.path));
        assert!(error.contains(&format!("leads to other files: its shard is '{name}'")), "{error}");
    }
    // Nor is such a file written.
    let prefix = shard.folder.path().join("job");
    write_job(&prefix, 2, &layout());
    let elsewhere = shard.folder.path().join("elsewhere/joined.h5");
    let error = message(merge(&prefix, 2, &elsewhere, MergeMode::Virtual));
    assert!(error.contains("a file that refers to its shards lies in their folder, which is "), "{error}");
    assert!(!elsewhere.exists());
}

/// A few kilobytes that promise hundreds of millions of rows.
#[test]
fn promises_of_rows_that_are_not_there_are_refused() {
    const ROWS: usize = 300_000_000;
    let shard = Shard::of(&Layout { keys: vec![(FeatureKey::new(11, "out_6"), 20)], views: 1, ..layout() });
    let promising = |create: &dyn Fn(&File, &str)| {
        shard.after(|file| {
            for name in ["total", "rows"] {
                file.attr(name).expect("an attribute").write_scalar(&(ROWS as i64)).expect("written");
            }
            for name in ["features", "labels", "indices"] {
                file.unlink(name).expect("unlinked");
            }
            let features = file.new_dataset::<f32>().chunk((1, 1024, 20)).shape((1, ROWS, 20));
            features.create("features/t11/out_6").expect("made");
            create(file, "labels");
            create(file, "indices");
        })
    };
    let error = promising(&|_, _| {});
    assert!(
        error.contains("the file is damaged: features/t11/out_6 promises 292969 chunks and has 0"),
        "{error}"
    );
    let after = |change: &dyn Fn(&File)| shard.after(change);
    let labels = |file: &File| file.unlink("labels").expect("unlinked");
    // Chunks of which one would fill the memory, though it is packed into a few bytes.
    let error = after(&|file| {
        labels(file);
        let builder = file.new_dataset::<i64>().chunk(1 << 27).deflate(9).shape((103..,));
        builder.create("labels").expect("made");
    });
    assert!(error.contains("labels has chunks of [134217728]"), "{error}");
    let error = after(&|file| {
        labels(file);
        file.new_dataset::<i64>().shape(103).create("labels").expect("made");
    });
    assert!(error.contains("labels was never written"), "{error}");
    let error = after(&|file| {
        labels(file);
        let builder = file.new_dataset::<i64>().chunk(103).nbit().shape(103);
        builder.create("labels").expect("made").write(&[0i64; 103]).expect("written");
    });
    assert!(error.contains("labels is packed by a filter that no feature file has (NBit)"), "{error}");
    // Texts that would be.
    let error = after(&|file| {
        file.unlink("paths").expect("unlinked");
        file.new_dataset::<hdf5::types::FixedUnicode<64>>()
            .chunk(103)
            .shape(103)
            .create("paths")
            .expect("made");
    });
    assert!(error.contains("paths promises 1 chunks and has 0"), "{error}");
}

/// What another program stored in its own way, whole and in the file, is read.
#[test]
fn datasets_in_one_piece_are_read() {
    let shard = Shard::new();
    let file = File::open_rw(&shard.path).expect("HDF5");
    file.unlink("labels").expect("unlinked");
    let labels: Vec<i64> = (0..103).collect();
    file.new_dataset::<i64>().shape(103).create("labels").expect("made").write(&labels).expect("written");
    file.close().expect("closed");
    assert_eq!(FeatureFile::open(&shard.path).expect("a file").labels().expect("labels"), labels);
}

/// Shards that are links to files of another disk are their owner's business.
#[test]
fn a_shard_may_be_a_link() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    write_job(&prefix, 2, &layout);
    let (there, here) = (folder.path().join("kept"), shard_path(&prefix, 1, 2));
    fs::create_dir(&there).expect("a folder");
    let moved = there.join(Path::new(here.file_name().expect("a name")));
    fs::rename(&here, &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, &here).expect("a link");
    merge(&prefix, 2, merged_path(&prefix), MergeMode::Virtual).expect("joined");
    check_content(&merged_path(&prefix), &layout, 0..103);
}
