//! One of several processes that share a job.

use std::fmt;
use std::str::FromStr;

use ddae_infer::InferError;

/// Shard `index` of `of`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: usize,
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers =
            text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if index < of => Ok(Shard { index, of }),
            _ => Err("wanted is I/N with I from 0 to N-1, as in 0/4".to_string()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl Shard {
    /// The shard that this process computes: `given` by `--shard`, or else that of the array or launcher which started the
    /// process; none where neither says. `shards` is the number that `--shards` gives. Says what the environment decided.
    ///
    /// # Errors
    /// When the environment gives a number without saying of how many, or makes no sense.
    pub fn asked(given: Option<Shard>, shards: Option<u64>) -> Result<Option<Shard>, InferError> {
        if given.is_some() {
            return Ok(given);
        }
        // An empty variable is as good as none.
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some((shard, variable)) = of_environment(get, shards).map_err(InferError::Argument)? else {
            return Ok(None);
        };
        ddae_base::note(format_args!("note: --shard {shard}, by {variable}"));
        Ok(Some(shard))
    }

    /// The positions of `count` things that are this shard's: one after the other, shared out evenly.
    pub fn part(self, count: usize) -> std::ops::Range<usize> {
        ddae_store::shard_rows(count, self.index, self.of)
    }
}

/// The shard by the environment, and by which variable.
fn of_environment(
    get: impl Fn(&str) -> Option<String>,
    shards: Option<u64>,
) -> Result<Option<(Shard, &'static str)>, String> {
    let number = |name: &str| -> Result<Option<u64>, String> {
        let Some(text) = get(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            let text = ddae_base::text::excerpt(&text, 20);
            format!("{name} is '{text}', and a whole number is wanted there: give --shard I/N")
        });
        number.map(Some)
    };
    // What gives the number of this process, and what their count.
    let (name, index, count) = if let Some(task) = number("SLURM_ARRAY_TASK_ID")? {
        let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let name = "SLURM_ARRAY_TASK_ID";
        let count = number("SLURM_ARRAY_TASK_COUNT")?;
        let from_first = task.checked_sub(first).filter(|place| place.is_multiple_of(step));
        let index =
            from_first.map(|place| place / step).filter(|&index| count.is_none_or(|count| index < count));
        let index = index.ok_or_else(|| {
            format!("{name} is {task}, and the tasks of this array are not numbered evenly: give --shard I/N")
        })?;
        (name, index, count)
    } else if let Some(index) = number("JOB_COMPLETION_INDEX")? {
        ("JOB_COMPLETION_INDEX", index, None)
    } else if let (Some(index), Some(count)) = (number("RANK")?, number("WORLD_SIZE")?) {
        ("RANK", index, Some(count))
    } else {
        return Ok(None);
    };
    let of = match (count, shards) {
        (Some(count), Some(shards)) if count != shards => {
            return Err(format!(
                "{name} is of {count} processes, and --shards is {shards}: leave --shards out, or give --shard I/{shards}"
            ));
        }
        (Some(count), _) => count,
        (None, Some(shards)) => shards,
        (None, None) => {
            return Err(format!(
                "{name} is {index}, and nothing says of how many: give --shards N for one shard to each, or --shard 0/1 for \
                 all in this process"
            ));
        }
    };
    if index >= of {
        return Err(format!(
            "{name} is {index}, and there are {of} shards, counted from 0: give --shard I/N"
        ));
    }
    if of == 1 && shards.is_none() {
        // All that there is.
        return Ok(None);
    }
    let as_size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Some((Shard { index: as_size(index), of: as_size(of) }, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], shards: Option<u64>) -> Result<Option<String>, String> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        Ok(of_environment(get, shards)?.map(|(shard, variable)| format!("{shard} {variable}")))
    }

    #[test]
    fn arrays_and_launchers_say_which_shard() {
        let slurm = |task, first, step, count| {
            [
                ("SLURM_ARRAY_TASK_ID", task),
                ("SLURM_ARRAY_TASK_MIN", first),
                ("SLURM_ARRAY_TASK_STEP", step),
                ("SLURM_ARRAY_TASK_COUNT", count),
            ]
        };
        let found = |variables: &[(&str, &str)], shards| of(variables, shards).expect("a shard");
        assert_eq!(found(&[], None), None);
        assert_eq!(found(&[], Some(4)), None);
        assert_eq!(found(&[("RANK", "3")], None), None, "no launcher");
        let shard = |text: &str| Some(text.to_string());
        assert_eq!(found(&slurm("5", "0", "1", "64"), None), shard("5/64 SLURM_ARRAY_TASK_ID"));
        assert_eq!(found(&slurm("7", "1", "2", "4"), Some(4)), shard("3/4 SLURM_ARRAY_TASK_ID"));
        assert_eq!(found(&[("JOB_COMPLETION_INDEX", "2")], Some(8)), shard("2/8 JOB_COMPLETION_INDEX"));
        assert_eq!(found(&[("RANK", "1"), ("WORLD_SIZE", "2")], None), shard("1/2 RANK"));
        assert_eq!(found(&[("RANK", "0"), ("WORLD_SIZE", "1")], None), None);
        for (variables, shards, wanted) in [
            (&slurm("8", "1", "2", "4")[..], None, "not numbered evenly"),
            (&slurm("9", "1", "2", "4"), None, "not numbered evenly"),
            (&slurm("5", "0", "1", "64"), Some(10), "is of 64 processes, and --shards is 10"),
            (&[("JOB_COMPLETION_INDEX", "2")], None, "is 2, and nothing says of how many: give --shards N"),
            (&[("JOB_COMPLETION_INDEX", "8")], Some(8), "is 8, and there are 8 shards"),
            (&[("RANK", "one"), ("WORLD_SIZE", "2")], None, "RANK is 'one', and a whole number is wanted"),
        ] {
            let error = of(variables, shards).expect_err(wanted);
            assert!(error.contains(wanted), "{error}");
        }
    }
}
