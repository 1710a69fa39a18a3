//! Colours by what they are for, so that a page may show them light or dark.

use plotters::style::RGBColor;
use plotters_backend::BackendColor;

/// What a shape is painted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Text and axes.
    Ink,
    /// Labels of axes.
    Quiet,
    /// Lines behind the data.
    Grid,
    /// What is drawn on.
    Paper,
    /// The colour of a series or class; beyond [`SERIES`] they begin anew.
    Series(u8),
    /// Red, green and blue, whatever the theme.
    Fixed(u8, u8, u8),
}

/// Light and dark colours of series, each readable on its background.
pub const SERIES: [(&str, &str); 12] = [
    ("#2f6fde", "#74a8ff"),
    ("#d9480f", "#ff922b"),
    ("#2b8a3e", "#69db7c"),
    ("#a61e8f", "#e599f7"),
    ("#a5780b", "#ffd43b"),
    ("#0b7285", "#3bc9db"),
    ("#c92a2a", "#ff8787"),
    ("#5f3dc4", "#b197fc"),
    ("#5c940d", "#a9e34b"),
    ("#495057", "#ced4da"),
    ("#e64980", "#faa2c1"),
    ("#1098ad", "#66d9e8"),
];

/// Name in CSS, light and dark colour of the other roles.
const ROLES: [(&str, &str, &str); 4] = [
    ("ink", "#1d1d1f", "#e8e9ed"),
    ("quiet", "#5d6068", "#a5a9b4"),
    ("grid", "#e2e4e9", "#33363f"),
    ("paper", "#ffffff", "#16181d"),
];

/// plotters passes colours as red, green and blue; with these two the third is a role. No other colour begins so.
const CODE: (u8, u8) = (1, 254);

impl Paint {
    /// The paint as a colour of plotters, to be known again by `Paint::of`.
    pub fn colour(self) -> RGBColor {
        let role = |number| RGBColor(CODE.0, CODE.1, number);
        match self {
            Paint::Ink => role(0),
            Paint::Quiet => role(1),
            Paint::Grid => role(2),
            Paint::Paper => role(3),
            Paint::Series(number) => role(16 + number % SERIES.len() as u8),
            Paint::Fixed(r, g, b) => RGBColor(r, g, b),
        }
    }

    /// The paint that [`Paint::colour`] made a colour of.
    pub(super) fn of(colour: BackendColor) -> Paint {
        match colour.rgb {
            (a, b, number) if (a, b) == CODE => match number {
                0 => Paint::Ink,
                1 => Paint::Quiet,
                2 => Paint::Grid,
                3 => Paint::Paper,
                number => Paint::Series(number.saturating_sub(16)),
            },
            (r, g, b) => Paint::Fixed(r, g, b),
        }
    }

    /// In SVG: a variable of the page, or, in a file of its own, the light colour.
    pub(super) fn svg(self, themed: bool) -> String {
        match self {
            Paint::Series(number) if themed => format!("var(--s{number})"),
            Paint::Ink if themed => "var(--ink)".to_string(),
            Paint::Quiet if themed => "var(--quiet)".to_string(),
            Paint::Grid if themed => "var(--grid)".to_string(),
            Paint::Paper if themed => "var(--paper)".to_string(),
            other => {
                let [r, g, b] = other.light();
                format!("#{r:02x}{g:02x}{b:02x}")
            }
        }
    }

    /// Red, green and blue on white.
    pub(super) fn light(self) -> [u8; 3] {
        let role = |number: usize| parsed(ROLES[number].1);
        match self {
            Paint::Ink => role(0),
            Paint::Quiet => role(1),
            Paint::Grid => role(2),
            Paint::Paper => role(3),
            Paint::Series(number) => parsed(SERIES[usize::from(number) % SERIES.len()].0),
            Paint::Fixed(r, g, b) => [r, g, b],
        }
    }
}

fn parsed(hex: &str) -> [u8; 3] {
    let channel = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or(0);
    [channel(1), channel(3), channel(5)]
}

/// The variables of a theme as CSS declarations.
pub fn variables(dark: bool) -> String {
    let roles = ROLES.iter().map(|(name, light, night)| (name.to_string(), if dark { night } else { light }));
    let series = SERIES
        .iter()
        .enumerate()
        .map(|(i, (light, night))| (format!("s{i}"), if dark { night } else { light }));
    roles.chain(series).map(|(name, colour)| format!("--{name}:{colour};")).collect()
}

#[cfg(test)]
mod tests {
    use plotters_backend::BackendStyle;

    use super::*;

    #[test]
    fn paints_pass_through_plotters() {
        for paint in
            [Paint::Ink, Paint::Quiet, Paint::Grid, Paint::Paper, Paint::Series(11), Paint::Fixed(1, 2, 3)]
        {
            assert_eq!(Paint::of(BackendStyle::color(&paint.colour())), paint);
        }
        assert_eq!(Paint::of(BackendStyle::color(&Paint::Series(12).colour())), Paint::Series(0));
        assert_eq!(Paint::Series(0).svg(true), "var(--s0)");
        assert_eq!(Paint::Series(0).svg(false), "#2f6fde");
        assert!(variables(true).starts_with("--ink:#e8e9ed;"), "{}", variables(true));
    }
}
