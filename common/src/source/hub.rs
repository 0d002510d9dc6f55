//! Repositories of the Hugging Face hub, and where the hub's own cache keeps them on this machine.
//!
//! ```text
//! <cache>/models--OWNER--NAME/refs/<revision>              the commit that a branch or tag stood at
//! <cache>/models--OWNER--NAME/snapshots/<commit>/<file>    a link to the bytes
//! <cache>/models--OWNER--NAME/blobs/<etag>                 the bytes
//! ```

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A repository at a revision: `OWNER/NAME` or `OWNER/NAME@REVISION`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubId {
    name: String,
    revision: Option<String>,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepositoryKind {
    /// A model, or adapters for one.
    Model,
    /// Rows.
    Dataset,
}

/// The hub's cache folder. Nothing here uses the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubCache {
    root: PathBuf,
}

impl HubId {
    /// The revision where none is named.
    pub const MAIN: &'static str = "main";

    /// Reads `NAME`, `OWNER/NAME` or one of these with `@REVISION`; none if the text is no such name, or could mean
    /// another place than a folder of that name.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let good = name.splitn(2, '/').all(is_part) && revision.is_none_or(|it| it.split('/').all(is_part));
        // The cache writes a slash as two dashes.
        let plain = good && !name.contains("--") && !name.contains("..");
        plain.then(|| Self { name: name.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// `OWNER/NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit that is meant.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(Self::MAIN)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(formatter, "{}@{revision}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// One part of a name between slashes.
fn is_part(text: &str) -> bool {
    text.len() <= 96
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl RepositoryKind {
    /// As in the paths of the hub's interface.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

impl HubCache {
    /// The cache in that folder, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of everything that is kept of a repository.
    pub fn repository(&self, kind: RepositoryKind, id: &HubId) -> PathBuf {
        self.root.join(format!("{}--{}", kind.plural(), id.name.replace('/', "--")))
    }

    /// The folder with the files of the repository at its revision, as far as they were fetched.
    pub fn snapshot(&self, kind: RepositoryKind, id: &HubId) -> Option<PathBuf> {
        let repository = self.repository(kind, id);
        let commit = match id.revision() {
            commit if is_commit(commit) => commit.to_owned(),
            branch => {
                let text = fs::read_to_string(repository.join("refs").join(branch)).ok()?;
                Some(text.trim()).filter(|text| is_commit(text))?.to_owned()
            }
        };
        Some(repository.join("snapshots").join(commit)).filter(|folder| folder.is_dir())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Whether the text is a full commit hash, which never means anything else later.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn names_and_revisions_are_told_apart_and_cannot_leave_the_cache() {
        for (text, name, revision) in [
            ("gpt2", "gpt2", "main"),
            ("EleutherAI/pythia-14m", "EleutherAI/pythia-14m", "main"),
            ("EleutherAI/pythia-14m@step1000", "EleutherAI/pythia-14m", "step1000"),
            ("a/b@refs/pr/7", "a/b", "refs/pr/7"),
        ] {
            let id = HubId::parse(text).unwrap();
            assert_eq!((id.name(), id.revision(), id.to_string().as_str()), (name, revision, text));
        }
        for text in
            ["", "/", "a/", "a/b/c", "../a", "a/..", "a/b@", "a/b@../c", "a/b@x//y", "a/b@c@d", "a b", "a--b"]
        {
            assert_eq!(HubId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::new(dir.path().to_owned());
        let id = |text: &str| HubId::parse(text).unwrap();
        let repository = dir.path().join("datasets--a--b");
        assert_eq!(cache.repository(RepositoryKind::Dataset, &id("a/b")), repository);
        assert_eq!(cache.snapshot(RepositoryKind::Dataset, &id("a/b")), None);
        let snapshot = repository.join("snapshots").join(COMMIT);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), COMMIT).unwrap();
        for text in ["a/b".to_owned(), format!("a/b@{COMMIT}")] {
            assert_eq!(cache.snapshot(RepositoryKind::Dataset, &id(&text)), Some(snapshot.clone()), "{text}");
        }
        assert_eq!(cache.snapshot(RepositoryKind::Model, &id("a/b")), None);
        fs::write(repository.join("refs/main"), "../../../etc").unwrap();
        assert_eq!(cache.snapshot(RepositoryKind::Dataset, &id("a/b")), None);
    }
}
