//! What a worker leaves of its recorder when something went wrong: JSON lines beside the run's logs, of which the newest
//! few of each worker are kept.

use std::{
    fs,
    io::{self, BufRead as _, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Entry, Recorder, What};
use crate::protocol;

/// The folder in a run's folder.
pub const FOLDER: &str = "flight";

/// Dumps of one worker that are kept.
const KEPT: usize = 4;

/// Dumps that are read, and the longest first line: others are not ours.
const FILES_LIMIT: usize = 8192;
const LINE_LIMIT: u64 = 64 << 10;

/// Version of the lines.
const VERSION: u32 = 1;

/// The first line: who, what, why, and where the rank was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Of the lines.
    pub version: u32,
    /// The worker's place in the run.
    pub worker: String,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The assignment.
    pub epoch: u64,
    /// Name of the stage.
    pub stage: String,
    /// The rank in the gang.
    pub rank: u32,
    /// Size of the gang.
    pub world: u32,
    /// The shard, where the stage is done in shards.
    pub shard: Option<u64>,
    /// Why it was left, one line.
    pub reason: String,
    /// When, in Unix milliseconds of the worker's machine; for people.
    pub unix_ms: u64,
    /// Where the rank was.
    pub flight: protocol::Flight,
}

/// A dump that is ready to be written. Taking it is quick, writing it may wait for a disk.
#[derive(Debug)]
pub struct Dump {
    header: Header,
    lines: Vec<serde_json::Value>,
}

impl Dump {
    /// What is in the recorder now. Version, time and flight of the header are filled in.
    pub fn take(recorder: &Recorder, header: Header) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let header = Header { version: VERSION, unix_ms, flight: recorder.view(), ..header };
        let (age, (entries, groups)) = (recorder.age(), recorder.entries());
        let line = |Entry { at, step, slot, what }: Entry| {
            let ago_ms = (age.saturating_sub(at).as_secs_f64() * 1e6).round() / 1e3;
            match what {
                What::Does(doing) => json!({"ago_ms": ago_ms, "step": step, "slot": slot, "does": doing}),
                What::OutOfMemory => {
                    json!({"ago_ms": ago_ms, "step": step, "slot": slot, "out_of_memory": true})
                }
                What::Call(moment, call) => json!({
                    "ago_ms": ago_ms, "step": step, "slot": slot, "operation": call.operation, "moment": moment,
                    "group": groups.get(call.group), "sequence": call.sequence, "bytes": call.bytes,
                }),
            }
        };
        Self { header, lines: entries.into_iter().map(line).collect() }
    }

    /// Writes it below the run's folder, and removes the oldest of this worker.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, run: &Path) -> io::Result<PathBuf> {
        let folder = run.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}-{}.jsonl", self.header.worker, self.header.epoch));
        let mut aside = tempfile::Builder::new().prefix(".").tempfile_in(&folder)?;
        let mut text = serde_json::to_string(&self.header)?;
        for line in &self.lines {
            text.push('\n');
            text.push_str(&line.to_string());
        }
        writeln!(aside, "{text}")?;
        aside.persist(&path)?;
        let mut mine: Vec<_> =
            dumps(&folder)?.into_iter().filter(|(worker, ..)| *worker == self.header.worker).collect();
        mine.sort_unstable_by_key(|(_, epoch, _)| std::cmp::Reverse(*epoch));
        // What another process has removed is gone as well.
        mine.iter().skip(KEPT).for_each(|(.., path)| drop(fs::remove_file(path)));
        Ok(path)
    }
}

/// The headers of the last epoch that left any, by rank. Files that are no dumps are passed over.
///
/// # Errors
/// If the folder cannot be read; where there is none, nothing was left.
pub fn latest(run: &Path) -> io::Result<Vec<Header>> {
    let found = match dumps(&run.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let last = found.iter().map(|(_, epoch, _)| *epoch).max();
    let of_last = found.iter().filter(|(_, epoch, _)| Some(*epoch) == last);
    let mut headers: Vec<Header> = of_last.filter_map(|(.., path)| header(path).ok()).collect();
    headers.sort_by_key(|header| header.rank);
    Ok(headers)
}

fn header(path: &Path) -> io::Result<Header> {
    let mut line = String::new();
    io::BufReader::new(fs::File::open(path)?.take(LINE_LIMIT)).read_line(&mut line)?;
    let header: Header = serde_json::from_str(&line)?;
    match header.version {
        VERSION => Ok(header),
        other => Err(io::Error::other(format!("version {other}"))),
    }
}

/// Worker, epoch and path of everything that is named like a dump.
fn dumps(folder: &Path) -> io::Result<Vec<(String, u64, PathBuf)>> {
    let named = |path: PathBuf| {
        let (worker, epoch) = path.file_name()?.to_str()?.strip_suffix(".jsonl")?.rsplit_once('-')?;
        Some((worker.to_owned(), epoch.parse().ok()?, path))
    };
    let entries = fs::read_dir(folder)?.take(FILES_LIMIT).flatten();
    Ok(entries.filter_map(|entry| named(entry.path())).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::Activity, *};

    fn left(run: &Path, worker: &str, epoch: u64, rank: u32) -> PathBuf {
        let recorder = Recorder::default();
        recorder.does(Activity::Backward, 41, 0);
        let call = recorder.begins(recorder.join("all"), "all-reduce", 8);
        recorder.awaits(call);
        let header = Header { worker: worker.into(), epoch, rank, world: 2, ..Header::default() };
        Dump::take(&recorder, header).write(run).unwrap()
    }

    #[test]
    fn a_dump_has_a_header_and_a_line_for_each_entry() {
        let run = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(left(run.path(), "w0", 7, 0)).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["flight"]["waits"]["operation"], "all-reduce");
        assert_eq!((&lines[1]["does"], &lines[1]["step"]), (&json!("backward"), &json!(41)));
        let moment = |line: usize| lines[line]["moment"].as_str().unwrap().to_owned();
        assert_eq!((moment(2), moment(3)), ("begun".into(), "awaited".into()));
        assert_eq!((&lines[2]["group"], &lines[2]["sequence"]), (&json!("all"), &json!(1)));
    }

    #[test]
    fn the_last_epoch_is_read_by_rank_and_old_dumps_go() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(latest(run.path()).unwrap(), []);
        for epoch in 1..10 {
            left(run.path(), "w1", epoch, 0);
            left(run.path(), "w0", epoch, 1);
        }
        fs::write(run.path().join(FOLDER).join("w9-99.jsonl"), "no dump\n").unwrap();
        fs::write(run.path().join(FOLDER).join("notes.txt"), "no dump either").unwrap();
        assert_eq!(latest(run.path()).unwrap(), [], "the last was spoiled");
        fs::remove_file(run.path().join(FOLDER).join("w9-99.jsonl")).unwrap();
        let found = latest(run.path()).unwrap();
        let of = |header: &Header| (header.worker.clone(), header.epoch, header.rank);
        assert_eq!(found.iter().map(of).collect::<Vec<_>>(), [("w1".into(), 9, 0), ("w0".into(), 9, 1)]);
        assert_eq!(dumps(&run.path().join(FOLDER)).unwrap().len(), 2 * KEPT);
    }
}
