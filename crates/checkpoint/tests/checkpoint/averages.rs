//! Averages without names, and the sets that files have: what each is called, and what is said of those that fit nothing.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, SetRole};

use crate::torch_save::*;

/// What stands under a key.
enum Item {
    Names(&'static [(&'static str, i64)]),
    /// Vectors of these sizes.
    List(&'static [i64]),
}

use Item::{List, Names};

const MLP: Item = Names(&[("time_emb.lin2.weight", 3), ("cls.2.weight", 5)]);
const VAE: Item = Names(&[("encoder.conv_in.weight", 3), ("encoder.conv_out.weight", 5)]);

/// A file of torch.save: dictionaries and lists under keys, or, where there is none, at the top.
fn file(items: &[(&str, Item)]) -> Checkpoint {
    let vector = |size: i64| tensor(storage("FloatStorage", "k", 8), 0, &[size], &[1]);
    let mut outer: Vec<(String, Vec<u8>)> = Vec::new();
    for (key, item) in items {
        let value = match item {
            List(sizes) => list(&sizes.iter().map(|&size| vector(size)).collect::<Vec<_>>()),
            Names(names) => {
                let entries: Vec<(&str, Vec<u8>)> =
                    names.iter().map(|(n, size)| (*n, vector(*size))).collect();
                if key.is_empty() {
                    outer.extend(entries.into_iter().map(|(name, value)| (name.to_string(), value)));
                    continue;
                }
                ordered(&entries)
            }
        };
        outer.push((key.to_string(), value));
    }
    let outer: Vec<(&str, Vec<u8>)> = outer.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    let bytes = archive(&dict(&outer), &[("k", &floats(&[0.0; 8]))]);
    Checkpoint::from_bytes(Path::new("w.pth"), bytes).expect("a file")
}

/// The sets of a file, averages with a star, and averages without names.
fn found(file: &Checkpoint) -> (Vec<String>, Vec<&str>) {
    let star = |role| if role == SetRole::Average { "*" } else { "" };
    let sets = file.sets().iter().map(|set| format!("{}{}", set.prefix(), star(set.role())));
    (sets.collect(), file.nameless_averages().iter().map(|list| list.name.as_str()).collect())
}

#[test]
fn lists_are_named_after_networks_alone() {
    for (what, items, sets, nameless) in [
        ("a list", vec![("model", MLP), ("ema", List(&[3, 5]))], &["ema.*", "model."][..], &[][..]),
        // The longest of what the names begin with in common is part of them.
        ("an encoder", vec![("model", VAE), ("ema", List(&[3, 5]))], &["ema.*", "model."], &[]),
        ("another order", vec![("model", MLP), ("ema", List(&[5, 3]))], &["model."], &["ema"]),
        (
            "a list beside a list",
            vec![("model", MLP), ("ema", List(&[3, 5])), ("old", List(&[3, 5]))],
            &["ema.*", "model."],
            &[],
        ),
        (
            "of a part that is no network",
            vec![
                ("model", MLP),
                ("head", Names(&[("a.weight", 2), ("b.weight", 2)])),
                ("ema", List(&[2, 2])),
            ],
            &["model."],
            &["ema"],
        ),
        (
            "of the module around a network",
            vec![
                (
                    "model",
                    Names(&[("net.time_emb.lin2.weight", 3), ("net.cls.2.weight", 5), ("head.weight", 2)]),
                ),
                ("ema", List(&[3, 5, 2])),
            ],
            &["ema.net.*", "model.net."],
            &[],
        ),
        (
            "of two that are alike",
            vec![("a", MLP), ("b", VAE), ("ema", List(&[3, 5]))],
            &["a.", "b."],
            &["ema"],
        ),
        (
            "with a gap",
            vec![("model", MLP), ("", Names(&[("ema.0", 3), ("ema.2", 5)]))],
            &["model."],
            &["ema"],
        ),
        ("of single numbers", vec![("model", MLP), ("ema", List(&[1, 1]))], &["model."], &[]),
        ("of moments", vec![("model", MLP), ("exp_avg", List(&[3, 5]))], &["model."], &[]),
        (
            "within an average",
            vec![
                ("model", MLP),
                (
                    "ema",
                    Names(&[
                        ("time_emb.lin2.weight", 3),
                        ("cls.2.weight", 5),
                        ("scales.0", 2),
                        ("scales.1", 2),
                    ]),
                ),
            ],
            &["ema.*", "model."],
            &[],
        ),
        (
            "without dots, of any name",
            vec![
                ("net", MLP),
                (
                    "smooth",
                    Names(&[("time_emblin2weight", 3), ("cls2weight", 5), ("decay", 1), ("num_updates", 1)]),
                ),
            ],
            &["net.", "smooth.*"],
            &[],
        ),
        (
            "without dots, of the module around a network",
            vec![(
                "",
                Names(&[
                    ("state.net.time_emb.lin2.weight", 3),
                    ("state.net.cls.2.weight", 5),
                    ("state.avg.nettime_emblin2weight", 3),
                    ("state.avg.netcls2weight", 5),
                    ("state.avg.decay", 1),
                    ("state.avg.num_updates", 1),
                ]),
            )],
            &["state.avg.net.*", "state.net."],
            &[],
        ),
    ] {
        let file = file(&items);
        let (all, without) = found(&file);
        assert_eq!(all, sets, "{what}");
        assert_eq!(without, nameless, "{what}");
    }
}

/// The statistics of batch norms are not averaged: those of the weights beside the average are taken, where it is known which.
#[test]
fn buffers_come_from_the_weights_beside() {
    const NETWORK: Item =
        Names(&[("time_emb.lin2.weight", 3), ("norm.running_mean", 4), ("cls.2.weight", 5)]);
    let one = file(&[("model", NETWORK), ("ema", List(&[3, 5]))]);
    assert_eq!(found(&one).0, ["ema.*", "model."]);
    let mean = one.find("ema.norm.running_mean").map(|tensor| tensor.shape().to_vec());
    assert_eq!(mean, Some(vec![4]));
    // The same bytes are no choice, but others are: those of an average are not taken while others are there.
    assert_eq!(found(&file(&[("a", NETWORK), ("b", NETWORK), ("ema", List(&[3, 5]))])).1, [""; 0]);
    let average = file(&[("swa", NETWORK), ("net", NETWORK), ("ema", List(&[3, 5]))]);
    assert_eq!(found(&average).0, ["ema.*", "net.", "swa.*"]);
}

/// The numbers of a set are its own, and one set in another is known as the same bytes.
#[test]
fn sets_within_sets() {
    let file = file(&[("", MLP), ("ema", MLP)]);
    assert_eq!(found(&file).0, ["", "ema.*"]);
    let counts: Vec<(usize, u64)> = file.sets().iter().map(|set| (set.tensors(), set.elements())).collect();
    assert_eq!(counts, [(2, 8); 2]);
}
