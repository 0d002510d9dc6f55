//! How lists, spans and sizes are said.

use std::time::Duration;

/// "0.4 s", "12.4 s", "3 min 5 s", "2 h 10 min".
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

pub(super) fn milliseconds(time: u64) -> String {
    duration(Duration::from_millis(time))
}

/// "rank 1", "ranks 0 and 2", "ranks 0, 1 and 3".
pub(super) fn ranks(ranks: &[u32]) -> String {
    let words: Vec<String> = ranks.iter().map(u32::to_string).collect();
    format!("{} {}", if ranks.len() == 1 { "rank" } else { "ranks" }, list(&words))
}

/// "a", "a and b", "a, b and c".
pub(super) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// "4 B", "1.2 MB".
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lists_and_sizes_read_well() {
        let spans = [400, 12_400, 59_940, 185_000, 7_800_000].map(milliseconds);
        assert_eq!(spans, ["0.4 s", "12.4 s", "59.9 s", "3 min 5 s", "2 h 10 min"]);
        assert_eq!(
            [&[1][..], &[0, 2], &[0, 1, 3]].map(ranks),
            ["rank 1", "ranks 0 and 2", "ranks 0, 1 and 3"]
        );
        assert_eq!([0, 999, 1000, 1_230_000].map(bytes), ["0 B", "999 B", "1.0 kB", "1.2 MB"]);
    }
}
