//! Images of a source, and what is written of them: pixels, decoded once.
//!
//! An archive (`.tar`) holds JPEG and PNG files, whose folder tells their class; the files of MNIST (`idx`) hold plain
//! bytes. Both are read as streams and hostile until read: sizes and counts have limits.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, Cursor, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use fulcrum_common::plan::Source;
use image::{ImageFormat, ImageReader, Limits};
use serde_json::Value;

use crate::{
    error::{DataError, Result},
    prepare::located,
    source::{Kind, Place, Record, SourceFile, opened},
};

/// Bytes that one file of an archive may have.
const MAX_FILE: u64 = 16 << 20;

/// Bytes that the path of a file in an archive may have, with what is written around it.
const MAX_PATH: u64 = 1 << 12;

/// Files that an archive may have.
const MAX_FILES: usize = 1 << 24;

/// Pixels that an image may have in each direction.
const MAX_SIDE: u32 = 1 << 12;

/// Name of the file with the pixels of a part: u8, row after row of each image, red, green and blue of each pixel.
pub const PIXELS: &str = "images.u8";

/// Height and width of images.
pub type Size = [usize; 2];

type Rows = Box<dyn Iterator<Item = Result<(Place, Record)>>>;

/// The rows of a file of images, or of their labels: the columns `name` and `label`. Of a pair of `idx` files, that of the
/// labels has the rows.
pub(crate) fn records(name: &str, kind: Kind, input: Box<dyn BufRead>) -> Result<Rows> {
    let (file, mut found): (Arc<str>, _) = (name.into(), Vec::new());
    match kind {
        Kind::Tar => each_in_archive(name, input, |path, _| {
            let label = folder(path).ok_or_else(|| {
                DataError::file(
                    Path::new(name),
                    format!("{path:?} lies in no folder that would tell its class"),
                )
            })?;
            found.push((path.to_owned(), label.to_owned()));
            Ok(())
        })?,
        Kind::IdxLabels => {
            let (sizes, bytes) = idx(name, input, 1)?;
            let label = |(at, byte): (usize, &u8)| (format!("{name} {at}"), byte.to_string());
            found.extend(bytes[..sizes[0]].iter().enumerate().map(label));
        }
        _ => {}
    }
    Ok(Box::new(found.into_iter().enumerate().map(move |(at, (path, label))| {
        let columns = [("name", Value::from(path)), ("label", label.into())];
        let record = columns.map(|(column, value)| (column.to_owned(), value)).into();
        Ok((Place::row(file.clone(), at as u64 + 1), record))
    })))
}

/// Writes the pixels of rows, in their order, and tells the size of the images, which all have one.
///
/// # Errors
/// If a file is not as it should be, a row is no image, or images differ in size.
pub fn write(source: &Source, paths: &[PathBuf], rows: &[i64], to: &Path) -> Result<Size> {
    let places: HashMap<i64, usize> = rows.iter().copied().zip(0..).collect();
    let file = File::create(to).map_err(DataError::io(to))?;
    let (mut row, mut written, mut size) = (0, 0, None);
    for source in located(source, paths)? {
        let fault = |what: String| DataError::file(Path::new(&source.name), what);
        each_image(&source, |name, decode| {
            let place = places.get(&row).copied();
            row += 1;
            let Some(place) = place else { return Ok(()) };
            let (found, pixels) = decode()?;
            let expected = *size.get_or_insert(found);
            if found != expected {
                return Err(fault(format!(
                    "{name} is {found:?} pixels, those before are {expected:?}: bring them to one size"
                )));
            }
            file.write_all_at(&pixels, (place * pixels.len()) as u64).map_err(DataError::io(to))?;
            written += 1;
            Ok(())
        })?;
    }
    if written < rows.len() {
        let (there, rows) = (row, rows.len());
        return Err(DataError::value(format!(
            "{written} of {rows} rows are among the {there} images of the source"
        )));
    }
    Ok(size.unwrap_or([1, 1]))
}

type Decode<'a> = &'a mut dyn FnMut() -> Result<(Size, Vec<u8>)>;

