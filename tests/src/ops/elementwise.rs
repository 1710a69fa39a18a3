//! Arithmetic and functions, element by element, in f32 and in f64.

use ddae_model::graph::{Graph, Init, Path, Shape, Value};
use ddae_model::tensor::{DType, Tensor};

use super::suite::{Built, Suite};

type Binary = fn(&mut Graph, Value, Value) -> Built;
const BINARY: [(&str, Binary); 4] =
    [("Add", Graph::add), ("Sub", Graph::sub), ("Mul", Graph::mul), ("Div", Graph::div)];

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    binary(suite);
    leaves(suite);
    functions(suite);
}

fn binary(suite: &mut Suite) {
    let image = || Shape::batch(&[3, 4, 5]);
    let patterns = [
        (image(), image()),
        (image(), Shape::fixed(&[1])),
        (image(), Shape::batch(&[1, 1, 1])),
        (image(), Shape::batch(&[3, 1, 1])),
        (image(), Shape::fixed(&[1, 1, 1, 1])),
        (image(), Shape::fixed(&[3, 1, 1])),
        (image(), Shape::fixed(&[5])),
        (Shape::batch(&[3, 1, 5]), Shape::batch(&[1, 4, 1])),
        (Shape::batch(&[1]), Shape::fixed(&[1, 6])),
        (Shape::batch(&[]), Shape::batch(&[])),
    ];
    for dtype in [DType::F32, DType::F64] {
        for (op, build) in BINARY {
            for (left, right) in patterns.clone() {
                let case = suite.add(format!("{op} {dtype} {left} {right}"), |g, _| {
                    let a = g.input("a", dtype, left)?;
                    let b = g.input("b", dtype, right)?;
                    build(g, a, b)
                });
                if op == "Div" {
                    case.keep_away("b", &[0.0], 0.5);
                }
            }
        }
    }
    // The smaller operand first, and a value with itself.
    for (op, build) in BINARY {
        let case = suite.add(format!("{op} [1] [B, 2, 3]"), |g, _| {
            let a = g.input("a", DType::F32, Shape::fixed(&[1]))?;
            let b = g.input("b", DType::F32, Shape::batch(&[2, 3]))?;
            build(g, a, b)
        });
        case.keep_away("b", &[0.0], 0.5);
        let case = suite.add(format!("{op} of a value and itself"), |g, _| {
            let a = g.input("a", DType::F32, Shape::batch(&[2, 3]))?;
            // The sum, because gradients of 0 but for rounding have no relative error.
            let y = build(g, a, a)?;
            g.add(y, a)
        });
        case.keep_away("a", &[0.0], 0.5);
    }
}

/// Parameters, constants and inputs where other values are more usual.
fn leaves(suite: &mut Suite) {
    for sizes in [&[1][..], &[4], &[3, 1], &[1, 3, 4]] {
        suite.add(format!("Parameter {sizes:?} added and multiplied"), |g, _| {
            let x = g.input("x", DType::F32, Shape::batch(&[3, 4]))?;
            let shift = g.parameter(&Path::root().at("shift"), sizes, Init::Zeros)?;
            let scale = g.parameter(&Path::root().at("scale"), sizes, Init::Ones)?;
            let x = g.mul(x, scale)?;
            g.add(x, shift)
        });
    }
    for sizes in [&[][..], &[1], &[3, 4]] {
        suite.add(format!("Constant {sizes:?} multiplied"), |g, suite| {
            let x = g.input("x", DType::F32, Shape::batch(&[3, 4]))?;
            let factor = suite.constant(g, sizes)?;
            g.mul(factor, x)
        });
    }
    suite.add("Constant f64 added", |g, _| {
        let x = g.input("x", DType::F64, Shape::batch(&[2]))?;
        let third = g.constant(Tensor::f64(&[2], vec![1.0 / 3.0, -1e-9]))?;
        g.add(x, third)
    });
    suite.add("Constants only", |g, suite| {
        let (a, b) = (suite.constant(g, &[2, 3])?, suite.constant(g, &[3])?);
        g.sub(a, b)
    });
    suite.add("Input that is an output", |g, _| g.input("x", DType::F32, Shape::batch(&[2])));
    suite.add("Parameter that is an output", |g, _| {
        g.parameter(&Path::root().at("table"), &[2, 3], Init::Zeros)
    });
    suite.add("Buffer multiplied", |g, _| {
        let x = g.input("x", DType::F32, Shape::batch(&[3, 4]))?;
        let table = g.buffer(&Path::root().at("table"), &[1, 3, 4], Init::Zeros)?;
        g.mul(x, table)
    });
    suite.add("one value under two names", |g, _| {
        let x = g.input("x", DType::F32, Shape::batch(&[2]))?;
        let x = g.silu(x)?;
        g.output("again", x);
        Ok(x)
    });
}

