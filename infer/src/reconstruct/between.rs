//! Latents on the way from one to another.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How latents are interpolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// In a straight line
    #[default]
    Linear,
    /// Along an arc around zero, with lengths in between
    Spherical,
}

/// Below this angle, in radians, an arc is a straight line to the precision of its numbers.
const SMALLEST_ANGLE: f64 = 1e-4;

impl Way {
    /// The latent at `share` (0 to 1) of the way from `from` to `to`, which are as long as each other.
    ///
    /// Along an arc, the direction turns at an even pace (Shoemake 1985) and the length changes at an even pace. From a
    /// latent of zeros, which has no direction, or to its very opposite, to which no arc is the shortest, the way is the
    /// straight line.
    pub fn at(self, from: &[f32], to: &[f32], share: f64) -> Vec<f32> {
        let mixed = |a: f64, b: f64| -> Vec<f32> {
            from.iter().zip(to).map(|(x, y)| (a * f64::from(*x) + b * f64::from(*y)) as f32).collect()
        };
        let product = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        let (length_from, length_to) = (product(from, from).sqrt(), product(to, to).sqrt());
        let angle = (product(from, to) / (length_from * length_to)).clamp(-1.0, 1.0).acos();
        let is_arc = angle > SMALLEST_ANGLE && angle < std::f64::consts::PI - SMALLEST_ANGLE;
        match self {
            Way::Spherical if is_arc => {
                let length = (1.0 - share) * length_from + share * length_to;
                let part = |share: f64| (share * angle).sin() / angle.sin() * length;
                mixed(part(1.0 - share) / length_from, part(share) / length_to)
            }
            _ => mixed(1.0 - share, share),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Linear => "linear",
            Way::Spherical => "spherical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn both_ways_begin_and_end_where_they_should() {
        let (from, to) = ([1.0, -2.0, 0.5], [0.0, 3.0, 4.0]);
        for way in [Way::Linear, Way::Spherical] {
            assert!(close(&way.at(&from, &to, 0.0), &from), "{way}");
            assert!(close(&way.at(&from, &to, 1.0), &to), "{way}");
        }
    }

    #[test]
    fn a_line_is_straight_and_an_arc_keeps_length_and_pace() {
        let (from, to) = ([2.0, 0.0], [0.0, 4.0]);
        assert_eq!(Way::Linear.at(&from, &to, 0.25), [1.5, 1.0]);
        for (share, degrees, length) in [(0.25, 22.5f64, 2.5), (0.5, 45.0, 3.0)] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let expected = [(length * cos) as f32, (length * sin) as f32];
            assert!(close(&Way::Spherical.at(&from, &to, share), &expected), "{share}");
        }
    }

    #[test]
    fn where_there_is_no_arc_the_way_is_straight() {
        for to in [[0.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [3.0, 1e-6]] {
            let found = Way::Spherical.at(&[1.0, 0.0], &to, 0.5);
            assert!(close(&found, &Way::Linear.at(&[1.0, 0.0], &to, 0.5)), "{to:?}: {found:?}");
        }
    }
}
