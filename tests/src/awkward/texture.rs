//! Smooth random values over the plane, as paper, chalk boards and wood have.

use super::random::Random;

const SIDE: usize = 64;

/// Value noise: random numbers at whole coordinates, smoothly interpolated, repeating after 64.
pub struct Texture([f32; SIDE * SIDE]);

impl Texture {
    /// A new one.
    pub fn new(random: &mut Random) -> Self {
        Self(std::array::from_fn(|_| random.between(-0.5, 0.5)))
    }

    /// −0.5 to 0.5.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let ease = |share: f32| share * share * (3.0 - 2.0 * share);
        let (across, down) = (ease(x - left), ease(y - top));
        let value = |dx: i64, dy: i64| {
            let wrap = |at: i64| at as usize % SIDE;
            self.0[wrap(top as i64 + dy) * SIDE + wrap(left as i64 + dx)]
        };
        let upper = value(0, 0) * (1.0 - across) + value(1, 0) * across;
        let lower = value(0, 1) * (1.0 - across) + value(1, 1) * across;
        upper * (1.0 - down) + lower * down
    }
}
