//! Maps as a head sees them that looks at every place: the features of the first place, then those of the second, and so on.

use std::ops::Range;

use ddae_classify::error::Result;
use ddae_classify::rows::Rows;
use ddae_classify::scaling::Scaling;
use ndarray::{Array2, s};

use crate::error::ProbeError;
use crate::source::table::Table;

/// How the numbers of a map lie in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapLayout {
    /// Places.
    pub(super) places: usize,
    /// Features of each.
    pub(super) dim: usize,
    /// Whether all places of the first feature come first, as of `[D, H, W]`; else the features of the first place.
    features_first: bool,
}

impl MapLayout {
    /// Of the maps that a table holds.
    ///
    /// # Errors
    /// When its features are no maps.
    pub(super) fn of(table: &Table) -> std::result::Result<Self, ProbeError> {
        match table.map_shape().as_deref() {
            Some(&[dim, height, width]) => Ok(Self { places: height * width, dim, features_first: true }),
            Some(&[places, dim]) => Ok(Self { places, dim, features_first: false }),
            _ => Err(ProbeError::Usage(format!(
                "{} of {} are no maps, and an attention-pooled head wants their places: give one feature of a file that \
                 `ddae-infer features` made with a graph of `ddae-export --graph features --unpooled`",
                table.features(),
                table.origin()
            ))),
        }
    }

    /// Numbers of a map.
    pub(super) fn len(self) -> usize {
        self.places * self.dim
    }

    /// Rows `[N, T D]` place by place.
    pub(super) fn by_places(self, rows: Array2<f32>) -> Array2<f32> {
        if !self.features_first {
            return rows;
        }
        let mut by_places = Array2::zeros(rows.dim());
        for (map, mut target) in rows.rows().into_iter().zip(by_places.rows_mut()) {
            for (number, &value) in map.iter().enumerate() {
                target[number % self.places * self.dim + number / self.places] = value;
            }
        }
        by_places
    }

    /// Scales the features of every place of rows that lie place by place.
    pub(super) fn scale(self, rows: Array2<f32>, scaling: &Scaling) -> Array2<f32> {
        let shape = rows.dim();
        let mut places = self.divided(rows);
        scaling.apply(&mut places);
        places.into_shape_with_order(shape).expect("the same numbers in the same order")
    }

    fn divided(self, rows: Array2<f32>) -> Array2<f32> {
        let shape = (rows.nrows() * self.places, self.dim);
        rows.into_shape_with_order(shape).expect("the same numbers in the same order")
    }
}

/// The places of all maps of a table as rows `[N T, D]`, for what is learned of features wherever they are.
pub(super) struct Places<'a> {
    pub(super) table: &'a Table<'a>,
    pub(super) layout: MapLayout,
}

impl Rows for Places<'_> {
    fn len(&self) -> usize {
        self.table.len() * self.layout.places
    }

    fn dim(&self) -> usize {
        self.layout.dim
    }

    fn read(&self, range: Range<usize>) -> Result<Array2<f32>> {
        let each = self.layout.places;
        let maps = range.start / each..range.end.div_ceil(each);
        let first = maps.start * each;
        let places = self.layout.divided(self.layout.by_places(self.table.read(maps)?));
        Ok(places.slice(s![range.start - first..range.end - first, ..]).to_owned())
    }
}

/// The maps of a table place by place, `[N, T D]`, scaled.
pub(super) struct ScaledMaps<'a> {
    pub(super) table: &'a Table<'a>,
    pub(super) layout: MapLayout,
    pub(super) scaling: &'a Scaling,
}

impl Rows for ScaledMaps<'_> {
    fn len(&self) -> usize {
        self.table.len()
    }

    fn dim(&self) -> usize {
        self.table.dim()
    }

    fn read(&self, range: Range<usize>) -> Result<Array2<f32>> {
        let maps = self.layout.by_places(self.table.read(range)?);
        Ok(self.layout.scale(maps, self.scaling))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Axis, array};

    use super::*;

    #[test]
    fn maps_are_read_place_by_place() {
        // Two features at three places.
        let layout = MapLayout { places: 3, dim: 2, features_first: true };
        let rows = array![[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], [4.0, 5.0, 6.0, 40.0, 50.0, 60.0]];
        let by_places = layout.by_places(rows.clone());
        assert_eq!(by_places.row(0).to_vec(), [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        assert_eq!(layout.divided(by_places.clone()).len_of(Axis(0)), 6);
        let tokens = MapLayout { features_first: false, ..layout };
        assert_eq!(tokens.by_places(rows.clone()), rows);
        let scaled = layout.scale(by_places, &Scaling::L2);
        assert!((scaled.row(1).iter().take(2).map(|v: &f32| v * v).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((scaled[[0, 0]] / scaled[[0, 1]] - 0.1_f32).abs() < 1e-6);
    }
}
