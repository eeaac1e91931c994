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
        self.between(Place::of(x), Place::of(y))
    }

    /// The same for places that are found once for many pixels.
    #[must_use]
    pub fn between(&self, across: Place, down: Place) -> f32 {
        let value = |row: usize, column: usize| self.0[row * SIDE + column];
        let upper =
            value(down.before, across.before) * (1.0 - across.share) + value(down.before, across.after) * across.share;
        let lower =
            value(down.after, across.before) * (1.0 - across.share) + value(down.after, across.after) * across.share;
        upper * (1.0 - down.share) + lower * down.share
    }
}

/// Where a coordinate lies between two whole ones.
#[derive(Clone, Copy)]
pub struct Place {
    before: usize,
    after: usize,
    /// How much of the one after.
    share: f32,
}

impl Place {
    /// The place of a coordinate.
    #[must_use]
    pub fn of(at: f32) -> Self {
        let before = at.floor();
        let share = at - before;
        let wrap = |at: i64| at as usize % SIDE;
        Self { before: wrap(before as i64), after: wrap(before as i64 + 1), share: share * share * (3.0 - 2.0 * share) }
    }
}
