//! Games of random moves: their answers, their digests, and what is refused.

use std::collections::BTreeMap;

use super::*;

fn task(rows: usize, plies: usize, noise: f64) -> MateInOne {
    MateInOne { rows, seed: 5, plies, noise }
}

/// The columns of the rows: moves, fen, san, uci.
fn columns(task: &MateInOne) -> Vec<[String; 4]> {
    let text = |record: &Record, column: &str| record[column].as_str().unwrap().to_owned();
    let rows = rows(task).unwrap().map(|row| row.unwrap().record);
    rows.map(|record| ["moves", "fen", "san", "uci"].map(|column| text(&record, column))).collect()
}

/// Every move that mates, by making each.
fn all_mates(board: &Board) -> Vec<Move> {
    legal(board).into_iter().filter(|found| mates(board, *found)).collect()
}

#[test]
fn the_first_games_are_the_same_on_every_machine() {
    let rows = columns(&task(200, 12, 0.0));
    let fen = "rnbqkbnr/pp1p1p1p/4p1p1/2p5/1PP2PP1/8/P2PP2P/RNBQKBNR b KQkq f3 0 4";
    assert_eq!(rows[0], ["1. b4 g6 2. g4 e6 3. c4 c5 4. f4", fen, "Qh4#", "d8h4"]);
    assert_eq!(rows[..50], columns(&task(50, 12, 0.0)));
    let lines: String = rows.iter().flatten().map(|text| format!("{text}\n")).collect();
    let corpus = corpus(&task(200, 12, 0.25)).unwrap().texts;
    assert_eq!(corpus[0], "1. c3 g5 2. h3 f5 3. a4 b5 4. e3 bxa4 5. Ra2");
    let digest = |text: String| blake3::hash(text.as_bytes()).to_hex()[..16].to_owned();
    assert_eq!([digest(lines), digest(corpus.join("\n"))], ["0ceffd8a2224bd71", "4ad3f6531babd5ca"]);
}

#[test]
fn every_answer_mates_no_other_move_does_and_no_game_comes_twice() {
    let mut records = HashSet::new();
    for [moves, fen, san, uci] in columns(&task(1_000, 24, 0.0)) {
        let position = Position::read(&format!("startpos moves {moves}")).unwrap();
        assert_eq!(position, Position::read(&fen).unwrap());
        let found = position.find(&san).unwrap();
        assert_eq!((position.uci(found), all_mates(&position.0)), (uci, vec![found]), "{moves}");
        assert!(san.ends_with('#') && san.len() < MateInOne::ANSWER_TOKENS, "{san}");
        assert!(moves.split(' ').filter(|word| !word.ends_with('.')).count() < 24);
        assert!(records.insert(moves));
    }
}

#[test]
fn a_move_that_gives_check_is_never_passed_over() {
    let (mut rng, mut given, mut passed) = (Rng::new(0, "test", 0), 0, 0);
    for _ in 0..20 {
        let mut board = Board::startpos();
        for _ in 0..150 {
            let (moves, checks) = (legal(&board), Checks::new(&board));
            for &found in &moves {
                let mut after = board.clone();
                after.play_unchecked(found);
                let is_check = !after.checkers().is_empty();
                assert!(!is_check || checks.may_come_of(found), "{board} {found}");
                given += usize::from(is_check);
                passed += usize::from(!checks.may_come_of(found));
            }
            if moves.is_empty() {
                break;
            }
            board.play_unchecked(moves[rng.index(moves.len())]);
        }
    }
    assert!(given > 2_000 && passed > 10 * given, "{given} {passed}");
    // Castling, promotion and a capture in passing that opens a line: each gives check.
    for (fen, word) in [
        ("5k2/8/8/8/8/8/8/4K2R w K - 0 1", "O-O+"),
        ("3k4/6P1/8/8/8/8/8/K7 w - - 0 1", "g8=Q+"),
        ("8/8/8/R2pP2k/8/8/8/K7 w - d6 0 1", "exd6+"),
        ("k7/8/8/8/r2Pp2K/8/8/8 b - d3 0 1", "exd3+"),
        ("7k/8/8/3Pp3/8/2B5/8/K7 w - e6 0 1", "dxe6+"),
    ] {
        let position = Position::read(fen).unwrap();
        let found = position.find(word).unwrap();
        assert!(Checks::new(&position.0).may_come_of(found), "{fen} {word}");
    }
}

#[test]
fn games_of_the_corpus_end_in_the_mate_or_miss_it_and_lead_to_no_position_of_the_task() {
    let mates_of = |noise| {
        let texts = corpus(&task(600, 16, noise)).unwrap().texts;
        texts.iter().filter(|text| text.ends_with('#')).count()
    };
    assert_eq!([mates_of(0.0), mates_of(1.0)], [600, 0]);
    assert!((400..500).contains(&mates_of(0.25)));
    let before = |text: &String| text.rsplit_once(' ').unwrap().0.to_owned();
    let known: HashSet<String> = corpus(&task(1_500, 8, 0.5)).unwrap().texts.iter().map(before).collect();
    let of_task = columns(&task(200, 8, 0.0));
    let without_number = |[moves, ..]: &[String; 4]| {
        known.contains(moves) || known.iter().any(|text| text == &format!("{moves} 4."))
    };
    assert!(!of_task.iter().any(without_number), "a digest parts them");
}

#[test]
fn the_alphabet_holds_every_character() {
    let texts = corpus(&task(2_000, 60, 0.5)).unwrap().texts;
    let rows = columns(&task(500, 60, 0.0)).into_iter().map(|[moves, _, san, _]| format!("{moves} {san}"));
    let mut counts = BTreeMap::new();
    for c in texts.into_iter().chain(rows).flat_map(|text| text.chars().collect::<Vec<_>>()) {
        *counts.entry(c).or_insert(0) += 1;
        assert!(MateInOne::ALPHABET.contains(c), "{c}");
    }
    assert!(
        counts.len() + 1 >= MateInOne::ALPHABET.len(),
        "all but castling to the long side are common: {counts:?}"
    );
}

#[test]
fn parameters_out_of_range_and_more_rows_than_games_are_refused() {
    let refused = |task: MateInOne| match rows(&task) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{task:?} is accepted"),
    };
    assert!(refused(task(1, 7, 0.0)).contains("plies = 7 is out of range: 8 to 200"));
    assert!(refused(task(1, 8, 1.5)).contains("noise = 1.5 is out of range"));
    assert!(corpus(&task(1, 201, 0.0)).unwrap_err().to_string().contains("plies = 201"));
    let mut seen = HashSet::new();
    let mut found = |games| unseen(&mut Rng::new(0, "test", 0), 8, &mut seen, games);
    let first = found(10_000).unwrap();
    assert_ne!(found(10_000).unwrap(), first, "the same games again: the first is passed over");
    assert_eq!(found(1), None);
    let message = exhausted(&task(7, 8, 0.0));
    assert!(
        message.starts_with("no other game of 8 moves at most was found, 7 are asked for: raise"),
        "{message}"
    );
}
