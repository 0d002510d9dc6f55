//! What whoever looks has chosen, and what keys do to that.

use fulcrum_common::protocol::StageStatus;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::order::ordered;
use crate::watch::Sight;

/// What is chosen and what is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The stage, by name; the first of the list until one is chosen.
    pub(super) stage_name: Option<String>,
    /// The worker; none for the coordinator.
    pub(super) worker: Option<String>,
    /// The list that the arrows move in.
    pub(super) list: List,
    /// What covers the lists.
    pub(super) cover: Cover,
}

/// A list to choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum List {
    #[default]
    Stages,
    Workers,
}

/// What covers the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cover {
    #[default]
    Nothing,
    /// The log of the chosen worker.
    Log,
    /// The keys.
    Help,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    Quit,
}

impl Choice {
    /// Does what a key stands for.
    pub(super) fn press(&mut self, key: KeyEvent, sight: &Sight) -> Flow {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Flow::Quit,
            KeyCode::Char('q') | KeyCode::Esc if self.cover == Cover::Nothing => return Flow::Quit,
            KeyCode::Char('q') | KeyCode::Esc => self.cover = Cover::Nothing,
            KeyCode::Char('l') => self.toggle(Cover::Log),
            KeyCode::Char('?' | 'h') => self.toggle(Cover::Help),
            KeyCode::Tab | KeyCode::BackTab => {
                self.list = if self.list == List::Stages { List::Workers } else { List::Stages };
            }
            KeyCode::Down | KeyCode::Char('j') => self.step(1, sight),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, sight),
            KeyCode::PageDown => self.step(10, sight),
            KeyCode::PageUp => self.step(-10, sight),
            KeyCode::Home => self.step(isize::MIN, sight),
            KeyCode::End => self.step(isize::MAX, sight),
            _ => {}
        }
        Flow::GoOn
    }

    /// The place of the chosen stage in the list as it is ordered now.
    pub(super) fn stage_at(&self, sight: &Sight) -> usize {
        let named = |name: &String| ordered(sight).position(|stage| &stage.name == name);
        self.stage_name.as_ref().and_then(named).unwrap_or(0)
    }

    /// The chosen stage; none where there are none.
    pub(super) fn stage(&self, sight: &Sight) -> Option<StageStatus> {
        ordered(sight).nth(self.stage_at(sight)).cloned()
    }

    /// Whose log is shown: a worker, else the coordinator.
    pub(super) fn who(&self) -> &str {
        self.worker.as_deref().unwrap_or("coordinator")
    }

    fn toggle(&mut self, cover: Cover) {
        self.cover = if self.cover == cover { Cover::Nothing } else { cover };
    }

    fn step(&mut self, by: isize, sight: &Sight) {
        // Of a log that fills the screen the arrows choose whose it is.
        if self.list == List::Workers || self.cover == Cover::Log {
            let names: Vec<_> = sight.status.workers.iter().map(|worker| Some(&worker.worker)).collect();
            let names: Vec<_> = [None].into_iter().chain(names).collect();
            let at = names.iter().position(|name| *name == self.worker.as_ref()).unwrap_or(0);
            self.worker = names[moved(at, by, names.len())].cloned();
        } else {
            let at = moved(self.stage_at(sight), by, sight.status.stages.len());
            self.stage_name = ordered(sight).nth(at).map(|stage| stage.name.clone());
        }
    }
}

fn moved(at: usize, by: isize, length: usize) -> usize {
    at.saturating_add_signed(by).min(length.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fulcrum_common::protocol::{StatusReply, WorkerStatus};

    use super::*;

    fn sight() -> Sight {
        let stage = |name: &str, state: &str| StageStatus {
            name: name.into(),
            state: state.into(),
            ..StageStatus::default()
        };
        let worker = |name: &str| WorkerStatus { worker: name.into(), ..WorkerStatus::default() };
        let stages = vec![stage("data", "done"), stage("weak", "running"), stage("strong", "waiting")];
        let workers = vec![worker("w0"), worker("w1")];
        let mut sight = Sight::default();
        sight.update(StatusReply { stages, workers, ..StatusReply::default() }, Duration::ZERO);
        sight
    }

    fn press(choice: &mut Choice, codes: &[KeyCode]) -> Flow {
        let sight = sight();
        let flows = codes.iter().map(|code| choice.press(KeyEvent::from(*code), &sight));
        flows.last().unwrap()
    }

    #[test]
    fn keys_that_quit_first_close_what_is_open() {
        for key in [KeyCode::Char('q'), KeyCode::Esc] {
            let mut choice = Choice::default();
            assert_eq!(press(&mut choice, &[key]), Flow::Quit);
            assert_eq!(press(&mut choice, &[KeyCode::Char('?'), key]), Flow::GoOn);
            assert_eq!(press(&mut choice, &[KeyCode::Char('l'), key, key]), Flow::Quit);
        }
        let (mut choice, control) = (Choice::default(), KeyModifiers::CONTROL);
        press(&mut choice, &[KeyCode::Char('?')]);
        assert_eq!(choice.press(KeyEvent::new(KeyCode::Char('c'), control), &sight()), Flow::Quit);
        assert_eq!(choice.press(KeyEvent::from(KeyCode::Char('c')), &sight()), Flow::GoOn);
    }

    #[test]
    fn arrows_choose_in_the_list_that_tab_chose() {
        let mut choice = Choice::default();
        assert_eq!(choice.stage_at(&sight()), 0);
        press(&mut choice, &[KeyCode::Down]);
        assert_eq!((choice.stage_name.as_deref(), choice.stage_at(&sight())), (Some("strong"), 1));
        press(&mut choice, &[KeyCode::End, KeyCode::Char('j')]);
        assert_eq!(choice.stage_name.as_deref(), Some("data"));
        press(&mut choice, &[KeyCode::PageUp, KeyCode::Up]);
        assert_eq!(choice.stage_name.as_deref(), Some("weak"));
        assert_eq!(choice.who(), "coordinator");
        press(&mut choice, &[KeyCode::Tab, KeyCode::Char('j'), KeyCode::Char('j'), KeyCode::Char('j')]);
        assert_eq!(choice.who(), "w1");
        press(&mut choice, &[KeyCode::Home, KeyCode::Char('k')]);
        assert_eq!(choice.who(), "coordinator");
    }

    #[test]
    fn where_there_is_nothing_to_choose_nothing_is_chosen() {
        let (mut choice, empty) = (Choice::default(), Sight::default());
        for code in
            [KeyCode::Down, KeyCode::End, KeyCode::Tab, KeyCode::Down, KeyCode::Char('l'), KeyCode::Up]
        {
            assert_eq!(choice.press(KeyEvent::from(code), &empty), Flow::GoOn);
        }
        assert_eq!((choice.stage_name, choice.worker), (None, None));
    }

    #[test]
    fn a_chosen_stage_is_kept_although_the_order_changes() {
        let mut choice = Choice::default();
        press(&mut choice, &[KeyCode::Down]);
        let mut later = sight();
        later.status.stages[2].state = "running".into();
        later.status.stages[1].state = "done".into();
        assert_eq!((choice.stage_name.as_deref(), choice.stage_at(&later)), (Some("strong"), 0));
    }
}
