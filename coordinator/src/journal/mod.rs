//! The journal: decisions on disk before anybody sees them, and what a restart finds there.
//!
//! One SQLite file per run, written ahead and synced at every commit, so that a coordinator killed at any moment
//! never forgets what it told a worker. The schema is in `schema.sql`.

mod recover;
mod story;

use std::path::Path;

use rusqlite::{Connection, Transaction, named_params, params};

use crate::{
    action::{Named, Record},
    state::{Entry, StageState, State},
};

pub use recover::recover;
pub use story::{Broken, Story};

/// The file in a run's folder.
pub(crate) const FILE: &str = "journal.sqlite";

/// Version of the schema, in the file's `user_version`.
const SCHEMA_VERSION: i64 = 3;

/// The version before there were the tables of `corruption.sql`.
const BEFORE_CORRUPTION: i64 = 1;

/// The version before there was the table of `poison.sql`.
const BEFORE_POISON: i64 = 2;

/// What each version after the first has added.
const CORRUPTION: &str = include_str!("corruption.sql");
const POISON: &str = include_str!("poison.sql");

/// `FULC`: marks the file as ours.
const APPLICATION_ID: i64 = 0x4655_4c43;

/// Now, for people. SQLite reads the clock, so that no code here does.
const NOW_MS: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// The journal of a run.
#[derive(Debug)]
pub struct Journal {
    database: Connection,
    run: i64,
}

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite says no: no space, no permission, a damaged file.
    #[error("journal {path:?}: {source}")]
    Open {
        /// The file.
        path: std::path::PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A write or read failed.
    #[error("journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file is some other program's, or another version's.
    #[error(
        "{path:?} is no journal of this version: remove it to begin anew, finished stages stay in the store"
    )]
    Foreign {
        /// The file.
        path: std::path::PathBuf,
    },
    /// A value does not parse.
    #[error("journal holds {what} that cannot be read: {message}")]
    Value {
        /// Which.
        what: &'static str,
        /// Why.
        message: String,
    },
}

impl JournalError {
    /// Whether the file does not hold what was written, so that opening it again cannot help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Sqlite(source) => matches!(
                source.sqlite_error_code(),
                Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
            ),
            Self::Value { .. } => true,
            Self::Foreign { .. } => false,
        }
    }
}

impl Journal {
    /// Opens or creates the journal.
    ///
    /// # Errors
    /// If the file cannot be opened, or is no journal of this version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let opened = Connection::open(path).and_then(|database| {
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            database.pragma_update(None, "foreign_keys", true)?;
            let version = database.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
            let application =
                database.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))?;
            let tables =
                database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
            Ok((database, version, application, tables))
        });
        let (mut database, version, application, tables) =
            opened.map_err(|source| JournalError::Open { path: path.to_owned(), source })?;
        match (version, application, tables) {
            (SCHEMA_VERSION, APPLICATION_ID, _) => {}
            (0, 0, 0) => create(&mut database, &[include_str!("schema.sql"), CORRUPTION, POISON])?,
            (BEFORE_CORRUPTION, APPLICATION_ID, _) => create(&mut database, &[CORRUPTION, POISON])?,
            (BEFORE_POISON, APPLICATION_ID, _) => create(&mut database, &[POISON])?,
            _ => return Err(JournalError::Foreign { path: path.to_owned() }),
        }
        Ok(Self { database, run: 0 })
    }

    /// Opens the record of this start: the run, its stages, and the end of whatever the last start left open.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn begin(&mut self, state: &State) -> Result<(), JournalError> {
        let transaction = self.database.transaction()?;
        close_open_ends(&transaction)?;
        let goal = state.stages.last().map(|entry| entry.stage.key.to_string()).unwrap_or_default();
        transaction.execute(
            &format!(
                "INSERT INTO runs (name, goal, gang, version, first_epoch, began_ms, changed_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, {NOW_MS}, {NOW_MS})"
            ),
            params![state.run, goal, state.gang as i64, env!("CARGO_PKG_VERSION"), state.next_epoch as i64],
        )?;
        self.run = transaction.last_insert_rowid();
        write_stages(&transaction, self.run, &state.stages)?;
        for entry in &state.stages {
            if let StageState::Gang(gang) = entry.state() {
                reopen(&transaction, gang.epoch)?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Writes records, and the reasons for them, all or none. On return they are on disk.
    ///
    /// # Errors
    /// If the journal cannot be written; then none of the decisions may become visible.
    pub fn write<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
        reasons: &[String],
    ) -> Result<(), JournalError> {
        let transaction = self.database.transaction()?;
        for record in records {
            write_one(&transaction, self.run, record)?;
        }
        for reason in reasons {
            transaction
                .prepare_cached(&format!("INSERT INTO events (run, at_ms, event) VALUES (?1, {NOW_MS}, ?2)"))?
                .execute(params![self.run, reason])?;
        }
        Ok(transaction.commit()?)
    }
}

