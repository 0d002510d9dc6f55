//! Folders as datasets have them.

use super::*;

/// Discovers in a dataset of these files, some with a text.
fn found(
    files: &[&str],
    texts: &[(&str, &str)],
    subset: Option<&str>,
    name: &str,
) -> Result<Vec<String>, String> {
    let names =
        files.iter().chain(texts.iter().map(|(name, _)| name)).map(|name| (*name).to_owned()).collect();
    let split = Split { subset: subset.map(str::to_owned), name: name.to_owned() };
    discover(&names, &split, &mut |name| {
        let text = texts.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_bytes().to_vec());
        text.ok_or_else(|| format!("{name} is not there"))
    })
}

const GLUE: &str = "---
license: other
tags: [a, b]
dataset_info:
- config_name: cola
  features:
  - name: label
    dtype:
      class_label:
        names:
          '0': unacceptable
          '1': acceptable
configs:
- config_name: cola
  data_files:
  - split: train
    path: cola/train-*
  - split: test
    path: cola/test-*
- config_name: sst2
  data_files:
  - split: train
    path:
    - sst2/b.parquet
    - sst2/train-*
  default: true
- config_name: plain
  data_dir: other
- config_name: all
  data_files: other/*.csv
---
# A card
configs: none of this is read
";

#[test]
fn a_card_says_which_files_are_which_split() {
    let files = [
        "cola/train-00000-of-00001.parquet",
        "cola/test-00000-of-00001.parquet",
        "sst2/b.parquet",
        "sst2/train-00000-of-00002.parquet",
        "sst2/train-00001-of-00002.parquet",
        "other/dev.csv",
        "other/train.csv",
    ];
    let found = |subset, split| found(&files, &[("README.md", GLUE)], subset, split);
    assert_eq!(found(Some("cola"), "test").unwrap(), ["cola/test-00000-of-00001.parquet"]);
    let sst2 = ["sst2/b.parquet", "sst2/train-00000-of-00002.parquet", "sst2/train-00001-of-00002.parquet"];
    assert_eq!(found(None, "train").unwrap(), sst2, "the default one, in the card's order");
    assert_eq!(found(Some("plain"), "validation").unwrap(), ["other/dev.csv"]);
    assert_eq!(found(Some("all"), "train").unwrap(), ["other/dev.csv", "other/train.csv"]);
    for (subset, split, fragment) in [
        (Some("mnli"), "train", "no subset \"mnli\": known are cola, sst2, plain, all"),
        (Some("cola"), "validation", "no split \"validation\": known are train, test"),
    ] {
        let error = found(subset, split).unwrap_err();
        assert!(error.contains(fragment), "{error}");
    }
}

#[test]
fn names_tell_the_split_where_no_card_does() {
    type Case<'a> = (&'a [&'a str], Option<&'a str>, &'a str, &'a [&'a str]);
    let cases: [Case<'_>; 12] = [
        (
            &[
                "data/train-00000-of-00002-a1.parquet",
                "data/train-00001-of-00002-b2.parquet",
                "data/test-00000-of-00001.parquet",
            ],
            None,
            "train",
            &["data/train-00000-of-00002-a1.parquet", "data/train-00001-of-00002-b2.parquet"],
        ),
        (&["train.jsonl", "dev.jsonl", "LICENSE"], None, "validation", &["dev.jsonl"]),
        (&["train.jsonl.zst", "test.jsonl.zst"], None, "test", &["test.jsonl.zst"]),
        (&["train/a.csv", "train/b.csv", "test/a.csv"], None, "train", &["train/a.csv", "train/b.csv"]),
        (&["my_training_set.csv", "my-test-set.csv"], None, "train", &["my_training_set.csv"]),
        (
            &["data/train_sft-00000-of-00001.parquet", "data/train_prefs-00000-of-00001.parquet"],
            None,
            "train_prefs",
            &["data/train_prefs-00000-of-00001.parquet"],
        ),
        (&["sst2/train.parquet", "cola/train.parquet"], Some("cola"), "train", &["cola/train.parquet"]),
        (&["rows.csv", "LICENSE", "dataset_infos.json"], None, "train", &["rows.csv"]),
        (&["train.csv", "train.parquet", "train.txt"], None, "train", &["train.parquet"]),
        (&["contest.csv"], None, "train", &["contest.csv"]),
        (&["train.tsv.gz", ".train.csv"], None, "train", &["train.tsv.gz"]),
        (&["train-v1.1.json", "dev-v1.1.json"], None, "train", &["train-v1.1.json"]),
    ];
    for (files, subset, split, expected) in cases {
        assert_eq!(found(files, &[], subset, split).unwrap(), expected, "{files:?}");
    }
}

#[test]
fn what_cannot_be_told_is_said() {
    for (files, subset, split, fragment) in [
        (
            &["a/train.csv", "b/train.csv"][..],
            None,
            "train",
            "in several folders (a, b): name one in task.subset",
        ),
        (&["a/train.csv"], Some("c"), "train", "no subset \"c\": known are a"),
        (&["train.csv"], None, "test", "no file is of the split \"test\": there are train.csv"),
        (&["model.bin"], None, "train", "there are none that hold rows"),
        (
            &["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"],
            None,
            "train",
            "2 of 3 files of train",
        ),
    ] {
        let error = found(files, &[], subset, split).unwrap_err();
        assert!(error.contains(fragment) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_hostile_or_broken_card_is_refused_in_one_line() {
    let deep = format!("---\nconfigs: {}\n---\n", "[".repeat(100));
    for (card, fragment) in [
        ("---\na: &a [x]\nconfigs: *a\n---\n", "has a reference"),
        (deep.as_str(), "nested too deep"),
        ("---\nconfigs: [\n---\n", "is not readable"),
        ("---\nconfigs: 7\n---\n", "is not as the hub has it"),
        (
            "---\nconfigs:\n- config_name: x\n  data_files: ../../etc/passwd\n---\n",
            "is not as the hub has it",
        ),
        ("---\nconfigs:\n- config_name: x\n  data_dir: /etc\n---\n", "is not as the hub has it"),
        ("---\nconfigs:\n- config_name: x\n  data_files: gone/*.csv\n---\n", "there is no such file"),
    ] {
        let error = found(&["train.csv"], &[("README.md", card)], None, "train").unwrap_err();
        assert!(error.contains(fragment) && error.lines().count() == 1, "{card}: {error}");
    }
    for card in ["", "# no header", "---\nlicense: mit\n---\n", "---\nnever closed: 1\n"] {
        assert_eq!(
            found(&["train.csv"], &[("README.md", card)], None, "train").unwrap(),
            ["train.csv"],
            "{card}"
        );
    }
}

#[test]
fn what_save_to_disk_left_is_read_as_it_says() {
    let state = r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}"#;
    let one = |split| found(&["data-00000-of-00001.arrow"], &[("state.json", state)], None, split);
    assert_eq!(one("train").unwrap(), ["data-00000-of-00001.arrow"]);
    assert!(one("test").unwrap_err().contains("no split \"test\": known are train"));
    let dict = [
        ("dataset_dict.json", r#"{"splits": ["train", "test"]}"#),
        ("train/state.json", state),
        ("test/state.json", state),
    ];
    let all = |split| found(&["train/data-00000-of-00001.arrow"], &dict, None, split);
    assert_eq!(all("train").unwrap(), ["train/data-00000-of-00001.arrow"]);
    assert!(all("test").unwrap_err().contains("names test/data-00000-of-00001.arrow, which is not there"));
    assert!(all("dev").unwrap_err().contains("known are train, test"));
}

#[test]
fn a_folder_is_searched_and_links_to_folders_are_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/train.csv"), "").unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("data/again")).unwrap();
    let split = Split { subset: None, name: "train".into() };
    assert_eq!(discover_in(dir.path(), &split).unwrap(), ["data/train.csv"]);
}
