//! Folders of the layouts in use, and folders that lie.

use std::{fs, path::PathBuf};

use arrow::{
    array::{AsArray, Float64Array, RecordBatch},
    compute::concat_batches,
    datatypes::{Float32Type, Int32Type},
    ipc::writer::StreamWriter,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weak_labels").join(name)
}

fn imported(folder: &Path) -> Result<(Imported, RecordBatch)> {
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("labels.parquet");
    let seen = import(folder, &target)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&target).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    Ok((seen, concat_batches(&schema, &batches).unwrap()))
}

/// Name and bytes.
type File<'a> = (&'a str, &'a [u8]);

/// A folder with these files.
fn folder(files: &[File<'_>]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

const STATE: &[u8] = br#"{"_data_files": [{"filename": "data.arrow"}]}"#;

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn both_layouts_give_the_same_labels() {
    let (seen, openai) = imported(&fixture("openai")).unwrap();
    // Right on rows 0, 1, 3 and 4; row 2 gives 0.35 to its class 1.
    assert_eq!(seen, Imported { rows: 5, classes: 2, known: 5, right: 4 });
    let (seen, eleuther) = imported(&fixture("eleutherai")).unwrap();
    assert_eq!(seen, Imported { rows: 5, classes: 2, known: 0, right: 0 });
    let lists = |batch: &RecordBatch| -> Vec<f32> {
        let lists = batch.column_by_name("soft_label").unwrap().as_list::<i32>().clone();
        lists.values().as_primitive::<Float32Type>().values().to_vec()
    };
    let expected = [0.9, 0.1, 0.2, 0.8, 0.65, 0.35, 0.03, 0.97, 0.5, 0.5];
    for found in [lists(&openai), lists(&eleuther)] {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{found:?}");
    }
    let hard = |batch: &RecordBatch| batch["hard_label"].as_primitive::<Int32Type>().values().to_vec();
    assert_eq!((hard(&openai), hard(&eleuther)), (vec![0, 1, 0, 1, 0], vec![0, 1, 0, 1, 0]));
    assert_eq!(openai["text"].as_string::<i32>().value(3), "Q: what is 3? A: a number");
    assert_eq!((eleuther["text"].null_count(), eleuther["id"].as_string::<i32>().value(4)), (5, "00000004"));
}

#[test]
fn a_folder_that_lies_is_refused_and_leaves_no_file() {
    let half = |values: Vec<f64>| stream(vec![("soft_label", Arc::new(Float64Array::from(values)))]);
    let named = |name: &str| format!(r#"{{"_data_files": [{{"filename": {name:?}}}]}}"#).into_bytes();
    let mismatch = stream(vec![
        ("soft_label", Arc::new(Float64Array::from(vec![0.9]))),
        ("hard_label", Arc::new(Int32Array::from(vec![0]))),
    ]);
    let other = stream(vec![("label", Arc::new(Float64Array::from(vec![0.9])))]);
    let cases: [(&[File<'_>], &str); 4] = [
        (&[], "has no state.json"),
        (&[("dataset_dict.json", b"{}")], "holds several sets of rows"),
        (&[("state.json", b"{}")], "cannot understand"),
        (&[("state.json", br#"{"_data_files": []}"#)], "names 0 files"),
    ];
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("x.parquet");
    let refused = |folder: &Path| format!("{:#}", import(folder, &target).unwrap_err());
    for (files, expected) in cases {
        let message = refused(folder(files).path());
        assert!(message.contains(expected), "{message}");
    }
    for name in ["../data.arrow", "/etc/passwd", "none.arrow", ""] {
        let message = refused(folder(&[("state.json", &named(name))]).path());
        assert!(message.contains("which is no file beside it"), "{name}: {message}");
    }
    let data: [(&[u8], &str); 7] = [
        (b"ARROW", "not readable as Arrow"),
        (&half(vec![]), "holds no row"),
        (&half(vec![0.5, 1.5]), "row 1 has `soft_label`"),
        (&half(vec![f64::NAN]), "row 0 has `soft_label`"),
        (&mismatch, "row 0 has hard_label Some(0)"),
        (&other, "no column `soft_label` or `soft_pred`; columns are label"),
        (&half(vec![0.5])[..40], "not readable as Arrow"),
    ];
    for (bytes, expected) in data {
        let message = refused(folder(&[("state.json", STATE), ("data.arrow", bytes)]).path());
        assert!(message.contains(expected), "{message}");
    }
    assert!(fs::read_dir(out.path()).unwrap().next().is_none(), "a file was left");
}

#[test]
fn no_flipped_bit_makes_more_than_an_error() {
    let folder = folder(&[("state.json", STATE)]);
    let path = folder.path().join("data.arrow");
    let bytes = fs::read(fixture("eleutherai/data-00000-of-00001.arrow")).unwrap();
    let target = folder.path().join("x.parquet");
    for at in 0..bytes.len() {
        for bit in [0, 2, 7] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            fs::write(&path, damaged).unwrap();
            let _ = import(folder.path(), &target);
        }
    }
}
