//! The threshold above which a value is ink.

/// The threshold between `low` and `high` that best separates small from large `values` (Otsu, "A threshold selection
/// method from gray-level histograms", 1979). Values below `low` are ignored. Returns `low` if no values are left.
pub(super) fn otsu(values: impl Iterator<Item = f32>, low: f32, high: f32) -> f32 {
    const LEVELS: usize = 128;
    let step = (high - low) / LEVELS as f32;
    let mut histogram = [0_u32; LEVELS];
    for value in values.filter(|&value| value >= low) {
        histogram[(((value - low) / step) as usize).min(LEVELS - 1)] += 1;
    }
    let total: f64 = histogram.iter().map(|&count| f64::from(count)).sum();
    let mass: f64 = histogram.iter().enumerate().map(|(level, &count)| level as f64 * f64::from(count)).sum();
    let (mut below, mut mass_below) = (0.0, 0.0);
    let (mut best, mut best_variance) = (0, 0.0);
    for (level, &count) in histogram.iter().enumerate() {
        below += f64::from(count);
        mass_below += level as f64 * f64::from(count);
        let above = total - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let gap = mass_below / below - (mass - mass_below) / above;
        let variance = below * above * gap * gap;
        if variance > best_variance {
            (best, best_variance) = (level + 1, variance);
        }
    }
    low + best as f32 * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lies_between_two_heaps() {
        let values = [0.1, 0.12, 0.14, 0.11, 0.7, 0.72, 0.75, 0.71, 0.73];
        let threshold = otsu(values.into_iter(), 0.0, 1.0);
        assert!(threshold > 0.14 && threshold <= 0.7, "{threshold}");
    }

    #[test]
    fn what_is_below_the_range_does_not_count() {
        let values = std::iter::repeat_n(0.0, 10_000).chain([0.3, 0.31, 0.32, 0.8, 0.82]);
        let threshold = otsu(values, 0.2, 1.0);
        assert!(threshold > 0.32 && threshold <= 0.8, "{threshold}");
        assert_eq!(otsu([0.1].into_iter(), 0.2, 1.0), 0.2);
    }
}
