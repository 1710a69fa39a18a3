//! Checking and unpacking archives: what is found, what is refused, what is left behind.

mod layouts;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use ddae_data::DataError;
use ddae_data::datasets::{self, Prepared, Stage, prepare};
use layouts::*;

fn quiet(_: Stage, _: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn unverified(target: &Path) -> Result<Prepared, DataError> {
    prepare(&target.to_string_lossy(), None, false, &mut quiet)
}

fn cifar_archive() -> Vec<u8> {
    tar_gz("cifar-10-batches-bin", &cifar10_binary())
}

#[test]
fn a_tar_archive_is_unpacked_beside_itself_once() {
    let root = folder();
    let archive = write(root.path().join("cifar-10-binary.tar.gz"), cifar_archive());
    let first = unverified(&archive).expect("well-formed");
    let below = root.path().join("cifar-10-batches-bin");
    assert_eq!(
        first.action,
        format!("CIFAR-10, binary version: md5 not checked, unpacked to {}", below.display())
    );
    assert_eq!((first.data_set.name.as_str(), first.data_set.train.len()), ("cifar10", 20));
    assert_eq!(first.root.as_deref(), Some(root.path()));
    assert_eq!(listing(root.path()), ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"]);
    let second = unverified(&archive).expect("well-formed");
    assert_eq!(
        second.action,
        format!("CIFAR-10, binary version was unpacked before, in {}", below.display())
    );
    let by_name = prepare("cifar10", Some(root.path()), true, &mut quiet).expect("unpacked");
    assert_eq!(by_name.action, second.action);
}

#[test]
fn a_zip_archive() {
    let root = folder();
    write(root.path().join("tiny-imagenet-200.zip"), zip("tiny-imagenet-200", &tiny()));
    let mut stages = Vec::new();
    let prepared = prepare("tiny", Some(root.path()), false, &mut |stage, done, length| {
        assert!(done <= length);
        stages.push(stage);
        ControlFlow::Continue(())
    })
    .expect("well-formed");
    assert_eq!((prepared.data_set.train.len(), prepared.data_set.test.len()), (4, 3));
    assert!(!stages.is_empty() && stages.iter().all(|stage| *stage == Stage::Unpacking));
}

#[test]
fn an_archive_that_is_not_the_published_one_is_refused_with_both_sums() {
    let root = folder();
    let archive = write(root.path().join("cifar-10-binary.tar.gz"), b"hello");
    let expected = format!(
        "{0}: its md5 is 5d41402abc4b2a76b9719d911017c592, but the published archive's is \
         c32a1d4ab5d03f1284b67883e8d87530; download it again, or run `ddae-data prepare --no-verify {0}` to unpack it \
         all the same",
        archive.display()
    );
    let error = prepare(&archive.to_string_lossy(), None, true, &mut quiet).unwrap_err();
    assert_eq!(error.to_string(), expected);
    // Opening finds the archive too, and checks it no less.
    assert_eq!(datasets::open("cifar10", Some(root.path())).unwrap_err().to_string(), expected);
    assert_eq!(listing(root.path()), ["cifar-10-binary.tar.gz"]);
}

#[test]
fn damaged_archives_leave_nothing_behind() {
    let whole_tar = cifar_archive();
    let whole_zip = zip("tiny-imagenet-200", &tiny());
    let tar = "cifar-10-binary.tar.gz";
    let zip_name = "tiny-imagenet-200.zip";
    let outside = [("x.bin".to_string(), vec![1, 2, 3])];
    let cases: [(&str, Vec<u8>, &str); 11] = [
        (tar, Vec::new(), "it cannot be unpacked (unexpected end of file)"),
        (tar, b"not an archive at all".to_vec(), "it cannot be unpacked (invalid gzip header)"),
        (tar, whole_tar[..whole_tar.len() / 2].to_vec(), "it cannot be unpacked ("),
        (tar, gzip(b"not a tar archive"), "it cannot be unpacked ("),
        (
            tar,
            tar_gz("elsewhere", &outside),
            "it holds 'elsewhere/x.bin'; expected only files in cifar-10-batches-bin/",
        ),
        (tar, tar_gz("x", &[]), "it holds no files; expected the archive cifar-10-binary.tar.gz"),
        (zip_name, zip("x", &[]), "it holds no files; expected the archive tiny-imagenet-200.zip"),
        (zip_name, Vec::new(), "it cannot be unpacked ("),
        (zip_name, whole_zip[..whole_zip.len() / 2].to_vec(), "it cannot be unpacked ("),
        (zip_name, whole_tar.clone(), "it cannot be unpacked ("),
        (
            zip_name,
            zip("tiny-imagenet-200/../..", &outside),
            "it holds 'tiny-imagenet-200/../../x.bin'; expected only files in tiny-imagenet-200/",
        ),
    ];
    for (name, bytes, found) in cases {
        let root = folder();
        let archive = write(root.path().join("inner").join(name), bytes);
        let message = unverified(&archive).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: {found}", archive.display())), "{message}");
        assert!(!message.contains('\n'), "{message}");
        assert_eq!(listing(&root.path().join("inner")), [name]);
        assert_eq!(listing(root.path()), ["inner"]);
    }
}

#[test]
fn what_an_interrupted_run_left_is_cleared() {
    let root = folder();
    let archive = write(root.path().join("cifar-10-binary.tar.gz"), cifar_archive());
    let stale = root.path().join("cifar-10-batches-bin.0123456789abcdef.partial/data_batch_9.bin");
    let (stale, _) = (write(stale, b"half"), write(root.path().join("cifar-10-batches-bin.lock"), b""));
    unverified(&archive).expect("well-formed");
    assert!(!stale.exists());
    assert!(!root.path().join("cifar-10-batches-bin/data_batch_9.bin").exists());
    assert_eq!(listing(root.path()), ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"]);
}

#[test]
fn stopping_takes_back_what_was_written() {
    let root = folder();
    let archive = write(root.path().join("cifar-10-binary.tar.gz"), cifar_archive());
    let mut calls = 0;
    let error = prepare(&archive.to_string_lossy(), None, false, &mut |_, _, _| {
        calls += 1;
        if calls > 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "stopped; nothing was left half-written");
    assert_eq!(listing(root.path()), ["cifar-10-binary.tar.gz"]);
}

#[test]
fn runs_that_start_together_do_not_disturb_each_other() {
    let root = folder();
    let archive = write(root.path().join("cifar-10-binary.tar.gz"), cifar_archive());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let prepared = unverified(&archive).expect("well-formed");
                assert_eq!(prepared.data_set.train.len(), 20);
            });
        }
    });
    assert_eq!(listing(root.path()), ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"]);
}

