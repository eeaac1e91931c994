//! Crops whose edges touch the digit.

use super::super::random::Random;
use super::super::scene::{Scene, srgb};
use super::super::{Sources, Specimen, encode};
use super::camera::{digit, paper, pen};
use anyhow::Result;

/// Left, right, top, bottom: whether the digit touches this edge.
type Edges = [bool; 4];

fn touching(sources: &Sources, random: &mut Random, mut edges: Edges) -> Result<Specimen> {
    let size = random.scale(24.0, 320.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    // A vertical stroke that fills the image is no longer a 1.
    if shape.width < shape.height / 2 {
        (edges[0], edges[1]) = (edges[0] && !edges[1], edges[1] && !edges[0]);
    }
    let height = shape.height as f32;
    // A knife or a mouse is not exact: half of the crops cut off a little.
    let cut = if random.chance(0.5) { 0.03 * height } else { 0.0 };
    let margins = edges.map(|touched| {
        let inside = -random.between(0.0, cut);
        let outside = (height * random.scale(0.12, 0.8)).max(2.0);
        if touched { inside.round() as i64 } else { outside as i64 }
    });
    let extent = |taken: usize, before: i64, after: i64| (taken as i64 + before + after).max(4) as usize;
    let (width, height) = (extent(shape.width, margins[0], margins[1]), extent(shape.height, margins[2], margins[3]));
    let dark = random.chance(0.3);
    let mut scene = if dark {
        let level = random.below(70) as u8;
        Scene::plain(width, height, srgb(level, level, level))
    } else {
        paper(random, width, height)
    };
    let ink = if dark { srgb(240, 240, 235) } else { pen(random) };
    scene.paint(&shape, margins[0], margins[2], ink, 1.0);
    let noise = random.between(0.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::any(image, random)?))
}

/// The digit touches one edge, or two.
pub fn one_or_two(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let edges = std::array::from_fn(|edge| edge == index % 4 || index / 4 % 2 == 1 && edge == (index + index / 8) % 4);
    touching(sources, random, edges)
}

/// The digit touches all edges but one, or all four.
pub fn three_or_four(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let edges = std::array::from_fn(|edge| edge != index % 4 || index / 4 % 2 == 1);
    touching(sources, random, edges)
}