/// Makes what is missing of the schema.
fn create(database: &mut Connection, missing: &[&str]) -> Result<(), JournalError> {
    let transaction = database.transaction()?;
    missing.iter().try_for_each(|tables| transaction.execute_batch(tables))?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

/// What the last start had under way when it ended.
fn close_open_ends(transaction: &Transaction<'_>) -> Result<(), JournalError> {
    let reason = "the coordinator ended";
    transaction.execute(
        &format!(
            "UPDATE epochs SET ended_ms = {NOW_MS}, outcome = 'lost', reason = ?1 WHERE ended_ms IS NULL"
        ),
        [reason],
    )?;
    transaction.execute(
        &format!("UPDATE workers SET left_ms = {NOW_MS}, reason = ?1 WHERE left_ms IS NULL"),
        [reason],
    )?;
    Ok(())
}

/// An epoch that goes on under this start.
fn reopen(transaction: &Transaction<'_>, epoch: u64) -> Result<(), JournalError> {
    transaction.execute(
        "UPDATE epochs SET ended_ms = NULL, outcome = NULL, reason = NULL WHERE epoch = ?1",
        [epoch as i64],
    )?;
    Ok(())
}

fn write_stages(transaction: &Transaction<'_>, run: i64, stages: &[Entry]) -> Result<(), JournalError> {
    let mut insert = transaction.prepare(&format!(
        "INSERT INTO stages (key, run, position, name, kind, state, attempts, changed_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, {NOW_MS})
         ON CONFLICT (key) DO UPDATE SET run = excluded.run, position = excluded.position,
             name = excluded.name, state = excluded.state, attempts = 0, message = '',
             changed_ms = excluded.changed_ms"
    ))?;
    for (position, entry) in stages.iter().enumerate() {
        let (stage, state) = (&entry.stage, entry.state().word());
        let kind = stage.spec.work.kind();
        insert.execute(params![stage.key.to_string(), run, position as i64, stage.name, kind, state])?;
    }
    Ok(())
}

fn write_one(transaction: &Transaction<'_>, run: i64, record: &Record) -> Result<(), JournalError> {
    let execute = |sql: &str, values: &[(&str, &dyn rusqlite::ToSql)]| -> Result<(), JournalError> {
        transaction.prepare_cached(&sql.replace("NOW", NOW_MS))?.execute(values)?;
        Ok(())
    };
    match record {
        Record::Joined(hello) => execute(
            "INSERT INTO workers (run, seat, incarnation, host, pid, device, threads, joined_ms)
             VALUES (:run, :seat, :incarnation, :host, :pid, :device, :threads, NOW)",
            named_params! {
                ":run": run, ":seat": hello.seat, ":incarnation": hello.incarnation, ":host": hello.host,
                ":pid": hello.pid, ":device": hello.device, ":threads": hello.threads,
            },
        ),
        Record::Left { seat, incarnation, reason } => execute(
            "UPDATE workers SET left_ms = NOW, reason = :reason
             WHERE seat = :seat AND incarnation = :incarnation AND left_ms IS NULL",
            named_params! { ":seat": seat, ":incarnation": incarnation, ":reason": reason },
        ),
        Record::EpochBegan { epoch, key, shard, members } => execute(
            "INSERT INTO epochs (epoch, run, stage, shard, members, began_ms)
             VALUES (:epoch, :run, :stage, :shard, :members, NOW)",
            named_params! {
                ":epoch": *epoch as i64, ":run": run, ":stage": key.to_string(),
                ":shard": shard.map(|shard| shard as i64), ":members": json(members),
            },
        ),
        Record::EpochEnded { epoch, outcome, reason } => execute(
            "UPDATE epochs SET ended_ms = NOW, outcome = :outcome, reason = :reason WHERE epoch = :epoch",
            named_params! { ":epoch": *epoch as i64, ":outcome": outcome, ":reason": reason },
        ),
        Record::Shard { key, index, product } => execute(
            "INSERT OR REPLACE INTO shards (stage, shard, epoch, product, changed_ms)
             VALUES (:stage, :shard, :epoch, :product, NOW)",
            named_params! {
                ":stage": key.to_string(), ":shard": *index as i64, ":epoch": product.epoch as i64,
                ":product": json(product),
            },
        ),
        Record::Search { key, index, search: Some(search) } => execute(
            "INSERT OR REPLACE INTO searches (stage, shard, search, at_ms) VALUES (:stage, :shard, :search, NOW)",
            named_params! { ":stage": key.to_string(), ":shard": *index as i64, ":search": json(search) },
        ),
        Record::Search { key, index, search: None } => execute(
            "DELETE FROM searches WHERE stage = :stage AND shard = :shard",
            named_params! { ":stage": key.to_string(), ":shard": *index as i64 },
        ),
        Record::ShardsDropped { key } => {
            let stage = key.to_string();
            execute("DELETE FROM searches WHERE stage = :stage", named_params! { ":stage": stage })?;
            execute("DELETE FROM shards WHERE stage = :stage", named_params! { ":stage": stage })
        }
        Record::Stage { key, state, attempts, message, pending } => execute(
            "UPDATE stages SET state = :state, attempts = :attempts, message = :message, pending = :pending,
                 changed_ms = NOW WHERE key = :key",
            named_params! {
                ":key": key.to_string(), ":state": state, ":attempts": attempts, ":message": message,
                ":pending": pending.as_ref().map(json),
            },
        ),
        Record::Named(Named { key, step, who, known }) => execute(
            "INSERT INTO named (run, stage, step, who, known, at_ms)
             VALUES (:run, :stage, :step, :who, :known, NOW)",
            named_params! {
                ":run": run, ":stage": key.to_string(), ":step": *step as i64, ":who": who, ":known": known,
            },
        ),
        Record::Doubt { key, doubt: Some(doubt) } => execute(
            "INSERT OR REPLACE INTO doubts (stage, doubt, at_ms) VALUES (:stage, :doubt, NOW)",
            named_params! { ":stage": key.to_string(), ":doubt": json(doubt) },
        ),
        Record::Doubt { key, doubt: None } => {
            execute("DELETE FROM doubts WHERE stage = :stage", named_params! { ":stage": key.to_string() })
        }
        Record::Phase { phase, reason } => execute(
            "UPDATE runs SET phase = :phase, reason = :reason, changed_ms = NOW WHERE id = :run",
            named_params! { ":run": run, ":phase": phase, ":reason": reason },
        ),
    }
}

fn json(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).expect("records are plain data")
}

#[cfg(test)]
mod tests;
