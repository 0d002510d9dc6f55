//! A large object as a reader: it is asked for in pieces, so that one that is lost on the way costs a piece.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, path::Path};
use tokio::runtime::Handle;

use super::{PART, told};

/// To be used on threads that may block.
#[derive(Debug)]
pub(super) struct Pieces {
    objects: Arc<dyn ObjectStore>,
    location: Path,
    runtime: Handle,
    /// Length of the object, once it is known.
    length: Option<u64>,
    /// Where the next piece begins.
    at: u64,
    /// What of the last one is not read yet.
    piece: Bytes,
}

impl Pieces {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, location: Path) -> Self {
        let runtime = Handle::current();
        Self { objects, location, runtime, length: None, at: 0, piece: Bytes::new() }
    }

    async fn next(&mut self) -> object_store::Result<()> {
        let range = Some(GetRange::Bounded(self.at..self.at + PART as u64));
        let found =
            self.objects.get_opts(&self.location, GetOptions { range, ..GetOptions::default() }).await;
        match found {
            Ok(found) => {
                self.length = Some(found.meta.size);
                self.piece = found.bytes().await?;
                self.at += self.piece.len() as u64;
            }
            // Of an empty object there is no range to ask for.
            Err(error) => match self.objects.head(&self.location).await {
                Ok(meta) if meta.size == 0 => self.length = Some(0),
                _ => return Err(error),
            },
        }
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.length.is_none_or(|length| self.at < length) {
            let runtime = self.runtime.clone();
            runtime.block_on(self.next()).map_err(|error| told(&error))?;
        }
        let read = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
