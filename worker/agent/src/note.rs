//! What a worker leaves for the next process in its seat, in case that it dies while rows go through a model: the
//! assignment, and the row if it is alone. Only such a death is held against the rows; that a worker is lost is not.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use fulcrum_common::protocol::Fell;

use crate::attempt::Attempt;

/// Where the note of a seat lies.
#[derive(Clone, Debug)]
pub(crate) struct Place(Arc<PathBuf>);

/// A note, taken away again when this is dropped.
#[derive(Debug)]
pub(crate) struct Note(Place);

impl Place {
    /// In a folder that the next process in the seat has too.
    pub(crate) fn new(folder: &Path, seat: &str) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
        let name: String = seat.chars().filter(plain).take(64).collect();
        Self(Arc::new(folder.join(format!("{name}.rows"))))
    }

    /// What the process before this one was at when it died, if that was rows.
    pub(crate) fn left(&self) -> Option<Fell> {
        let text = fs::read_to_string(self.0.as_ref()).ok()?;
        let mut words = text.split_whitespace();
        let epoch = words.next()?.parse().ok()?;
        Some(Fell { epoch, row: words.next().and_then(|row| row.parse().ok()) })
    }

    /// Notes that these rows, by their numbers in their source, begin to go through a model. Whoever calls the attempt
    /// off also ends this process if it must, and then it is not the rows' doing, unless they are why: they do not end.
    pub(crate) fn write(&self, attempt: &Attempt, rows: &[i64]) -> Option<Note> {
        let alone = if let [row] = rows { format!(" {row}") } else { String::new() };
        if rows.is_empty() {
            return None;
        }
        let written = self.0.parent().map_or(Ok(()), fs::create_dir_all);
        let written =
            written.and_then(|()| fs::write(self.0.as_ref(), format!("{}{alone}\n", attempt.epoch)));
        if let Err(error) = written {
            tracing::warn!("a death in these rows will not be known as one: {}: {error}", self.0.display());
        }
        let place = self.clone();
        attempt.on_cancel(move |call| {
            if !call.stalled {
                place.clear();
            }
        });
        Some(Note(self.clone()))
    }

    fn clear(&self) {
        match fs::remove_file(self.0.as_ref()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!("{} stays: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use fulcrum_common::duty::Call;
    use tokio::sync::mpsc;

    use super::*;

    fn attempt() -> Arc<Attempt> {
        Attempt::new(7, Ipv4Addr::LOCALHOST.into(), mpsc::unbounded_channel().0)
    }

    #[test]
    fn a_note_is_found_by_the_next_process_unless_its_writer_came_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(&folder.path().join("new"), "../w0");
        let next = || Place::new(&folder.path().join("new"), "w0").left();
        assert_eq!(next(), None);
        let note = place.write(&attempt(), &[3, 4]);
        assert_eq!(next(), Some(Fell { epoch: 7, row: None }));
        drop(note);
        assert_eq!(next(), None);
        let note = place.write(&attempt(), &[-3]);
        assert_eq!(next(), Some(Fell { epoch: 7, row: Some(-3) }));
        drop(note);
        assert!(place.write(&attempt(), &[]).is_none() && next().is_none(), "no rows, no death in them");
    }

    #[test]
    fn who_is_called_off_and_does_not_come_back_has_not_died_of_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path(), "w0");
        let attempt = attempt();
        let _stays = place.write(&attempt, &[3]);
        assert!(place.left().is_some());
        attempt.cancel(&Call::because("other work"));
        assert_eq!(place.left(), None);
    }

    #[test]
    fn who_is_called_off_for_not_getting_on_and_does_not_come_back_is_held_against_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path(), "w0");
        let attempt = attempt();
        let note = place.write(&attempt, &[3]);
        attempt.cancel(&Call { stalled: true, ..Call::because("it does not get on") });
        assert_eq!(place.left(), Some(Fell { epoch: 7, row: Some(3) }));
        drop(note);
        assert_eq!(place.left(), None, "it came back");
    }
}
