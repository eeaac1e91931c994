//! Frames and the cells of forms.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Colour, Scene, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::{digit, paper, pen};
use super::printed::FONTS;
use anyhow::Result;

/// How the lines of a frame are drawn.
#[derive(Clone, Copy)]
pub enum Line {
    /// Without interruption.
    Solid,
    /// With this many missing pieces, each this long in pixels.
    Broken(usize, f32),
    /// Dashes and gaps of this length in pixels.
    Dashed(f32),
    /// Only this share of each side, at the corners.
    Corners(f32),
}

/// The rectangle on which a frame is drawn, in pixels.
#[derive(Clone, Copy)]
pub struct Cell {
    /// The left line.
    pub left: f32,
    /// The upper line.
    pub top: f32,
    /// The right line.
    pub right: f32,
    /// The lower line.
    pub bottom: f32,
}

impl Cell {
    /// The shorter side.
    #[must_use]
    pub fn side(&self) -> f32 {
        (self.right - self.left).min(self.bottom - self.top)
    }

    fn inset(self, by: f32) -> Self {
        Self { left: self.left + by, top: self.top + by, right: self.right - by, bottom: self.bottom - by }
    }

    /// Draws the frame, turned by `slant` (the tangent of the angle).
    pub fn draw(&self, canvas: &mut Shape, random: &mut Random, width: f32, slant: f32, line: Line) {
        let middle = (f32::midpoint(self.left, self.right), f32::midpoint(self.top, self.bottom));
        let turned = |(x, y): (f32, f32)| (x - slant * (y - middle.1), y + slant * (x - middle.0));
        let corners = [
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
            (self.left, self.top),
        ];
        for (&from, &to) in corners.iter().zip(&corners[1..]) {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let at = |share: f32| turned((from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share));
            for (start, end) in pieces(line, length, random) {
                canvas.stroke(at(start), at(end), width / 2.0);
            }
        }
    }
}

/// The pieces of a side that are drawn, as shares of its length.
fn pieces(line: Line, length: f32, random: &mut Random) -> Vec<(f32, f32)> {
    match line {
        Line::Solid => vec![(0.0, 1.0)],
        Line::Corners(share) => vec![(0.0, share), (1.0 - share, 1.0)],
        Line::Dashed(dash) => {
            let count = (length / (2.0 * dash)).round().max(1.0);
            (0..count as usize).map(|index| (index as f32 / count, (index as f32 + 0.5) / count)).collect()
        }
        Line::Broken(count, gap) => {
            let gap = (gap / length).min(0.3);
            let mut gaps: Vec<f32> = (0..count).map(|_| random.between(0.0, 1.0 - gap)).collect();
            gaps.sort_by(f32::total_cmp);
            let starts = std::iter::once(0.0).chain(gaps.iter().map(|start| start + gap));
            let ends = gaps.iter().copied().chain(std::iter::once(1.0));
            starts.zip(ends).filter(|(start, end)| end > start).collect()
        }
    }
}

/// The ink of printed forms.
pub fn form_ink(random: &mut Random) -> Colour {
    *random.pick(&[
        srgb(15, 15, 15),
        srgb(15, 15, 15),
        srgb(90, 90, 95),
        srgb(40, 60, 140),
        srgb(200, 60, 50),
        srgb(225, 120, 60),
        srgb(50, 130, 80),
    ])
}

/// A sheet with one cell on it, not yet drawn.
fn form(random: &mut Random) -> (Scene, Cell) {
    let side = random.scale(48.0, 420.0);
    let mut margin = || (side * random.scale(0.02, 0.35)).max(1.0);
    let (left, top, right, bottom) = (margin(), margin(), margin(), margin());
    let (width, height) = (side * random.between(0.85, 1.15), side * random.between(0.9, 1.3));
    let extent = |before: f32, inner: f32, after: f32| (before + inner + after).ceil() as usize;
    let (across, down) = (extent(left, width, right), extent(top, height, bottom));
    let scene = if random.chance(0.5) { Scene::plain(across, down, [1.0; 3]) } else { paper(random, across, down) };
    (scene, Cell { left, top, right: left + width, bottom: top + height })
}

/// Writes a digit somewhere in the cell, up to close to its lines.
fn write(sources: &Sources, random: &mut Random, scene: &mut Scene, cell: Cell) -> (u8, String) {
    let size = cell.side() * random.between(0.45, 0.8);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let mut place = |from: f32, to: f32, taken: usize| {
        let spare = (to - from - taken as f32).max(0.0);
        (from + spare * random.between(0.1, 0.9)).round() as i64
    };
    let (left, top) = (place(cell.left, cell.right, shape.width), place(cell.top, cell.bottom, shape.height));
    let ink = pen(random);
    scene.paint(&shape, left, top, ink, random.between(0.85, 1.0));
    (label, origin)
}

fn finished(mut scene: Scene, random: &mut Random, label: u8, origin: String) -> Result<Specimen> {
    if random.chance(0.5) {
        let light = Light::uneven(random, scene.width, scene.height, 0.3);
        let longer = scene.width.max(scene.height) as f32;
        scene.shade(|x, y| light.at(x, y, longer));
        scene.blur(random.between(0.0, 1.0));
    }
    let noise = random.between(0.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::any(image, random)?))
}

