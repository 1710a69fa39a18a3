//! What the shim adds to libtorch, against plain formulas.

use ddae_tests::{relative_error, tolerance};
use ddae_train::torch::device;
use ddae_train::torch::shim::{self, AdamStep, AdamTensors, GroupNormSilu, Rate, Scaled};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).expect("numbers")
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    let error = relative_error(&values(ours), &values(theirs));
    assert!(error <= tolerance, "{what}: relative error {error:e}");
}

fn random_lists(count: usize) -> Vec<Vec<Tensor>> {
    let shapes: [&[i64]; 3] = [&[17], &[5, 3], &[4, 2, 3, 3]];
    (0..count).map(|_| shapes.iter().map(|shape| Tensor::randn(*shape, CPU)).collect()).collect()
}

/// Three steps of Adam by its formula (arXiv 1412.6980, algorithm 1; arXiv 1711.05101, algorithm 2).
/// With the learning rate as a number, and as a tensor that is read where the parameters are.
fn check_adam(step: AdamStep) {
    let rate = Tensor::from(LEARNING_RATE as f32);
    for learning_rate in [Rate::Number(LEARNING_RATE), Rate::Tensor(&rate)] {
        check_steps(AdamStep { learning_rate, ..step });
    }
}

fn check_steps(step: AdamStep) {
    tch::manual_seed(1);
    let mut lists = random_lists(1);
    let parameters = lists.remove(0);
    let zeros = || -> Vec<Tensor> { parameters.iter().map(Tensor::zeros_like).collect() };
    let (first, second) = (zeros(), zeros());
    let steps: Vec<Tensor> = parameters.iter().map(|_| Tensor::from(0f32)).collect();

    let double = |list: &[Tensor]| -> Vec<Tensor> { list.iter().map(|t| t.to_kind(Kind::Double)).collect() };
    let (mut p, mut m, mut v) = (double(&parameters), double(&first), double(&second));
    for number in 1..=3 {
        let gradients = random_lists(1).remove(0);
        for count in &steps {
            let _ = count.shallow_clone().fill_(f64::from(number));
        }
        let tensors = AdamTensors {
            parameters: &parameters,
            gradients: &gradients,
            first_moments: &first,
            second_moments: &second,
            steps: &steps,
        };
        shim::adam_step(step, &tensors, None).expect("a step");
        for i in 0..p.len() {
            let mut g = gradients[i].to_kind(Kind::Double);
            if step.decoupled {
                p[i] = &p[i] * (1.0 - LEARNING_RATE * step.weight_decay);
            } else {
                g += &p[i] * step.weight_decay;
            }
            m[i] = &m[i] * step.beta1 + &g * (1.0 - step.beta1);
            v[i] = &v[i] * step.beta2 + &g * &g * (1.0 - step.beta2);
            let m_hat = &m[i] / (1.0 - step.beta1.powi(number));
            let v_hat = &v[i] / (1.0 - step.beta2.powi(number));
            p[i] = &p[i] - m_hat / (v_hat.sqrt() + step.eps) * LEARNING_RATE;
            assert_close("parameter", &parameters[i], &p[i], tolerance::CLOSE);
            assert_close("first moment", &first[i], &m[i], tolerance::CLOSE);
            assert_close("second moment", &second[i], &v[i], tolerance::CLOSE);
        }
    }
}

const LEARNING_RATE: f64 = 0.1;

const ADAM: AdamStep<'_> = AdamStep {
    learning_rate: Rate::Number(LEARNING_RATE),
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weight_decay: 0.0,
    decoupled: false,
};

#[test]
fn adam_follows_its_formula() {
    check_adam(ADAM);
    check_adam(AdamStep { weight_decay: 0.05, ..ADAM });
}

#[test]
fn adamw_follows_its_formula() {
    check_adam(AdamStep { weight_decay: 0.05, decoupled: true, ..ADAM });
}

