//! Positions and moves, read and written.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// After 1. f3 e5 2. g4 black mates.
const FOOLED: &str = "rnbqkbnr/pppp1ppp/8/4p3/6P1/5P2/PPPPP2P/RNBQKBNR b KQkq g3 0 2";

/// Castling to both sides, a pawn about to promote, and three queens of which two can go to the same square.
const CROWDED: &str = "3k2n1/7P/Q3p3/4BPp1/Q1Q4q/8/5B2/R3K2R w KQ g6 0 1";

fn legal(position: &str, word: &str) -> Option<String> {
    match Position::read(position).unwrap().judge(word) {
        Answer::Legal(uci) => Some(uci),
        _ => None,
    }
}

#[test]
fn a_position_is_a_fen_or_the_start_and_the_moves_after_it() {
    let fooled = Position::read(FOOLED).unwrap();
    assert_eq!(fooled.to_string(), FOOLED);
    for moves in ["f2f3 e7e5 g2g4", "f3 e5 g4", "1. f3 e5 2. g4", "1.f3 e5 2.g4", " 1. f3   1... e5\n2. g4 "]
    {
        assert_eq!(Position::read(&format!("startpos moves {moves}")), Ok(fooled.clone()), "{moves}");
    }
    let mated = Position::read(&format!("{FOOLED} moves Qh4#")).unwrap();
    assert_eq!(mated.judge("a2a3"), Answer::Illegal, "the game is over");
    assert_eq!(Position::read("startpos moves").unwrap(), Position::start());
}

#[test]
fn a_text_that_is_no_position_is_refused_with_what_is_wrong() {
    let long = format!("startpos moves {}", "x".repeat(5_000));
    for (text, expected) in [
        ("", "\"\" is no position in FEN: the board is invalid"),
        ("Kk w - - 0 1", "\"Kk w - - 0 1\" is no position in FEN: the board is invalid"),
        ("8/8/8/8/8/8/8/8 w - - 0 1", "the board is invalid"),
        ("k7/8/8/8/8/8/8/KK6 w - - 0 1", "the board is invalid"),
        ("k7/R7/8/8/8/8/8/K7 w - - 0 1", "the board is invalid"),
        ("k7/8/8/8/8/8/8/K7 x - - 0 1", "the side to move is invalid"),
        ("k7/8/8/8/8/8/8/K7 w KQkq - 0 1", "the castling rights are invalid"),
        ("k7/8/8/8/8/8/8/K7 w - e5 0 1", "the en passant square is invalid"),
        ("k7/8/8/8/8/8/8/K7 w - - 101 1", "the halfmove clock is invalid"),
        ("k7/8/8/8/8/8/8/K7 w - - 0 65536", "the fullmove number is invalid"),
        ("k7/8/8/8/8/8/8/K7 w - -", "the fen is missing a field"),
        ("startpos e2e4", "\"e2e4\" follows the position, expected `moves`"),
        ("startpos moves e2e4 e2e4", "\"e2e4\" is no legal move in rnbqkbnr/pppppppp/8/8/4P3"),
        ("startpos moves Nd2", "\"Nd2\" is no legal move"),
        ("startpos moves é4é4", "is no legal move"),
        (&long, "xxx\" is no legal move"),
    ] {
        let message = Position::read(text).unwrap_err();
        assert!(message.contains(expected) && message.len() < 400, "{text:?}: {message}");
    }
    let last = "k7/8/8/8/8/8/8/K7 b - - 100 65535 moves Kb8";
    assert!(Position::read(last).is_ok(), "clocks stop where they end");
}

#[test]
fn a_move_is_read_in_both_notations() {
    for (word, uci) in [
        ("Qd6#", "a6d6"),
        ("Qd6", "a6d6"),
        ("a6d6", "a6d6"),
        ("O-O", "e1g1"),
        ("O-O-O+", "e1c1"),
        ("e1g1", "e1g1"),
        ("hxg8=N", "h7g8n"),
        ("hxg8N", "h7g8n"),
        ("h7g8n", "h7g8n"),
        ("fxg6", "f5g6"),
        ("Q6a5+", "a6a5"),
        ("Qa4c6", "a4c6"),
        (" Ke2\n", "e1e2"),
    ] {
        assert_eq!(legal(CROWDED, word).as_deref(), Some(uci), "{word}");
    }
    let position = Position::read(CROWDED).unwrap();
    for (answer, words) in [
        // Nothing there, out of reach, several could, a pawn that must become something, a king or pawn it cannot become.
        (Answer::Illegal, &["Nf3", "a1a8", "Qc6", "h8", "h7h8", "Ke4", "e8=Q", "h1h1"][..]),
        (
            Answer::Unreadable,
            &[
                "", "e", "e9", "Qd6 Qd7", "Qd6+#", "0-0", "h8=K", "Qd6=Q", "h7h8k", "xx", "1. e4", "Qxxd6",
                "ñd6", "QQd6",
            ],
        ),
    ] {
        for word in words {
            assert_eq!(position.judge(word), answer, "{word}");
        }
    }
}

#[test]
fn every_legal_move_is_written_so_that_it_is_read_back() {
    let mut written = 0;
    for text in [CROWDED, FOOLED, "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1"] {
        let position = Position::read(text).unwrap();
        let mut seen = BTreeSet::new();
        position.0.generate_moves(|moves| {
            for found in moves {
                let (uci, san) = (position.uci(found), position.san(found));
                assert_eq!([position.legal(&uci), position.legal(&san)], [Some(found); 2], "{uci} {san}");
                assert!(is_uci(&uci) && is_san(&san) && seen.insert(uci) && seen.insert(san));
                written += 1;
            }
            false
        });
    }
    assert_eq!(written, 83 + 30 + 48);
}

#[test]
fn a_board_is_64_characters_and_who_is_to_move() {
    let board = Position::read(FOOLED).unwrap().squares();
    assert_eq!(board, "rnbqkbnrpppp.ppp............p.........P......P..PPPPP..PRNBQKBNRb");
}

proptest! {
    #[test]
    fn no_text_breaks_a_position_or_an_answer(text in "[KQRBNPkqrbnp1-8/ wbO=x+#a-h-]{0,40}", any in ".{0,20}") {
        for text in [&text, &any] {
            let _ = Position::read(text);
            let _ = Position::read(&format!("startpos moves {text}"));
            for position in [CROWDED, FOOLED] {
                if let Answer::Legal(uci) = Position::read(position).unwrap().judge(text) {
                    prop_assert_eq!(legal(position, &uci), Some(uci));
                }
            }
        }
    }
}
