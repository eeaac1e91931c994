//! Line charts as SVG, with ticks and units on the axes and names at the ends of the lines.

use super::axis::{Axis, Scale};
use super::html::escape;
use std::fmt::Write;

/// Size of the drawing in SVG user units; the page scales it to fit.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
/// Margins for the unit (top), the names of the lines (right), the epochs (bottom) and the tick labels (left).
const TOP: f64 = 26.0;
const NAMES: f64 = 84.0;
const BOTTOM: f64 = 40.0;
const LEFT: f64 = 62.0;

/// Minimum distance between two names at the ends of lines; each name takes two rows.
const NAME_HEIGHT: f64 = 37.0;

/// Maximum number of points marked on a line; each shows its value on hover. Beyond it, only the last point is marked.
const MARKED: usize = 40;

/// A chart over the epochs.
pub struct Chart {
    /// Element id, unique on the page.
    pub id: &'static str,
    /// The chart's title, for screen readers.
    pub title: String,
    /// The quantity on the vertical axis.
    pub unit: &'static str,
    /// The horizontal axis: epochs.
    pub x: Axis,
    /// The vertical axis: values.
    pub y: Axis,
    /// The lines, drawn in this order.
    pub lines: Vec<Line>,
    /// An epoch to mark, with its label.
    pub mark: Option<(f64, String)>,
    /// Formats a value.
    pub say: fn(f64) -> String,
}

/// One line.
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its CSS class.
    pub class: String,
    /// Whether its name and last value are written at its end.
    pub named: bool,
    /// Whether its points are marked.
    pub marked: bool,
    /// The points, as epoch and value.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The chart as SVG. Non-finite points are left out.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\"><title id=\"{id}-title\">{}</title><desc id=\"{id}-desc\">{}</desc>\n",
            escape(&self.title),
            escape(&self.description()),
            id = self.id
        );
        self.draw_axes(&mut svg);
        self.draw_mark(&mut svg);
        for line in &self.lines {
            self.draw_line(&mut svg, line);
        }
        self.draw_names(&mut svg);
        svg.push_str("</svg>");
        svg
    }

    fn across(&self, epoch: f64) -> f64 {
        LEFT + self.x.place(epoch) * (self.right() - LEFT)
    }

    /// The right end of the plot area; named lines need room for their names.
    fn right(&self) -> f64 {
        let named = self.lines.iter().any(|line| line.named);
        WIDTH - if named { NAMES } else { 16.0 }
    }

    fn up(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - BOTTOM - TOP)
    }

    fn draw_axes(&self, svg: &mut String) {
        let (right, bottom) = (self.right(), HEIGHT - BOTTOM);
        for tick in self.y.ticks() {
            let y = bottom - tick.at * (bottom - TOP);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{y:.1}\" dy=\".35em\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                escape(&tick.label)
            );
        }
        for tick in self.x.ticks() {
            let x = LEFT + tick.at * (right - LEFT);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {bottom}v4\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                escape(&tick.label)
            );
        }
        let spread = match self.y.scale() {
            Scale::Linear => "",
            Scale::Log => ", logarithmic",
            Scale::LogError => ", by the logarithm of the error",
        };
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/><text class=\"unit\" x=\"0\" y=\"12\">{}{spread}</text><text class=\"unit\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">epoch</text>",
            escape(self.unit),
            HEIGHT - 4.0
        );
    }

    /// Marks the chosen epoch. The note goes above or below the lines, wherever there is more room.
    fn draw_mark(&self, svg: &mut String) {
        let Some((epoch, label)) = &self.mark else { return };
        let x = self.across(*epoch);
        let (anchor, beside) = if self.x.place(*epoch) > 0.5 { ("end", x - 5.0) } else { ("start", x + 5.0) };
        let near = |line: &Line| finite(line).min_by(|a, b| (a.0 - epoch).abs().total_cmp(&(b.0 - epoch).abs()));
        let places = self.lines.iter().filter_map(near).map(|(_, value)| self.y.place(value));
        let (low, high) = places.fold((1.0, 0.0), |(low, high): (f64, f64), place| (low.min(place), high.max(place)));
        let y = if low > 1.0 - high { HEIGHT - BOTTOM - 7.0 } else { TOP + 11.0 };
        let _ = writeln!(
            svg,
            "<path class=\"mark\" d=\"M{x:.1} {TOP}V{:.1}\"/><text class=\"note\" x=\"{beside:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM,
            escape(label)
        );
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        let points: Vec<_> = finite(line).collect();
        let mut path = String::new();
        for (index, &(epoch, value)) in points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.across(epoch), self.up(value));
        }
        let _ = writeln!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
        if !line.marked {
            return;
        }
        let marked = if points.len() <= MARKED { &points[..] } else { &points[points.len() - 1..] };
        for &(epoch, value) in marked {
            let _ = writeln!(
                svg,
                "<circle class=\"point {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>epoch {epoch}: {} {}</title></circle>",
                line.class,
                self.across(epoch),
                self.up(value),
                escape(&line.name),
                escape(&(self.say)(value))
            );
        }
    }

    /// Writes the names and last values at the ends of the lines, moved apart so that they do not overlap.
    fn draw_names(&self, svg: &mut String) {
        let mut names: Vec<(&Line, (f64, f64))> =
            self.lines.iter().filter(|line| line.named).filter_map(|line| Some((line, finite(line).last()?))).collect();
        names.sort_by(|a, b| self.up(a.1.1).total_cmp(&self.up(b.1.1)));
        let wanted: Vec<f64> = names.iter().map(|(_, (_, value))| self.up(*value)).collect();
        let rows = apart(&wanted, NAME_HEIGHT, TOP + 6.0, HEIGHT - BOTTOM - NAME_HEIGHT / 2.0);
        for ((line, (epoch, value)), y) in names.into_iter().zip(rows) {
            let (end, at) = (self.across(epoch), self.up(value));
            let start = self.right() + 12.0;
            if (at - y).abs() > 4.0 {
                let _ =
                    writeln!(svg, "<path class=\"leader\" d=\"M{:.1} {at:.1}L{:.1} {y:.1}\"/>", end + 5.0, start - 3.0);
            }
            let _ = writeln!(
                svg,
                "<text class=\"name {}\" x=\"{start}\" y=\"{:.1}\">{}<tspan class=\"value\" x=\"{start}\" dy=\"1.15em\">{}</tspan></text>",
                line.class,
                y - 2.0,
                escape(&line.name),
                escape(&(self.say)(value))
            );
        }
    }

    /// A text description of the chart, for screen readers.
    fn description(&self) -> String {
        let mut words = String::new();
        for line in self.lines.iter().filter(|line| line.named) {
            let mut points = finite(line);
            let Some((first, start)) = points.next() else { continue };
            let _ = match points.last() {
                Some((last, end)) => {
                    let (start, end) = ((self.say)(start), (self.say)(end));
                    write!(words, "{}: {start} in epoch {first}, {end} in epoch {last}. ", line.name)
                }
                None => write!(words, "{}: {} in epoch {first}. ", line.name, (self.say)(start)),
            };
        }
        words.trim_end().to_owned()
    }
}

