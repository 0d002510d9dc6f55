//! A container: a process with a file system, a network, a name and process numbers of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use fulcrum_tests::{binaries, repository, workplace::code};

/// Builds the file system, and becomes the first process in it. It is told the root, the container's name, for each mount its
/// option and both paths, and, after `--`, what `env` is told.
///
/// As in the image, /usr/local holds the two programs and nothing else.
const SCRIPT: &str = r#"
set -e
root=$1
hostname "$2"
shift 2
mount -t tmpfs tmpfs "$root"
for folder in /bin /dev /etc /lib /lib64 /sys /usr; do
    if [ -L "$folder" ]; then
        cp -P "$folder" "$root"
    else
        mkdir "$root$folder"
        mount -o bind,ro "$folder" "$root$folder"
    fi
done
mount -t tmpfs tmpfs "$root/usr/local"
mkdir "$root/tmp" "$root/proc"
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
    to=$root$3
    mkdir -p "${to%/*}"
    if [ -d "$2" ]; then mkdir -p "$to"; else : > "$to"; fi
    mount -o "bind,$1" "$2" "$to"
    shift 3
done
shift
exec chroot "$root" env -i "$@"
"#;

/// Namespaces of its own, but for the network, which is there already. Whoever kills `unshare` kills all that is in them.
const UNSHARE: [&str; 8] =
    ["unshare", "--mount", "--propagation=private", "--uts", "--ipc", "--pid", "--fork", "--kill-child"];

/// How the kernel ends what is sent SIGKILL, as a container's exit code has it.
pub(super) const KILLED: i32 = 137;

/// A folder or a file of this machine, where the container sees it.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) read_only: bool,
}

impl Mount {
    fn read_only(from: &Path, to: &str) -> Self {
        Self { from: fs::canonicalize(from).unwrap(), to: to.into(), read_only: true }
    }

    fn words(&self) -> [String; 3] {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        [if self.read_only { "ro" } else { "rw" }.to_owned(), path(&self.from), path(&self.to)]
    }
}

/// What a container is made of.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) mounts: Vec<Mount>,
    /// All that the process finds in its environment, but for PATH.
    pub(super) environment: Vec<(String, String)>,
    pub(super) folder: String,
    pub(super) words: Vec<String>,
}

impl Plan {
    /// Starts it on a host that `on` runs commands on; what it says goes to `log`.
    pub(super) fn start(mut self, on: Command, log: PathBuf) -> Container {
        let root = tempfile::tempdir().unwrap();
        self.mounts.extend(image());
        let mut command = on;
        command.args(UNSHARE).args(["sh", "-c", SCRIPT, "sh"]).arg(root.path()).arg(&self.name);
        command.args(self.mounts.iter().flat_map(Mount::words)).arg("--");
        command.args(["PATH=/usr/local/bin:/usr/bin:/bin", &format!("--chdir={}", self.folder)]);
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(&self.words);
        let said = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        Container { child: command.spawn().unwrap(), is_killed: false, _root: root }
    }
}

/// What launch/Containerfile puts into the image.
fn image() -> Vec<Mount> {
    let libtorch = repository().join("libtorch");
    vec![
        Mount::read_only(&binaries().fulcrum, "/usr/local/bin/fulcrum"),
        Mount::read_only(&binaries().worker, "/usr/local/bin/fulcrum-worker"),
        // Where the worker was built with it.
        Mount::read_only(&libtorch, libtorch.to_str().unwrap()),
    ]
}

/// A running container. It ends with the test.
#[derive(Debug)]
pub(super) struct Container {
    child: Child,
    is_killed: bool,
    _root: tempfile::TempDir,
}

impl Container {
    /// Its exit code, once its first process has ended.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        // `unshare` does not tell what its child was killed by.
        Some(if self.is_killed { KILLED } else { code(status) })
    }

    /// Sends a signal to its first process, which the kernel drops where that does not listen to it: SIGKILL goes through.
    pub(super) fn signal(&mut self, signal: &str) {
        self.is_killed |= signal == "KILL";
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let first = children.unwrap_or_default();
        // It may have ended by now.
        let _ = Command::new("kill").args([&format!("-{signal}"), first.trim()]).output();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
