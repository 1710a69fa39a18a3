//! Damage to our own checkpoints: a flipped bit is found, and the furthest whole checkpoint is the one that is taken.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ddae_checkpoint::{Checkpoint, Furthest, TrainingState, write_tensors};
use ddae_model::config::{Config, RunConfig};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

fn config() -> RunConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/demo.yaml");
    Config::read(&path).unwrap().into()
}

fn tensors(step: u64) -> Vec<(String, Tensor)> {
    let values = |offset: usize| Tensor::f32(&[3, 4], (0..12).map(|i| (i + offset) as f32 * 0.37).collect());
    [("model.a.weight", 0), ("model.b.weight", 5), ("ema.a.weight", 7), ("optimizer.exp_avg.a.weight", 9)]
        .into_iter()
        .map(|(name, offset)| (name.to_string(), values(offset + step as usize)))
        .collect()
}

fn write(path: &Path, step: u64) {
    let state = TrainingState { epoch: step / 10, step, seed: 7, ..Default::default() };
    ddae_checkpoint::write(path, &config(), &state, &tensors(step)).unwrap();
}

/// Everything that is read of a file, compared with its checksums.
type Content = (Option<RunConfig>, Option<TrainingState>, Weights);

fn read(bytes: Vec<u8>) -> Result<Content, String> {
    let file = Checkpoint::from_bytes(Path::new("w"), bytes).map_err(|e| e.to_string())?;
    file.verify().map_err(|e| e.to_string())?;
    let weights = file.tensors_with_prefix("").map_err(|e| e.to_string())?;
    Ok((file.config().cloned(), file.state().cloned(), weights))
}

/// Flips a bit of the last byte of a tensor in a file; gives its name.
fn damage(path: &Path) -> String {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
    // Tensors of one type lie in the order of their names.
    "optimizer.exp_avg.a.weight".to_string()
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_0001.safetensors");
    write(&path, 10);
    let bytes = fs::read(&path).unwrap();
    let good = read(bytes.clone()).unwrap();
    let data = bytes.len() - 4 * 12 * 4;
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        match read(damaged) {
            Ok(content) => assert!(at < data && content == good, "byte {at} of {}", bytes.len()),
            Err(message) => {
                refused += 1;
                assert!(
                    at < data || message.contains(".a.weight'") || message.contains(".b.weight'"),
                    "{message}"
                );
            }
        }
    }
    // What may change is the name of the entry that holds the checksums.
    assert!(refused + 20 > bytes.len(), "{refused} of {}", bytes.len());
}

#[test]
fn a_damaged_tensor_is_named_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_0001.safetensors");
    write(&path, 10);
    let name = damage(&path);
    let file = Checkpoint::open(&path).unwrap();
    file.read("model.a.weight").unwrap();
    let message = file.read(&name).unwrap_err().to_string();
    let begin = format!("{}: is damaged: '{name}' has the checksum ", path.display());
    assert!(message.starts_with(&begin), "{message}");
    assert!(message.ends_with(" was written; copy it here again, or take another checkpoint"), "{message}");
    assert_eq!(file.verify().unwrap_err().to_string(), message);
}

#[test]
fn the_furthest_whole_checkpoint_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, latest] =
        ["epoch_0001", "epoch_0002", "latest"].map(|name| folder.path().join(format!("{name}.safetensors")));
    write(&first, 10);
    write(&second, 20);
    let find = || Furthest::find(folder.path(), |_| Ok(())).unwrap();
    // A stale `latest` is not asked.
    fs::hard_link(&first, &latest).unwrap();
    let found = find();
    assert_eq!(found.checkpoint.unwrap().path(), second);
    assert!(found.passed_over.is_empty());

    fs::remove_file(&latest).unwrap();
    fs::hard_link(&second, &latest).unwrap();
    damage(&second);
    let found = find();
    assert_eq!(found.checkpoint.unwrap().path(), first);
    let messages: Vec<String> = found.passed_over.iter().map(ToString::to_string).collect();
    assert!(messages.len() == 2 && messages.iter().all(|m| m.contains("is damaged: '")), "{messages:?}");
    damage(&first);
    assert!(find().checkpoint.is_none());
}

#[test]
fn a_run_has_only_what_is_named_like_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let [own, mine, aside] = ["epoch_0001.safetensors", "mine.safetensors", "epoch_0009.safetensors.1"]
        .map(|name| folder.path().join(name));
    write(&own, 10);
    write(&mine, 99);
    write(&aside, 90);
    let find = || Furthest::find(folder.path(), |_| Ok(())).unwrap();
    let found = find();
    assert_eq!(found.checkpoint.unwrap().path(), own);
    let messages: Vec<String> = found.passed_over.iter().map(ToString::to_string).collect();
    let wanted = "is not named like a checkpoint of a run (epoch_0001.safetensors, latest.safetensors)";
    assert_eq!(messages, [format!("{}: {wanted}", mine.display())]);
    // Also where none of its own is whole.
    damage(&own);
    assert!(find().checkpoint.is_none());
    // In a folder of other names each is as good as any.
    fs::remove_file(&own).unwrap();
    let found = find();
    assert_eq!(found.checkpoint.unwrap().path(), mine);
    assert!(found.passed_over.is_empty());
}

#[test]
fn files_of_earlier_versions_are_read_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_0001.safetensors");
    let state = r#"{"epoch":1,"step":10,"step_in_epoch":0,"seed":7,"loss_scale":1.0,"loss_scale_steps":0}"#;
    let entries =
        [("ddae.format", "ddae-checkpoint-1"), ("ddae.config", &config().to_yaml()), ("ddae.state", state)];
    let metadata: HashMap<String, String> =
        entries.into_iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
    let tensors = tensors(10);
    write_tensors(&path, metadata, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
    let name = damage(&path);
    let file = Checkpoint::open(&path).unwrap();
    file.verify().unwrap();
    file.read(&name).unwrap();
    let state = file.state().unwrap();
    assert!(state.drop_last, "they left out the last batch of an epoch");
    assert_eq!((state.step, state.since_line), (10, Default::default()));
}
