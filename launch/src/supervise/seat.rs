//! One child process and the place it sits in: started, watched, started again, never left behind.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::policy::{Death, Part, Record};

/// The end of a log in which the reason of a death is looked for.
const LOG_TAIL: u64 = 16 << 10;

/// A place for one child process.
///
/// The child holds the reading end of a pipe to this process and ends when the pipe closes, so not even
/// SIGKILL of this process leaves orphans. It is in a process group of its own, so Ctrl-C reaches it
/// only through this process.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) record: Record,
    /// When to start the child (again); none while it runs or is not wanted.
    pub(super) due: Option<Instant>,
    log: PathBuf,
    log_start: u64,
    child: Option<Child>,
}

impl Seat {
    /// An empty seat whose child is due at once.
    pub(super) fn new(name: impl Into<String>, part: Part, log: PathBuf) -> Self {
        let (record, due) = (Record::default(), Some(Instant::now()));
        Self { name: name.into(), part, record, due, log, log_start: 0, child: None }
    }

    /// Starts the child; what it says goes to the seat's log.
    pub(super) fn start(&mut self, mut command: Command) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.log_start = log.metadata()?.len();
        let child = command
            // Colours are for terminals.
            .env("NO_COLOR", "1")
            // What libtorch warns of when a peer is lost, the worker says in its own words.
            .env("TORCH_CPP_LOG_LEVEL", std::env::var_os("TORCH_CPP_LOG_LEVEL").unwrap_or("ERROR".into()))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start {:?}: {error}", command.get_program()))
            })?;
        self.child = Some(child);
        self.due = None;
        Ok(())
    }

    /// The process id of the running child.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How the child ended, told once.
    pub(super) fn reap(&mut self) -> io::Result<Option<Death>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status.map(Death::from))
    }

    /// Sends a signal to the child if it runs. It is not reaped elsewhere, so the id cannot be another's.
    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) else { return };
        if let Err(error) = signal::kill(Pid::from_raw(pid), signal) {
            tracing::debug!("cannot send {signal} to {}: {error}", self.name);
        }
    }

    /// Ends the child at once if it runs, and waits for that.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Only a child that has ended already cannot be killed, and then waiting returns at once.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The log file.
    pub(super) fn log(&self) -> &std::path::Path {
        &self.log
    }

    /// The last `error: ...` that the present child or the last one wrote.
    pub(super) fn last_error(&self) -> Option<String> {
        let mut log = File::open(&self.log).ok()?;
        let end = fs::metadata(&self.log).ok()?.len();
        log.seek(SeekFrom::Start(self.log_start.max(end.saturating_sub(LOG_TAIL)))).ok()?;
        let mut tail = Vec::new();
        log.take(LOG_TAIL).read_to_end(&mut tail).ok()?;
        let tail = String::from_utf8_lossy(&tail);
        tail.lines().rev().find_map(error_in).map(str::to_owned)
    }
}

/// The message of a line that tells an error, printed (`error: ...`) or logged (`TIME ERROR TARGET: ...`).
fn error_in(line: &str) -> Option<&str> {
    let logged = || line.split_once(" ERROR ")?.1.split_once(": ");
    line.strip_prefix("error: ").or_else(|| Some(logged()?.1))
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Seat) {
        let folder = tempfile::tempdir().unwrap();
        let mut seat = Seat::new("w0", Part::Worker, folder.path().join("w0.log"));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        seat.start(command).unwrap();
        (folder, seat)
    }

    fn wait(seat: &mut Seat) -> Death {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(death) = seat.reap().unwrap() {
                return death;
            }
            std::thread::yield_now();
        }
        panic!("the child did not end")
    }

    #[test]
    fn a_death_is_told_once_and_its_last_error_is_found() {
        let (_folder, mut seat) =
            shell("echo hello; echo 'error: first' >&2; echo 'error: no luck' >&2; echo bye; exit 21");
        assert_eq!(wait(&mut seat), Death::Code(21));
        assert_eq!(seat.reap().unwrap(), None);
        assert_eq!(seat.last_error().as_deref(), Some("no luck"));
    }

    #[test]
    fn errors_of_an_earlier_child_are_not_those_of_the_present_one() {
        let (_folder, mut seat) = shell("echo 'error: old'");
        wait(&mut seat);
        seat.start(Command::new("/bin/true")).unwrap();
        wait(&mut seat);
        assert_eq!(seat.last_error(), None);
    }

    #[test]
    fn errors_are_found_printed_and_logged() {
        for (line, expected) in [
            ("error: no luck", Some("no luck")),
            ("2026-01-01T00:00:00Z ERROR fulcrum_worker: cannot open: no luck", Some("cannot open: no luck")),
            ("2026-01-01T00:00:00Z  INFO fulcrum_worker: all is well", None),
            ("error", None),
        ] {
            assert_eq!(error_in(line), expected, "{line}");
        }
    }

    #[test]
    fn a_child_reads_the_end_of_its_input_when_the_seat_closes_it() {
        let (_folder, mut seat) = shell("read -r line || exit 7");
        drop(seat.child.as_mut().unwrap().stdin.take());
        assert_eq!(wait(&mut seat), Death::Code(7));
    }

    #[test]
    fn a_signal_reaches_the_child() {
        let (_folder, mut seat) = shell("exec sleep 60");
        seat.signal(Signal::SIGTERM);
        assert_eq!(wait(&mut seat), Death::Signal(15));
    }

    #[test]
    fn a_dropped_seat_leaves_no_process() {
        let (_folder, seat) = shell("exec sleep 60");
        let pid = Pid::from_raw(i32::try_from(seat.pid().unwrap()).unwrap());
        drop(seat);
        assert_eq!(signal::kill(pid, None), Err(nix::errno::Errno::ESRCH));
    }

    #[test]
    fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut seat = Seat::new("w0", Part::Worker, folder.path().join("w0.log"));
        let error = seat.start(Command::new("/nowhere/fulcrum-worker")).unwrap_err().to_string();
        assert!(error.starts_with("cannot start \"/nowhere/fulcrum-worker\": "), "{error}");
    }
}
