//! What the name of a set of weights tells of it.

/// Words that mean a moving average, and those that mean any average.
const MOVING: [&str; 5] = ["ema", "averaged", "shadow", "swa", "polyak"];
const MEAN: [&str; 2] = ["average", "avg"];
/// Words before such a one that say that it is none, or what there was without it.
const NEGATIONS: [&str; 8] = ["no", "not", "non", "pre", "before", "without", "wo", "raw"];
/// Words for weights that were put aside while the average stood in their place.
const ASIDE: [&str; 2] = ["collected", "backup"];
/// Words with which an average is one of an optimiser's, which are none of weights (`exp_avg`, `square_avg`).
const MOMENTS: [&str; 7] = ["exp", "sq", "square", "squared", "grad", "grads", "gradient"];
/// Words with which it may be.
const RUNNING: [&str; 2] = ["running", "momentum"];
/// What stands beside the weights of `LitEma`.
pub(super) const COUNTS: [&str; 2] = ["decay", "num_updates"];

/// What a name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// That it is certainly a moving average.
    Average,
    /// It speaks of an average, and may mean another thing.
    Unsure,
    Nothing,
}

/// What the parts of a name tell.
pub(super) fn telling(name: &str) -> Telling {
    let words = words(name);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let (is_moving, is_mean) = (has(&MOVING), has(&MEAN));
    if !is_moving && (!is_mean || has(&MOMENTS)) {
        return Telling::Nothing;
    }
    let is_negated = words.windows(2).any(|pair| {
        let [before, word] = [pair[0].as_str(), pair[1].as_str()];
        NEGATIONS.contains(&before) && (MOVING.contains(&word) || MEAN.contains(&word))
    });
    let is_of_optimizer = words.iter().any(|word| word == "opt" || word.starts_with("optim"));
    match is_negated || is_of_optimizer || has(&ASIDE) || has(&MOMENTS) || has(&RUNNING) {
        true => Telling::Unsure,
        false => Telling::Average,
    }
}

/// Whether a name certainly says that what bears it is a moving average: `model_ema`, `unet_ema`, but not `non_ema`.
pub fn names_average(name: &str) -> bool {
    telling(name) == Telling::Average
}

/// The words of a name like `state_dict_ema` or `netEma`, in small letters.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_was_small = false;
    for c in name.chars() {
        let is_border = !c.is_alphanumeric();
        if (is_border || (before_was_small && c.is_uppercase()))
            && words.last().is_some_and(|word| !word.is_empty())
        {
            words.push(String::new());
        }
        if let (false, Some(word)) = (is_border, words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before_was_small = c.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_averages() {
        for (name, told) in [
            ("", Telling::Nothing),
            ("model.", Telling::Nothing),
            ("ema.", Telling::Average),
            ("EMA.ema_model.nn_model.", Telling::Average),
            ("state_dict_ema.", Telling::Average),
            ("state_dict.model_ema.", Telling::Average),
            ("ema_model_state_dict.module.", Telling::Average),
            ("params_ema.", Telling::Average),
            ("netEma.", Telling::Average),
            ("model-ema.", Telling::Average),
            ("swa_model.", Telling::Average),
            ("average.", Telling::Average),
            ("ema.shadow_params.", Telling::Average),
            ("schema.", Telling::Nothing),
            ("emanate.model.", Telling::Nothing),
            ("non_ema.", Telling::Unsure),
            ("unet_non_ema.", Telling::Unsure),
            ("model_no_ema.", Telling::Unsure),
            ("before_ema.", Telling::Unsure),
            ("pre-ema.", Telling::Unsure),
            ("without.ema.", Telling::Unsure),
            ("rawEma.", Telling::Unsure),
            ("ema.collected_params.", Telling::Unsure),
            ("ema.backup.", Telling::Unsure),
            ("optimizer_states.0.ema.", Telling::Unsure),
            ("optimizer.exp_avg.", Telling::Nothing),
            ("optimizer.square_avg.", Telling::Nothing),
            ("running_avg.", Telling::Unsure),
            ("optimizer.avg.", Telling::Unsure),
            ("avg_model.", Telling::Average),
        ] {
            assert_eq!(telling(name), told, "'{name}'");
        }
    }
}
