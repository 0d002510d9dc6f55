//! A run in the terminal, as it goes: what is seen ([`crate::watch`]), what is chosen, what of it is shown, and how.
//!
//! Only [`show`] knows that there is a terminal; everything else is a function of what it is given.

mod choice;
mod draw;
mod lists;
mod order;
mod past;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::{pin::pin, time::Duration};

use anyhow::{Context, Result};
use ratatui::{DefaultTerminal, crossterm::event};
use tokio::sync::{mpsc, watch};

use crate::{
    run_folder::RunFolder,
    supervise::Signals,
    watch::{Sight, follow, look, tail},
};
use choice::{Choice, Flow};
use past::Past;
use view::View;

/// Keys that were pressed and not yet looked at.
const AHEAD: usize = 64;

/// The terminal while it is ours; given back when this is dropped, and before a panic is told.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self> {
        Ok(Self(ratatui::try_init().context("cannot draw on this terminal")?))
    }

    fn draw(&mut self, view: &View) -> Result<()> {
        self.0.draw(|frame| draw::draw(view, frame)).context("cannot draw on this terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever closed the terminal needs it no more.
        let _ = ratatui::try_restore();
    }
}

/// Shows the run until a key or a signal ends it. Standard input and output are a terminal.
///
/// # Errors
/// If there is no such run, or the terminal refuses.
pub(crate) async fn show(folder: RunFolder) -> Result<()> {
    let (says, mut sees) = watch::channel(Sight::default());
    let first = look(&folder).await?;
    says.send_modify(|sight| sight.update(first, Duration::ZERO));
    let mut signals = Signals::listen()?;
    let (mut choice, mut past) = (Choice::default(), Past::new(folder.clone()));
    let mut screen = Screen::open()?;
    let mut events = events();
    let mut looks = pin!(follow(&folder, &says));
    loop {
        let log = tail(&folder, choice.who()).unwrap_or_default();
        let chosen = choice.stage(&sees.borrow_and_update());
        let losses = match &chosen {
            Some(stage) => past.of(stage).await,
            None => &[],
        };
        let view = View::new(&sees.borrow(), &choice, &log, losses);
        screen.draw(&view)?;
        tokio::select! {
            failed = &mut looks => return failed,
            _ = sees.changed() => {}
            () = signals.recv() => return Ok(()),
            event = events.recv() => match event {
                // A terminal that is gone has nobody before it.
                None => return Ok(()),
                Some(event) => {
                    let key = event.as_key_press_event();
                    let flow = key.map(|key| choice.press(key, &sees.borrow()));
                    if flow == Some(Flow::Quit) {
                        return Ok(());
                    }
                }
            },
        }
    }
}

/// What happens at the terminal. The thread that waits for it ends with the process.
fn events() -> mpsc::Receiver<event::Event> {
    let (says, hears) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if says.blocking_send(event).is_err() {
                break;
            }
        }
    });
    hears
}
