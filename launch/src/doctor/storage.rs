//! A folder for a store or for runs: its room, how soon it says that something is safe, and what it must be able to do.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use super::{Finding, gib, shown};
use crate::run_folder::is_plain;

/// Room below which checkpoints of real models do not fit.
const ROOM: u64 = 10 << 30;

/// How often a small file is made safe.
const SYNCS: usize = 20;

/// No disk makes a file safe within so little.
const HONEST: Duration = Duration::from_micros(30);

/// Above this every committed step forward is felt.
const SLOW: Duration = Duration::from_millis(100);

/// Clocks further apart than this are worth knowing of.
const APART: Duration = Duration::from_secs(2);

/// Looks at a folder, which is made where it is not there.
pub(crate) fn storage(folder: &Path) -> Vec<Finding> {
    let found = fs::create_dir_all(folder).and_then(|()| tempfile::tempdir_in(folder));
    let place = match found {
        Ok(place) => place,
        Err(error) => {
            return vec![Finding::bad("storage", format!("{} cannot be written: {error}", shown(folder)))];
        }
    };
    let or_bad = |what, found: io::Result<Finding>| {
        found.unwrap_or_else(|error| Finding::bad(what, format!("{}: {error}", shown(folder))))
    };
    vec![
        or_bad("room", room(folder)),
        or_bad("syncs", syncs(place.path())),
        or_bad("locks", locks(place.path())),
        or_bad("secrets", secrets(place.path())),
        or_bad("clock", clock(place.path())),
    ]
}

/// Whether a folder is the one in which another machine put a file of this name.
pub(crate) fn shared(folder: &Path, mark: &str) -> Finding {
    match is_plain(mark) && folder.join(mark).is_file() {
        true => Finding::good("shared", format!("{} is the same folder on both machines", shown(folder))),
        false => Finding::bad(
            "shared",
            format!("{} is another folder here than there: all machines must see one", shown(folder)),
        ),
    }
}

fn room(folder: &Path) -> io::Result<Finding> {
    let found = nix::sys::statvfs::statvfs(folder)?;
    let free = found.blocks_available() * found.fragment_size();
    let said = format!("{} free in {}", gib(free), shown(folder));
    Ok(match free < ROOM {
        true => {
            Finding::doubtful("room", format!("{said}: `fulcrum artifacts gc` removes what nobody needs"))
        }
        false => Finding::good("room", said),
    })
}

/// How long it takes until a small file and its name are said to be safe.
fn syncs(folder: &Path) -> io::Result<Finding> {
    let mut times = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let began = Instant::now();
        let mut file = File::create(folder.join(format!("sync-{number}")))?;
        file.write_all(&[0x5a; 4096])?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(judged(times[SYNCS / 2]))
}

fn judged(median: Duration) -> Finding {
    let said = format!("a file is safe after {:.2} ms", median.as_secs_f64() * 1e3);
    if median < HONEST {
        Finding::doubtful(
            "syncs",
            format!("{said}: no disk is so fast, so what is lost with the power may be lost"),
        )
    } else if median > SLOW {
        Finding::doubtful("syncs", format!("{said}: checkpoints and small stages will wait for it"))
    } else {
        Finding::good("syncs", said)
    }
}

/// Two that work on one run must see each other's locks, and a file that takes another's place must do so at once.
fn locks(folder: &Path) -> io::Result<Finding> {
    let path = folder.join("lock");
    let (one, other) = (File::create(&path)?, File::create(&path)?);
    one.try_lock().map_err(io::Error::from)?;
    if other.try_lock().is_ok() {
        let way_out = "two runs of one name would not see each other";
        return Ok(Finding::bad("locks", format!("a lock is not seen by the next who asks: {way_out}")));
    }
    let (old, new) = (folder.join("old"), folder.join("new"));
    fs::write(&old, "old")?;
    fs::write(&new, "new")?;
    fs::rename(&new, &old)?;
    Ok(match fs::read_to_string(&old)? == "new" && !new.exists() {
        true => Finding::good("locks", "locks are seen, and files take each other's place"),
        false => Finding::bad("locks", "a file does not take another's place when it is renamed to it"),
    })
}

/// A token must stay its owner's.
fn secrets(folder: &Path) -> io::Result<Finding> {
    let path = folder.join("token");
    let mut open = OpenOptions::new();
    open.write(true).create_new(true).mode(0o600).open(&path)?;
    Ok(match fs::metadata(&path)?.mode() & 0o777 {
        0o600 => Finding::good("secrets", "a file can be its owner's alone"),
        mode => Finding::bad(
            "secrets",
            format!(
                "a file that is its owner's alone has mode {mode:o} here: set FULCRUM_TOKEN, or keep runs elsewhere"
            ),
        ),
    })
}

/// Whether the storage's clock and this machine's agree, where another machine serves it.
fn clock(folder: &Path) -> io::Result<Finding> {
    let path = folder.join("clock");
    fs::write(&path, "")?;
    let (there, here) = (fs::metadata(&path)?.modified()?, SystemTime::now());
    let apart = here.duration_since(there).unwrap_or_else(|error| error.duration());
    Ok(match apart > APART {
        true => Finding::doubtful(
            "clock",
            format!(
                "the storage's clock is {:.0} s off: no result depends on it, but logs will not fit together",
                apart.as_secs_f64()
            ),
        ),
        false => Finding::good("clock", "the storage's agrees with this machine's"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_temporary_folder_can_do_what_a_store_needs() {
        let folder = tempfile::tempdir().unwrap();
        let found = storage(&folder.path().join("new"));
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|finding| finding.verdict != Verdict::Bad), "{found:?}");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0, "it leaves something behind");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let found = storage(&folder.path().join("file/store"));
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Bad));
    }

    #[test]
    fn a_sync_that_is_too_fast_to_be_true_and_one_that_is_slow_are_doubtful() {
        for (micros, verdict) in
            [(5, Verdict::Doubtful), (2_000, Verdict::Good), (150_000, Verdict::Doubtful)]
        {
            assert_eq!(judged(Duration::from_micros(micros)).verdict, verdict, "{micros}");
        }
    }
}
