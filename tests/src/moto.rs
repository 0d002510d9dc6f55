//! A real server of S3's protocol on this machine: moto's, from the Python package index. One serves all tests of a process.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// What is installed.
const PACKAGE: &str = "moto[server]==5.2.5";

/// Says its port, and serves until its standard input ends: it does when the tests are over, however they end.
const SCRIPT: &str = "import logging, os, sys
logging.getLogger('werkzeug').setLevel(logging.ERROR)
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
os._exit(0)
";

/// A running server.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    _child: Child,
}

/// The server of this process; none where tests of buckets are left out.
///
/// # Panics
/// If it cannot be installed or started.
pub fn moto() -> Option<&'static Moto> {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    if std::env::var_os("FULCRUM_NO_BUCKET").is_some_and(|value| !value.is_empty()) {
        eprintln!("left out: FULCRUM_NO_BUCKET is set");
        return None;
    }
    Some(MOTO.get_or_init(Moto::start))
}

impl Moto {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).env("PYTHONPATH", package());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let mut line = String::new();
        let said = child.stdout.take().expect("its output is a pipe");
        BufReader::new(said).read_line(&mut line).expect("it says its port");
        let port: u16 = line.trim().parse().expect("it says its port, else standard error says why not");
        Self { address: ([127, 0, 0, 1], port).into(), _child: child }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// If the server does not.
    pub fn make_bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let host = self.address;
        let request =
            format!("PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it takes requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// The folder with the installed package, which the tests of a checkout share.
fn package() -> PathBuf {
    let program = std::env::current_exe().expect("a test knows its program");
    // target/debug/deps/PROGRAM
    let target = program.ancestors().nth(3).expect("tests lie in the target folder").join("tmp");
    fs::create_dir_all(&target).expect("the target folder can be written");
    let (folder, lock) = (target.join("moto-5.2.5"), target.join("moto.lock"));
    let lock = fs::File::create(lock).expect("the target folder can be written");
    lock.lock().expect("the target folder has locks");
    if !folder.is_dir() {
        install(&target, &folder);
    }
    folder
}

fn install(target: &Path, folder: &Path) {
    let aside = tempfile::tempdir_in(target).expect("the target folder can be written");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
    let output = Command::new("python3").args(install).arg(aside.path()).arg(PACKAGE).output();
    let output = output.expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\nwithout a network, set FULCRUM_NO_BUCKET=1");
    fs::rename(aside.keep(), folder).expect("a folder can be renamed");
}
