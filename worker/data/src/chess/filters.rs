//! What templates can make of positions and moves. A position is written as in [`Position::read`], moves as a text or a list.

use minijinja::{Environment, Error, ErrorKind, Value};

use super::Position;

type Result<T> = std::result::Result<T, Error>;

pub(crate) fn add_filters(engine: &mut Environment<'static>) {
    engine.add_filter("after", after);
    engine.add_filter("san", san);
    engine.add_filter("uci", uci);
    engine.add_filter("pgn", pgn);
    engine.add_filter("squares", squares);
}

/// `FEN | after(moves)`: the position in FEN once the moves are played.
fn after(position: &str, moves: &Value) -> Result<String> {
    let mut position = read(position)?;
    words(moves)?.iter().try_for_each(|word| position.play(word)).map_err(wrong)?;
    Ok(position.to_string())
}

/// `FEN | san(move)`: a move as people write it.
fn san(position: &str, word: &str) -> Result<String> {
    let position = read(position)?;
    Ok(position.san(position.find(word.trim()).map_err(wrong)?))
}

/// `FEN | uci(move)`: a move as programs write it.
fn uci(position: &str, word: &str) -> Result<String> {
    let position = read(position)?;
    Ok(position.uci(position.find(word.trim()).map_err(wrong)?))
}

/// `FEN | pgn(moves)`: the moves as in the records of games, `12... Nf6 13. O-O`.
fn pgn(position: &str, moves: &Value) -> Result<String> {
    let mut position = read(position)?;
    let mut text = String::new();
    for word in words(moves)? {
        position.record(&word, &mut text).map_err(wrong)?;
    }
    Ok(text)
}

/// `FEN | squares`: the board as 64 characters, from a8 to h1, `.` for none, then `w` or `b` for who is to move.
fn squares(position: &str) -> Result<String> {
    Ok(read(position)?.squares())
}

fn read(position: &str) -> Result<Position> {
    Position::read(position).map_err(wrong)
}

fn words(moves: &Value) -> Result<Vec<String>> {
    if let Some(text) = moves.as_str() {
        return Ok(text.split_whitespace().map(str::to_owned).collect());
    }
    let word = |value: Value| match value.as_str() {
        Some(word) => Ok(word.to_owned()),
        None => Err(wrong(format!("{value} is no move"))),
    };
    moves.try_iter()?.map(word).collect()
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        source::Record,
        template::{Scope, Template},
    };

    fn render(template: &str) -> Result<String, String> {
        let record: Record = serde_json::from_value(json!({
            "FEN": "rnbqkbnr/pppp1ppp/8/4p3/8/5P2/PPPPP1PP/RNBQKBNR w KQkq - 0 2", "Moves": "g2g4 d8h4", "n": 3
        }))
        .unwrap();
        Template::new(template).unwrap().render(&Scope::new(&record))
    }

    #[test]
    fn a_puzzle_is_shown_in_the_notations_of_people_and_programs() {
        for (template, expected) in [
            (
                "{{ FEN | after((Moves | split)[0]) }}",
                "rnbqkbnr/pppp1ppp/8/4p3/6P1/5P2/PPPPP2P/RNBQKBNR b KQkq g3 0 2",
            ),
            ("{{ (FEN ~ ' moves g4') | san('d8h4') }}", "Qh4#"),
            ("{{ FEN | after(['g4']) | uci('Qh4#') }}", "d8h4"),
            ("{{ FEN | pgn(Moves) }}", "2. g4 Qh4#"),
            ("{{ FEN | after('g4') | pgn('d8h4') }}", "2... Qh4#"),
            ("{{ 'startpos' | pgn('e2e4 e7e5 g1f3') }}", "1. e4 e5 2. Nf3"),
            (
                "{{ 'startpos' | squares }}",
                "rnbqkbnrpppppppp................................PPPPPPPPRNBQKBNRw",
            ),
        ] {
            assert_eq!(render(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_position_or_no_move_there_is_an_error() {
        for (template, expected) in [
            ("{{ Moves | san('g4') }}", "\"g2g4 d8h4\" is no position in FEN"),
            ("{{ FEN | san('Qh4') }}", "\"Qh4\" is no legal move in rnbqkbnr/pppp1ppp"),
            ("{{ FEN | after('d8h4') }}", "\"d8h4\" is no legal move"),
            ("{{ FEN | after([n]) }}", "3 is no move"),
            ("{{ FEN | pgn(n) }}", "the template fails"),
        ] {
            let message = render(template).unwrap_err();
            assert!(message.contains(expected), "{template}: {message}");
        }
    }
}
