//! Archives and idx files, as they should be and not.

use std::{fs, io::Write};

use fulcrum_common::{Key, plan::FileDigest};
use image::{ImageBuffer, Rgb};

use super::*;
use crate::source;

/// A PNG of one colour.
fn png(size: Size, colour: [u8; 3]) -> Vec<u8> {
    let image = ImageBuffer::from_pixel(size[1] as u32, size[0] as u32, Rgb(colour));
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn idx_file(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = (0x800 + sizes.len() as u32).to_be_bytes().to_vec();
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(bytes);
    file
}

/// Files of a source.
struct Files(tempfile::TempDir, Vec<String>);

impl Files {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self(folder, files.iter().map(|(name, _)| (*name).to_owned()).collect())
    }

    fn rows(&self) -> Result<Vec<(String, String)>> {
        let file = |name: &String| SourceFile { name: name.clone(), path: self.0.path().join(name) };
        let text = |record: &Record, column: &str| record[column].as_str().unwrap().to_owned();
        let rows = source::read(self.1.iter().map(file).collect(), &[]);
        rows.map(|row| row.map(|row| (text(&row.record, "name"), text(&row.record, "label")))).collect()
    }

    fn pixels(&self, rows: &[i64]) -> Result<(Size, Vec<u8>)> {
        let digest = |name: &String| FileDigest { name: name.clone(), digest: Key::of(b"") };
        let source = Source::Files { files: self.1.iter().map(digest).collect() };
        let paths: Vec<PathBuf> = self.1.iter().map(|name| self.0.path().join(name)).collect();
        let to = self.0.path().join("pixels");
        let size = write(&source, &paths, rows, &to)?;
        Ok((size, fs::read(to).unwrap()))
    }
}

#[test]
fn an_archive_tells_classes_by_folders_and_its_pixels_follow_the_rows() {
    let files = [
        ("test/cat/0.png", png([1, 2], [1, 2, 3])),
        ("test/cat/notes.txt", b"not an image".to_vec()),
        ("test/dog/1.png", png([1, 2], [4, 5, 6])),
    ];
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packed.write_all(&archive(&files)).unwrap();
    let more = archive(&[("owl/2.png", png([1, 2], [7, 8, 9]))]);
    let files = Files::new(&[("a.tar.zst", packed.finish().unwrap()), ("b.tar", more)]);
    let expected = [("test/cat/0.png", "cat"), ("test/dog/1.png", "dog"), ("owl/2.png", "owl")];
    assert_eq!(files.rows().unwrap(), expected.map(|(name, label)| (name.to_owned(), label.to_owned())));
    let (size, pixels) = files.pixels(&[2, 0]).unwrap();
    assert_eq!((size, pixels), ([1, 2], vec![7, 8, 9, 7, 8, 9, 1, 2, 3, 1, 2, 3]));
}

/// An archive in which a header of that kind stands before a file.
fn preceded(kind: tar::EntryType, text: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_path("short/0.png").unwrap();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    };
    add(kind, text);
    add(tar::EntryType::Regular, &png([1, 1], [5; 3]));
    builder.into_inner().unwrap()
}

#[test]
fn a_longer_name_stands_before_its_file_in_either_layout_and_has_a_limit() {
    let path = format!("{}/cat/9.png", "d".repeat(150));
    let record = format!(" path={path}\n");
    let record = format!("{}{record}", record.len() + 3);
    let zero = format!("{path}\0");
    for (kind, text) in [(tar::EntryType::GNULongName, zero), (tar::EntryType::XHeader, record)] {
        let files = Files::new(&[("a.tar", preceded(kind, text.as_bytes()))]);
        assert_eq!(files.rows().unwrap(), [(path.clone(), "cat".to_owned())], "{kind:?}");
        assert_eq!(files.pixels(&[0]).unwrap(), ([1, 1], vec![5; 3]));
        let files = Files::new(&[("a.tar", preceded(kind, &[b'1'; 5000]))]);
        let message = files.rows().unwrap_err().to_string();
        assert!(message.starts_with("a.tar: names a file in more than 4096 bytes"), "{message}");
    }
}

#[test]
fn a_pair_of_idx_files_is_grey_images_with_the_labels_of_the_other() {
    let labels = idx_file(&[2], &[7, 3]);
    let images = idx_file(&[2, 1, 2], &[0, 9, 255, 4]);
    let files = Files::new(&[("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)]);
    let labels: Vec<String> = files.rows().unwrap().into_iter().map(|(_, label)| label).collect();
    assert_eq!(labels, ["7", "3"]);
    assert_eq!(files.pixels(&[1]).unwrap(), ([1, 2], vec![255, 255, 255, 4, 4, 4]));
}

/// Files of an archive, the labels that are known, and what is said of it.
type Case<'a> = (&'a [(&'a str, Vec<u8>)], &'a [i64], &'a str);

#[test]
fn what_is_no_image_or_of_another_size_is_refused_by_name() {
    let refused = |files: &[(&str, Vec<u8>)], rows: &[i64]| {
        let files = Files::new(files);
        files.rows().and_then(|_| files.pixels(rows).map(drop)).unwrap_err().to_string()
    };
    let two = archive(&[("a/0.png", png([1, 1], [0; 3])), ("a/1.png", png([1, 2], [0; 3]))]);
    let wide = idx_file(&[1, 1, 5000], &[0; 5000]);
    let cases: [Case<'_>; 8] = [
        (&[("x-idx3-ubyte", wide)], &[0], "x-idx3-ubyte: has images of [1, 5000] pixels: at most 4096"),
        (&[("x.tar", two.clone())], &[0, 1], "x.tar: a/1.png is [1, 2] pixels, those before are [1, 1]"),
        (&[("x.tar", two)], &[5], "0 of 1 rows are among the 2 images of the source"),
        (&[("x.tar", archive(&[("a/0.png", b"none".to_vec())]))], &[0], "x.tar: a/0.png: "),
        (
            &[("x.tar", archive(&[("0.png", png([1, 1], [0; 3]))]))],
            &[0],
            "x.tar: \"0.png\" lies in no folder",
        ),
        (&[("x.tar", vec![7; 700])], &[0], "x.tar: is no whole archive"),
        (&[("l-idx1-ubyte", idx_file(&[3], &[0, 1]))], &[0], "l-idx1-ubyte: does not hold the [3] bytes"),
        (&[("l-idx1-ubyte", idx_file(&[1, 1, 1], &[0]))], &[0], "l-idx1-ubyte: begins with 0x803"),
    ];
    for (files, rows, expected) in cases {
        let message = refused(files, rows);
        assert!(message.starts_with(expected), "{message}");
    }
}
