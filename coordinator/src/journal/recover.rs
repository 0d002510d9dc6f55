//! What a restart takes up from the journal.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use fulcrum_common::{Key, store::Manifest};
use rusqlite::OptionalExtension as _;
use serde::de::DeserializeOwned;

use super::{Journal, JournalError};
use crate::{
    action::Named,
    state::{Doubt, Past, PastGang},
};

/// Epochs that one journal may give out before it comes near another's.
const EPOCHS_PER_JOURNAL: u64 = 1_000_000;

/// Journals whose epochs are told apart.
const JOURNALS: u64 = 1_000_000_000;

/// Reads what earlier starts left: the epochs given out, the shards finished, the manifests not yet committed, the gangs
/// under way.
///
/// # Errors
/// If the journal cannot be read.
pub fn recover(journal: &Journal) -> Result<Past, JournalError> {
    let shards = by_shard(journal, "SELECT stage, shard, product FROM shards", "a shard")?;
    let searches = by_shard(journal, "SELECT stage, shard, search FROM searches", "a search")?;
    let (next_epoch, pending) = (next_epoch(journal)?, pending(journal)?);
    let (gangs, named, doubts) = (gangs(journal)?, named(journal)?, doubts(journal)?);
    Ok(Past { next_epoch, shards, searches, pending, gangs, named, doubts, ..Past::default() })
}

fn named(journal: &Journal) -> Result<Vec<Named>, JournalError> {
    let mut statement = journal.database.prepare("SELECT stage, step, who, known FROM named ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (stage, step) = (row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs());
        found.push(Named { key: key(&stage)?, step, who: row.get(2)?, known: row.get(3)? });
    }
    Ok(found)
}

fn doubts(journal: &Journal) -> Result<BTreeMap<Key, Doubt>, JournalError> {
    let mut statement = journal.database.prepare("SELECT stage, doubt FROM doubts")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (stage, doubt) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        let doubt = serde_json::from_str(&doubt).map_err(|error| value("a doubt", &error))?;
        found.insert(key(&stage)?, doubt);
    }
    Ok(found)
}

/// Epochs name folders in a store that several runs may share, so each journal begins at a place of its own.
/// The number decides no result.
fn next_epoch(journal: &Journal) -> Result<u64, JournalError> {
    let query = "SELECT max(last) FROM (SELECT max(epoch) + 1 AS last FROM epochs
                 UNION ALL SELECT max(first_epoch) FROM runs)";
    let last: Option<i64> = journal.database.query_row(query, [], |row| row.get(0))?;
    Ok(match last {
        Some(last) => last.unsigned_abs(),
        None => RandomState::new().build_hasher().finish() % JOURNALS * EPOCHS_PER_JOURNAL + 1,
    })
}

/// What is kept of shards as JSON, by stage and number.
fn by_shard<T: DeserializeOwned>(
    journal: &Journal,
    query: &str,
    what: &'static str,
) -> Result<BTreeMap<Key, BTreeMap<u64, T>>, JournalError> {
    let mut found: BTreeMap<Key, BTreeMap<u64, T>> = BTreeMap::new();
    let mut statement = journal.database.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (stage, shard, json) =
            (row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?);
        let read = serde_json::from_str(&json).map_err(|error| value(what, &error))?;
        found.entry(key(&stage)?).or_default().insert(shard.unsigned_abs(), read);
    }
    Ok(found)
}

fn pending(journal: &Journal) -> Result<BTreeMap<Key, Manifest>, JournalError> {
    let mut statement =
        journal.database.prepare("SELECT key, pending FROM stages WHERE pending IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (stage, manifest) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        let manifest = serde_json::from_str(&manifest).map_err(|error| value("a manifest", &error))?;
        found.insert(key(&stage)?, manifest);
    }
    Ok(found)
}

/// Gangs whose end nobody recorded, with the process that was last in each member's seat.
fn gangs(journal: &Journal) -> Result<Vec<PastGang>, JournalError> {
    let mut statement = journal.database.prepare(
        "SELECT epoch, stage, members FROM epochs WHERE ended_ms IS NULL AND shard IS NULL ORDER BY epoch",
    )?;
    let mut process = journal
        .database
        .prepare("SELECT incarnation FROM workers WHERE seat = ?1 ORDER BY id DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (epoch, stage, members) =
            (row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        let seats: Vec<String> =
            serde_json::from_str(&members).map_err(|error| value("members of an epoch", &error))?;
        let mut member = |seat: String| {
            let incarnation = process.query_row([&seat], |row| row.get::<_, String>(0)).optional()?;
            Ok::<_, JournalError>((seat, incarnation.unwrap_or_default()))
        };
        let members = seats.into_iter().map(&mut member).collect::<Result<_, _>>()?;
        found.push(PastGang { epoch: epoch.unsigned_abs(), key: key(&stage)?, members });
    }
    Ok(found)
}

fn key(text: &str) -> Result<Key, JournalError> {
    text.parse().map_err(|error: fulcrum_common::key::ParseKeyError| value("a key", &error))
}

fn value(what: &'static str, error: &dyn std::fmt::Display) -> JournalError {
    JournalError::Value { what, message: error.to_string() }
}
