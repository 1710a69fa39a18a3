use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn text(path: &Path, text: &str) -> Result<(), FileError> {
    write_whole(path, |out| out.write_all(text.as_bytes()))
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("config.yaml");
    text(&file, "old, and longer").expect("written");
    text(&file, "new").expect("replaced");
    let failed = write_whole(&file, |out| {
        out.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    let message = failed.expect_err("refused").to_string();
    assert_eq!(message, format!("cannot write {}: no storage space", file.display()));
    assert_eq!(fs::read_to_string(&file).expect("the file"), "new");
    assert_eq!(names(root.path()), ["config.yaml"]);
}

#[test]
fn what_is_refused_leaves_nothing_and_names_the_file() {
    let root = tempfile::tempdir().expect("a folder");
    // A folder in the file's place refuses the renaming.
    let taken = root.path().join("taken");
    fs::create_dir_all(taken.join("full")).expect("created");
    let nowhere = root.path().join("none/a");
    for path in [&taken, &nowhere] {
        let message = text(path, "text").expect_err("refused").to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", path.display())), "{message}");
    }
    assert_eq!(names(root.path()), ["taken"]);
}

/// As another process would that is ended by force: its locks end, and its files stay.
fn killed(target: &Path) {
    fs::write(with_suffix(target, ".lock"), "").expect("left");
    fs::write(with_suffix(target, ".fedcba9876543210.partial"), "half").expect("left");
}

#[test]
fn what_was_left_is_removed_by_the_next_writer_and_by_no_other() {
    let root = tempfile::tempdir().expect("a folder");
    let [a, b] = ["a", "b"].map(|name| root.path().join(name));
    killed(&a);
    text(&b, "text").expect("written");
    assert_eq!(names(root.path()), ["a.fedcba9876543210.partial", "a.lock", "b"]);
    text(&a, "short").expect("written");
    assert_eq!(fs::read_to_string(&a).expect("the file"), "short");
    assert_eq!(names(root.path()), ["a", "b"]);
}

#[test]
fn nothing_planted_is_written_to() {
    let root = tempfile::tempdir().expect("a folder");
    let [a, mine] = ["a", "mine"].map(|name| root.path().join(name));
    fs::write(&mine, "mine").expect("written");
    for name in ["a.partial", "a.1.partial", "a.0123456789abcdef.partial"] {
        symlink(&mine, root.path().join(name)).expect("a link");
    }
    text(&a, "text").expect("written");
    assert_eq!(fs::read_to_string(&mine).expect("the file"), "mine");
    assert!(a.symlink_metadata().expect("the file").is_file());
}

#[test]
fn a_link_to_a_file_is_written_through_and_stays() {
    let [root, elsewhere] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (file, link) = (elsewhere.path().join("file"), root.path().join("link"));
    fs::write(&file, "old").expect("written");
    symlink(&file, &link).expect("a link");
    text(&link, "new").expect("written");
    assert_eq!(fs::read_link(&link).expect("a link"), file);
    assert_eq!(fs::read_to_string(&file).expect("the file"), "new");
    assert_eq!((names(root.path()).len(), names(elsewhere.path()).len()), (1, 1));
}

#[test]
fn what_is_no_regular_file_stays() {
    let root = tempfile::tempdir().expect("a folder");
    let [dangling, device] = ["dangling", "device"].map(|name| root.path().join(name));
    symlink("none", &dangling).expect("a link");
    symlink("/dev/null", &device).expect("a link");
    for path in [&dangling, &device, Path::new("/dev/null")] {
        text(path, "text").expect_err("refused");
        append(path).expect_err("refused");
    }
    assert_eq!(names(root.path()), ["dangling", "device"]);
    assert!(!Path::new("/dev/null").symlink_metadata().expect("the device").is_file());
    // What appears while the file is being written is not replaced either.
    let late = root.path().join("late");
    let partial = PartialFile::create(&late).expect("begun");
    fs::create_dir(&late).expect("created");
    let message = partial.finish().expect_err("refused").to_string();
    assert_eq!(message, format!("cannot write {}: it is a folder; give the name of a file", late.display()));
    assert_eq!(names(root.path()), ["dangling", "device", "late"]);
}

#[test]
fn a_second_writer_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("a");
    let first = PartialFile::create(&path).expect("begun");
    first.file().write_all(b"first").expect("written");
    let busy = "another process is writing here; wait for it, or choose another output";
    let wanted = format!("cannot write {}: {busy}", path.display());
    assert_eq!(PartialFile::create(&path).expect_err("refused").to_string(), wanted);
    assert_eq!(text(&path, "second").expect_err("refused").to_string(), wanted);
    first.finish().expect("whole");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "first");
    drop(PartialFile::create(&path).expect("begun"));
    text(&path, "second").expect("written");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "second");
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn many_writers_leave_one_whole_file() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("a");
    std::thread::scope(|scope| {
        for letter in "abcd".chars() {
            let path = &path;
            let content = letter.to_string().repeat(100_000);
            scope.spawn(move || {
                for _ in 0..25 {
                    while let Err(error) = text(path, &content) {
                        assert_eq!(error.source.kind(), io::ErrorKind::ResourceBusy, "{error}");
                    }
                }
            });
        }
    });
    let found = fs::read_to_string(&path).expect("the file");
    let first = found.chars().next().expect("a letter").to_string();
    assert!(found.len() == 100_000 && found == first.repeat(100_000));
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn files_have_the_permissions_of_any_new_file() {
    let root = tempfile::tempdir().expect("a folder");
    let [plain, whole] = ["plain", "whole"].map(|name| root.path().join(name));
    fs::write(&plain, "").expect("written");
    text(&whole, "").expect("written");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode(&plain), mode(&whole));
}

