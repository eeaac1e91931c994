//! Paper without writing.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Scene, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::paper;
use super::paper::{dots, rule};
use super::surface::finished;
use anyhow::Result;
use std::f32::consts::TAU;

fn sheet(random: &mut Random) -> Scene {
    let (width, height) = (random.scale(120.0, 480.0) as usize, random.scale(120.0, 480.0) as usize);
    paper(random, width, height)
}

/// Nothing but paper: a scan, or a photograph with uneven light or a shadow.
pub fn plain(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = sheet(random);
    if index.is_multiple_of(3) {
        let image = scene.photographed(random, 1.5);
        return Ok(Specimen::no_digit("plain".to_owned(), encode::any(image, random)?));
    }
    if index % 3 == 1 {
        return finished(scene, random, "lit");
    }
    let mut light = Light::uneven(random, scene.width, scene.height, 0.3);
    light.shadow(random, (0.03, 0.4), (0.4, 0.8));
    let longer = scene.width.max(scene.height) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
    finished(scene, random, "shadow")
}

/// Ruled, squared and dotted paper without writing.
pub fn lines(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = sheet(random);
    let gap = (scene.width.min(scene.height) as f32 / random.scale(3.0, 16.0)).max(9.0);
    let thickness = (gap * random.between(0.02, 0.06)).clamp(1.0, 3.0);
    let slant = random.between(-0.02, 0.02);
    let colour = if random.chance(0.3) { srgb(80, 85, 100) } else { rule(random) };
    let opacity = random.between(0.6, 1.0);
    let name = ["ruled", "squared", "dotted"][index % 3];
    match name {
        "dotted" => dots(&mut scene, random, gap, 0.9),
        "ruled" => {
            scene.lines(false, random.between(0.0, gap), gap, thickness, slant, colour, opacity);
            if random.chance(0.3) {
                let margin = scene.width as f32 * random.between(0.05, 0.2);
                let once = 2.0 * scene.width as f32;
                scene.lines(true, margin, once, thickness, -slant, srgb(220, 120, 120), opacity);
            }
        }
        _ => {
            scene.lines(false, random.between(0.0, gap), gap, thickness, slant, colour, opacity);
            scene.lines(true, random.between(0.0, gap), gap, thickness, -slant, colour, opacity);
        }
    }
    finished(scene, random, name)
}

/// Paper with stains, folds, specks or a row of holes.
pub fn stained(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = sheet(random);
    let (width, height) = (scene.width as f32, scene.height as f32);
    let name = ["stains", "folds", "specks", "holes"][index % 4];
    let mut marks = Shape::empty(scene.width, scene.height);
    let (colour, opacity) = match name {
        "stains" => {
            for _ in 0..=random.below(3) {
                let (x, y) = (random.between(0.0, width), random.between(0.0, height));
                let size = width.min(height) * random.between(0.08, 0.2);
                for _ in 0..12 {
                    let (angle, away) = (random.between(0.0, TAU), size * random.unit());
                    marks.dot(x + away * angle.cos(), y + away * angle.sin(), size * random.between(0.4, 0.8));
                }
            }
            (*random.pick(&[srgb(190, 150, 100), srgb(170, 175, 190), srgb(200, 190, 120)]), random.between(0.2, 0.6))
        }
        "folds" => {
            for _ in 0..=random.below(2) {
                let (x, y) = (width * random.between(0.2, 0.8), height * random.between(0.2, 0.8));
                let lean = random.between(-0.05, 0.05);
                if random.chance(0.5) {
                    marks.stroke((x - lean * height, -5.0), (x + lean * height, height + 5.0), 1.0);
                } else {
                    marks.stroke((-5.0, y - lean * width), (width + 5.0, y + lean * width), 1.0);
                }
            }
            (srgb(150, 148, 145), random.between(0.3, 0.7))
        }
        "specks" => {
            for _ in 0..5 + random.below(30) {
                let radius = width.min(height) * random.scale(0.002, 0.012);
                marks.dot(random.between(0.0, width), random.between(0.0, height), radius);
            }
            (*random.pick(&[srgb(40, 40, 45), srgb(90, 75, 60)]), random.between(0.6, 1.0))
        }
        _ => {
            let (radius, apart) = (0.03 * width.min(height), height / 3.5);
            for hole in 0..4 {
                marks.dot(0.08 * width, (hole as f32 + 0.3) * apart, radius);
            }
            (srgb(60, 50, 45), 1.0)
        }
    };
    scene.paint(&marks, 0, 0, colour, opacity);
    finished(scene, random, name)
}