#[test]
fn adam_unscales_gradients_and_leaves_out_steps_that_are_not_finite() {
    let run = |gradient: f32, scale: f32, found_inf: f32| {
        let parameters = [Tensor::from_slice(&[1f32])];
        let tensors = AdamTensors {
            parameters: &parameters,
            gradients: &[Tensor::from_slice(&[gradient * scale])],
            first_moments: &[Tensor::zeros([1], CPU)],
            second_moments: &[Tensor::zeros([1], CPU)],
            steps: &[Tensor::from(1f32)],
        };
        let (scale, found_inf) = (Tensor::from(scale), Tensor::from(found_inf));
        let scaled = Scaled { scale: &scale, found_inf: &found_inf };
        shim::adam_step(AdamStep { eps: 0.5, ..ADAM }, &tensors, Some(scaled)).expect("a step");
        parameters[0].double_value(&[0])
    };
    assert_eq!(run(0.25, 1024.0, 0.0), run(0.25, 1.0, 0.0));
    assert!(run(0.25, 1.0, 0.0) < 1.0);
    assert_eq!(run(0.25, 1.0, 1.0), 1.0);
}

#[test]
fn adam_refuses_gradients_in_another_order_of_memory() {
    let parameters = [shim::channels_last(&Tensor::randn([2, 3, 4, 4], CPU)).expect("channels-last")];
    let gradients = [Tensor::randn([2, 3, 4, 4], CPU)];
    let tensors = AdamTensors {
        parameters: &parameters,
        gradients: &gradients,
        first_moments: &[parameters[0].zeros_like()],
        second_moments: &[parameters[0].zeros_like()],
        steps: &[Tensor::from(1f32)],
    };
    let error = shim::adam_step(ADAM, &tensors, None).expect_err("another layout").to_string();
    let wanted = "Adam: parameter 0 and its gradient or moments differ in shape, type or memory layout";
    assert_eq!(error, wanted);
}

#[test]
fn adam_refuses_memory_that_it_would_leave() {
    let refused = |parameter: &Tensor, steps: &Tensor| {
        let list = || [parameter.shallow_clone()];
        let tensors = AdamTensors {
            parameters: &list(),
            gradients: &list(),
            first_moments: &list(),
            second_moments: &list(),
            steps: std::slice::from_ref(steps),
        };
        shim::adam_step(ADAM, &tensors, None).expect_err("refused").to_string()
    };
    let (count, whole) = (Tensor::from(1f32), Tensor::zeros([4], CPU));
    // Four elements, one of which is there.
    let spread = Tensor::zeros([1], CPU).expand([4], false);
    assert_eq!(refused(&spread, &count), "Adam: parameter 0 has gaps or overlaps in memory");
    let wanted = "Adam: the step count must be a float32 scalar where parameter 0 is";
    assert_eq!(refused(&whole, &Tensor::from(1f64)), wanted);
}

#[test]
fn lists_must_be_as_long() {
    let lists = random_lists(2);
    let error = shim::lerp(&lists[0], &lists[1][..2], 0.5).expect_err("other lengths").to_string();
    assert_eq!(error, "lerp: the lists hold 3 and 2 tensors; they must be as long");
}

#[test]
fn lerp_moves_part_of_the_way_and_copy_all_of_it() {
    let lists = random_lists(2);
    let before: Vec<Tensor> = lists[0].iter().map(Tensor::copy).collect();
    shim::lerp(&lists[0], &lists[1], 0.25).expect("lerp");
    for i in 0..before.len() {
        assert_close("lerp", &lists[0][i], &(&before[i] * 0.75 + &lists[1][i] * 0.25), tolerance::CLOSE);
    }
    shim::copy(&lists[0], &lists[1]).expect("copy");
    for (target, source) in lists[0].iter().zip(&lists[1]) {
        assert_eq!(target, source);
    }
}