/// Every image of a file by its name, decoded where that is asked for.
fn each_image(source: &SourceFile, mut take: impl FnMut(&str, Decode<'_>) -> Result<()>) -> Result<()> {
    let (kind, input) = opened(source)?;
    match kind {
        Kind::Tar => each_in_archive(&source.name, input, |path, reader| {
            take(path, &mut || decoded(&source.name, path, &mut *reader))
        }),
        Kind::IdxImages => {
            let (sizes, bytes) = idx(&source.name, input, 3)?;
            let [count, height, width] = sizes[..] else { unreachable!("three sizes were asked for") };
            if height.max(width) > MAX_SIDE as usize {
                let what =
                    format!("has images of {:?} pixels: at most {MAX_SIDE} to each side", [height, width]);
                return Err(DataError::file(Path::new(&source.name), what));
            }
            for at in 0..count {
                let grey = &bytes[at * height * width..(at + 1) * height * width];
                let mut rgb = || Ok(([height, width], grey.iter().flat_map(|&grey| [grey; 3]).collect()));
                take(&format!("image {at}"), &mut rgb)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The class that a path tells: the folder that the file lies in.
fn folder(path: &str) -> Option<&str> {
    path.rsplit('/').nth(1).filter(|folder| !folder.is_empty() && *folder != ".")
}

fn format(path: &str) -> Option<ImageFormat> {
    match path.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => Some(ImageFormat::Jpeg),
        "png" => Some(ImageFormat::Png),
        _ => None,
    }
}

/// The images of an archive in its order; other files are passed over.
fn each_in_archive(
    name: &str,
    input: Box<dyn BufRead>,
    mut take: impl FnMut(&str, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let fault =
        |error: std::io::Error| DataError::file(Path::new(name), format!("is no whole archive: {error}"));
    let other = |what: String| DataError::file(Path::new(name), what);
    let (mut long, mut files) = (None, 0);
    // Raw: the longer names that stand before a file are read here, where they have a limit.
    for entry in tar::Archive::new(input).entries().map_err(fault)?.raw(true) {
        let mut entry = entry.map_err(fault)?;
        files += 1;
        if files > MAX_FILES {
            return Err(other(format!("has more than {MAX_FILES} files: make several of it")));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let mut text = Vec::new();
            entry.by_ref().take(MAX_PATH + 1).read_to_end(&mut text).map_err(fault)?;
            if text.len() as u64 > MAX_PATH {
                return Err(other(format!("names a file in more than {MAX_PATH} bytes")));
            }
            let found = if kind.is_gnu_longname() { Some(text) } else { pax_path(&text) };
            long = found.or(long);
            continue;
        }
        let path = long.take().map_or_else(|| entry.path_bytes().into_owned(), until_zero);
        let Ok(path) = String::from_utf8(path) else { continue };
        if kind.is_file() && format(&path).is_some() {
            take(&path, &mut entry)?;
        }
    }
    Ok(())
}

/// The path among the extensions of a header.
fn pax_path(text: &[u8]) -> Option<Vec<u8>> {
    let extensions = tar::PaxExtensions::new(text).flatten();
    extensions
        .filter(|extension| extension.key() == Ok("path"))
        .last()
        .map(|path| path.value_bytes().to_vec())
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
    text
}

/// Pixels of an encoded image.
fn decoded(name: &str, path: &str, reader: &mut dyn Read) -> Result<(Size, Vec<u8>)> {
    let fault = |what: String| DataError::file(Path::new(name), format!("{path}: {what}"));
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| fault(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fault(format!("longer than {MAX_FILE} bytes")));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes));
    reader.set_format(format(path).expect("only files with such endings are taken"));
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    let pixels = reader.decode().map_err(|error| fault(error.to_string()))?.into_rgb8();
    let size = [pixels.height() as usize, pixels.width() as usize];
    Ok((size, pixels.into_raw()))
}

/// Sizes and bytes of a file in the layout of MNIST, which has so many dimensions.
fn idx(name: &str, mut input: Box<dyn BufRead>, dimensions: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    /// More bytes than any such file has.
    const MOST: usize = 1 << 30;
    let fault = |what: String| DataError::file(Path::new(name), what);
    let mut word = || {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes).map_err(|error| fault(format!("is cut short: {error}")))?;
        Ok::<_, DataError>(u32::from_be_bytes(bytes))
    };
    let magic = word()?;
    if magic != 0x800 + dimensions as u32 {
        return Err(fault(format!(
            "begins with {magic:#x}: bytes in {dimensions} dimensions begin with {:#x}",
            0x800 + dimensions
        )));
    }
    let sizes = (0..dimensions).map(|_| Ok(word()? as usize)).collect::<Result<Vec<_>>>()?;
    let count = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let count = count.filter(|count| (1..=MOST).contains(count));
    let count = count.ok_or_else(|| fault(format!("has {sizes:?} numbers, which are none or too many")))?;
    let mut bytes = Vec::new();
    let read =
        input.take(count as u64 + 1).read_to_end(&mut bytes).map_err(|error| fault(error.to_string()))?;
    if read != count {
        return Err(fault(format!("does not hold the {sizes:?} bytes that it announces")));
    }
    Ok((sizes, bytes))
}

#[cfg(test)]
mod tests;
