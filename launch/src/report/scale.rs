//! From numbers to places on a plot and to short texts.

/// A linear map from numbers to a place on the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Maps `from.0` to `to.0` and `from.1` to `to.1`. An empty range maps to the middle.
    pub(super) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to }
    }

    /// The place of `value`, rounded to what a page can show.
    pub(super) fn place(&self, value: f64) -> f64 {
        let width = self.from.1 - self.from.0;
        let share = if width > 0.0 { (value - self.from.0) / width } else { 0.5 };
        round(self.to.0 + share * (self.to.1 - self.to.0))
    }

    /// The place of `value`, kept inside the page, and whether it had to be.
    pub(super) fn clipped(&self, value: f64) -> (f64, bool) {
        let inside = value.clamp(self.from.0, self.from.1);
        (self.place(inside), inside != value)
    }
}

/// To a tenth of a pixel.
pub(super) fn round(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

/// A range widened to whole steps of 1, 2 or 5 times a power of ten, with about `count` ticks in it.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = ((high - low) / count.max(1) as f64).max(1e-6);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|&s| s >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// A tick without needless zeros: `0.5`, `0.75`, `1`.
pub(super) fn tick_text(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.replace('-', "\u{2212}") }
}

/// Three digits: `0.842`, with a true minus sign.
pub(crate) fn three(value: f64) -> String {
    signed(format!("{value:.3}"))
}

/// Two digits: `0.61`, with a true minus sign.
pub(crate) fn two(value: f64) -> String {
    signed(format!("{value:.2}"))
}

fn signed(text: String) -> String {
    let zero = text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.'));
    if zero { text.trim_start_matches('-').to_owned() } else { text.replace('-', "\u{2212}") }
}

/// A number of parameters: `240k`, `22.7M`, `1.5B`.
pub(super) fn size(parameters: u64) -> String {
    let (value, unit) = match parameters {
        0..1_000 => return parameters.to_string(),
        1_000..1_000_000 => (parameters as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (parameters as f64 / 1e6, "M"),
        _ => (parameters as f64 / 1e9, "B"),
    };
    if value < 99.95 {
        let text = format!("{value:.1}");
        format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
    } else {
        format!("{value:.0}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_ends_to_ends_and_a_point_to_the_middle() {
        let scale = Scale::new((0.5, 1.0), (300.0, 20.0));
        assert_eq!((scale.place(0.5), scale.place(1.0), scale.place(0.75)), (300.0, 20.0, 160.0));
        assert_eq!(Scale::new((3.0, 3.0), (0.0, 100.0)).place(3.0), 50.0);
        assert_eq!(scale.clipped(7.0), (20.0, true));
        assert_eq!(scale.clipped(0.75), (160.0, false));
    }

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let cases = [
            (0.52, 0.93, 5, "0.5 0.6 0.7 0.8 0.9 1"),
            (0.0, 1.0, 5, "0 0.2 0.4 0.6 0.8 1"),
            (-0.3, 1.1, 6, "−0.5 0 0.5 1 1.5"),
        ];
        for (low, high, count, expected) in cases {
            let text = ticks(low, high, count).into_iter().map(tick_text).collect::<Vec<_>>().join(" ");
            assert_eq!(text, expected);
        }
        for value in [0.0, 0.5, 1.0] {
            let flat = ticks(value, value, 5);
            assert!(flat.len() >= 2 && flat[0] <= value && *flat.last().unwrap() >= value, "{flat:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let sizes =
            [(999, "999"), (1_000, "1k"), (236_800, "237k"), (22_713_216, "22.7M"), (1_500_000_000, "1.5B")];
        assert!(sizes.iter().all(|&(n, text)| size(n) == text), "{:?}", sizes.map(|(n, _)| size(n)));
        assert_eq!((two(-0.004), two(-0.25), three(0.8416)), ("0.00".into(), "−0.25".into(), "0.842".into()));
    }
}