#[test]
fn clipping_limits_the_joint_norm() {
    let gradients = random_lists(1).remove(0);
    let before: Vec<Tensor> = gradients.iter().map(Tensor::copy).collect();
    let norm = before.iter().flat_map(values).map(|x| x * x).sum::<f64>().sqrt();
    let kept = shim::clip_gradients(&gradients, 2.0 * norm).expect("a norm").double_value(&[]);
    assert!((kept / norm - 1.0).abs() < tolerance::CLOSE, "{kept} but {norm}");
    for (after, before) in gradients.iter().zip(&before) {
        assert_eq!(after, before);
    }
    let _norm = shim::clip_gradients(&gradients, 0.5).expect("a norm");
    for (after, before) in gradients.iter().zip(&before) {
        assert_close("clipped", after, &(before * (0.5 / norm)), tolerance::CLOSE);
    }
}

#[test]
fn unscaling_finds_what_is_not_finite() {
    for (poison, expected) in [(1.0, 0.0), (f64::INFINITY, 1.0), (f64::NAN, 1.0)] {
        let gradients = random_lists(1).remove(0);
        let before = gradients[0].copy();
        let _ = gradients[2].get(1).fill_(poison);
        let found_inf = Tensor::from(0f32);
        shim::unscale(&gradients, &Tensor::from(0.125f32), &found_inf).expect("unscaled");
        assert_eq!(found_inf.double_value(&[]), expected, "{poison}");
        assert_eq!(gradients[0], before * 0.125);
    }
}

#[test]
fn channels_last_is_the_same_image() {
    let x = Tensor::randn([2, 3, 4, 5], CPU);
    let y = shim::channels_last(&x).expect("channels-last");
    assert_eq!(x, y);
    assert!(
        shim::is_channels_last(&y).expect("an answer") && !shim::is_channels_last(&x).expect("an answer")
    );
    assert_eq!(y.stride(), [60, 1, 15, 3]);
    // One channel: the memory is the same, the strides say which layout is meant.
    let grey = shim::channels_last(&Tensor::randn([2, 1, 4, 5], CPU)).expect("channels-last");
    assert_eq!(grey.stride(), [20, 1, 5, 1]);
    let weight = Tensor::randn([8, 1, 3, 3], CPU);
    let y = grey.conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
    assert!(shim::is_channels_last(&y).expect("an answer"));
    let error = shim::channels_last(&Tensor::zeros([2], CPU)).expect_err("no image").to_string();
    assert_eq!(error, "channels_last: required rank 4 tensor to use channels_last format");
}

#[test]
fn cleared_gradients_are_gone() {
    let x = Tensor::from_slice(&[1f32]).set_requires_grad(true);
    (&x * 2.0).sum(Kind::Float).backward();
    assert_eq!(x.grad().double_value(&[0]), 2.0);
    shim::clear_gradients(std::slice::from_ref(&x)).expect("cleared");
    assert!(!x.grad().defined());
}

#[test]
fn denormals_are_flushed_when_asked() {
    let product = || (Tensor::from_slice(&[1e-30f32]) * Tensor::from_slice(&[1e-10f32])).double_value(&[0]);
    assert!(product() > 0.0);
    if shim::flush_denormals(true).expect("an answer") {
        assert_eq!(product(), 0.0);
        shim::flush_denormals(false).expect("an answer");
    }
}

#[test]
fn cuda_that_cannot_be_had_is_explained() {
    match device::cuda(99) {
        Ok(device) => panic!("{device:?}"),
        Err(error) => {
            let text = error.to_string();
            let reasons = ["cargo xtask setup --cuda", "nvidia-smi", "there is no GPU 99", "does not load"];
            assert!(text.starts_with("CUDA was asked for, but "), "{text}");
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
        }
    }
}

fn norm(dropout: f64, seed: i64) -> GroupNormSilu {
    GroupNormSilu { groups: 8, eps: 1e-5, silu: true, dropout, seed }
}

