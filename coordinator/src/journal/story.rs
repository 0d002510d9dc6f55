//! What the journal of a run tells those who only read it, while the run goes on or after it.

use std::{collections::BTreeMap, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::JournalError;

/// The last assignment that came to no good end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Its epoch.
    pub epoch: u64,
    /// Name of the stage.
    pub stage: String,
    /// Seats by rank.
    pub members: Vec<String>,
    /// `failed`, `aborted` or `lost`.
    pub outcome: String,
    /// One line.
    pub reason: String,
}

/// A journal, to be read.
#[derive(Debug)]
pub struct Story(Connection);

impl Story {
    /// Opens the journal in a run's folder; none where there is none.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> Result<Option<Self>, JournalError> {
        let path = folder.join(super::FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(&path, flags)
            .map_err(|source| JournalError::Open { path, source })?;
        Ok(Some(Self(database)))
    }

    /// What half of a stage's finished shards took at most, in milliseconds, by the stage's name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn shards(&self) -> Result<BTreeMap<String, u64>, JournalError> {
        let query = "SELECT name, ended_ms - began_ms FROM epochs JOIN stages ON stages.key = epochs.stage
            WHERE shard IS NOT NULL AND outcome = 'done' ORDER BY 1, 2";
        let mut statement = self.0.prepare(query)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let mut times = BTreeMap::<String, Vec<i64>>::new();
        for row in rows {
            let (name, ms) = row?;
            times.entry(name).or_default().push(ms);
        }
        let median = |times: Vec<i64>| u64::try_from(times[(times.len() - 1) / 2]).unwrap_or(0);
        Ok(times.into_iter().map(|(name, times)| (name, median(times))).collect())
    }

    /// The last assignment that came to no good end.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn broken(&self) -> Result<Option<Broken>, JournalError> {
        let query = "SELECT epoch, name, members, outcome, coalesce(reason, '')
            FROM epochs JOIN stages ON stages.key = epochs.stage
            WHERE outcome IN ('failed', 'aborted', 'lost') ORDER BY epoch DESC LIMIT 1";
        let mut statement = self.0.prepare(query)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let members: String = row.get(2)?;
        let members = serde_json::from_str(&members)
            .map_err(|error| JournalError::Value { what: "members", message: error.to_string() })?;
        let epoch = row.get::<_, i64>(0)?.unsigned_abs();
        Ok(Some(Broken { epoch, stage: row.get(1)?, members, outcome: row.get(3)?, reason: row.get(4)? }))
    }
}