#[test]
fn a_library_writes_under_the_partial_name() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("a.h5");
    let mut partial = PartialFile::create(&path).expect("begun");
    fs::write(partial.partial(), "none").expect("written");
    partial.empty();
    assert_eq!(fs::read(partial.partial()).expect("the file"), b"");
    fs::write(partial.partial(), "one").expect("written");
    partial.finish_here().expect("whole");
    // It is a file now, and no longer given up.
    partial.empty();
    drop(partial);
    assert_eq!(fs::read(&path).expect("the file"), b"one");
    // A library that makes a new file of that name, or removes it, is found out.
    let partial = PartialFile::create(&path).expect("begun");
    fs::remove_file(partial.partial()).expect("removed");
    fs::write(partial.partial(), "two").expect("written");
    let message = partial.finish().expect_err("refused").to_string();
    assert!(message.ends_with(".partial was taken away while it was being written"), "{message}");
    assert_eq!(fs::read(&path).expect("the file"), b"one");
    assert_eq!(names(root.path()), ["a.h5"]);
}

#[test]
fn a_second_name_replaces_an_older_one() {
    let root = tempfile::tempdir().expect("a folder");
    let [first, second, latest] = ["1", "2", "latest"].map(|name| root.path().join(name));
    killed(&latest);
    for path in [&first, &first, &second] {
        text(path, &path.display().to_string()).expect("written");
        name_again(path, &latest).expect("named");
        assert_eq!(fs::read_to_string(&latest).expect("the file"), path.display().to_string());
    }
    assert_eq!(fs::read_to_string(&first).expect("the file"), first.display().to_string());
    assert!(name_again(&root.path().join("none"), &latest).is_err());
    // A link is a name; what it leads to is not written to.
    fs::remove_file(&latest).expect("removed");
    symlink(&first, &latest).expect("a link");
    name_again(&second, &latest).expect("named");
    assert!(latest.symlink_metadata().expect("a name").is_file());
    assert_eq!(fs::read_to_string(&first).expect("the file"), first.display().to_string());
    assert!(name_again(&second, root.path()).is_err());
    assert_eq!(names(root.path()), ["1", "2", "latest"]);
}

#[test]
fn a_folder_appears_when_it_is_filled() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("set");
    fs::write(root.path().join("set.lock"), "").expect("left");
    fs::create_dir_all(root.path().join("set.0123456789abcdef.partial/old")).expect("left");
    fs::create_dir_all(root.path().join("set.partial/mine")).expect("created");
    let fill = |partial: &Path| {
        assert!(names(partial).is_empty() && !path.exists());
        assert!(fill_whole(&path, |_| Ok::<(), FileError>(())).is_err(), "one at a time");
        fs::write(partial.join("a"), "").expect("written");
    };
    let failed = fill_whole(&path, |partial| {
        fill(partial);
        Err(FileError::of("read", Path::new("set.zip"))(io::ErrorKind::UnexpectedEof.into()))
    });
    assert_eq!(failed.expect_err("refused").to_string(), "cannot read set.zip: unexpected end of file");
    assert_eq!(names(root.path()), ["set.partial"]);
    fill_whole(&path, |partial| -> Result<(), FileError> {
        fill(partial);
        Ok(())
    })
    .expect("filled");
    assert_eq!(
        (names(root.path()), names(&path)),
        (vec!["set".into(), "set.partial".into()], vec!["a".into()])
    );
    let plain = root.path().join("plain");
    fs::create_dir(&plain).expect("created");
    let mode = |path: &Path| fs::metadata(path).expect("a folder").permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn a_scratch_folder_goes_with_its_lock() {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path().join("a.onnx");
    let scratch = ScratchFolder::beside(&path).expect("made");
    fs::write(scratch.path().join("half"), "").expect("written");
    assert!(ScratchFolder::beside(&path).is_err() && text(&path, "").is_err());
    let left = scratch.leftovers();
    assert!(left[0].is_dir() && left[1].is_file());
    assert_eq!(names(root.path()).len(), 2);
    drop(scratch);
    assert!(names(root.path()).is_empty());
}
