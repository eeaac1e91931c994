//! Smooth random variation over the plane, as on paper, chalkboards and wood.

use super::random::Random;

const SIDE: usize = 64;

/// Value noise: random numbers at integer coordinates, smoothly interpolated, with a period of 64.
pub struct Texture([f32; SIDE * SIDE]);

impl Texture {
    /// A new random texture.
    pub fn new(random: &mut Random) -> Self {
        Self(std::array::from_fn(|_| random.between(-0.5, 0.5)))
    }

    /// The value at a position: −0.5 to 0.5.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        Place::new(x).between(&self.row(Place::new(y)))
    }

    /// The values at all integer columns of the row at `down`. Computed once for a whole row of pixels.
    #[must_use]
    pub fn row(&self, down: Place) -> [f32; SIDE] {
        std::array::from_fn(|column| {
            down.mixed(self.0[down.before * SIDE + column], self.0[down.after * SIDE + column])
        })
    }
}

/// The position of a coordinate between two integers.
#[derive(Clone, Copy)]
pub struct Place {
    before: usize,
    after: usize,
    /// Weight of `after`, 0 to 1.
    share: f32,
}

impl Place {
    /// The position of coordinate `at`.
    #[must_use]
    pub fn new(at: f32) -> Self {
        let before = at.floor();
        let share = at - before;
        let wrap = |at: i64| at as usize % SIDE;
        Self { before: wrap(before as i64), after: wrap(before as i64 + 1), share: share * share * (3.0 - 2.0 * share) }
    }

    /// Interpolates a row of a texture at this position.
    #[must_use]
    pub fn between(self, row: &[f32; SIDE]) -> f32 {
        self.mixed(row[self.before], row[self.after])
    }

    fn mixed(self, before: f32, after: f32) -> f32 {
        before + (after - before) * self.share
    }
}