/// Which operands a joined normalisation has beside `x`.
const OPERANDS: [&[&str]; 6] =
    [&[], &["weight", "bias"], &["weight", "bias", "shift"], &["scale"], &["scale", "shift"], &["shift"]];

/// The joined normalisation against libtorch's own operations, both ways, in a type.
fn check_group_norm_silu(kind: Kind, tolerance: f64, mean: f64, channels: i64) {
    tch::manual_seed(3);
    let arithmetic = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    let random = |shape: &[i64], kind| Tensor::randn(shape, (Kind::Double, Device::Cpu)).to_kind(kind);
    let x =
        shim::channels_last(&(random(&[3, channels, 5, 7], Kind::Double) + mean).to_kind(kind)).expect("x");
    let all = [
        ("weight", random(&[channels], arithmetic)),
        ("bias", random(&[channels], arithmetic)),
        ("shift", random(&[3, channels], kind)),
        ("scale", random(&[3, channels], kind)),
    ];
    let direction = random(&[3, channels, 5, 7], kind);
    for operands in OPERANDS {
        let leaves = |kind: Option<Kind>| -> Vec<(&str, Tensor)> {
            let wanted = all.iter().filter(|(name, _)| operands.contains(name));
            let leaf = |t: &Tensor| t.to_kind(kind.unwrap_or(t.kind())).copy().set_requires_grad(true);
            std::iter::once(("x", leaf(&x))).chain(wanted.map(|(name, t)| (*name, leaf(t)))).collect()
        };
        let find = |leaves: &[(&str, Tensor)], name: &str| {
            leaves.iter().find(|(known, _)| *known == name).map(|(_, tensor)| tensor.shallow_clone())
        };
        let ours = leaves(None);
        let [weight, bias, shift, scale] = ["weight", "bias", "shift", "scale"].map(|name| find(&ours, name));
        let weight = weight.or(scale);
        let y =
            shim::group_norm_silu(&ours[0].1, shift.as_ref(), weight.as_ref(), bias.as_ref(), norm(0.0, 0));
        let y = y.expect("a result");
        assert!(shim::is_channels_last(&y).expect("an answer") && y.kind() == kind);
        (&y * &direction).sum(Kind::Double).backward();

        let theirs = leaves(Some(Kind::Double));
        let [weight, bias, shift, scale] =
            ["weight", "bias", "shift", "scale"].map(|name| find(&theirs, name));
        let mut z = theirs[0].1.shallow_clone();
        if let Some(shift) = shift {
            z = &z + shift.unsqueeze(-1).unsqueeze(-1);
        }
        z = z.group_norm(8, weight.as_ref(), bias.as_ref(), 1e-5, false);
        if let Some(scale) = scale {
            z = &z * scale.unsqueeze(-1).unsqueeze(-1);
        }
        let z = z.silu();
        (&z * direction.to_kind(Kind::Double)).sum(Kind::Double).backward();

        assert_close(&format!("{kind:?} {operands:?} y"), &y, &z, tolerance);
        for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            // The gradient by the shift is a small difference of large sums.
            let tolerance = if *name == "shift" { 100.0 * tolerance } else { 10.0 * tolerance };
            assert_eq!(ours.grad().kind(), ours.kind());
            let what = format!("{kind:?} {operands:?} gradient of {name}");
            assert_close(&what, &ours.grad(), &theirs.grad(), tolerance);
        }
    }
}

#[test]
fn group_norm_silu_is_the_operations_it_joins() {
    // Two channels a group at least: alone, a channel's shift has no effect, and its gradient is rounding.
    for channels in [16, 40, 256] {
        check_group_norm_silu(Kind::Double, 1e-12, 0.5, channels);
        check_group_norm_silu(Kind::Float, tolerance::CLOSE, 0.5, channels);
        check_group_norm_silu(Kind::BFloat16, 1e-2, 0.5, channels);
    }
}

#[test]
fn group_norm_silu_keeps_a_small_variance_beside_a_large_mean() {
    check_group_norm_silu(Kind::Float, 1e-4, 300.0, 40);
}

