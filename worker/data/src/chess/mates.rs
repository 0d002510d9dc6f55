//! `builtin:mate-in-one`: games of random moves up to a position in which one move mates, and no other does.
//!
//! A task that needs no download: what a model is given is the record of the game, as in the chess task of Burns et al.
//! (2023, section 4), so it has to know where the pieces are. A corpus of other such games teaches the language: in
//! each the mate is played, or in the share `noise` of them, another move. Which games are the task's and which the corpus's a digest
//! of the record decides, so that no position of the task is in the corpus.

use std::{collections::HashSet, sync::Arc};

use cozy_chess::{
    BitBoard, Board, Move, Piece, get_bishop_moves, get_knight_moves, get_pawn_attacks, get_rook_moves,
};
use fulcrum_common::{plan::MateInOne, rng::Rng};
use serde_json::Value;

use super::Position;
use crate::{
    Table,
    error::{DataError, Result},
    source::{Place, Record, Row},
};

/// Games in a row of which none gives anything new: then there is nothing new to be had.
const FRUITLESS_GAMES: usize = 2_000_000;

/// A game up to a position in which one move mates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Game {
    /// Its moves, as in records of games.
    record: String,
    /// Where they lead.
    position: Position,
    mate: Move,
}

/// The positions: rows with the columns `moves` (the record of the game), `fen`, and the move that mates, `san` and `uci`.
/// No game comes twice.
///
/// # Errors
/// When the parameters are out of range; each row that there is no game for.
pub(crate) fn rows(task: &MateInOne) -> Result<impl Iterator<Item = Result<Row>> + use<>> {
    check(task)?;
    let (mut rng, task) = (Rng::new(task.seed, "mates in one", 0), task.clone());
    let (mut seen, file): (_, Arc<str>) = (HashSet::new(), MateInOne::NAME.into());
    Ok((0..task.rows as i64).map(move |row| {
        let place = Place::new(file.clone(), row as u64 + 1);
        let found = unseen(&mut rng, task.plies, &mut seen, FRUITLESS_GAMES);
        let Game { record, position, mate } = found.ok_or_else(|| place.fault(exhausted(&task)))?;
        let (san, uci) = (position.san(mate), position.uci(mate));
        let columns = [("moves", record), ("fen", position.to_string()), ("san", san), ("uci", uci)];
        let record: Record = columns.map(|(column, text)| (column.to_owned(), Value::from(text))).into();
        Ok(Row { row, record, place })
    }))
}

fn unseen(rng: &mut Rng, plies: usize, seen: &mut HashSet<[u8; 32]>, games: usize) -> Option<Game> {
    (0..games).find_map(|_| {
        let game = play(rng, plies).filter(|game| !is_of_corpus(&game.record))?;
        seen.insert(*blake3::hash(game.record.as_bytes()).as_bytes()).then_some(game)
    })
}

fn exhausted(MateInOne { plies, rows, .. }: &MateInOne) -> String {
    format!(
        "no other game of {plies} moves at most was found, {rows} are asked for: raise task.mate-in-one.plies or ask \
         for fewer rows"
    )
}

/// The corpus: games to their end, of which the share `noise` misses the mate. Games may come again, as text does.
///
/// # Errors
/// When the parameters are out of range, or no game is found.
pub(crate) fn corpus(task: &MateInOne) -> Result<Table> {
    check(task)?;
    let mut rng = Rng::new(task.seed, "games with mates in one", 0);
    let mut one = || {
        let none = || DataError::value(format!("no game of {} moves at most has a mate", task.plies));
        let played = |_| play(&mut rng, task.plies).filter(|game| is_of_corpus(&game.record));
        let mut game = (0..FRUITLESS_GAMES).find_map(played).ok_or_else(none)?;
        let last = if rng.chance(task.noise) { other(&mut rng, &game) } else { game.mate };
        game.position.record_move(last, &mut game.record);
        Ok(game.record)
    };
    let texts = (0..task.rows).map(|_| one()).collect::<Result<_>>()?;
    Ok(Table { rows: (0..task.rows as i64).collect(), texts, ..Table::default() })
}

