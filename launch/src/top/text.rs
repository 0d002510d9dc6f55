//! Text of a run on a terminal: nothing that the terminal would obey, and no more than fits.

use std::borrow::Cow;

use ratatui::text::Span;

/// The text in one line, with a dot for every character that moves the cursor, changes colours or turns text around, and
/// a space for a tab.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => ' ',
        // What turns the direction of the text, or is not seen at all.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => '·',
        c if c.is_control() => '·',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// A line of a log without what every line has: the day, parts of a second, the usual level, and the module.
pub(super) fn short(line: &str) -> Cow<'_, str> {
    let parts = line.split_once('T').and_then(|(day, rest)| {
        let (time, rest) = rest.split_once("Z ")?;
        let (level, rest) = rest.trim_start().split_once(' ')?;
        let (module, message) = rest.split_once(": ")?;
        let is_ours = day.len() == 10 && module.starts_with("fulcrum_");
        is_ours.then(|| (time.get(..8).unwrap_or(time), level, message))
    });
    match parts {
        None => line.into(),
        Some((time, "INFO", message)) => format!("{time} {message}").into(),
        Some((time, level, message)) => format!("{time} {level} {message}").into(),
    }
}

/// The text, with its middle left out where it is wider than so many columns: names of stages differ at both ends.
pub(super) fn fit(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let head = taken(text.chars(), room - room / 2);
    let tail: String = taken(text.chars().rev(), room / 2).chars().rev().collect();
    let dots = if width > 0 { "…" } else { "" };
    format!("{head}{dots}{tail}")
}

/// As many characters as fit into so many columns.
fn taken(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut text = String::new();
    for c in chars {
        text.push(c);
        if wide(&text) > width {
            text.pop();
            break;
        }
    }
    text
}

/// Columns that a text takes.
pub(super) fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

/// A bar of so many columns of which a share is done.
pub(super) fn bar(done: u64, total: u64, width: usize) -> (String, String) {
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).clamp(0.0, 1.0) };
    let full = (share * width as f64) as usize;
    ("━".repeat(full), "─".repeat(width - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_a_dot() {
        assert_eq!(plain("a\u{1b}[2Jb\tc\r\n"), "a·[2Jb c··");
        assert_eq!(plain("\u{9b}31m\u{202e}x\u{200b}"), "·31m·x·");
        assert_eq!(plain("größer 語"), "größer 語");
    }

    #[test]
    fn a_line_of_a_log_has_its_time_and_what_it_says() {
        let line =
            |level: &str| format!("2026-11-30T19:37:23.188911Z {level} fulcrum_coordinator::driver: x: y z");
        assert_eq!(short(&line(" INFO")), "19:37:23 x: y z");
        assert_eq!(short(&line(" WARN")), "19:37:23 WARN x: y z");
        for other in ["error: asked to stop", "To Z a b: c", "", "2026-11-30T19:37:23.1Z  INFO h2::codec: x"]
        {
            assert_eq!(short(other), other);
        }
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        let name = "student confidence small>large seed 0";
        assert_eq!(fit(name, 37), name);
        assert_eq!(fit(name, 15), "student… seed 0");
        assert_eq!([0, 1, 2].map(|width| fit(name, width)), ["", "…", "s…"]);
        for width in 0..20 {
            assert!(wide(&fit("語語語語語語語語語語", width)) <= width, "{width}");
        }
    }

    #[test]
    fn a_bar_has_its_width_whatever_is_counted() {
        for (done, total, full) in [(0, 0, 0), (0, 9, 0), (4, 8, 5), (9, 9, 10), (12, 9, 10)] {
            let (left, right) = bar(done, total, 10);
            assert_eq!((wide(&left), wide(&right)), (full, 10 - full));
        }
    }
}
