//! Removes long straight lines from a mask: frames, cells, ruled and squared paper.

/// A line is at least this long and at most this thick, as shares of the image's longer side.
const LONG: f32 = 0.35;
const THICK: f32 = 0.08;

/// The mask, with rows of `width` pixels, without its horizontal and vertical lines. `None` if it has none.
///
/// A pixel belongs to a line if its run along the line is long and its run across it is short, or long where two lines
/// meet. So strokes that cross a line keep their pixels. A line that is turned by a few degrees consists of long runs too.
pub(super) fn without(mask: &[bool], width: usize) -> Option<Vec<bool>> {
    let height = mask.len() / width.max(1);
    let longer = width.max(height) as f32;
    let (long, thick) = ((LONG * longer) as usize, (THICK * longer).ceil() as usize);
    let across = runs(mask, width, height, |row, at| row * width + at);
    let down = runs(mask, height, width, |column, at| at * width + column);
    let is_line = |pixel: usize| {
        let (shorter, longer) = (across[pixel].min(down[pixel]), across[pixel].max(down[pixel]));
        longer >= long && (shorter <= thick || shorter >= long)
    };
    let rest: Vec<bool> = (0..mask.len()).map(|pixel| mask[pixel] && !is_line(pixel)).collect();
    (rest != mask).then_some(rest)
}

/// The length of the run of true pixels that each pixel belongs to, along `count` lines of `length` pixels; 0 for false
/// pixels.
fn runs(mask: &[bool], length: usize, count: usize, place: impl Fn(usize, usize) -> usize) -> Vec<usize> {
    let mut runs = vec![0; mask.len()];
    for line in 0..count {
        let mut start = 0;
        for at in 0..=length {
            if at < length && mask[place(line, at)] {
                continue;
            }
            (start..at).for_each(|inside| runs[place(line, inside)] = at - start);
            start = at + 1;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_and_a_stroke_that_touches_it_stays() {
        let (width, height) = (60, 50);
        let frame = |x: usize, y: usize| {
            (x == 5 || x == 54 || y == 5 || y == 44) && (5..55).contains(&x) && (5..45).contains(&y)
        };
        let stroke = |x: usize, y: usize| (28..33).contains(&x) && (5..20).contains(&y);
        let mask = |is: &dyn Fn(usize, usize) -> bool| -> Vec<bool> {
            (0..width * height).map(|pixel| is(pixel % width, pixel / width)).collect()
        };
        let rest = without(&mask(&|x, y| frame(x, y) || stroke(x, y)), width).unwrap();
        assert_eq!(rest, mask(&stroke));
        assert_eq!(without(&mask(&stroke), width), None);
        assert_eq!(without(&[], 0), None);
    }
}