fn check(task: &MateInOne) -> Result<()> {
    let range = MateInOne::PLIES;
    if !range.contains(&task.plies) {
        let (plies, least, most) = (task.plies, range.start(), range.end());
        return Err(DataError::value(format!("plies = {plies} is out of range: {least} to {most}")));
    }
    if !(0.0..=1.0).contains(&task.noise) {
        return Err(DataError::value(format!("noise = {} is out of range: 0 to 1", task.noise)));
    }
    Ok(())
}

/// Half of the games.
fn is_of_corpus(record: &str) -> bool {
    blake3::hash(record.as_bytes()).as_bytes()[0] % 2 == 1
}

/// A random move that does not mate.
fn other(rng: &mut Rng, game: &Game) -> Move {
    let mut others = legal(&game.position.0);
    others.retain(|found| *found != game.mate);
    // A position with a single move is a mate that cannot be missed.
    if others.is_empty() { game.mate } else { others[rng.index(others.len())] }
}

/// A game of random moves up to its first position in which a move mates, of `plies` moves at most. None where there
/// is no such position, or several moves mate.
fn play(rng: &mut Rng, plies: usize) -> Option<Game> {
    let (mut board, mut played) = (Board::startpos(), Vec::with_capacity(plies));
    // The mate is a move too.
    for _ in 0..plies {
        let moves = legal(&board);
        let checks = Checks::new(&board);
        let mut mates = moves.iter().filter(|found| checks.may_come_of(**found) && mates(&board, **found));
        if let Some(&mate) = mates.next() {
            return mates.next().is_none().then(|| recorded(&played, mate));
        }
        if moves.is_empty() {
            return None;
        }
        let next = moves[rng.index(moves.len())];
        board.play_unchecked(next);
        played.push(next);
    }
    None
}

fn recorded(played: &[Move], mate: Move) -> Game {
    let (mut position, mut record) = (Position::start(), String::new());
    played.iter().for_each(|&next| position.record_move(next, &mut record));
    Game { record, position, mate }
}

/// In an order that is the generator's.
fn legal(board: &Board) -> Vec<Move> {
    let mut moves = Vec::with_capacity(64);
    board.generate_moves(|some| {
        moves.extend(some);
        false
    });
    moves
}

fn mates(board: &Board, found: Move) -> bool {
    let mut after = board.clone();
    after.play_unchecked(found);
    !after.checkers().is_empty() && !after.generate_moves(|_| true)
}

/// What a move must do to give check, told without making it. Most do nothing of it, which makes games several times as
/// fast.
struct Checks<'b> {
    board: &'b Board,
    /// Where a bishop and a rook check, which is also what the other king sees first.
    diagonals: BitBoard,
    lines: BitBoard,
    knights: BitBoard,
    pawns: BitBoard,
}

impl<'b> Checks<'b> {
    fn new(board: &'b Board) -> Self {
        let (side, occupied) = (board.side_to_move(), board.occupied());
        let king = board.king(!side);
        Self {
            board,
            diagonals: get_bishop_moves(king, occupied),
            lines: get_rook_moves(king, occupied),
            knights: get_knight_moves(king),
            pawns: get_pawn_attacks(king, !side),
        }
    }

    fn may_come_of(&self, found: Move) -> bool {
        // What stands between a piece and the king may step aside.
        let opens = self.diagonals | self.lines;
        if opens.has(found.from) {
            return true;
        }
        let reached = match self.board.piece_on(found.from) {
            // It may become anything, or take in passing what stood between.
            Some(Piece::Pawn) if found.promotion.is_some() || found.from.file() != found.to.file() => {
                return true;
            }
            Some(Piece::Pawn) => self.pawns,
            Some(Piece::Knight) => self.knights,
            Some(Piece::Bishop) => self.diagonals,
            Some(Piece::Rook) => self.lines,
            Some(Piece::Queen) => opens,
            // Where it castles, which is written as taking the rook, the rook comes into play.
            Some(Piece::King) | None => self.board.colors(self.board.side_to_move()),
        };
        reached.has(found.to)
    }
}

#[cfg(test)]
mod tests;
