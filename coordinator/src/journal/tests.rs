//! What is written is found again, also by a process that did not live to close the file.

use std::path::PathBuf;

use fulcrum_common::{Key, store::File};

use super::*;
use crate::{
    Class, Hello, Past, PastGang, Product, State,
    input::Copied,
    state::{Doubt, Search},
    tick::tests::builder::{Sketch, manifest},
};

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    (folder, path)
}

fn state(past: Past) -> State {
    State::new("run", &Sketch::chain(), 2, &Default::default(), past)
}

fn open(path: &Path) -> Journal {
    let mut journal = Journal::open(path).unwrap();
    let past = recover(&journal).unwrap();
    journal.begin(&state(past)).unwrap();
    journal
}

fn began(epoch: u64, key: Key, shard: Option<u64>) -> Record {
    Record::EpochBegan { epoch, key, shard, members: vec!["w0".into()] }
}

fn product(epoch: u64) -> Product {
    let file = File { name: "part".into(), path: "somewhere".into(), bytes: 3, digest: Key::of(b"x") };
    Product { epoch, class: Class::default(), files: vec![file], facts: [("rows".to_owned(), 4)].into() }
}

#[test]
fn a_restart_finds_epochs_shards_and_pending_commits() {
    let (_folder, path) = fresh();
    let mut journal = open(&path);
    let first = recover(&journal).unwrap().next_epoch;
    let plan = Sketch::chain();
    let labels = plan.stages()[2].key;
    let pending = manifest(&plan.stages()[1]);
    let stage = Record::Stage {
        key: pending.key,
        state: "running",
        attempts: 1,
        message: String::new(),
        pending: Some(Box::new(pending.clone())),
    };
    let shard = Record::Shard { key: labels, index: 1, product: product(first) };
    journal.write(&[began(first, labels, Some(1)), shard, stage], &["because".to_owned()]).unwrap();
    // Not closed: as after a kill, whatever counts is in the write-ahead log.
    std::mem::forget(journal);

    let past = recover(&Journal::open(&path).unwrap()).unwrap();
    assert_eq!(past.next_epoch, first + 1);
    assert_eq!(past.shards[&labels][&1], product(first));
    assert_eq!(past.pending[&pending.key], pending);
}

#[test]
fn who_was_wrong_and_who_may_have_been_is_found_again_in_a_journal_of_before_too() {
    let (_folder, path) = fresh();
    let journal = open(&path);
    journal
        .database
        .execute_batch("DROP TABLE named; DROP TABLE doubts; DROP TABLE searches; PRAGMA user_version = 1")
        .unwrap();
    drop(journal);
    let mut journal = open(&path);
    let (data, model) = (Sketch::chain().stages()[0].key, Sketch::chain().stages()[1].key);
    let named = |who: &str, known| Named { key: model, step: 20, who: who.into(), known };
    let said = vec![("w0".to_owned(), Copied { group: 1, hash: u64::MAX })];
    let doubt = Doubt { step: 21, said };
    let records = [
        Record::Named(named("w0 or w1", false)),
        Record::Named(named("w1", true)),
        Record::Doubt { key: data, doubt: Some(doubt.clone()) },
        Record::Doubt { key: model, doubt: Some(doubt.clone()) },
        Record::Doubt { key: data, doubt: None },
    ];
    journal.write(&records, &[]).unwrap();
    drop(journal);
    let past = recover(&open(&path)).unwrap();
    assert_eq!(past.named, [named("w0 or w1", false), named("w1", true)]);
    assert_eq!(past.doubts, [(model, doubt)].into());
}

#[test]
fn a_search_is_found_again_as_it_last_was_in_a_journal_of_before_too() {
    let (_folder, path) = fresh();
    let journal = open(&path);
    journal.database.execute_batch("DROP TABLE searches; PRAGMA user_version = 2").unwrap();
    drop(journal);
    let mut journal = open(&path);
    let key = Sketch::chain().stages()[2].key;
    let record = |rows: std::ops::Range<u64>| Search::begin(rows, None, true);
    let searches = [(1, record(4..8)), (1, record(4..7)), (0, record(0..4))];
    let written =
        searches.clone().map(|(index, search)| Record::Search { key, index, search: Some(Box::new(search)) });
    journal.write(&written, &[]).unwrap();
    drop(journal);
    let mut journal = open(&path);
    let [_, last, first] = searches;
    assert_eq!(recover(&journal).unwrap().searches, [(key, [first, last].into())].into());
    journal.write(&[Record::Search { key, index: 0, search: None }], &[]).unwrap();
    assert_eq!(recover(&journal).unwrap().searches[&key].keys().collect::<Vec<_>>(), [&1]);
    journal.write(&[Record::ShardsDropped { key }], &[]).unwrap();
    assert!(recover(&journal).unwrap().searches.is_empty());
}

