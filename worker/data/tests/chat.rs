//! Chat templates against transformers: the same conversations give the same text, or are refused for the same reason.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

use std::{fs, path::Path};

use fulcrum_common::plan::Date;
use fulcrum_data::chat::{ChatTemplate, Message};
use serde::Deserialize;

/// As `fixtures/chat/make.py` writes it.
#[derive(Deserialize)]
struct Case {
    name: String,
    config: serde_json::Value,
    date: Date,
    messages: serde_json::Value,
    text: Option<String>,
    error: Option<String>,
}

#[test]
fn conversations_are_written_as_transformers_writes_them() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat/cases.json");
    let cases: Vec<Case> = serde_json::from_str(&fs::read_to_string(fixture).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer_config.json");
    for case in &cases {
        fs::write(&path, case.config.to_string()).unwrap();
        let template = ChatTemplate::load(Some(&path), None, Some(case.date)).unwrap();
        let messages = Message::list(&case.messages.to_string()).unwrap();
        match (template.render(&messages), &case.text, &case.error) {
            (Ok(found), Some(expected), None) => assert_eq!(&found, expected, "{}", case.name),
            (Err(found), None, Some(expected)) => {
                assert_eq!(found, format!("the chat template fails: {expected}"), "{}", case.name);
            }
            (found, _, _) => panic!("{}: {found:?}, expected {:?} {:?}", case.name, case.text, case.error),
        }
    }
    let shapes: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!((cases.len(), shapes.len()), (24, 6));
}
