//! Put, commit, read, verify, repair.

use std::collections::BTreeMap;

use fulcrum_common::{
    plan::{Arithmetic, Prepare, Source, Spec, Work},
    store::{Manifest, StoreError},
};

use super::*;

/// Artifacts that a scene has in all.
const ARTIFACTS: u64 = 6;

struct Made {
    scene: Scene,
    epoch: u64,
    /// Every manifest that was ever to be committed; of one key there may be several.
    sent: Vec<Manifest>,
}

#[test]
fn whatever_the_disk_does_an_artifact_is_read_as_it_was_put_or_not_at_all_and_can_be_made_again() {
    let mut it = Made { scene: Scene::new(11), epoch: 0, sent: Vec::new() };
    let mut cycles = 0;
    while struck(&it.scene.faults.counts()) < wanted() {
        it.scene.some_faults();
        for seed in 0..ARTIFACTS {
            it.make(seed);
            it.read_at_fault(seed);
        }
        let files: Vec<String> = it.sent.iter().flat_map(paths).collect();
        it.scene.rot(&files);
        it.scene.no_faults();
        it.repair();
        cycles += 1;
    }
    print(&it.scene.faults.counts(), cycles);
}

fn spec(seed: u64) -> Spec {
    let source = Source::Arithmetic(Arithmetic { rows: 1, seed, below: 10, noise: 0.0 });
    Spec { work: Work::Prepare(Prepare::Corpus { source }), inputs: BTreeMap::new() }
}

/// The bytes of an artifact, which no other has; the same in every attempt.
fn bytes(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed, "bytes", 0);
    (0..1 + 700 * seed).map(|_| rng.next_u64() as u8).collect()
}

fn paths(manifest: &Manifest) -> Vec<String> {
    let files = manifest.files.iter().map(|file| file.path.clone());
    files.chain([format!("artifacts/{}/manifest.json", manifest.key)]).collect()
}

impl Made {
    /// A worker puts the file, and the coordinator commits, unless it stands.
    fn make(&mut self, seed: u64) {
        let store = self.scene.store();
        let key = spec(seed).key();
        if let Ok(Some(_)) = self.scene.runtime.block_on(store.manifest(key)) {
            return;
        }
        self.epoch += 1;
        let source = self.scene.folder.path().join("source");
        fs::write(&source, bytes(seed)).unwrap();
        let put = store.put_file(key, self.epoch, "data.bin", &source);
        let file = match self.scene.runtime.block_on(put) {
            Ok(file) => file,
            Err(error) => return is_helpful(&error.to_string()),
        };
        let facts = BTreeMap::from([("rows/test".to_owned(), 100 + seed)]);
        let (name, files) = (format!("stage {seed}"), vec![file]);
        let manifest = Manifest { key, name, epoch: self.epoch, files, facts, spec: spec(seed) };
        self.sent.push(manifest.clone());
        match self.scene.runtime.block_on(store.commit(&manifest)) {
            Ok(standing) => assert!(self.sent.contains(&standing), "nobody has sent {standing:?}"),
            // One that was there when it was asked for, and is not found: the commit is tried again.
            Err(StoreError::Absent(_)) => {}
            Err(error) => is_helpful(&error.to_string()),
        }
    }

    /// What is read is what was put, or the reason is told.
    fn read_at_fault(&self, seed: u64) {
        let store = self.scene.store();
        let read = self.scene.runtime.block_on(async {
            let Some(manifest) = store.manifest(spec(seed).key()).await? else { return Ok(None) };
            assert!(self.sent.contains(&manifest), "nobody has sent {manifest:?}");
            let local = store.local(&manifest, "data.bin").await;
            let read = store.read(&manifest, "data.bin").await?;
            Ok::<_, StoreError>(Some((read, local)))
        });
        match read {
            Ok(Some((read, local))) => {
                assert!(read == bytes(seed), "other bytes are accepted");
                local.err().iter().for_each(|error| is_helpful(&error.to_string()));
            }
            Ok(None) => {}
            Err(error) => is_helpful(&error.to_string()),
        }
    }

    /// On a good disk repair removes what is damaged and nothing else, and it can be made again.
    fn repair(&mut self) {
        let root = self.scene.folder.path();
        let whole = |it: &&Manifest| {
            let path = root.join(format!("artifacts/{}/manifest.json", it.key));
            let stands = fs::read(path).is_ok_and(|text| text == it.to_json());
            stands && it.files.iter().all(|file| is_intact(root, file))
        };
        let mut expected: Vec<Key> = self.sent.iter().filter(whole).map(|it| it.key).collect();
        expected.sort_unstable();
        self.scene.runtime.block_on(self.scene.store().repair()).unwrap();
        let left = self.scene.runtime.block_on(self.scene.store().keys()).unwrap();
        assert_eq!(left, expected, "what is whole stays, and only that");
        for seed in 0..ARTIFACTS {
            self.make(seed);
            let store = self.scene.store();
            let manifest = self.scene.runtime.block_on(store.manifest(spec(seed).key())).unwrap().unwrap();
            let read = self.scene.runtime.block_on(store.read(&manifest, "data.bin")).unwrap();
            assert!(read == bytes(seed), "artifact {seed} was made again");
        }
        let keep =
            (0..ARTIFACTS).filter(|_| self.scene.rng.chance(0.5)).map(|seed| spec(seed).key()).collect();
        self.scene.runtime.block_on(self.scene.store().gc(&keep)).unwrap();
        self.sent.retain(|manifest| keep.contains(&manifest.key));
    }
}
