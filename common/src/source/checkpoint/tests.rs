//! Indices and shards that lie about each other.

use super::*;

/// A safetensors file of one f32 for each name.
pub(super) fn safetensors(names: &[&str]) -> Vec<u8> {
    let entry = |(at, name): (usize, &&str)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * at, 4 * at + 4)
    };
    let header = format!("{{{}}}", names.iter().enumerate().map(entry).collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(vec![0; 4 * names.len()]);
    file
}

/// A folder of two shards, `a` with tensors x and y, `b` with z.
fn sharded(index: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(INDEX), index).unwrap();
    fs::write(dir.path().join("a.safetensors"), safetensors(&["x", "y"])).unwrap();
    fs::write(dir.path().join("b.safetensors"), safetensors(&["z"])).unwrap();
    dir
}

fn open(folder: &Path) -> Result<Vec<Vec<String>>, CheckpointError> {
    let shards = WeightFiles::in_folder(folder).shards()?;
    shards.iter().map(|shard| Ok(shard.open()?.1.names())).collect()
}

const GOOD: &str = r#"{"weight_map": {"z": "b.safetensors", "x": "a.safetensors", "y": "a.safetensors"}}"#;

#[test]
fn shards_are_read_in_order_whatever_the_index_says_of_their_size() {
    for metadata in
        ["{}", r#"{"total_size": -1}"#, r#"{"total_size": "many"}"#, r#"{"total_size": 1e300}"#, "7"]
    {
        let dir = sharded(&GOOD.replacen('{', &format!(r#"{{"metadata": {metadata},"#), 1));
        assert_eq!(open(dir.path()).unwrap(), [vec!["x", "y"], vec!["z"]], "{metadata}");
    }
}

#[test]
fn one_file_goes_before_shards() {
    let dir = sharded(GOOD);
    fs::write(dir.path().join(WEIGHTS), safetensors(&["w"])).unwrap();
    assert_eq!(open(dir.path()).unwrap(), [["w"]]);
}

#[test]
fn an_index_cannot_name_what_is_not_a_file_beside_it() {
    for name in [
        "../a.safetensors",
        "/etc/passwd",
        "/tmp/a.safetensors",
        "..",
        ".",
        "",
        "sub/a.safetensors",
        "./a.safetensors",
        "a.safetensors/",
        "sub\\\\a.safetensors",
        "C:a.safetensors",
        ".hidden.safetensors",
        "a.bin",
        "a\\u0000.safetensors",
    ] {
        let dir = sharded(&GOOD.replace("a.safetensors", name));
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(INDEX) && error.contains("is not the name of a safetensors file"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_index_that_is_broken_is_refused_with_the_reason() {
    for (index, fragment) in [
        ("", "EOF"),
        ("[]", "invalid length"),
        ("7", "invalid type"),
        ("{}", "missing field `weight_map`"),
        (r#"{"weight_map": {}}"#, "weight_map is empty"),
        (r#"{"weight_map": ["a.safetensors"]}"#, "an object of tensor names"),
        (r#"{"weight_map": {"x": 1}}"#, "expected a string"),
        (r#"{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}"#, "tensor \"x\" comes twice"),
        (r#"{"weight_map": {"x": "a.safetensors"}, "weight_map": {}}"#, "duplicate field"),
        (r#"{"weight_map": {"x": "a.safetensors"}} x"#, "trailing"),
    ] {
        let error = open(sharded(index).path()).unwrap_err().to_string();
        assert!(error.contains(INDEX) && error.contains(fragment), "{index}: {error}");
    }
}

#[test]
fn index_and_shards_must_hold_the_same_tensors() {
    for (from, to, fragment) in [
        (
            r#", "y": "a.safetensors""#,
            "",
            "a.safetensors holds, and the index does not place there, tensor \"y\"",
        ),
        (r#""z": "b.safetensors""#, r#""z": "a.safetensors""#, "a.safetensors lacks tensor \"z\""),
        (r#""z""#, r#""w": "b.safetensors", "z""#, "b.safetensors lacks tensor \"w\""),
    ] {
        let error = open(sharded(&GOOD.replace(from, to)).path()).unwrap_err().to_string();
        assert!(error.contains(fragment), "{error}");
    }
}

#[test]
fn a_shard_that_is_absent_or_a_folder_is_named() {
    let dir = sharded(GOOD);
    fs::remove_file(dir.path().join("b.safetensors")).unwrap();
    assert!(open(dir.path()).unwrap_err().to_string().contains("b.safetensors"));
    fs::create_dir(dir.path().join("b.safetensors")).unwrap();
    assert!(open(dir.path()).unwrap_err().to_string().contains("no file of the folder"));
}

#[test]
fn a_link_may_lead_to_the_blobs_of_the_hubs_cache_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (dir.path().join("repo/blobs"), dir.path().join("repo/snapshots/c0ffee"));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join(INDEX), GOOD).unwrap();
    fs::write(snapshot.join("b.safetensors"), safetensors(&["z"])).unwrap();
    let link = snapshot.join("a.safetensors");
    for (target, allowed) in [("repo/blobs/1", true), ("elsewhere", false), ("repo/blobs2", false)] {
        let target = dir.path().join(target);
        fs::write(&target, safetensors(&["x", "y"])).unwrap();
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        match open(&snapshot) {
            Ok(_) => assert!(allowed, "{}", target.display()),
            Err(error) => {
                assert!(!allowed && error.to_string().contains("no file of the folder"), "{error}");
            }
        }
    }
}

#[test]
fn an_index_that_is_too_long_is_not_read() {
    let dir = sharded(GOOD);
    File::create(dir.path().join(INDEX)).unwrap().set_len(index::LIMIT + 1).unwrap();
    assert!(open(dir.path()).unwrap_err().to_string().contains("bytes of index, more than"));
}

#[test]
fn pickled_weights_are_refused_with_the_way_to_convert_them() {
    for (file, architecture, class) in [
        ("pytorch_model.bin", "GPT2LMHeadModel", "AutoModelForCausalLM"),
        ("pytorch_model-00001-of-00002.bin", "LlamaForCausalLM", "AutoModelForCausalLM"),
        ("model.pt", "BertForSequenceClassification", "AutoModelForSequenceClassification"),
        ("model.ckpt", "BertModel", "AutoModel "),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), "\u{80}\u{2}").unwrap();
        fs::write(dir.path().join("config.json"), format!(r#"{{"architectures": [{architecture:?}]}}"#))
            .unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("safe_serialization=True"), "{error}");
        assert!(error.contains(&format!("import {class}")), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("training_args.bin"), "").unwrap();
    assert!(open(empty.path()).unwrap_err().to_string().contains("model.safetensors"));
}