#[test]
fn targets_that_are_nothing() {
    let root = folder();
    let gone = root.path().join("cifar-10-binary.tar.gz");
    assert_eq!(
        unverified(&gone).unwrap_err().to_string(),
        format!("cannot open {}: No such file or directory (os error 2)", gone.display())
    );
    let stranger = write(root.path().join("images.tar.gz"), gzip(b"hello"));
    let error = unverified(&stranger).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: neither its name nor its md5 (", stranger.display())), "{error}");
    assert!(
        error.ends_with("cifar-100-binary.tar.gz, cifar-100-python.tar.gz, tiny-imagenet-200.zip"),
        "{error}"
    );
    let error = prepare(&stranger.to_string_lossy(), Some(root.path()), true, &mut quiet).unwrap_err();
    assert_eq!(error.to_string(), "an archive is unpacked beside itself: --root only goes with a name");
    let error = unverified(&write(root.path().join("images.rar"), b"hello")).unwrap_err().to_string();
    assert!(
        error.contains("images.rar: it is nothing that images are read from; expected a folder of"),
        "{error}"
    );
    let error = unverified(root.path()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: it has no images; ", root.path().display())), "{error}");
    let message = prepare("cifar12", None, true, &mut quiet).unwrap_err().to_string();
    assert!(message.starts_with("there is no data set named 'cifar12'"), "{message}");
    fs::create_dir(root.path().join("tiny-imagenet-200")).expect("a new folder");
    let message = prepare("tiny", Some(root.path()), true, &mut quiet).unwrap_err().to_string();
    assert!(message.starts_with("cannot list "), "{message}");
}
