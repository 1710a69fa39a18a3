//! What plotters draws, kept as shapes: of them are made the SVG of the page, SVG files and PNG files.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
    FontTransform,
};

use super::paint::Paint;

/// plotters counts in whole numbers; so many of them are a pixel, and lines lie on tenths.
pub const FINE: i32 = 10;

/// The width of a letter by its height; that of Noto Sans Mono, and a little more than most others'.
const LETTER: f32 = 0.6;

/// What belongs together and can be hidden together: 0 for axes, others for series.
pub type Group = u16;

/// The legend of a file, which the page has beside the plot.
pub const LEGEND: Group = u16::MAX;

/// A shape; coordinates in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// What it belongs to.
    pub group: Group,
    /// Its colour.
    pub paint: Paint,
    /// How much it covers, 0 to 1.
    pub alpha: f32,
    /// Its form.
    pub form: Form,
}

/// The form of a shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// A line from point to point, so wide.
    Line(Vec<(f32, f32)>, f32),
    /// A filled polygon.
    Area(Vec<(f32, f32)>),
    /// A rectangle `[x, y, width, height]`: filled, or a line so wide.
    Rectangle([f32; 4], Option<f32>),
    /// A circle (centre, radius): filled, or a line so wide.
    Circle((f32, f32), f32, Option<f32>),
    /// A text.
    Text(Text),
}

/// A text and how it lies to its point.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// What is written.
    pub text: String,
    /// The point.
    pub at: (f32, f32),
    /// Height of the font.
    pub size: f32,
    /// Where the point is across: 0 before the text, 0.5 in its middle, 1 behind it.
    pub across: f32,
    /// Where the point is down: 0 above, 0.5 in the middle, 1 below.
    pub down: f32,
    /// A quarter turn: -1 for a text that reads upwards, 1 for one that reads downwards.
    pub turned: i8,
    /// Whether it is bold.
    pub bold: bool,
}

impl Text {
    /// Its width as far as one can tell without a font.
    pub fn width(text: &str, size: f32) -> f32 {
        text.chars().count() as f32 * size * LETTER
    }
}

/// The area that plotters draws on.
pub type Area = DrawingArea<Recorder, Shift>;

/// Keeps what is drawn on it.
pub struct Recorder {
    size: (u32, u32),
    group: Rc<Cell<Group>>,
    shapes: Rc<RefCell<Vec<Shape>>>,
}

/// A canvas of so many pixels.
pub struct Canvas {
    /// Width and height in pixels.
    pub size: (u32, u32),
    group: Rc<Cell<Group>>,
    shapes: Rc<RefCell<Vec<Shape>>>,
}

impl Canvas {
    /// An empty one.
    pub fn new(width: u32, height: u32) -> Canvas {
        Canvas { size: (width, height), group: Rc::default(), shapes: Rc::default() }
    }

    /// The area for plotters, [`FINE`] times as large.
    pub fn area(&self) -> Area {
        let size = (self.size.0 * FINE as u32, self.size.1 * FINE as u32);
        Recorder { size, group: Rc::clone(&self.group), shapes: Rc::clone(&self.shapes) }.into_drawing_area()
    }

    /// What is drawn from now on belongs to `group`.
    pub fn group(&self, group: Group) {
        self.group.set(group);
    }

    /// Adds a shape of the current group.
    pub fn add(&self, paint: Paint, form: Form) {
        self.shapes.borrow_mut().push(Shape { group: self.group.get(), paint, alpha: 1.0, form });
    }

    /// What was drawn.
    pub fn into_shapes(self) -> Vec<Shape> {
        self.shapes.take()
    }
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

fn pixels((x, y): BackendCoord) -> (f32, f32) {
    (x as f32 / FINE as f32, y as f32 / FINE as f32)
}

impl Recorder {
    fn push(&mut self, colour: BackendColor, form: Form) -> Drawn {
        if colour.alpha > 0.0 {
            let (group, alpha) = (self.group.get(), colour.alpha as f32);
            self.shapes.borrow_mut().push(Shape { group, paint: Paint::of(colour), alpha, form });
        }
        Ok(())
    }
}

fn width<S: BackendStyle>(style: &S) -> f32 {
    style.stroke_width() as f32 / FINE as f32
}

impl DrawingBackend for Recorder {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, colour: BackendColor) -> Drawn {
        let ((x, y), side) = (pixels(point), 1.0 / FINE as f32);
        self.push(colour, Form::Rectangle([x, y, side, side], None))
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.push(style.color(), Form::Line(vec![pixels(from), pixels(to)], width(style)))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        first: BackendCoord,
        last: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let ((x0, y0), (x1, y1)) = (pixels(first), pixels(last));
        let sides = [x0.min(x1), y0.min(y1), (x1 - x0).abs(), (y1 - y0).abs()];
        self.push(style.color(), Form::Rectangle(sides, (!fill).then(|| width(style))))
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let points: Vec<(f32, f32)> = path.into_iter().map(pixels).collect();
        if points.len() < 2 { Ok(()) } else { self.push(style.color(), Form::Line(points, width(style))) }
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        centre: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let radius = radius as f32 / FINE as f32;
        self.push(style.color(), Form::Circle(pixels(centre), radius, (!fill).then(|| width(style))))
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        points: I,
        style: &S,
    ) -> Drawn {
        self.push(style.color(), Form::Area(points.into_iter().map(pixels).collect()))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let anchor = style.anchor();
        let text = Text {
            text: text.to_string(),
            at: pixels(at),
            size: style.size() as f32 / FINE as f32,
            across: match anchor.h_pos {
                HPos::Left => 0.0,
                HPos::Center => 0.5,
                HPos::Right => 1.0,
            },
            down: match anchor.v_pos {
                VPos::Top => 0.0,
                VPos::Center => 0.5,
                VPos::Bottom => 1.0,
            },
            turned: match style.transform() {
                FontTransform::Rotate90 => 1,
                FontTransform::Rotate270 => -1,
                FontTransform::None | FontTransform::Rotate180 => 0,
            },
            bold: matches!(style.style(), FontStyle::Bold),
        };
        self.push(style.color(), Form::Text(text))
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let size = style.size() as f32;
        Ok((Text::width(text, size) as u32, size as u32))
    }
}
