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

    /// The value at a place: −0.5 to 0.5.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        Place::of(x).between(&self.row(Place::of(y)))
    }

    /// The values at whole columns, `down` the plane: computed once, they serve a whole row of pixels.
    #[must_use]
    pub fn row(&self, down: Place) -> [f32; SIDE] {
        std::array::from_fn(|column| {
            down.mixed(self.0[down.before * SIDE + column], self.0[down.after * SIDE + column])
        })
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

    /// The value of a texture's row at this place.
    #[must_use]
    pub fn between(self, row: &[f32; SIDE]) -> f32 {
        self.mixed(row[self.before], row[self.after])
    }

    fn mixed(self, before: f32, after: f32) -> f32 {
        before + (after - before) * self.share
    }
}