#[test]
fn group_norm_silu_passes_what_is_not_a_number() {
    let x = Tensor::randn([1, 8, 4, 4], CPU);
    let _ = x.get(0).get(2).get(1).get(1).fill_(f64::NAN);
    let x = shim::channels_last(&x).expect("x");
    let ones = Tensor::ones([8], CPU);
    for x in [x.copy(), x.to_kind(Kind::BFloat16)] {
        let y = shim::group_norm_silu(&x, None, Some(&ones), Some(&ones), norm(0.0, 0)).expect("a result");
        assert!(bool::try_from(y.select(1, 2).isnan().all()).expect("an answer"));
    }
}

#[test]
fn group_norm_silu_refuses_what_it_does_not_do() {
    let (x, ones) = (Tensor::randn([1, 12, 4, 4], CPU), Tensor::ones([12], CPU));
    let fails = |x: &Tensor| {
        shim::group_norm_silu(x, None, Some(&ones), Some(&ones), norm(0.0, 0))
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(fails(&x), "group_norm_silu: wants a channels-last image on the CPU");
    let x = shim::channels_last(&x).expect("x");
    assert_eq!(fails(&x), "group_norm_silu: 12 channels do not split into 8 groups");
    let x = shim::channels_last(&Tensor::randn([2, 16, 4, 4], CPU)).expect("x");
    assert_eq!(fails(&x), "group_norm_silu: weight must be Float [16] or [2, 16] on the CPU");
    let empty = Tensor::zeros([1, 16, 0, 4], CPU);
    assert!(fails(&empty).starts_with("group_norm_silu: wants "), "{}", fails(&empty));
}

#[test]
fn joined_dropout_zeroes_its_share_and_keeps_the_mean() {
    let x = shim::channels_last(&Tensor::randn([8, 64, 16, 16], CPU)).expect("x").set_requires_grad(true);
    let (ones, large) = (Tensor::ones([64], CPU), Tensor::full([64], 10.0, CPU));
    let run = |dropout, seed| {
        shim::group_norm_silu(&x, None, Some(&ones), Some(&large), norm(dropout, seed)).expect("a result")
    };
    let whole = run(0.0, 0);
    let dropped = run(0.3, 5);
    let zeros = dropped.eq(0.0);
    let share = zeros.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    // 131,072 draws: a standard deviation of 0.0013.
    assert!((share - 0.3).abs() < 0.006, "{share}");
    let mean = |t: &Tensor| t.mean(Kind::Double).double_value(&[]);
    assert!((mean(&dropped) / mean(&whole) - 1.0).abs() < 0.01);
    // Each image, channel and pixel draws for itself.
    for axes in [[1i64, 2, 3], [0, 2, 3], [0, 1, 2]] {
        let shares = zeros.to_kind(Kind::Double).mean_dim(&axes[..], false, Kind::Double);
        let spread = (shares - 0.3).abs().max().double_value(&[]);
        assert!(spread < 0.05, "{axes:?}: {spread}");
    }
    // What is kept is scaled; the same seed drops the same, another another.
    let kept = whole.masked_select(&zeros.logical_not()) / 0.7;
    assert_close("kept", &dropped.masked_select(&zeros.logical_not()), &kept, tolerance::CLOSE);
    assert_eq!(run(0.3, 5), dropped);
    assert_ne!(run(0.3, 6), dropped);
    // The way back drops the same elements.
    let y = run(0.3, 5);
    let gradient = Tensor::run_backward(&[y.sum(Kind::Float)], &[&x], false, false).remove(0);
    let masked = run(0.0, 0) * zeros.logical_not().to_kind(Kind::Float) / 0.7;
    let expected = Tensor::run_backward(&[masked.sum(Kind::Float)], &[&x], false, false).remove(0);
    assert_close("gradient", &gradient, &expected, 1e-4);
}
