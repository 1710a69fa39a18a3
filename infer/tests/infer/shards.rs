//! Jobs that several processes share: the parts are those that arrays and launchers number, and together they are what one
//! process computes.

use std::fs;

use ddae_tests::programs::run;
use serde_json::json;

use crate::scene::{command, content, done, infer, names, refuses};

const FEATURES: &str = "features FEATURES --data-root DATA --timesteps 5 --threads 1";
const SAMPLE: &str = "sample DDPM --steps 4 --seeds 3-13 --threads 1";

#[test]
fn an_array_computes_features() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, &format!("{FEATURES} -o whole"));
    for task in ["7", "1", "4"] {
        let mut command = command(root, &format!("{FEATURES} -o parts"));
        command.env("SLURM_ARRAY_TASK_ID", task).env("SLURM_ARRAY_TASK_COUNT", "3");
        command.env("SLURM_ARRAY_TASK_MIN", "1").env("SLURM_ARRAY_TASK_STEP", "3");
        let ended = run(&mut command);
        ended.success();
        let index = (task.parse::<usize>().expect("a number") - 1) / 3;
        let note = format!("note: --shard {index}/3, by SLURM_ARRAY_TASK_ID\n");
        assert!(ended.stderr.starts_with(&note), "{ended}");
    }
    assert_eq!(names(root), ["parts.h5", "whole.h5"]);
    assert!(content(&root.join("parts.h5")) == content(&root.join("whole.h5")));
}

#[test]
fn what_the_environment_does_not_say_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_job = |line: &str| {
        let mut command = command(folder.path(), line);
        run(command.env("JOB_COMPLETION_INDEX", "2"))
    };
    let error = in_job(&format!("{FEATURES} -o parts")).error(&[2]).to_string();
    assert!(
        error.contains("JOB_COMPLETION_INDEX is 2, and nothing says of how many: give --shards N"),
        "{error}"
    );
    let object = in_job(&format!("{FEATURES} -o parts --shards 4 --json")).json();
    assert_eq!((&object["shard"], &object["missing_shards"]), (&json!("2/4"), &json!([0, 1, 3])));
    // What is given goes before the environment.
    let object = in_job(&format!("{FEATURES} -o other --shard 0/1 --json")).json();
    assert_eq!((&object["shard"], &object["file"]), (&json!("0/1"), &json!("other.h5")));
}

#[test]
fn processes_draw_into_one_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, &format!("{SAMPLE} -o whole --npy whole.npy"));
    // At the same time.
    let ranks: Vec<_> = (0..3)
        .map(|rank| {
            let mut command = command(root, &format!("{SAMPLE} -o parts --json"));
            command.env("RANK", rank.to_string()).env("WORLD_SIZE", "3");
            std::thread::spawn(move || run(&mut command))
        })
        .collect();
    let drawn: Vec<u64> = ranks
        .into_iter()
        .map(|rank| rank.join().expect("a run").json()["drawn"].as_u64().expect("a number"))
        .collect();
    assert_eq!(drawn, [3, 4, 4]);
    assert_eq!(names(&root.join("parts")), names(&root.join("whole")), "no locks or parts are left");
    let object = infer(root, &format!("{SAMPLE} -o parts --shard 1/3 --json")).json();
    assert_eq!((&object["drawn"], &object["left"]), (&json!(0), &json!(0)));
    // An array of all images, by a process that finds them.
    let printed = done(root, &format!("{SAMPLE} -o parts --shard 0/1 --npy parts.npy"));
    assert!(printed.starts_with("0 images in "), "{printed}");
    assert!(
        fs::read(root.join("parts.npy")).expect("a file")
            == fs::read(root.join("whole.npy")).expect("a file")
    );
    for name in names(&root.join("whole")) {
        let [ours, theirs] =
            ["parts", "whole"].map(|of| fs::read(root.join(of).join(&name)).expect("a file"));
        assert!(ours == theirs, "{name}");
    }
}

#[test]
fn a_part_of_the_images_is_told_from_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let printed = done(root, &format!("{SAMPLE} -o images --shard 0/2"));
    assert!(printed.contains("part    0/2: 6 of 11 are still to come from others\n"), "{printed}");
    assert_eq!(names(&root.join("images")).len(), 6);
    {
        let _part = ddae_base::lock::Lock::output(&root.join("images/shard-1-of-2")).expect("a lock");
        let error = infer(root, &format!("{SAMPLE} -o images --shard 1/2")).error(&[1]).to_string();
        assert!(error.contains("images/shard-1-of-2: another ddae-infer is writing here"), "{error}");
        let _shared = ddae_base::lock::Lock::shared_folder(&root.join("images")).expect("a lock");
        let error = infer(root, &format!("{SAMPLE} -o images")).error(&[1]).to_string();
        assert!(error.contains("images: another ddae-infer is writing here"), "{error}");
    }
    refuses(
        root,
        [
            (
                2,
                &*format!("{SAMPLE} -o images --shard 1/2 --npy all.npy"),
                "--shard 1/2 draws a part of the images…",
            ),
            (
                2,
                &*format!("{SAMPLE} --no-png --sheet a.png --shard 1/2"),
                "--shard 1/2 draws a part of the images…",
            ),
            (
                1,
                "sample DDPM --steps 5 -o images --shard 1/2 --overwrite",
                "images: it holds images of other settings (steps…",
            ),
        ],
    );
}
