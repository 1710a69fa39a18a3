//! `--shard I/N` and `ddae-infer merge`.

use std::fs;

use ddae_store::FeatureFile;
use serde_json::json;

use crate::scene::{TRAIN, content, done, infer, names, result};

const JOB: &str = "features FEATURES --data-root DATA --timesteps 11 --views 2 -o out";

#[test]
fn the_last_shard_joins_them_all() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), &format!("{JOB}-whole --threads 1"));
    let printed = done(folder.path(), &format!("{JOB} --shard 2/3"));
    assert!(printed.ends_with("\nshards still to come: 0, 1\n"), "{printed}");
    let object = infer(folder.path(), &format!("{JOB} --shard 0/3 --json")).json();
    assert_eq!((&object["missing_shards"], &object["file"]), (&json!([1]), &json!(null)));
    // Done already.
    let object = infer(folder.path(), &format!("{JOB} --shard 0/3 --json")).json();
    assert_eq!((&object["images"], &object["missing_shards"]), (&json!(0), &json!([1])));
    let printed = done(folder.path(), &format!("{JOB} --shard 1/3"));
    assert!(
        printed.contains(": out.h5\nnext: ddae-probe logistic --train out.h5 --test TEST.h5"),
        "{printed}"
    );
    assert_eq!(names(folder.path()), ["out-whole.h5", "out.h5"]);
    assert!(content(&folder.path().join("out.h5")) == content(&folder.path().join("out-whole.h5")));
    let printed = done(folder.path(), &format!("{JOB} --shard 1/3"));
    assert!(printed.starts_with("out.h5 is complete already\n"), "{printed}");
}

/// One shard computed anew, as each of several machines does with `--overwrite`, leaves the others' alone.
#[test]
fn overwriting_one_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), &format!("{JOB} --shard 0/2"));
    let other = format!("{JOB} --seed 1");
    let message = infer(folder.path(), &format!("{other} --shard 1/2")).error(&[1]).to_string();
    assert!(message.starts_with("error: out.0000-of-0002.h5 holds seed 0 where this job has 1"), "{message}");
    let printed = done(folder.path(), &format!("{other} --shard 1/2 --overwrite"));
    assert!(printed.ends_with("\nshards still to come: 0\n"), "{printed}");
    done(folder.path(), &format!("{other} --shard 0/2 --overwrite"));
    assert_eq!(names(folder.path()), ["out.h5"]);
    let file = FeatureFile::open(folder.path().join("out.h5")).expect("a file");
    assert_eq!(file.attributes()["seed"], 1);
}

/// Shards `0..of` of the job, each made in a folder of its own and copied here.
fn copied_shards(folder: &std::path::Path, of: usize) {
    for shard in 0..of {
        let own = tempfile::tempdir().expect("a folder");
        done(own.path(), &format!("{JOB} --shard {shard}/{of}"));
        let name = format!("out.{shard:04}-of-{of:04}.h5");
        fs::copy(own.path().join(&name), folder.join(&name)).expect("a copy");
    }
}

#[test]
fn copied_shards_are_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, out) = (folder.path(), folder.path().join("out.h5"));
    done(root, &format!("{JOB}-whole --threads 1"));
    let whole = content(&root.join("out-whole.h5"));
    fs::remove_file(root.join("out-whole.h5")).expect("removed");

    let message = infer(root, "merge out").error(&[1]).to_string();
    assert!(
        message.starts_with("error: out.h5: there are no shards of it to join; compute them with"),
        "{message}"
    );

    copied_shards(root, 3);
    let second = root.join("out.0001-of-0003.h5");
    let aside = fs::read(&second).expect("a shard");
    fs::remove_file(&second).expect("removed");
    let message = infer(root, "merge out").error(&[1]).to_string();
    assert!(message.contains("out.0001-of-0003.h5: shard 1 of 3 missing"), "{message}");
    fs::write(&second, &aside).expect("a shard");

    // First as a file that refers to the shards, then as one that stands alone.
    let printed = done(root, "merge out --virtual");
    let wanted = format!("out.h5: {TRAIN} images of 3 shards, which it refers to and needs beside it\n");
    assert_eq!(printed, wanted);
    assert!(FeatureFile::open(&out).expect("a file").is_virtual());
    assert!(content(&out) == whole);
    assert_eq!(names(root).len(), 4);
    let printed = done(root, &format!("{JOB} --shards 3"));
    assert!(printed.starts_with("out.h5 is complete already"), "{printed}");
    assert_eq!(names(root).len(), 4, "a virtual file needs its shards");
    done(root, "merge out --keep");
    assert!(!FeatureFile::open(&out).expect("a file").is_virtual());
    assert_eq!(names(root).len(), 4);
    assert!(content(&out) == whole);
    let object = result(root, "merge out.h5 --json");
    assert_eq!(object, json!({ "schema": "ddae.merge/1", "file": "out.h5", "shards": 0, "pictures": TRAIN }));
    assert_eq!(names(root), ["out.h5"]);
    // Killed after it removed the last shard, before its locks.
    for left in ["out.0002-of-0003.h5.lock", "out.h5.lock"] {
        fs::write(root.join(left), "").expect("a lock");
    }
    assert_eq!(done(root, "merge out"), format!("out.h5 is complete already, {TRAIN} images\n"));
    assert_eq!(names(root), ["out.h5"]);
}

#[test]
fn shards_of_two_jobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    copied_shards(root, 2);
    copied_shards(root, 3);
    assert_eq!(
        infer(root, "merge out").error(&[2]),
        "error: out has shards of runs in 2 and 3 shards; say which with --shards"
    );
    assert_eq!(
        infer(root, "merge out --shards 4").error(&[2]),
        "error: --shards 4: out has no shards of a run in 4"
    );
    done(root, "merge out --shards 3");
    assert_eq!(names(root), ["out.0000-of-0002.h5", "out.0001-of-0002.h5", "out.h5"]);
}

#[test]
fn a_file_of_another_job_is_replaced_only_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, &format!("{JOB} --seed 9"));
    let before = fs::read(root.join("out.h5")).expect("the file");
    copied_shards(root, 2);
    let message = infer(root, "merge out").error(&[1]).to_string();
    assert!(message.starts_with("error: out.h5 holds seed 9 where this job has 0"), "{message}");
    assert!(fs::read(root.join("out.h5")).expect("the file") == before);
    assert_eq!(names(root).len(), 3);
    done(root, "merge out --overwrite");
    assert_eq!(names(root), ["out.h5"]);
    assert_eq!(FeatureFile::open(root.join("out.h5")).expect("a file").attributes()["seed"], 0);
}