#[test]
fn dropped_shards_and_settled_commits_are_not_found_again() {
    let (_folder, path) = fresh();
    let mut journal = open(&path);
    let plan = Sketch::chain();
    let (model, labels) = (plan.stages()[1].key, plan.stages()[2].key);
    let stage =
        |pending| Record::Stage { key: model, state: "done", attempts: 1, message: String::new(), pending };
    let made = Some(Box::new(manifest(&plan.stages()[1])));
    let shard = Record::Shard { key: labels, index: 0, product: product(1) };
    journal.write(&[shard, stage(made), Record::ShardsDropped { key: labels }, stage(None)], &[]).unwrap();
    let past = recover(&journal).unwrap();
    assert!(past.shards.is_empty() && past.pending.is_empty());
}

#[test]
fn two_journals_give_out_epochs_far_apart() {
    let (one, two) = (fresh(), fresh());
    let first = |path: &Path| recover(&open(path)).unwrap().next_epoch;
    assert_ne!(first(&one.1), first(&two.1));
    assert_eq!(first(&one.1), first(&one.1), "the same journal goes on where it was");
}

#[test]
fn what_was_open_when_the_coordinator_ended_is_closed_by_the_next_but_for_gangs() {
    let (_folder, path) = fresh();
    let mut journal = open(&path);
    let hello = Hello { seat: "w0".into(), incarnation: "a".into(), ..Hello::default() };
    let plan = Sketch::chain();
    let (data, labels) = (plan.stages()[0].key, plan.stages()[2].key);
    let records = [Record::Joined(hello), began(7, data, None), began(8, labels, Some(0))];
    journal.write(&records, &[]).unwrap();
    drop(journal);
    let gangs = recover(&Journal::open(&path).unwrap()).unwrap().gangs;
    let members = vec![("w0".to_owned(), "a".to_owned())];
    assert_eq!(gangs, [PastGang { epoch: 7, key: data, members }]);
    let mut journal = open(&path);
    let outcome = |journal: &Journal, epoch: i64| {
        let query = "SELECT outcome || ' ' || (SELECT reason FROM workers) FROM epochs WHERE epoch = ?1";
        journal.database.query_row(query, [epoch], |row| row.get::<_, Option<String>>(0)).unwrap()
    };
    assert_eq!(outcome(&journal, 8).as_deref(), Some("lost the coordinator ended"));
    assert_eq!(outcome(&journal, 7), None, "a gang may have gone on");
    // Its members do not come back.
    let ended = Record::EpochEnded { epoch: 7, outcome: "failed", reason: "gone".into() };
    journal.write(&[ended], &[]).unwrap();
    assert!(recover(&journal).unwrap().gangs.is_empty());
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let (_folder, path) = fresh();
    let mut journal = open(&path);
    let stranger = began(8, Key::of(b"no stage of this run"), None);
    let known = began(7, Sketch::chain().stages()[0].key, None);
    assert!(journal.write(&[known, stranger], &[]).is_err());
    let epochs: i64 =
        journal.database.query_row("SELECT count(*) FROM epochs", [], |row| row.get(0)).unwrap();
    assert_eq!(epochs, 0);
}

#[test]
fn a_file_that_is_no_journal_is_refused_with_the_way_out() {
    let (_folder, path) = fresh();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let message = Journal::open(&path).unwrap_err().to_string();
    assert!(message.contains("remove it to begin anew"), "{message}");
    std::fs::write(&path, "no database at all, but long enough to be looked at").unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Open { .. })));
}

#[test]
fn what_is_read_beside_a_coordinator_is_the_usual_time_of_shards_and_the_last_that_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Story::open(folder.path()).unwrap().is_none());
    let mut journal = open(&folder.path().join(FILE));
    let story = Story::open(folder.path()).unwrap().unwrap();
    assert_eq!((story.shards().unwrap().len(), story.broken().unwrap()), (0, None));
    let plan = Sketch::chain();
    let (model, labels) = (plan.stages()[1].key, plan.stages()[2].key);
    for (epoch, took) in [(1, 500), (2, 100), (3, 900), (4, 700)] {
        journal.write(&[began(epoch, labels, Some(epoch))], &[]).unwrap();
        let set = "UPDATE epochs SET ended_ms = began_ms + ?2, outcome = 'done' WHERE epoch = ?1";
        journal.database.execute(set, params![epoch as i64, took]).unwrap();
    }
    let end = |epoch, outcome, reason: &str| Record::EpochEnded { epoch, outcome, reason: reason.to_owned() };
    journal.write(&[began(5, model, None), end(5, "failed", "no memory")], &[]).unwrap();
    journal.write(&[began(6, model, None), end(6, "lost", "w0 is silent")], &[]).unwrap();
    assert_eq!(story.shards().unwrap(), [(plan.stages()[2].name.clone(), 500)].into());
    let broken = story.broken().unwrap().unwrap();
    assert_eq!((broken.epoch, broken.outcome.as_str(), broken.reason.as_str()), (6, "lost", "w0 is silent"));
    assert_eq!((broken.stage, broken.members), (plan.stages()[1].name.clone(), vec!["w0".to_owned()]));
}
