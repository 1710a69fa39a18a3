use super::*;

#[test]
fn the_fewest_images_of_a_head_follow_from_the_search() {
    let labels: Vec<i64> = (0..1000).map(|i| i % 10).collect();
    let layers = vec![("out_1".to_string(), 4), ("out_2".to_string(), 4)];
    let plan = |search, selection| GridPlan {
        timesteps: vec![1, 11],
        layers: layers.clone(),
        search,
        selection,
        held_out: 0.2,
        seed: 3,
        seeds: 1,
    };
    let fewest = |search, selection| plan(search, selection).fewest(&labels).expect("ten classes");
    assert_eq!(fewest(Search::Full, Selection::Published), 1000);
    assert_eq!(fewest(Search::Full, Selection::HeldOut), 800);
    // Halves of a round of 200.
    assert_eq!(fewest(Search::Halving, Selection::HeldOut), 100);
}

#[test]
fn scores_are_ranked_by_their_mean() {
    let scores = Scores { by_seed: vec![vec![0.5, 0.7], vec![0.9, 0.1], vec![0.6, 0.6]], samples: 10 };
    // The first and the last are alike, although a single seed would choose the second.
    assert_eq!(scores.ranked()[2], 1);
    assert!((scores.mean(0) - scores.mean(2)).abs() < 1e-12);
    assert_eq!(scores.deviation(2), Some(0.0));
}
