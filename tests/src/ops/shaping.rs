//! Moving elements: reshaping, transposing, joining, cutting, looking up.

use ddae_model::graph::{Dim, Graph, Init, Path, Shape};
use ddae_model::tensor::{DType, Tensor};

use super::suite::{Built, Suite};

fn input(g: &mut Graph, sizes: &[usize]) -> Built {
    g.input("x", DType::F32, Shape::batch(sizes))
}

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    reshape(suite);
    join_and_cut(suite);
    pad(suite);
    gather(suite);
}

fn reshape(suite: &mut Suite) {
    let shapes: [(&[usize], &[usize]); 5] = [
        (&[3, 4, 5], &[3, 20]),
        (&[3, 20], &[3, 4, 5]),
        (&[6], &[6, 1, 1]),
        (&[], &[1]),
        (&[2, 3, 4], &[24]),
    ];
    for (from, to) in shapes {
        suite.add(format!("Reshape [B, {from:?}] to [B, {to:?}]"), |g, _| {
            let x = input(g, from)?;
            g.reshape(x, Shape::batch(to))
        });
    }
    suite.add("Reshape moves the batch", |g, _| {
        let x = input(g, &[4, 3])?;
        g.reshape(x, Shape::of(vec![Dim::Size(1), Dim::Batch(1), Dim::Size(12)]))
    });
    suite.add("Reshape [B, 6] to [2B, 3]", |g, _| {
        let x = input(g, &[6])?;
        g.reshape(x, Shape::of(vec![Dim::Batch(2), Dim::Size(3)]))
    });
    suite.add("Reshape of a parameter", |g, _| {
        let x = g.parameter(&Path::root().at("table"), &[2, 6], Init::Zeros)?;
        g.reshape(x, Shape::fixed(&[3, 4]))
    });
    suite.add("per_image [B] and [B, C]", |g, _| {
        let scale = g.input("scale", DType::F32, Shape::batch(&[]))?;
        let shift = g.input("shift", DType::F32, Shape::batch(&[3]))?;
        let (scale, shift) = (g.per_image(scale)?, g.per_image(shift)?);
        g.add(scale, shift)
    });
    let orders: [(&[usize], &[usize]); 6] = [
        (&[3, 4], &[0, 2, 1]),
        (&[3, 4, 5], &[0, 2, 3, 1]),
        (&[3, 4, 5], &[0, 3, 1, 2]),
        (&[3, 4], &[1, 0, 2]),
        (&[3, 4], &[2, 1, 0]),
        (&[3, 4, 5, 2], &[0, 3, 1, 4, 2]),
    ];
    for (sizes, axes) in orders {
        suite.add(format!("Transpose {axes:?} of [B, {sizes:?}]"), |g, _| {
            let x = input(g, sizes)?;
            g.transpose(x, axes)
        });
    }
}

