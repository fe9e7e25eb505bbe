//! Plots as inline SVG: scales, ticks, lines. Colours are classes of the page's style, so that they follow light and dark.

use std::fmt::Write as _;

/// Where values lie between two ends of a plot, in units of the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// Equal distances for equal differences.
    pub(super) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to, is_log: false }
    }

    /// Equal distances for equal ratios; both ends are above 0.
    pub(super) fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        Self { low, high: if high > low { high } else { low * 10.0 }, from, to, is_log: true }
    }

    /// Where `value` lies; beyond an end, at that end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    /// Round values between the ends: powers of ten, with 2 and 5 where there are few; or three to six multiples of 1, 2 or 5.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let inside = |value: &f64| *value >= self.low * (1.0 - 1e-9) && *value <= self.high * (1.0 + 1e-9);
        if self.is_log {
            let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
            let steps: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let values = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
            return values.filter(inside).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.low / step).ceil() as i64;
        (0..16).map(|index| (first + index) as f64 * step).filter(inside).collect()
    }
}

/// What a [`Plot::mark`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    Yes,
    No,
    Unknown,
}

/// A picture under construction: an area for data with room for labels around it.
pub(super) struct Plot {
    text: String,
    width: f64,
    pub(super) left: f64,
    pub(super) right: f64,
}

impl Plot {
    /// A picture of that size with a description for who cannot see it.
    pub(super) fn new(width: f64, height: f64, left: f64, what: &str, class: &str) -> Self {
        let mut text = String::new();
        let _ = write!(
            text,
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            super::escape(what)
        );
        Self { text, width, left, right: width - 14.0 }
    }

    /// Lines across at the ticks of `scale`, with their values at the left.
    pub(super) fn rows(&mut self, scale: &Scale, label: impl Fn(f64) -> String) {
        for value in scale.ticks() {
            let y = scale.at(value);
            let _ = write!(
                self.text,
                "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.left,
                self.right,
                self.left - 8.0,
                y + 4.0,
                super::escape(&label(value))
            );
        }
    }

    /// Lines up and down at these places, with labels below `bottom`.
    pub(super) fn columns(&mut self, marks: &[(f64, String)], top: f64, bottom: f64) {
        for (x, label) in marks {
            let anchor = if *x > self.width - 40.0 { "end" } else { "middle" };
            let _ = write!(
                self.text,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                bottom + 17.0,
                super::escape(label)
            );
        }
    }

    /// A line through points; a point that is not there breaks it.
    pub(super) fn line(&mut self, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
        let (mut path, mut is_down) = (String::new(), false);
        for point in points {
            match point {
                Some((x, y)) => {
                    let _ = write!(path, "{}{x:.1} {y:.1}", if is_down { 'L' } else { 'M' });
                    if !is_down {
                        // A point alone shows as a dot.
                        path.push_str("h0");
                    }
                    is_down = true;
                }
                None => is_down = false,
            }
        }
        if !path.is_empty() {
            let _ = write!(self.text, "<path class=\"l {class}\" d=\"{path}\"/>");
        }
    }

    /// The area between points and `bottom`.
    pub(super) fn area(&mut self, points: impl Iterator<Item = (f64, f64)>, bottom: f64) {
        let points: Vec<(f64, f64)> = points.collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let mut path = format!("M{:.1} {bottom:.1}", first.0);
        for (x, y) in &points {
            let _ = write!(path, "L{x:.1} {y:.1}");
        }
        let _ = write!(self.text, "<path class=\"area\" d=\"{path}L{:.1} {bottom:.1}Z\"/>", last.0);
    }

    /// A bar with round ends, and dots.
    pub(super) fn bar(&mut self, class: usize, from: f64, to: f64, y: f64) {
        let width = (to - from).max(2.0);
        let _ = write!(
            self.text,
            "<rect class=\"f{class}\" opacity=\".3\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"8\" rx=\"4\"/>",
            y - 4.0
        );
    }

    pub(super) fn dot(&mut self, class: usize, x: f64, y: f64, radius: f64) {
        let _ = write!(self.text, "<circle class=\"f{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>");
    }

    /// A line of that class up and down.
    pub(super) fn column(&mut self, class: &str, x: f64, top: f64, bottom: f64) {
        let _ = write!(
            self.text,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
        );
    }

    /// A line of that class across.
    pub(super) fn row(&mut self, class: &str, y: f64) {
        let (left, right) = (self.left, self.right);
        let _ = write!(
            self.text,
            "<line class=\"{class}\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
    }

    /// Yes, no or unknown, told by form as well as by colour.
    pub(super) fn mark(&mut self, mark: Mark, x: f64, y: f64) {
        let _ = match mark {
            Mark::Yes => write!(self.text, "<circle class=\"yes\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
            Mark::No => write!(self.text, "<path class=\"no\" d=\"M{:.1} {:.1}l9 9m0 -9l-9 9\"/>", x - 4.5, y - 4.5),
            Mark::Unknown => write!(self.text, "<circle class=\"unknown\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        };
    }

    /// Words of that class.
    pub(super) fn label_of(&mut self, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(
            self.text,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            super::escape(text)
        );
    }

    pub(super) fn label(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            super::escape(text)
        );
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_puts_its_ends_at_the_ends_and_ratios_at_equal_distances() {
        let scale = Scale::log(100.0, 1e6, 200.0, 0.0);
        assert_eq!((scale.at(100.0), scale.at(1e6)), (200.0, 0.0));
        assert!((scale.at(10_000.0) - 100.0).abs() < 1e-9);
        assert_eq!((scale.at(1.0), scale.at(1e9)), (200.0, 0.0), "beyond an end is at that end");
        let scale = Scale::linear(0.0, 10.0, 0.0, 100.0);
        assert_eq!(scale.at(2.5), 25.0);
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Scale::log(90.0, 2e7, 0.0, 1.0).ticks(), [100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
        assert_eq!(Scale::log(1_000.0, 9_000.0, 0.0, 1.0).ticks(), [1_000.0, 2_000.0, 5_000.0]);
        assert_eq!(Scale::linear(0.0, 37.0, 0.0, 1.0).ticks(), [0.0, 10.0, 20.0, 30.0]);
        for high in [1e-3, 1.0, 7.0, 123.0, 9e9] {
            let ticks = Scale::linear(0.0, high, 0.0, 1.0).ticks();
            assert!((3..=6).contains(&ticks.len()), "{high}: {ticks:?}");
        }
        // A range without width has one.
        assert!(
            Scale::linear(5.0, 5.0, 0.0, 1.0).at(5.0).is_finite() && Scale::log(5.0, 5.0, 0.0, 1.0).at(5.0).is_finite()
        );
    }

    #[test]
    fn a_point_that_is_missing_breaks_the_line() {
        let mut plot = Plot::new(100.0, 50.0, 10.0, "a <b>", "wide");
        plot.line("s0", [Some((1.0, 2.0)), None, Some((3.0, 4.0)), Some((5.0, 6.0))].into_iter());
        let text = plot.finish();
        assert!(text.contains("M1.0 2.0h0M3.0 4.0h0L5.0 6.0") && text.contains("aria-label=\"a &lt;b&gt;\""), "{text}");
    }
}
