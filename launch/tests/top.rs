//! `fulcrum top`: on a terminal, which it gives back, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Stdio},
};

use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::tcgetattr,
    },
    unistd::Pid,
};
use support::{Place, outcome::finished};

/// What switches to the other screen of a terminal, and back.
const OTHER: [&str; 2] = ["\u{1b}[?1049h", "\u{1b}[?1049l"];

/// A program on a terminal of 100 columns and 24 lines.
struct Terminal {
    child: Child,
    ours: File,
    /// Kept open, as the settings of a terminal that nobody has open are gone.
    theirs: OwnedFd,
    shown: String,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Terminal {
    fn start(place: &Place, args: &[&str]) -> (Self, nix::sys::termios::Termios) {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let settings = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = place.command(args).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        (Self { child, ours: master.into(), theirs: slave, shown: String::new() }, settings)
    }

    /// Reads until a text was shown.
    fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        while !self.shown.contains(text) {
            let count = self.ours.read(&mut bytes).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}

fn over() -> Place {
    let place = Place::new();
    finished(&place);
    assert_eq!(place.run(&["run", "tiny.toml"]).code, Some(0));
    place
}

#[test]
fn it_gives_the_terminal_back_after_a_key_and_after_a_signal() {
    let place = over();
    for is_signal in [false, true] {
        let (mut terminal, before) = Terminal::start(&place, &["top", "tiny"]);
        terminal.wait_for("store");
        assert!(terminal.shown.contains(OTHER[0]) && terminal.shown.contains("tiny"), "{}", terminal.shown);
        assert_ne!(tcgetattr(&terminal.theirs).unwrap(), before, "keys would wait for a line");
        if is_signal {
            kill(Pid::from_raw(terminal.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        } else {
            terminal.ours.write_all(b"?").unwrap();
            terminal.wait_for("close");
            terminal.ours.write_all(b"qq").unwrap();
        }
        terminal.wait_for(OTHER[1]);
        assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
        assert_eq!(tcgetattr(&terminal.theirs).unwrap(), before);
    }
}

#[test]
fn without_a_terminal_it_names_the_way_out() {
    let done = over().run(&["top", "tiny"]);
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
    assert!(done.err.starts_with("error: ") && done.err.contains("use `fulcrum status`"), "{}", done.err);
    assert_eq!(done.err.lines().count(), 1);
}
