//! Files of very many sets of weights, and names of very many parts.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, WeightChoice};

/// A file of safetensors with these tensors of one number each.
fn one_number_each(names: impl Iterator<Item = String>) -> Vec<u8> {
    let mut header = String::from("{");
    let mut count = 0;
    for name in names {
        let start = 4 * count;
        let comma = if count == 0 { "" } else { "," };
        header.push_str(&format!(
            "{comma}\"{name}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{start},{}]}}",
            start + 4
        ));
        count += 1;
    }
    header.push('}');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.resize(file.len() + 4 * count, 0);
    file
}

/// Names with very many parts, and very many sets of weights: finding and choosing them takes time in proportion.
#[test]
fn many_sets_and_long_names() {
    let started = std::time::Instant::now();
    let dots = ".".repeat(200_000);
    let list =
        ["ema.shadow_params.0".to_string(), format!("{dots}w"), format!("a{dots}encoder.conv_in.weight")];
    assert!(Checkpoint::from_bytes(Path::new("w"), one_number_each(list.into_iter())).is_ok());
    for (signature, count) in [
        (["time_emb.lin2.weight", "cls.2.weight"], 60_000),
        (["encoder.conv_in.weight", "encoder.conv_out.weight"], 20_000),
    ] {
        let names = (0..count).flat_map(|set| signature.map(|name| format!("n{set}.{name}")));
        let file = one_number_each(names.chain(["ema.shadow_params.0".to_string()]));
        let file = Checkpoint::from_bytes(Path::new("w"), file).expect("a file");
        assert_eq!(file.sets().len(), count);
        assert!(file.choose(None, "--weights", |_| true).is_err());
        let asked = WeightChoice::Named("n7".to_string());
        let found = file.choose(Some(&asked), "--weights", |_| true).expect("the set").expect("one");
        assert_eq!(found.prefix(), "n7.");
    }
    // Quadratic, each would be half a minute.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
