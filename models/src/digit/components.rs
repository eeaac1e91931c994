//! Connected components: the pieces of ink.

/// A set of connected pixels; pixels that touch at a corner are connected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Component {
    /// Indices of its pixels.
    pub pixels: Vec<usize>,
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Component {
    pub fn width(&self) -> usize {
        self.right - self.left + 1
    }

    pub fn height(&self) -> usize {
        self.bottom - self.top + 1
    }

    /// The longer side of its bounding box.
    pub fn extent(&self) -> usize {
        self.width().max(self.height())
    }

    /// Distance between the two bounding boxes, in pixels; 0 if they overlap.
    pub fn gap(&self, other: &Self) -> usize {
        let between = |start: usize, end: usize, other_start: usize, other_end: usize| {
            other_start.saturating_sub(end).max(start.saturating_sub(other_end))
        };
        let across = between(self.left, self.right, other.left, other.right);
        let down = between(self.top, self.bottom, other.top, other.bottom);
        across.max(down)
    }
}

/// Adjacent true pixels in a row.
struct Run {
    row: usize,
    left: usize,
    right: usize,
    /// An earlier run connected to this one, or this run itself.
    parent: usize,
}

/// The connected components of the true pixels of a mask with rows of `width`, in the order of their first pixels.
///
/// Each run of pixels is joined with the runs that it touches in the row above (union-find).
pub(super) fn components(ink: &[bool], width: usize) -> Vec<Component> {
    let mut runs: Vec<Run> = Vec::new();
    let mut above = 0..0;
    for (row, pixels) in ink.chunks_exact(width.max(1)).enumerate() {
        let first = runs.len();
        let mut x = 0;
        while let Some(start) = pixels[x..].iter().position(|&ink| ink) {
            let left = x + start;
            x = pixels[left..].iter().position(|&ink| !ink).map_or(width, |length| left + length);
            let this = runs.len();
            runs.push(Run { row, left, right: x - 1, parent: this });
            // Corners connect. A run above that ends before this one starts touches no later run either.
            while above.start < above.end && runs[above.start].right + 1 < left {
                above.start += 1;
            }
            for touched in above.clone() {
                if runs[touched].left > x {
                    break;
                }
                let (one, two) = (root(&mut runs, touched), root(&mut runs, this));
                runs[one.max(two)].parent = one.min(two);
            }
        }
        above = first..runs.len();
    }

    let mut found: Vec<Component> = Vec::new();
    let mut of_run: Vec<usize> = Vec::with_capacity(runs.len());
    for run in &runs {
        let &Run { row, left, right, parent } = run;
        let index = of_run.get(parent).copied().unwrap_or(found.len());
        of_run.push(index);
        if index == found.len() {
            found.push(Component { pixels: Vec::new(), left, top: row, right, bottom: row });
        }
        let component = &mut found[index];
        component.left = component.left.min(left);
        component.right = component.right.max(right);
        component.bottom = row;
        component.pixels.extend(row * width + left..=row * width + right);
    }
    found
}

/// The first run connected to this one. Halves the path to it, so the next search is faster.
fn root(runs: &mut [Run], mut run: usize) -> usize {
    while runs[run].parent != run {
        runs[run].parent = runs[runs[run].parent].parent;
        run = runs[run].parent;
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(rows: &[&str]) -> Vec<bool> {
        rows.iter().flat_map(|row| row.chars().map(|pixel| pixel == '#')).collect()
    }

    #[test]
    fn corners_connect() {
        let found = components(&ink(&["#..#", ".#..", "#..#"]), 4);
        assert_eq!(found.len(), 3);
        let first = &found[0];
        assert_eq!((first.left, first.top, first.right, first.bottom), (0, 0, 1, 2));
        assert_eq!(first.pixels.len(), 3);
        assert_eq!((first.gap(&found[1]), found[1].gap(first), first.gap(first)), (2, 2, 0));
    }

    #[test]
    fn arms_that_meet_further_down_are_one_component() {
        let found = components(&ink(&["#.#.#", "#.#.#", ".#.#.", "....."]), 5);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pixels, [0, 2, 4, 5, 7, 9, 11, 13]);
        let found = components(&ink(&["..#", "#..", ".##", "#..", "#.#"]), 3);
        assert_eq!(found.iter().map(|found| found.pixels.len()).collect::<Vec<_>>(), [1, 5, 1]);
        assert_eq!((found[1].left, found[1].top, found[1].right, found[1].bottom), (0, 1, 2, 4));
    }

    #[test]
    fn nothing_has_no_components() {
        assert!(components(&[], 0).is_empty());
        assert!(components(&[false; 9], 3).is_empty());
    }
}
