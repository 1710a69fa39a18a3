//! What the shape of an array means.

/// Rows and features of an array `[N, D]`, or, where it is to be flattened, `[N, ...]`.
///
/// # Errors
/// What the shape is instead, and what to do.
pub(crate) fn table(shape: &[usize], flatten: bool) -> Result<(usize, usize), String> {
    let (rows, dim) = match *shape {
        [] | [_] if !flatten => {
            return Err(format!(
                "it has the shape {shape:?}; features are [N, D], a row for each sample (one feature each: --flatten)"
            ));
        }
        [] => return Err("it is a single number; features are [N, D], a row for each sample".to_string()),
        [rows, dim] => (rows, dim),
        [rows, ref rest @ ..] if flatten => {
            let dim = rest.iter().try_fold(1usize, |dim, &side| dim.checked_mul(side));
            (rows, dim.ok_or_else(|| format!("its shape {shape:?} is larger than any memory"))?)
        }
        [..] => {
            return Err(format!(
                "it has the shape {shape:?}; features are [N, D], a row for each sample: give --flatten to make one row \
                 of everything behind the first axis, or average it first"
            ));
        }
    };
    match (rows, dim) {
        (0, _) => Err("it has no rows".to_string()),
        (_, 0) => Err(format!("its shape {shape:?} has no features")),
        _ => Ok((rows, dim)),
    }
}

/// The number of labels in an array `[N]`, or `[N, 1]` with any number of ones.
///
/// # Errors
/// What the shape is instead.
pub(crate) fn column(shape: &[usize]) -> Result<usize, String> {
    match *shape {
        [0, ..] => Err("it has no rows".to_string()),
        [rows, ref rest @ ..] if rest.iter().all(|&side| side == 1) => Ok(rows),
        [_, classes] => Err(format!(
            "it has the shape {shape:?}; labels are [N], one for each row (of one-hot rows or scores of {classes} classes, \
             save array.argmax(1))"
        )),
        _ => Err(format!("it has the shape {shape:?}; labels are [N], one for each row")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_axes_are_a_table_unless_it_is_said() {
        assert_eq!(table(&[3, 4], false), Ok((3, 4)));
        assert_eq!(table(&[3, 4, 5], true), Ok((3, 20)));
        assert_eq!(table(&[3], true), Ok((3, 1)));
        for (shape, flatten, wanted) in [
            (&[3, 4, 5][..], false, "it has the shape [3, 4, 5]; features are [N, D]"),
            (&[3], false, "it has the shape [3]; features are [N, D]"),
            (&[], true, "it is a single number"),
            (&[0, 4], false, "it has no rows"),
            (&[3, 0], false, "its shape [3, 0] has no features"),
            (&[3, usize::MAX, 2], true, "its shape"),
        ] {
            let error = table(shape, flatten).expect_err("no table");
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn labels_are_one_for_each_row() {
        assert_eq!(column(&[3]), Ok(3));
        assert_eq!(column(&[3, 1, 1]), Ok(3));
        assert!(column(&[3, 10]).expect_err("scores").contains("scores of 10 classes"));
        assert!(column(&[]).is_err() && column(&[0]).is_err() && column(&[2, 2, 2]).is_err());
    }
}
