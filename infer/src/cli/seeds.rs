//! Lists of seeds as they are typed: `0-63`, `3,7,10-12`.

use std::str::FromStr;

/// Seeds in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

const MOST: u64 = 100_000_000;

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let wrong = |part: &str| format!("'{part}' is no seed or range of seeds, as in 0-63 or 3,7,10-12");
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong(part));
            let (first, last) = (number(first)?, number(last)?);
            if last < first || last - first >= MOST {
                return Err(wrong(part));
            }
            seeds.extend(first..=last);
        }
        let mut sorted = seeds.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("seed {} is asked for twice", pair[0]));
        }
        Ok(Seeds(seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_seeds_are_read_in_order() {
        assert_eq!("0-3".parse(), Ok(Seeds(vec![0, 1, 2, 3])));
        assert_eq!("7,2-3".parse(), Ok(Seeds(vec![7, 2, 3])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "a", "3-1", "1-", "-4", "0-99999999999"] {
            let message = text.parse::<Seeds>().unwrap_err();
            assert!(message.ends_with("as in 0-63 or 3,7,10-12"), "{message}");
        }
        assert_eq!("1-3,2".parse::<Seeds>(), Err("seed 2 is asked for twice".to_string()));
    }
}