fn functions(suite: &mut Suite) {
    for sizes in [&[][..], &[7], &[3, 5, 4]] {
        let x = |g: &mut Graph| g.input("x", DType::F32, Shape::batch(sizes));
        let label = Shape::batch(sizes).to_string();
        suite.add(format!("Silu {label}"), |g, _| x(g).and_then(|x| g.silu(x)));
        suite.add(format!("Silu of large values {label}"), |g, _| {
            let x = x(g)?;
            let x = g.affine(x, 30.0, 0.0)?;
            // The sum, because far below zero what is left of the function itself is no normal number.
            let y = g.silu(x)?;
            g.add(y, x)
        });
        suite.add(format!("GeluTanh {label}"), |g, _| x(g).and_then(|x| g.gelu_tanh(x)));
        suite.add(format!("GeluTanh of large values {label}"), |g, _| {
            let x = x(g)?;
            let x = g.affine(x, 8.0, 0.0)?;
            // The sum, because far below zero nothing but rounding is left of the function itself.
            let y = g.gelu_tanh(x)?;
            g.add(y, x)
        });
        suite.add(format!("Exp {label}"), |g, _| x(g).and_then(|x| g.exp(x)));
        let relu = |g: &mut Graph, _: &mut Suite| x(g).and_then(|x| g.relu(x));
        suite.add(format!("Relu {label}"), relu).keep_away("x", &[0.0], 0.01);
        suite.add(format!("Sin {label}"), |g, _| x(g).and_then(|x| g.sin(x)));
        suite.add(format!("Cos {label}"), |g, _| x(g).and_then(|x| g.cos(x)));
        suite.add(format!("Sin and Cos of large angles {label}"), |g, _| {
            let x = x(g)?;
            let x = g.affine(x, 20.0, 3.0)?;
            let (sin, cos) = (g.sin(x)?, g.cos(x)?);
            g.sub(sin, cos)
        });
        suite.add(format!("Dropout {label}"), |g, _| x(g).and_then(|x| g.dropout(x, 0.4)));
    }
    for dtype in [DType::F32, DType::F64] {
        suite.add(format!("Sqrt {dtype}"), |g, _| {
            let x = g.input("x", dtype, Shape::batch(&[3, 7]))?;
            let x = g.affine(x, 1.0, 2.0)?;
            g.sqrt(x)
        });
        suite.add(format!("Exp of half a logarithm {dtype}"), |g, _| {
            let x = g.input("x", dtype, Shape::batch(&[3, 7]))?;
            let x = g.affine(x, 0.5, -1.0)?;
            g.exp(x)
        });
        for (factor, shift) in [(2.0, -1.0), (-0.3, 0.0), (1.0, 0.7), (1.0 / 3.0, 1e-3), (0.0, 0.25)] {
            suite.add(format!("Affine {dtype} {factor} x + {shift}"), |g, suite| {
                let width = suite.between(1, 9);
                let x = g.input("x", dtype, Shape::batch(&[2, width]))?;
                g.affine(x, factor, shift)
            });
        }
        for (min, max) in [(-1.0, 1.0), (0.0, 0.5), (-0.25, 4.0)] {
            let clamp = |g: &mut Graph, _: &mut Suite| {
                let x = g.input("x", dtype, Shape::batch(&[3, 8]))?;
                g.clamp(x, min, max)
            };
            suite.add(format!("Clamp {dtype} {min}..{max}"), clamp).keep_away("x", &[min, max], 0.01);
            let at_limits = suite.add(format!("Clamp {dtype} {min}..{max} at its limits"), clamp);
            at_limits.sprinkle("x", &[min, max]).without_gradients();
        }
    }
}
