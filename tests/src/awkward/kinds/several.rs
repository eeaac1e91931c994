//! Two to four digits in one line.

use super::super::answer::Shows;
use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::Scene;
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::{digit, paper, pen};
use super::printed::{FONTS, colours};
use anyhow::Result;

/// A number in a font.
pub fn printed(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let count = 2 + index % 3;
    let font = FONTS[index % FONTS.len()];
    let number: String = (0..count).map(|_| char::from(b'0' + random.below(10) as u8)).collect();
    let height = random.scale(16.0, 160.0);
    let shape = sources.with_font(font, |font| Shape::text(font, &number, height))?;
    let mut margin = || (height * random.scale(0.1, 1.2)).max(2.0) as usize;
    let (left, right, top, bottom) = (margin(), margin(), margin(), margin());
    let (ink, ground) = colours(random);
    let mut scene = Scene::plain(shape.width + left + right, shape.height + top + bottom, ground);
    scene.paint(&shape, left as i64, top as i64, ink, 1.0);
    let noise = *random.pick(&[0.0, 0.0, 1.0, 3.0]);
    let image = scene.photographed(random, noise);
    let origin = format!("{number} in {font}");
    Ok(Specimen { shows: Shows::Digits(count), origin, bytes: encode::any(image, random)? })
}

/// A written number on paper. `gap` is the distance between digits where they are closest, as a share of their height.
fn written(sources: &Sources, index: usize, random: &mut Random, gap: (f32, f32)) -> Result<Specimen> {
    let count = 2 + index % 3;
    let height = random.scale(50.0, 170.0);
    let mut number = String::new();
    // Each digit with the place of its top left corner.
    let mut digits: Vec<(Shape, i64, i64)> = Vec::new();
    for _ in 0..count {
        let size = height * random.between(0.88, 1.1);
        let (shape, label, _) = digit(sources, random, size, 0.0);
        let top = (height * random.between(-0.06, 0.06)) as i64 + (height as i64 - shape.height as i64) / 2;
        let apart = (height * random.between(gap.0, gap.1)) as i64;
        let left = digits.last().map_or(0, |before| beside(before, &shape, top) + apart);
        digits.push((shape, left, top));
        number.push(char::from(b'0' + label));
    }
    let mut margin = || (height * random.scale(0.15, 1.0)) as i64;
    let (left, right, above, below) = (margin(), margin(), margin(), margin());
    let end = digits.iter().map(|(shape, left, _)| left + shape.width as i64).max().unwrap_or(0);
    let (width, tall) = ((left + end + right) as usize, (above + height as i64 + below) as usize);
    let mut scene = paper(random, width, tall);
    let (ink, opacity) = (pen(random), random.between(0.85, 1.0));
    for (shape, x, y) in &digits {
        scene.paint(shape, left + x, above + y, ink, opacity);
    }
    let light = Light::uneven(random, width, tall, 0.3);
    let longer = width.max(tall) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
    let noise = random.between(0.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen {
        shows: Shows::Digits(count),
        origin: format!("{number} from MNIST"),
        bytes: encode::any(image, random)?,
    })
}

/// The leftmost place at which a shape, its top at `top`, overlaps the shape before it in no row.
fn beside((before, left, above): &(Shape, i64, i64), shape: &Shape, top: i64) -> i64 {
    let inked = |shape: &Shape, row: i64, last: bool| {
        let row = usize::try_from(row).ok().and_then(|row| shape.coverage.chunks(shape.width).nth(row))?;
        if last { row.iter().rposition(|&ink| ink > 0.3) } else { row.iter().position(|&ink| ink > 0.3) }
    };
    let rows = 0..shape.height as i64;
    let clear = rows.filter_map(|row| {
        let end = inked(before, row + top - above, true)?;
        Some(left + end as i64 + 1 - inked(shape, row, false)? as i64)
    });
    clear.max().unwrap_or(left + before.width as i64)
}

/// Digits written beside each other.
pub fn handwritten(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    written(sources, index, random, (0.08, 0.4))
}

/// Digits that run into each other by a little.
pub fn touching(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    written(sources, index, random, (-0.03, -0.005))
}
