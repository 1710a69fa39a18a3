use super::*;
use crate::linear::Preset;

/// Numbers between -1 and 1 that look drawn.
fn numbers(count: usize, salt: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (((i + 3) * (7 + salt) * 2_654_435 + i * i * 97) % 2001) as f32 / 1000.0 - 1.0)
        .collect()
}

/// A model of 6 features, 3 classes and a query that does not look everywhere alike.
fn model(heads: usize) -> AttentionModel {
    let mut model = AttentionModel::initial(6, heads, 3, false, 5).expect("divides");
    model.query = Array1::from(numbers(6, 1)) * 2.0;
    model
}

fn maps(count: usize, tokens: usize) -> Array2<f32> {
    Array2::from_shape_vec((count, tokens * 6), numbers(count * tokens * 6, 4)).expect("so many")
}

/// Keys and values of every place, as the papers write it, in float64 and by loops.
#[test]
fn scores_are_those_of_the_formula() {
    for heads in [1, 2, 3, 6] {
        let (model, maps) = (model(heads), maps(4, 5));
        let found = model.logits(maps.view());
        let width = 6 / heads;
        for (n, map) in maps.rows().into_iter().enumerate() {
            let place = |i: usize, d: usize| f64::from(map[i * 6 + d]);
            let times = |weight: &Array2<f32>, row: usize, i: usize| -> f64 {
                (0..6).map(|d| f64::from(weight[[row, d]]) * place(i, d)).sum()
            };
            let mut gathered = [0.0; 6];
            for head in 0..heads {
                let rows = head * width..(head + 1) * width;
                let score = |i: usize| -> f64 {
                    let sum: f64 = rows
                        .clone()
                        .map(|row| f64::from(model.query[row]) * times(&model.keys, row, i))
                        .sum();
                    (sum / (width as f64).sqrt()).exp()
                };
                let total: f64 = (0..5).map(score).sum();
                for row in rows.clone() {
                    gathered[row] = (0..5).map(|i| score(i) / total * times(&model.values, row, i)).sum();
                }
            }
            for class in 0..3 {
                let weights = model.output.weight.row(class);
                let sum: f64 = weights.iter().zip(gathered).map(|(&w, z)| f64::from(w) * z).sum();
                let expected = sum + f64::from(model.output.bias[class]);
                assert!((f64::from(found[[n, class]]) - expected).abs() < 1e-5, "{heads} {n} {class}");
            }
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_loss() {
    for heads in [1, 3] {
        let model = model(heads);
        let (count, tokens) = (4, 5);
        let places = places(maps(count, tokens), 6);
        let classes = [1, 0, 2, 1];
        let (_, gradient) = model.differentiate(places.view(), &classes);
        let h = 1e-2;
        let slope = |change: &dyn Fn(&mut AttentionModel, f32)| {
            let at = |by: f32| {
                let mut moved = model.clone();
                change(&mut moved, by);
                moved.differentiate(places.view(), &classes).0
            };
            ((at(h) - at(-h)) / (2.0 * f64::from(h))) as f32
        };
        let check = |found: f32, change: &dyn Fn(&mut AttentionModel, f32), what: &str| {
            let expected = slope(change);
            assert!((found - expected).abs() < 1e-4, "{heads} {what}: {found} {expected}");
        };
        let mut largest = 0.0_f32;
        for a in 0..6 {
            check(gradient.query[a], &|model, by| model.query[a] += by, "query");
            largest = largest.max(gradient.query[a].abs());
            for b in 0..6 {
                check(gradient.keys[[a, b]], &|model, by| model.keys[[a, b]] += by, "keys");
                check(gradient.values[[a, b]], &|model, by| model.values[[a, b]] += by, "values");
            }
            check(gradient.output.weight[[2, a]], &|model, by| model.output.weight[[2, a]] += by, "output");
        }
        check(gradient.output.bias[1], &|model, by| model.output.bias[1] += by, "bias");
        // A query that nothing hangs on would pass.
        assert!(largest > 1e-3, "{largest}");
    }
}

/// A query of zeros averages: the head is then a linear one of the means.
#[test]
fn a_query_of_nothing_averages() {
    let mut model = model(2);
    model.query.fill(0.0);
    let maps = maps(3, 4);
    let means = maps.to_shape((3, 4, 6)).expect("maps").mean_axis(Axis(1)).expect("places");
    let expected = model.output.apply(means.dot(&model.values.t()).view());
    let found = model.logits(maps.view());
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found} {expected}");
}

/// One place of eight tells the class by its sign and is marked by another feature: no average tells as much.
#[test]
fn attention_learns_where_to_look() {
    let (count, tokens) = (600, 8);
    let mut maps = Array2::zeros((count, tokens * 6));
    let mut classes = Vec::new();
    let noise = numbers(count * tokens * 6, 9);
    for n in 0..count {
        let (class, place) = ((n * 7 + n / 5) % 2, (n * 13 + n / 3) % tokens);
        for i in 0..tokens {
            for d in 0..6 {
                maps[[n, i * 6 + d]] = noise[(n * tokens + i) * 6 + d];
            }
            // Elsewhere the telling feature is noise, too.
            maps[[n, i * 6]] *= 2.0;
        }
        maps[[n, place * 6 + 1]] = 4.0;
        maps[[n, place * 6]] = if class == 0 { -1.0 } else { 1.0 };
        classes.push(class);
    }
    let options = LinearOptions { epochs: 40, batch: 50, learning_rate: 0.01, ..Preset::Ddae.options() };
    let right = |found: Vec<usize>| found.iter().zip(&classes).filter(|(a, b)| a == b).count();
    let run = || train(&mut maps.clone(), &classes, 2, [6, 1], &options, &mut |_| {}).expect("trained");
    let (model, summary) = run();
    let mut ranks = Ranks::new(1);
    model.rank(maps.view(), &mut ranks);
    let by_attention = right(ranks.best());
    assert!(by_attention > 590, "{by_attention} {summary:?}");
    assert_eq!(run().0, model);
    let mut means = maps.to_shape((count, tokens, 6)).expect("maps").mean_axis(Axis(1)).expect("places");
    let (linear, _) = crate::linear::train(&mut means, &classes, 2, &options, &mut |_| {}).expect("trained");
    let by_mean = right(linear.predict(means.view()));
    assert!(by_mean < 500, "{by_mean}");
    // With batch normalisation of the features of all places.
    let options = LinearOptions { batch_norm: true, ..options };
    let (normed, _) = train(&mut maps.clone(), &classes, 2, [6, 1], &options, &mut |_| {}).expect("trained");
    let mut ranks = Ranks::new(1);
    normed.rank(maps.view(), &mut ranks);
    assert!(right(ranks.best()) > 580);
    assert_eq!(normed.batch_norm.expect("statistics").mean.len(), 6);
}

#[test]
fn heads_divide_the_features() {
    let error = AttentionModel::initial(6, 4, 2, false, 0).expect_err("4 do not divide 6").to_string();
    assert_eq!(error, "4 heads do not divide 6 features: give --heads 1, 2, 3 or 6");
    for (dim, heads) in [(6, 1), (64, 1), (128, 2), (256, 4), (1152, 18), (200, 2), (130, 2), (131, 1)] {
        assert_eq!(usual_heads(dim), heads, "{dim}");
    }
}
