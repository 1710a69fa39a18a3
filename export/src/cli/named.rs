//! Options whose values are names.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A parser of values by name, each with what it is for the help, or nothing.
pub fn named<T: Clone + Send + Sync + 'static>(
    values: &[(T, &'static str, &'static str)],
) -> impl TypedValueParser<Value = T> {
    let possible = |(_, name, about): &(T, &'static str, &'static str)| {
        let value = PossibleValue::new(*name);
        if about.is_empty() { value } else { value.help(*about) }
    };
    let parser = PossibleValuesParser::new(values.iter().map(possible));
    let values = values.to_vec();
    parser.try_map(move |name| {
        let found = values.iter().find(|(_, known, _)| *known == name);
        found.map(|(value, ..)| value.clone()).ok_or("no such value")
    })
}