fn finite(line: &Line) -> impl Iterator<Item = (f64, f64)> {
    line.points.iter().copied().filter(|(_, value)| value.is_finite())
}

/// Moves positions, sorted from top to bottom, so that they are at least `distance` apart and stay between `top` and
/// `bottom`.
fn apart(wanted: &[f64], distance: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    let mut least = top;
    for place in &mut places {
        *place = place.max(least);
        least = *place + distance;
    }
    let mut most = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - distance;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_distance() {
        assert_eq!(apart(&[50.0, 52.0, 120.0], 30.0, 0.0, 200.0), [50.0, 80.0, 120.0]);
        assert_eq!(apart(&[190.0, 195.0], 30.0, 0.0, 200.0), [170.0, 200.0]);
        assert_eq!(apart(&[], 30.0, 0.0, 200.0), [0.0; 0]);
    }

    #[test]
    fn points_that_are_not_numbers_are_left_out() {
        let values = [f64::NAN, 0.5, f64::INFINITY];
        let chart = Chart {
            id: "loss",
            title: "a < b".into(),
            unit: "loss",
            x: Axis::of_epochs(1, 3),
            y: Axis::of_losses(&values),
            lines: vec![Line {
                name: "test".into(),
                class: "test".into(),
                named: true,
                marked: true,
                points: vec![(1.0, values[0]), (2.0, values[1]), (3.0, values[2])],
            }],
            mark: Some((2.0, "best: epoch 2".into())),
            say: |value| format!("{value:.2}"),
        };
        let svg = chart.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("test: 0.50 in epoch 2."), "{svg}");
    }
}