/// A digit in a frame with lines of this width, as a share of the cell's side.
fn framed(
    sources: &Sources,
    random: &mut Random,
    width: (f32, f32),
    line: impl Fn(&mut Random, f32) -> Line,
    double: bool,
) -> Result<Specimen> {
    let (mut scene, cell) = form(random);
    let width = (cell.side() * random.scale(width.0, width.1)).max(1.0);
    let slant = random.between(-0.02, 0.02);
    let mut lines = Shape::empty(scene.width, scene.height);
    let style = line(random, cell.side());
    cell.draw(&mut lines, random, width, slant, style);
    let mut inner = cell.inset(width / 2.0 + 0.02 * cell.side());
    if double {
        let apart = width + (cell.side() * random.between(0.02, 0.07)).max(2.0);
        cell.inset(apart).draw(&mut lines, random, width, slant, style);
        inner = inner.inset(apart);
    }
    let ink = form_ink(random);
    scene.paint(&lines, 0, 0, ink, random.between(0.8, 1.0));
    let (label, origin) = write(sources, random, &mut scene, inner);
    finished(scene, random, label, origin)
}

/// Hairlines.
pub fn thin(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    framed(sources, random, (0.004, 0.015), |_, _| Line::Solid, false)
}

/// As broad as the pen and broader.
pub fn thick(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    framed(sources, random, (0.025, 0.09), |_, _| Line::Solid, false)
}

/// Badly copied, dashed, or only its corners.
pub fn broken(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let line = |random: &mut Random, side: f32| match index % 3 {
        0 => Line::Broken(1 + random.below(4), side * random.between(0.03, 0.2)),
        1 => Line::Dashed(side * random.between(0.03, 0.08)),
        _ => Line::Corners(random.between(0.12, 0.3)),
    };
    framed(sources, random, (0.006, 0.03), line, false)
}

/// Two frames, one in the other.
pub fn double(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    framed(sources, random, (0.004, 0.02), |_, _| Line::Solid, true)
}

/// The digit runs into one line of the frame, or two, and a little beyond.
pub fn touched(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let (mut scene, cell) = form(random);
    let side = cell.side();
    let width = (side * random.scale(0.004, 0.02)).max(1.0);
    let mut lines = Shape::empty(scene.width, scene.height);
    cell.draw(&mut lines, random, width, 0.0, Line::Solid);
    let ink = form_ink(random);
    scene.paint(&lines, 0, 0, ink, random.between(0.8, 1.0));
    let size = side * random.between(0.55, 0.85);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let mut place = |touches: usize, from: f32, to: f32, taken: usize| {
        let beyond = side * random.between(0.0, 0.06);
        let spare = to - from - taken as f32;
        let place = match touches {
            0 => from + spare * random.between(0.2, 0.8),
            1 => from - beyond,
            _ => from + spare + beyond,
        };
        place.round() as i64
    };
    // The sides touched: left, right, top or bottom, or a corner. A 1 on a vertical line would be part of it.
    let (across, down) = if shape.width < shape.height / 2 {
        [(0, 1), (0, 2)][index % 2]
    } else {
        [(1, 0), (2, 0), (0, 1), (0, 2), (1, 2), (2, 1)][index % 6]
    };
    let left = place(across, cell.left, cell.right, shape.width);
    let top = place(down, cell.top, cell.bottom, shape.height);
    let ink = pen(random);
    scene.paint(&shape, left, top, ink, random.between(0.85, 1.0));
    finished(scene, random, label, origin)
}

/// What is printed beside a cell.
const LABELS: [&str; 10] = ["No.", "Qty", "Age", "Room", "Floor", "Class", "Page", "Sum", "Points", "Row"];

/// A cell with a small printed label: above it, to its left or in its upper left corner.
pub fn with_label(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let (mut scene, mut cell) = form(random);
    let side = cell.side();
    let text_height = (side * random.between(0.09, 0.15)).max(6.0);
    let font = FONTS[random.below(16)];
    let text = *random.pick(&LABELS);
    let label_text = sources.with_font(font, |font| Shape::text(font, text, text_height))?;
    let (before, above) = match index % 3 {
        0 => (0.0, label_text.height as f32 + 0.08 * side),
        1 => (label_text.width as f32 + 0.08 * side, 0.0),
        _ => (0.0, 0.0),
    };
    // Room for the label, on the same paper.
    scene.width += before as usize;
    scene.height += above as usize;
    scene.pixels = paper(random, scene.width, scene.height).pixels;
    let (before, above) = (before.floor(), above.floor());
    cell = Cell {
        left: cell.left + before,
        right: cell.right + before,
        top: cell.top + above,
        bottom: cell.bottom + above,
    };
    let width = (side * random.scale(0.006, 0.025)).max(1.0);
    let mut lines = Shape::empty(scene.width, scene.height);
    cell.draw(&mut lines, random, width, 0.0, Line::Solid);
    let ink = form_ink(random);
    scene.paint(&lines, 0, 0, ink, 1.0);
    let gap = 0.04 * side;
    let mut free = cell.inset(width / 2.0 + 0.02 * side);
    let (left, top) = match index % 3 {
        0 => (cell.left, cell.top - gap - label_text.height as f32),
        1 => (cell.left - gap - label_text.width as f32, cell.top + side * random.between(0.1, 0.7)),
        _ => {
            free.top += gap + label_text.height as f32;
            (cell.left + gap, cell.top + gap)
        }
    };
    scene.paint(&label_text, left as i64, top as i64, ink, 1.0);
    let (label, origin) = write(sources, random, &mut scene, free);
    finished(scene, random, label, origin)
}
