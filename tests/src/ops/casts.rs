//! Element types.

use ddae_model::graph::Shape;
use ddae_model::tensor::DType;

use super::suite::Suite;

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    // Each value exists in both types: what a float that is too large for an integer becomes is left to the runtime.
    let pairs = [
        (DType::F32, DType::F64),
        (DType::F64, DType::F32),
        (DType::I64, DType::F32),
        (DType::I64, DType::F64),
        (DType::U8, DType::F32),
        (DType::U8, DType::F64),
        (DType::U8, DType::I64),
        (DType::I64, DType::U8),
        (DType::F32, DType::F32),
    ];
    for (from, to) in pairs {
        suite.add(format!("Cast {from} to {to}"), |g, _| {
            let x = g.input("x", from, Shape::batch(&[4, 3]))?;
            g.cast(x, to)
        });
    }
    // Both signs, so that truncation differs from rounding down; and a margin, because f32 and f64 must agree.
    let whole: Vec<f64> = (-60..60).map(f64::from).collect();
    for from in [DType::F32, DType::F64] {
        let case = suite.add(format!("Cast {from} to i64 drops the fraction"), |g, _| {
            let x = g.input("x", from, Shape::batch(&[40]))?;
            let x = g.affine(x, 16.0, 0.0)?;
            g.cast(x, DType::I64)
        });
        case.keep_away("x", &whole.iter().map(|n| n / 16.0).collect::<Vec<_>>(), 1e-3);
    }
    let case = suite.add("Cast f32 to u8", |g, _| {
        let x = g.input("x", DType::F32, Shape::batch(&[40]))?;
        let x = g.affine(x, 64.0, 128.0)?;
        g.cast(x, DType::U8)
    });
    case.keep_away("x", &(-120..120).map(|n| f64::from(n) / 64.0).collect::<Vec<_>>(), 1e-3);
    suite.add("image bytes to planes", |g, _| {
        let bytes = g.input("image", DType::U8, Shape::batch(&[5, 4, 3]))?;
        let floats = g.cast(bytes, DType::F32)?;
        let planes = g.transpose(floats, &[0, 3, 1, 2])?;
        g.affine(planes, 2.0 / 255.0, -1.0)
    });
    suite.add("f64 state around an f32 network", |g, _| {
        let state = g.input("state", DType::F64, Shape::batch(&[2, 3]))?;
        let sigma = g.input("sigma", DType::F64, Shape::fixed(&[1]))?;
        let x = g.cast(state, DType::F32)?;
        let x = g.silu(x)?;
        let x = g.cast(x, DType::F64)?;
        let x = g.mul(x, sigma)?;
        g.sub(state, x)
    });
}
