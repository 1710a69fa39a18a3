//! Shapes as SVG.

use std::fmt::Write;

use super::canvas::{Form, LEGEND, Shape, Text};
use super::paint::Paint;

/// The fonts of texts; none is loaded.
const FONTS: &str = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif";

/// An `svg` element. With `themed` its colours are variables of the page around it, and it has no background and no legend;
/// without, it stands alone on white.
pub fn write(shapes: &[Shape], (width, height): (u32, u32), title: &str, themed: bool) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\" font-family=\"{FONTS}\">",
        escaped(title)
    );
    if !themed {
        let paper = Paint::Paper.svg(false);
        let _ = write!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"{paper}\"/>");
    }
    let mut group = 0;
    for shape in shapes.iter().filter(|shape| !(themed && shape.group == LEGEND)) {
        if shape.group != group {
            if group != 0 {
                out.push_str("</g>");
            }
            group = shape.group;
            if group != 0 {
                let _ = write!(out, "<g data-g=\"{group}\">");
            }
        }
        one(&mut out, shape, themed);
    }
    if group != 0 {
        out.push_str("</g>");
    }
    out.push_str("</svg>");
    out
}

fn one(out: &mut String, shape: &Shape, themed: bool) {
    let colour = shape.paint.svg(themed);
    let filled = |line: &Option<f32>| match line {
        None if shape.alpha < 1.0 => format!("fill=\"{colour}\" fill-opacity=\"{}\"", short(shape.alpha)),
        None => format!("fill=\"{colour}\""),
        Some(width) => format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\"", short(*width)),
    };
    // Writing to a string cannot fail.
    let _ = match &shape.form {
        Form::Line(points, width) => {
            let opacity = if shape.alpha < 1.0 {
                format!(" stroke-opacity=\"{}\"", short(shape.alpha))
            } else {
                String::new()
            };
            write!(
                out,
                "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" stroke-linejoin=\"round\"{opacity}/>",
                path(points, false),
                short(*width)
            )
        }
        Form::Area(points) => write!(out, "<path d=\"{}\" {}/>", path(points, true), filled(&None)),
        Form::Rectangle([x, y, width, height], line) => write!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {}/>",
            short(*x),
            short(*y),
            short(*width),
            short(*height),
            filled(line)
        ),
        Form::Circle((x, y), radius, line) => {
            write!(
                out,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {}/>",
                short(*x),
                short(*y),
                short(*radius),
                filled(line)
            )
        }
        Form::Text(text) => {
            write_text(out, text, &colour);
            Ok(())
        }
    };
}

fn write_text(out: &mut String, text: &Text, colour: &str) {
    let anchor = ["start", "middle", "end"][(text.across * 2.0) as usize];
    // From where a line is to where its letters stand: 0.78 of the size below its top, 0.36 below its middle, 0.22 above its end.
    let shift = text.size * (0.78 - text.down * (0.68 + text.down * 0.32));
    let (x, y) = text.at;
    let (x, y, turn) = match text.turned {
        0 => (x, y + shift, String::new()),
        way => {
            let (x, y) = (x - f32::from(way) * shift, y);
            (x, y, format!(" transform=\"rotate({} {} {})\"", 90 * i32::from(way), short(x), short(y)))
        }
    };
    let bold = if text.bold { " font-weight=\"600\"" } else { "" };
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{bold}{turn}>{}</text>",
        short(x),
        short(y),
        short(text.size),
        escaped(&text.text)
    );
}

fn path(points: &[(f32, f32)], closed: bool) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, short(*x), short(*y));
    }
    if closed {
        path.push('Z');
    }
    path
}

/// Two decimals at most.
fn short(value: f32) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    // No minus before zero.
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// Text for XML and HTML; what XML cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_groups_closed() {
        let text = Text {
            text: "<b>&\u{1b}".to_string(),
            at: (1.0, 2.0),
            size: 10.0,
            across: 0.5,
            down: 0.5,
            turned: -1,
            bold: false,
        };
        let shape = |group, form| Shape { group, paint: Paint::Series(1), alpha: 0.5, form };
        let shapes = [
            shape(0, Form::Line(vec![(0.0, 0.0), (1.25, 3.0)], 1.5)),
            shape(2, Form::Circle((1.0, 1.0), 2.0, None)),
            shape(LEGEND, Form::Text(text)),
        ];
        let alone = write(&shapes, (20, 10), "a \"title\"", false);
        assert!(
            alone.contains("aria-label=\"a &quot;title&quot;\"") && alone.contains("M0 0L1.25 3"),
            "{alone}"
        );
        assert!(alone.contains("&lt;b&gt;&amp;\u{fffd}</text></g></svg>"), "{alone}");
        assert!(alone.contains("rotate(-90") && alone.contains("fill=\"#d9480f\""), "{alone}");
        let themed = write(&shapes, (20, 10), "a", true);
        assert!(
            !themed.contains("<text") && themed.ends_with("fill-opacity=\"0.5\"/></g></svg>"),
            "{themed}"
        );
        assert!(themed.contains("<g data-g=\"2\"><circle") && themed.contains("var(--s1)"), "{themed}");
    }
}
