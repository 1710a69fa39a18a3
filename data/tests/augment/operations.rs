//! The fixture: a real image under every operation, as torchvision computed it.

use ddae_data::augment::{Canvas, Operation, Rectangle, ResizedCrop};

/// The fixture's images are [H, W, C].
fn planes(levels: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| levels.iter().skip(channel).step_by(3).copied()).collect()
}

fn operation(name: &str) -> Operation {
    let found = Operation::ALL.into_iter().find(|operation| format!("{operation:?}") == name);
    found.unwrap_or_else(|| panic!("there is no operation {name}"))
}

#[test]
fn every_operation_gives_torchvisions_levels() {
    let fixture = ddae_tests::fixture("image_ops");
    let mut canvas = Canvas::new([3, 32, 32]).expect("RGB");
    let scaler = ResizedCrop::new(32, 32);
    let image = planes(&fixture.u8("input.image").1);
    let magnitudes = fixture.config["magnitudes"].as_object().expect("an object");
    let mut seen = Vec::new();
    for (case, magnitude) in magnitudes {
        canvas.levels_mut().copy_from_slice(&image);
        let name = case.strip_prefix("output.").expect("an output");
        if name.starts_with("resized_crop") {
            let sides: Vec<usize> = serde_json::from_value(magnitude.clone()).expect("four sides");
            let [top, left, height, width] = sides[..] else { panic!("{sides:?}") };
            scaler.apply(&mut canvas, Rectangle { top, left, height, width });
        } else {
            let (name, sign) = name.split_once('.').expect("an operation and a sign");
            let operation = operation(name);
            let magnitude = magnitude.as_f64().expect("a number");
            let ours = operation.magnitude(32, 32);
            assert_eq!(if sign == "neg" { -ours } else { ours }, magnitude, "{case}");
            canvas.apply(operation, magnitude);
            seen.push((operation, sign.to_string()));
        }
        assert_eq!(canvas.levels(), planes(&fixture.u8(case).1), "{case}");
    }
    for operation in Operation::ALL {
        for sign in if operation.is_signed() { &["pos", "neg"][..] } else { &["pos"] } {
            assert!(
                seen.contains(&(operation, sign.to_string())),
                "{operation:?}.{sign} is not in the fixture"
            );
        }
    }
}
