//! Light on a sheet: gradients, vignettes and shadows, as a brightness factor for each pixel.

use super::random::Random;

/// The straight edge of a shadow, as wide as its penumbra.
struct Edge {
    normal: (f32, f32),
    offset: f32,
    penumbra: f32,
}

impl Edge {
    /// 0 in the light, 1 in the shadow.
    fn depth(&self, x: f32, y: f32) -> f32 {
        let share = ((x * self.normal.0 + y * self.normal.1 - self.offset) / self.penumbra + 0.5).clamp(0.0, 1.0);
        share * share * (3.0 - 2.0 * share)
    }
}

/// The light on an image. Coordinates are in units of its longer side.
pub struct Light {
    width: f32,
    height: f32,
    slope: (f32, f32),
    vignette: f32,
    /// Each shadow: its edges, and the share of light left where all of them have been crossed.
    shadows: Vec<(Vec<Edge>, f32)>,
}

impl Light {
    /// Light that falls off towards one side and the corners; 0.9 in the centre.
    pub fn uneven(random: &mut Random, width: usize, height: usize, strength: f32) -> Self {
        let longer = width.max(height) as f32;
        let angle = random.between(0.0, std::f32::consts::TAU);
        let fall = random.between(0.3, 1.0) * strength;
        Self {
            width: width as f32 / longer,
            height: height as f32 / longer,
            slope: (angle.cos() * fall, angle.sin() * fall),
            vignette: random.between(0.0, 0.6) * strength,
            shadows: Vec::new(),
        }
    }

    /// Adds a shadow with one to three straight edges, like that of an arm, a telephone or a head.
    pub fn shadow(&mut self, random: &mut Random, penumbra: (f32, f32), left: (f32, f32)) {
        let angle = random.between(0.0, std::f32::consts::TAU);
        let soft = random.scale(penumbra.0, penumbra.1);
        let (middle_x, middle_y) = (self.width / 2.0, self.height / 2.0);
        let mut edges = Vec::new();
        for turn in [0.0, random.between(1.2, 2.0), std::f32::consts::PI].iter().take(1 + random.below(3)) {
            let normal = ((angle + turn).cos(), (angle + turn).sin());
            let middle = middle_x * normal.0 + middle_y * normal.1;
            edges.push(Edge { normal, offset: middle + random.between(-0.2, 0.15), penumbra: soft });
        }
        self.shadows.push((edges, random.between(left.0, left.1)));
    }

    /// The brightness at pixel (`x`, `y`) of an image whose longer side has `longer` pixels.
    #[must_use]
    pub fn at(&self, x: f32, y: f32, longer: f32) -> f32 {
        let (x, y) = (x / longer, y / longer);
        let (right, down) = (x - self.width / 2.0, y - self.height / 2.0);
        let mut light = (0.9 + self.slope.0 * right + self.slope.1 * down)
            * (1.0 - self.vignette * 2.0 * (right * right + down * down));
        for (edges, left) in &self.shadows {
            let depth = edges.iter().map(|edge| edge.depth(x, y)).fold(1.0, f32::min);
            light *= 1.0 - depth * (1.0 - left);
        }
        light.max(0.02)
    }
}
