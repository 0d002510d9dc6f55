//! The view on a screen of any size: what matters most has its place first.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Style, Stylize as _},
    text::{Line, Span, Text},
    widgets::{Paragraph, Sparkline, Wrap},
};

use super::{
    choice::{Cover, List},
    lists,
    text::{fit, wide},
    view::View,
};

/// Lines of a loss curve, with its headline.
const LOSS: u16 = 4;

const KEYS: &str = "q quit  ↑↓ choose  Tab stages or workers  l log  ? help";

const HELP: &str = "\
q Esc Ctrl-C   close what is open, else quit (Ctrl-C quits at once)
↑ ↓ k j        choose a stage or a worker; PgUp PgDn Home End go farther
Tab            let the arrows choose in the other list
l              the log of the chosen worker on the whole screen, and back
? h            this, and back

Looking costs the run no more than `fulcrum status` does, and quitting
leaves it as it is.";

/// Draws the view.
pub(super) fn draw(view: &View, frame: &mut Frame) {
    let [title, body, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    let name = fit(&view.run, usize::from(title.width).saturating_sub(12));
    frame.render_widget(Line::from_iter([name.bold(), "  ".into(), view.facts.as_str().into()]), title);
    frame.render_widget(Line::from(KEYS).dim(), keys);
    match view.cover {
        Cover::Nothing => lists(view, frame, body),
        Cover::Log => log(view, frame, body),
        Cover::Help => frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), body),
    }
}

fn lists(view: &View, frame: &mut Frame, body: Rect) {
    let waits = Paragraph::new(Text::from_iter(view.waits.iter().map(|line| line.as_str().yellow())));
    let waits = waits.wrap(Wrap { trim: true });
    let lines = match body.height {
        0..8 => 0,
        height => broken(&view.waits, body.width).min(height / 5),
    };
    let rest = body.height - lines;
    let loss = view.loss.as_ref().map(|loss| if loss.points.is_empty() { 1 } else { LOSS });
    let [stages, workers, loss, log_] = shares(rest, view.stages.len(), view.workers.len(), loss);
    let areas = [lines, stages, workers, loss, log_].map(Constraint::Length);
    let [top, stages, workers, loss, end] = Layout::vertical(areas).areas(body);
    frame.render_widget(waits, top);
    lists::stages(view, frame, stages);
    lists::workers(view, frame, workers);
    curve(view, frame, loss);
    log(view, frame, end);
}

/// Lines that texts take where they are broken at so many columns; one more each may be needed for whole words.
fn broken(texts: &[String], width: u16) -> u16 {
    let lines = texts.iter().map(|text| wide(text).div_ceil(usize::from(width).max(1)));
    u16::try_from(lines.sum::<usize>()).unwrap_or(u16::MAX)
}

/// Lines for the stages, the workers, the loss and the log, headlines included, that make `height` together. Where there
/// is little room, the log goes first, then the curve, then the workers.
fn shares(height: u16, stages: usize, workers: usize, loss: Option<u16>) -> [u16; 4] {
    let lines = |rows: usize| u16::try_from(rows + 1).unwrap_or(u16::MAX);
    let mut left = height;
    let mut take = |wanted: u16| {
        let got = wanted.min(left);
        left -= got;
        got
    };
    let most = (height * 2 / 5).max(4);
    let stages = take(lines(stages).clamp(2, most));
    let workers = take(lines(workers).clamp(2, (height / 4).max(3)));
    let loss = loss.filter(|_| height >= 14).map_or(0, &mut take);
    // A headline alone says nothing.
    match left {
        0..4 => [stages + left, workers, loss, 0],
        log => [stages, workers, loss, log],
    }
}

/// A headline over a part of the screen, which is bold where the arrows are.
pub(super) fn headline(text: &str, width: u16, has_arrows: bool) -> Line<'static> {
    let text = fit(text, usize::from(width));
    let rule = "─".repeat(usize::from(width).saturating_sub(wide(&text) + 1));
    let text = if has_arrows { text.bold().cyan() } else { text.bold() };
    Line::from_iter([text, " ".into(), rule.dim()])
}

fn curve(view: &View, frame: &mut Frame, area: Rect) {
    let Some(loss) = view.loss.as_ref().filter(|_| area.height > 0) else { return };
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let words = loss.words();
    let room = usize::from(area.width).saturating_sub(words.len() + 10);
    let text = format!("loss of {}: {words}", fit(&loss.stage, room));
    frame.render_widget(headline(&text, area.width, false), head);
    let levels = u64::from(body.height) * 8;
    let columns = loss.columns(usize::from(body.width), levels);
    frame.render_widget(Sparkline::default().data(columns).max(levels).style(Style::new().cyan()), body);
}

fn log(view: &View, frame: &mut Frame, area: Rect) {
    if area.height == 0 {
        return;
    }
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let has_arrows = view.cover == Cover::Log || view.list == List::Workers;
    frame.render_widget(headline(&format!("log of {}", view.who), area.width, has_arrows), head);
    let last = view.log.len().saturating_sub(usize::from(body.height));
    let lines = view.log[last..].iter().map(|line| Line::from(Span::raw(line.as_str())));
    match view.log.is_empty() {
        true => frame.render_widget(Line::from("there is none, or nothing in it").dim(), body),
        false => frame.render_widget(Paragraph::new(Text::from_iter(lines)), body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_given_twice_and_none_is_left() {
        for height in 0..70 {
            for (stages, workers) in [(0, 1), (3, 2), (57, 3), (500, 200)] {
                for loss in [None, Some(1), Some(LOSS)] {
                    let shares = shares(height, stages, workers, loss);
                    assert_eq!(shares.iter().sum::<u16>(), height, "{height} {stages} {workers}");
                    let is_seen = stages == 0 || height < 6 || shares[0] >= 3;
                    assert!(is_seen, "no stage is seen at {height}");
                }
            }
        }
    }
}
