//! The lists of stages and workers. Where the screen is narrow, the columns that say least are left out.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
};

use super::{
    choice::List,
    draw::headline,
    text::{bar, fit, wide},
    view::{StageRow, View, WorkerRow},
};

/// Columns of a bar.
const BAR: usize = 16;

/// Columns of the screen that the name of a worker takes at most; what is left goes to the column [`AT`].
const WORKER: usize = 26;

/// Where a worker works: the column that grows.
const AT: &str = "at";

/// A column: its name, how wide it is, whether it is a number, and how wide the screen must be for it.
struct Column<R> {
    name: &'static str,
    width: usize,
    right: bool,
    from: u16,
    text: fn(&R) -> &str,
}

impl<R> Clone for Column<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Column<R> {}

const fn column<R>(
    name: &'static str,
    width: usize,
    right: bool,
    from: u16,
    text: fn(&R) -> &str,
) -> Column<R> {
    Column { name, width, right, from, text }
}

const STAGES: [Column<StageRow>; 5] = [
    column("done", 8, true, 0, |row| &row.share),
    column("rate", 10, true, 60, |row| &row.rate),
    column("left", 9, true, 50, |row| &row.left),
    column("loss", 8, true, 66, |row| &row.loss),
    column("", 10, false, 120, |row| &row.attempt),
];

const WORKERS: [Column<WorkerRow>; 6] = [
    column("state", 8, false, 0, |row| &row.state),
    column("device", 7, false, 66, |row| &row.device),
    column("host", 16, false, 110, |row| &row.host),
    column(AT, 30, false, 72, |row| &row.at),
    column("does", 13, false, 100, |row| &row.doing),
    column("heard", 7, true, 50, |row| &row.heard),
];

/// The stages, around the chosen one.
pub(super) fn stages(view: &View, frame: &mut Frame, area: Rect) {
    let running = view.stages.iter().filter(|row| row.state == "running").count();
    let title = format!("stages, {running} running");
    let has_bars = area.width >= 96;
    let bars = if has_bars { BAR + 1 } else { 0 };
    let row = |row: &StageRow, line: &mut Vec<Span<'static>>| {
        if has_bars && row.state == "running" {
            let (full, rest) = bar(row.done, row.total, BAR);
            line.extend([" ".into(), full.cyan(), rest.dim()]);
        } else if has_bars {
            line.push(" ".repeat(BAR + 1).into());
        }
    };
    let list = Rows {
        rows: &view.stages,
        columns: &STAGES,
        chosen: view.stage,
        name: |row| &row.name,
        most: usize::MAX,
        bars,
        row,
    };
    list.draw((&title, view.list == List::Stages), |row| colour(&row.state), frame, area);
}

/// The coordinator and the workers, around the chosen one.
pub(super) fn workers(view: &View, frame: &mut Frame, area: Rect) {
    let title = format!("workers, {}", view.workers.len() - 1);
    let list = Rows {
        rows: &view.workers,
        columns: &WORKERS,
        chosen: view.worker,
        name: |row| &row.name,
        most: WORKER,
        bars: 0,
        row: |_: &WorkerRow, _: &mut Vec<Span<'static>>| {},
    };
    list.draw((&title, view.list == List::Workers), |row| colour(&row.state), frame, area);
}

/// The colour of a state's word.
fn colour(state: &str) -> Style {
    match state {
        "running" | "working" => Style::new().fg(Color::Cyan),
        "done" | "cached" => Style::new().fg(Color::Green),
        "ready" | "draining" | "aborting" => Style::new().fg(Color::Yellow),
        "failed" | "lost" => Style::new().fg(Color::Red),
        _ => Style::new().dim(),
    }
}

/// Rows of one kind, one of which is chosen.
struct Rows<'a, R, F> {
    rows: &'a [R],
    columns: &'a [Column<R>],
    chosen: usize,
    name: fn(&R) -> &str,
    /// Columns of the screen that a name takes at most.
    most: usize,
    /// Columns of the screen that `row` fills between the name and the other columns.
    bars: usize,
    row: F,
}

impl<R, F: Fn(&R, &mut Vec<Span<'static>>)> Rows<'_, R, F> {
    fn draw(&self, title: (&str, bool), style: fn(&R) -> Style, frame: &mut Frame, area: Rect) {
        if area.height == 0 {
            return;
        }
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let mut columns: Vec<Column<R>> =
            self.columns.iter().filter(|column| area.width >= column.from).copied().collect();
        let taken: usize = columns.iter().map(|column| column.width + 1).sum::<usize>() + self.bars;
        let mut room = usize::from(area.width).saturating_sub(taken);
        if let Some(grows) = columns.iter_mut().find(|column| column.name == AT) {
            grows.width += room.saturating_sub(self.most);
            room = room.min(self.most);
        }
        let mut names: Vec<Span> = vec![" ".repeat(self.bars).into()];
        names.extend(columns.iter().map(|column| cell(column.name, column).dim()));
        let title_line = headline(title.0, room as u16, title.1);
        frame.render_widget(Line::from_iter(title_line.spans.into_iter().chain(names)), head);

        let height = usize::from(body.height);
        // The chosen row stays in sight.
        let first = self.chosen.saturating_sub(height.saturating_sub(1));
        for ((at, row), area) in self.rows.iter().enumerate().skip(first).zip(body.rows()) {
            let is_chosen = at == self.chosen;
            let name = fit((self.name)(row), room.saturating_sub(2));
            let pad = " ".repeat(room.saturating_sub(2 + wide(&name)));
            let name = if is_chosen { name.bold() } else { name.into() };
            let mut line = vec![if is_chosen { "› ".bold() } else { "  ".into() }, name, pad.into()];
            (self.row)(row, &mut line);
            for (place, column) in columns.iter().enumerate() {
                let text = cell((column.text)(row), column);
                line.push(if place == 0 { Span::styled(text, style(row)) } else { text.into() });
            }
            frame.render_widget(Line::from(line), area);
        }
    }
}

/// A text in its column, with a space before it.
fn cell<R>(text: &str, column: &Column<R>) -> String {
    let text = fit(text, column.width);
    let pad = " ".repeat(column.width - wide(&text));
    if column.right { format!(" {pad}{text}") } else { format!(" {text}{pad}") }
}
