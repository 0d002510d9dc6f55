//! Chess: positions, and moves in the notations of programs (UCI) and of people (SAN).
//!
//! Positions and moves come from files and from models, so nothing is believed of them: a position is one that can
//! arise (one king each, no king left in check), a move is looked for among the legal ones.

mod filters;
pub(crate) mod mates;

use std::fmt;

use cozy_chess::{Board, Color, File, Move, Rank, Square, util};

pub(crate) use filters::add_filters;

/// A chess position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(Board);

/// What an answer is as a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A legal move, in UCI.
    Legal(String),
    /// Written as a move, but none that can be made, or not one alone.
    Illegal,
    /// No move in either notation.
    Unreadable,
}

impl Position {
    /// Where every game begins.
    pub fn start() -> Self {
        Self(Board::startpos())
    }

    /// Reads a position as the UCI protocol writes it: `FEN` or `startpos`, after which `moves` may follow, and the moves that
    /// are played from there, here in UCI or SAN, with or without their numbers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        let mut position = match first {
            "startpos" => Self::start(),
            _ => {
                let fen: Vec<&str> = std::iter::once(first).chain(words.by_ref().take(5)).collect();
                let fen = fen.join(" ");
                // Chess960 writes castling rights in another way.
                let board = Board::from_fen(&fen, false);
                Self(board.map_err(|e| format!("{} is no position in FEN: {}", short(&fen), plain(&e)))?)
            }
        };
        match words.next() {
            None => return Ok(position),
            Some("moves") => {}
            Some(other) => return Err(format!("{} follows the position, expected `moves`", short(other))),
        }
        for word in words {
            position.play(word)?;
        }
        Ok(position)
    }

    /// Makes a move. A number before it, as in `12...Nf6`, is passed over, and may stand alone.
    ///
    /// # Errors
    /// If it is none that can be made.
    pub fn play(&mut self, word: &str) -> Result<(), String> {
        let numbered = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let found = match numbered.starts_with('.') {
            true => numbered.trim_start_matches('.'),
            false => word,
        };
        if !found.is_empty() {
            let found = self.find(found)?;
            self.0.play(found);
        }
        Ok(())
    }

    /// What an answer is. Marks of capture, check and mate are not looked at; white space around it neither.
    pub fn judge(&self, answer: &str) -> Answer {
        let answer = answer.trim();
        match self.legal(answer) {
            Some(found) => Answer::Legal(self.uci(found)),
            None if is_uci(answer) || is_san(answer) => Answer::Illegal,
            None => Answer::Unreadable,
        }
    }

    /// The legal move that is written so.
    pub(crate) fn find(&self, word: &str) -> Result<Move, String> {
        self.legal(word).ok_or_else(|| format!("{} is no legal move in {self}", short(word)))
    }

    fn legal(&self, word: &str) -> Option<Move> {
        if is_uci(word) {
            let found = util::parse_uci_move(&self.0, word).ok()?;
            return self.0.is_legal(found).then_some(found);
        }
        if is_san(word) { util::parse_san_move(&self.0, word).ok() } else { None }
    }

    /// Makes a move and adds it to the record of a game: `1. e4 e5 2. Nf3`.
    pub(crate) fn record(&mut self, word: &str, text: &mut String) -> Result<(), String> {
        self.record_move(self.find(word)?, text);
        Ok(())
    }

    /// The same of a move that is legal.
    pub(crate) fn record_move(&mut self, legal: Move, text: &mut String) {
        if !text.is_empty() {
            text.push(' ');
        }
        match self.0.side_to_move() {
            Color::White => text.push_str(&format!("{}. ", self.0.fullmove_number())),
            Color::Black if text.is_empty() => text.push_str(&format!("{}... ", self.0.fullmove_number())),
            Color::Black => {}
        }
        text.push_str(&self.san(legal));
        self.0.play(legal);
    }

    /// The board as 64 characters, from a8 to h1, as in FEN but with `.` for an empty square, then who is to move.
    pub(crate) fn squares(&self) -> String {
        let piece = |square| {
            let letter = char::from(self.0.piece_on(square)?);
            Some(match self.0.color_on(square)? {
                Color::White => letter.to_ascii_uppercase(),
                Color::Black => letter,
            })
        };
        let ranks = Rank::ALL.into_iter().rev();
        let squares = ranks.flat_map(|rank| File::ALL.map(|file| Square::new(file, rank)));
        squares
            .map(|square| piece(square).unwrap_or('.'))
            .chain([char::from(self.0.side_to_move())])
            .collect()
    }

    /// A legal move in UCI: `e1g1` where the king castles.
    pub(crate) fn uci(&self, legal: Move) -> String {
        util::display_uci_move(&self.0, legal).to_string()
    }

    /// A legal move in SAN, with its mark of check or mate.
    pub(crate) fn san(&self, legal: Move) -> String {
        util::display_san_move(&self.0, legal).to_string()
    }
}

/// In FEN.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From, to, and what a pawn becomes: `e7e8q`.
fn is_uci(word: &str) -> bool {
    let bytes = word.as_bytes();
    let squares = bytes.len() >= 4 && is_square(&bytes[..2]) && is_square(&bytes[2..4]);
    squares && matches!(bytes[4..], [] | [b'q' | b'r' | b'b' | b'n'])
}

/// Piece, where it stands if several could go, `x` for a capture, where it goes, what a pawn becomes: `Nbxd7+`, `e8=Q#`, `O-O`.
fn is_san(word: &str) -> bool {
    let word = word.strip_suffix(['+', '#']).unwrap_or(word);
    if matches!(word, "O-O" | "O-O-O") {
        return true;
    }
    let (piece, rest) = match word.strip_prefix(['K', 'Q', 'R', 'B', 'N']) {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let rest = match rest.strip_suffix(['Q', 'R', 'B', 'N']) {
        Some(_) if piece => return false,
        Some(promoted) => promoted.strip_suffix('=').unwrap_or(promoted),
        None => rest,
    };
    let Some((from, to)) = rest.len().checked_sub(2).and_then(|at| rest.as_bytes().split_at_checked(at))
    else {
        return false;
    };
    let from = from.strip_suffix(b"x").unwrap_or(from);
    is_square(to) && matches!(from, [] | [b'a'..=b'h' | b'1'..=b'8'] | [b'a'..=b'h', b'1'..=b'8'])
}

fn is_square(bytes: &[u8]) -> bool {
    matches!(bytes, [b'a'..=b'h', b'1'..=b'8'])
}

/// As much of a text as a message shows.
fn short(text: &str) -> String {
    let shown: String = text.chars().take(100).collect();
    format!("{shown:?}")
}

/// A message of the move generator, without its full stop and capital.
fn plain(error: &impl fmt::Display) -> String {
    error.to_string().trim_end_matches('.').to_lowercase()
}

#[cfg(test)]
mod tests;