fn join_and_cut(suite: &mut Suite) {
    for (axis, lengths) in [(1, &[3, 5][..]), (2, &[1, 2, 4]), (3, &[2, 2]), (1, &[4])] {
        suite.add(format!("Concat {lengths:?} along axis {axis}"), |g, _| {
            let mut parts = Vec::new();
            for (i, &length) in lengths.iter().enumerate() {
                let mut sizes = [2, 3, 4];
                sizes[axis - 1] = length;
                parts.push(g.input(&format!("part_{i}"), DType::F32, Shape::batch(&sizes))?);
            }
            g.concat(&parts, axis)
        });
    }
    suite.add("Concat of a value with itself and another", |g, _| {
        let x = input(g, &[3])?;
        let y = g.silu(x)?;
        g.concat(&[x, y, x], 1)
    });
    suite.add("Concat of parameters along the first axis", |g, _| {
        let a = g.parameter(&Path::root().at("a"), &[2, 3], Init::Zeros)?;
        let b = g.parameter(&Path::root().at("b"), &[1, 3], Init::Zeros)?;
        g.concat(&[a, b], 0)
    });
    for (axis, start, length) in [(1, 0, 2), (1, 3, 3), (2, 1, 1), (3, 2, 3), (3, 0, 5)] {
        suite.add(format!("Slice {start}+{length} along axis {axis}"), |g, _| {
            let x = input(g, &[6, 3, 5])?;
            g.slice(x, axis, start, length)
        });
    }
    suite.add("Slice of a vector", |g, _| {
        let vector = g.input("vector", DType::F64, Shape::fixed(&[4]))?;
        let x = g.input("x", DType::F64, Shape::batch(&[2, 3, 3]))?;
        let element = g.slice(vector, 0, 2, 1)?;
        let element = g.reshape(element, Shape::fixed(&[1, 1, 1, 1]))?;
        g.mul(element, x)
    });
    suite.add("Slice into halves: scale and shift", |g, _| {
        let both = g.input("both", DType::F32, Shape::batch(&[8]))?;
        let x = g.input("x", DType::F32, Shape::batch(&[4, 3, 3]))?;
        let (scale, shift) = (g.slice(both, 1, 0, 4)?, g.slice(both, 1, 4, 4)?);
        let (scale, shift) = (g.per_image(scale)?, g.per_image(shift)?);
        let x = g.mul(x, scale)?;
        g.add(x, shift)
    });
    for dtype in [DType::F64, DType::I64, DType::U8] {
        suite.add(format!("Transpose, Slice, Concat and Reshape {dtype}"), |g, _| {
            let x = g.input("x", dtype, Shape::batch(&[4, 6]))?;
            let x = g.transpose(x, &[0, 2, 1])?;
            let (head, tail) = (g.slice(x, 1, 0, 2)?, g.slice(x, 1, 3, 3)?);
            let x = g.concat(&[tail, head], 1)?;
            g.reshape(x, Shape::batch(&[20]))
        });
    }
}

fn pad(suite: &mut Suite) {
    for (axis, before, after) in [(1, 2, 3), (2, 0, 1), (3, 1, 0), (3, 4, 2), (1, 0, 0)] {
        suite.add(format!("Pad {before} and {after} along axis {axis}"), |g, _| {
            let x = input(g, &[3, 2, 5])?;
            g.pad(x, axis, before, after)
        });
    }
    suite.add("Pad of channels, then of columns", |g, _| {
        let x = input(g, &[3, 4, 2])?;
        let x = g.pad(x, 1, 0, 5)?;
        g.pad(x, 3, 1, 1)
    });
    suite.add("Pad of a vector", |g, _| {
        let x = input(g, &[4])?;
        g.pad(x, 1, 1, 0)
    });
    for dtype in [DType::F64, DType::I64, DType::U8] {
        suite.add(format!("Pad {dtype}"), |g, _| {
            let x = g.input("x", dtype, Shape::batch(&[4, 6]))?;
            g.pad(x, 1, 1, 2)
        });
    }
}

fn gather(suite: &mut Suite) {
    for (rows, row) in [(1001, &[][..]), (7, &[5]), (4, &[2, 3])] {
        suite.add(format!("Gather from a constant of {rows} rows {row:?}"), |g, suite| {
            let table = suite.constant(g, &[&[rows], row].concat())?;
            let index = g.input("index", DType::I64, Shape::batch(&[]))?;
            g.gather(table, index)
        });
        suite.add(format!("Gather from a parameter of {rows} rows {row:?}"), |g, _| {
            let table = g.parameter(&Path::root().at("table"), &[&[rows], row].concat(), Init::Zeros)?;
            let index = g.input("index", DType::I64, Shape::batch(&[]))?;
            g.gather(table, index)
        });
    }
    suite.add("Gather from an f64 table", |g, _| {
        let table = g.constant(Tensor::f64(&[3], vec![1.0 / 3.0, 80.0, 2e-3]))?;
        let index = g.input("index", DType::I64, Shape::batch(&[]))?;
        g.gather(table, index)
    });
    suite.add("Gather at a constant", |g, _| {
        let table = g.parameter(&Path::root().at("table"), &[9, 4], Init::Zeros)?;
        let index = g.constant(Tensor::i64(&[3], vec![8, 0, 8]))?;
        g.gather(table, index)
    });
}
