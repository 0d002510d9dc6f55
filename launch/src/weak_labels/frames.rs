//! The frames of an Arrow stream, looked through before a reader trusts them: lengths that a file does not have would
//! be allocated, and buffers outside their body would end the program.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail, ensure};
use arrow::ipc::root_as_message;

/// What a frame begins with.
const MARK: [u8; 4] = [0xff; 4];

/// The description of a batch is small; the batch itself comes after it.
const MAX_HEADER: u64 = 16 << 20;

/// Checks every frame of a stream of `bytes` bytes.
///
/// # Errors
/// If a frame is longer than what is left, or a buffer reaches out of its body.
pub(super) fn check(stream: &mut (impl Read + Seek), bytes: u64) -> Result<()> {
    let mut at = 0u64;
    while let Some(length) = header_length(stream)? {
        at += 8;
        ensure!(length <= MAX_HEADER && length <= bytes.saturating_sub(at), "a header of {length} bytes");
        let mut header = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut header)?;
        at += length;
        let message = root_as_message(&header).ok().context("a header that describes nothing")?;
        let body = u64::try_from(message.bodyLength()).context("a body of negative length")?;
        ensure!(
            body <= bytes.saturating_sub(at),
            "a body of {body} bytes, of which {} are there",
            bytes.saturating_sub(at)
        );
        if let Some(batch) = message.header_as_record_batch() {
            for buffer in batch.buffers().into_iter().flatten() {
                let end = buffer.offset().checked_add(buffer.length()).filter(|_| buffer.offset() >= 0);
                let fits = buffer.length() >= 0 && end.is_some_and(|end| end as u64 <= body);
                ensure!(fits, "a buffer outside its body");
            }
        }
        stream.seek(SeekFrom::Current(i64::try_from(body)?))?;
        at += body;
    }
    Ok(())
}

/// How long the next header is; none at the end of the stream.
fn header_length(stream: &mut impl Read) -> Result<Option<u64>> {
    let mut word = [0; 4];
    match stream.read_exact(&mut word) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if word != MARK {
        bail!("no Arrow stream: `save_to_disk` of datasets 1.0 or later writes one");
    }
    stream.read_exact(&mut word).context("a header without length")?;
    match i32::from_le_bytes(word) {
        0 => Ok(None),
        length => Ok(Some(u64::try_from(length).context("a header of negative length")?)),
    }
}
