//! The formatters against rows in the schemas of their datasets.

use std::{
    collections::HashSet,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use fulcrum_common::plan::{Coins, Format, Formatter, Named, Pick};
use serde_json::json;

use super::*;
use crate::{
    Example,
    source::{self, Place, Row, SourceFile},
};

fn named(formatter: Formatter, pick: Pick, seed: u64) -> Named {
    Named { formatter, version: formatter.version(), pick, seed, compares: false }
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formatters.md");
    if env::var_os("FULCRUM_BLESS").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == reference(),
        "run `FULCRUM_BLESS=1 cargo test -p fulcrum-data` to renew docs/formatters.md"
    );
}

#[test]
fn a_plan_for_another_version_is_refused() {
    let named = Named { version: 7, ..named(Formatter::Sciq, Pick::One, 0) };
    let message = templates(&named).unwrap_err().to_string();
    assert_eq!(message, "the plan asks for version 7 of the formatter \"sciq\", this program has version 1");
}

/// Where the rows and the examples that are made of them lie.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/formatters/samples").join(name)
}

/// What a formatter makes of its sample rows, which have the columns of the real dataset, as text.
fn show(named: &Named) -> String {
    let name = format!("{}.jsonl", named.formatter.word());
    let files = vec![SourceFile { path: sample(&name), name }];
    let formatter = crate::Formatter::new(&Format::Named(named.clone())).unwrap();
    let mut shown = format!("pick {:?}, seed {}\n", named.pick, named.seed);
    for row in source::read(files, &[]) {
        let row = row.unwrap();
        for Example { prompt, text, label, group, .. } in formatter.format(&row).unwrap() {
            let prompt = prompt.map_or(String::new(), |prompt| format!("{prompt:?} + "));
            let group = group.map_or(String::new(), |group| format!(" of {group:?}"));
            let _ = writeln!(shown, "  row {}{group}: {prompt}{text:?} -> {}", row.row, label.unwrap());
        }
    }
    shown
}

#[test]
fn every_formatter_makes_the_committed_examples() {
    for &formatter in Formatter::ALL {
        let word = formatter.word();
        let cases: &[(Pick, u64)] = match formatter.coins() {
            Coins::None => &[(Pick::All, 0)],
            Coins::Order => &[(Pick::All, 0), (Pick::All, 2)],
            Coins::Pick | Coins::Pair => &[(Pick::All, 0), (Pick::Two, 0), (Pick::One, 0), (Pick::One, 2)],
        };
        let mut found = format!("{word}, version {}\n", formatter.version());
        cases.iter().for_each(|(pick, seed)| found.push_str(&show(&named(formatter, *pick, *seed))));

        let path = sample(&format!("{word}.txt"));
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if committed == found {
            continue;
        }
        let same_version = committed.lines().next() == found.lines().next();
        assert!(
            !same_version,
            "{word} makes other examples than before: raise its version in common/src/plan/spec/formatter.rs\n{found}"
        );
        let bless = env::var_os("FULCRUM_BLESS").is_some();
        assert!(
            bless,
            "run `FULCRUM_BLESS=1 cargo test -p fulcrum-data` for the new version of {word}\n{found}"
        );
        fs::write(&path, found).unwrap();
    }
}

#[test]
fn the_formatters_of_two_texts_are_known_by_their_coins_and_compare_them() {
    let pairs = |formatter| matches!(super::definition(formatter).rows, super::Rows::Pair { .. });
    for &formatter in Formatter::ALL {
        assert_eq!(pairs(formatter), formatter.coins() == Coins::Pair, "{formatter:?}");
    }
    let formatter = |seed| {
        let named = Named::comparison(Formatter::AnthropicHh, seed);
        crate::Formatter::new(&Format::Named(named)).unwrap()
    };
    let name = "anthropic_hh.jsonl".to_owned();
    let rows = source::read(vec![SourceFile { path: sample(&name), name }], &[]);
    let (mut firsts, mut shown) = (HashSet::new(), 0);
    for row in rows.map(Result::unwrap) {
        let both = |pick| {
            let named = named(Formatter::AnthropicHh, pick, 0);
            crate::Formatter::new(&Format::Named(named)).unwrap().format(&row).unwrap()
        };
        // Of equal texts there are none.
        let Ok([chosen, rejected]) = <[Example; 2]>::try_from(both(Pick::All)) else { continue };
        for seed in 0..8 {
            let [pair] = <[Example; 1]>::try_from(formatter(seed).format(&row).unwrap()).unwrap();
            let second = pair.label == Some(1);
            let (text, other) =
                if second { (&rejected.text, &chosen.text) } else { (&chosen.text, &rejected.text) };
            assert_eq!((&pair.text, pair.other.as_ref()), (text, Some(other)));
            assert_eq!((&pair.prompt, &pair.group), (&chosen.prompt, &chosen.group));
            firsts.insert(second);
            shown += 1;
        }
    }
    assert!(shown > 0 && firsts.len() == 2, "either comes first");
}

#[test]
fn hidden_labels_are_refused() {
    for (formatter, record) in [
        (Formatter::Sst2, json!({"sentence": "good", "label": -1})),
        (Formatter::HellaSwag, json!({"ctx": "a", "endings": ["b", "c"], "source_id": "s", "label": ""})),
        (Formatter::Piqa, json!({"goal": "a", "sol1": "b", "sol2": "c", "label": -1})),
        (
            Formatter::CosmosQa,
            json!({"context": "a", "question": "q", "answer0": "b", "answer1": "c", "answer2": "d",
            "answer3": "e", "label": -1}),
        ),
        (
            Formatter::SocialIqa,
            json!({"context": "a", "question": "q", "answerA": "b", "answerB": "c",
            "answerC": "d", "label": ""}),
        ),
        (Formatter::AnliR2, json!({"premise": "a", "hypothesis": "b", "label": -1})),
        (Formatter::AnliR2, json!({"premise": "a", "hypothesis": "b", "label": null})),
        (
            Formatter::OpenBookQa,
            json!({"question_stem": "a", "answerKey": "",
            "choices": {"text": ["b", "c"], "label": ["A", "B"]}}),
        ),
    ] {
        let format = Format::Named(named(formatter, Pick::All, 0));
        let record: Record = serde_json::from_value(record).unwrap();
        let row = Row { row: 0, record, place: Place::new("a.jsonl".into(), 1) };
        let message = crate::Formatter::new(&format).unwrap().format(&row).unwrap_err().to_string();
        assert!(message.starts_with("a.jsonl: line 1: "), "{}: {message}", formatter.word());
    }
}

#[test]
fn the_order_of_two_situations_is_fair_and_tells_nothing() {
    let record: Record = serde_json::from_value(json!({"baseline": "good", "less_pleasant": "bad"})).unwrap();
    let formatter =
        crate::Formatter::new(&Format::Named(named(Formatter::EthicsUtilitarianism, Pick::All, 0)));
    let formatter = formatter.unwrap();
    let mut first = 0;
    for row in 0..2000 {
        let row = Row { row, record: record.clone(), place: Place::new("a.jsonl".into(), 1) };
        let example = formatter.format(&row).unwrap().remove(0);
        assert_eq!(example.label, Some(i32::from(example.text.starts_with("One: good\nTwo: bad"))));
        first += example.label.unwrap();
    }
    assert!((900..1100).contains(&first), "{first}");
}
