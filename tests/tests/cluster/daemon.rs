//! Programs that serve for as long as a test takes.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fulcrum_tests::workplace::{EXPERIMENT, Workplace};

/// Nothing here takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What the experiment asks of its machines.
const MACHINES: &str = "[parallel]\nworkers = 2\nthreads = 1\n[cluster]\npartition = \"low\"\n";

/// Lines that models learn from.
const ROWS: usize = 6_000;

/// A folder with the experiment in it.
pub(crate) fn workplace() -> Workplace {
    workplace_of(ROWS)
}

/// The same with so many lines to learn from: it takes as much longer.
pub(crate) fn workplace_of(rows: usize) -> Workplace {
    Workplace::new("tiny", &format!("{}{MACHINES}", EXPERIMENT.replace("6000", &rows.to_string())))
}

/// A run that nothing disturbs, on this machine.
pub(crate) fn undisturbed() -> Workplace {
    undisturbed_of(ROWS)
}

/// The same for [`workplace_of`].
pub(crate) fn undisturbed_of(rows: usize) -> Workplace {
    let place = workplace_of(rows);
    let output = place.command(&["run", "tiny.toml"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place
}

/// Whether these tests are left out here.
pub(crate) fn left_out() -> bool {
    let left_out = std::env::var_os("FULCRUM_NO_CLUSTER").is_some_and(|value| !value.is_empty());
    if left_out {
        eprintln!("left out: FULCRUM_NO_CLUSTER is set");
    }
    left_out
}

/// A program in the foreground. It ends with the test.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it; what it says goes to a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = command.spawn();
        let name = command.get_program().to_owned();
        Self(started.unwrap_or_else(|error| {
            panic!("{name:?}: {error}; apt-get install slurm-wlm munge openssh-server, or set FULCRUM_NO_CLUSTER=1")
        }))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that nobody listens on.
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that no two are the same.
    let held = std::array::from_fn::<_, N, _>(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Waits until somebody listens on a port.
pub(crate) fn listens(port: u16, log: &Path) {
    wait_for(log, || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// Waits until `found` finds something; the log is shown where it never does.
pub(crate) fn wait_for<T>(log: &Path, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "waited in vain\n{}", log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
