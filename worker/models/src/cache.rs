//! What a decoder remembers of the tokens it has read, so that the next ones cost only themselves.
//!
//! Shape suffixes: b rows, t tokens so far, n heads of keys, h width of a head.

use tch::{Device, Kind, Tensor};

use crate::ModelError;

/// Keys and values of the tokens that a batch of rows has so far. Made by [`Model::cache`](crate::Model::cache),
/// filled by [`Model::step`](crate::Model::step).
#[derive(Debug)]
pub struct Cache {
    /// One for each block.
    pub(crate) blocks: Vec<Past>,
    /// Tokens and mask so far, on the CPU; none before the first step.
    pub(crate) seen: Option<Seen>,
}

/// What a cache was given.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) ids_bt: Tensor,
    pub(crate) mask_bt: Tensor,
}

/// Keys and values of one block. The buffers have room for more tokens than there are, and double when it ends.
#[derive(Debug, Default)]
pub(crate) struct Past {
    buffers: Option<[Tensor; 2]>,
    tokens: i64,
}

impl Cache {
    pub(crate) fn new(blocks: usize) -> Self {
        Self { blocks: std::iter::repeat_with(Past::default).take(blocks).collect(), seen: None }
    }

    /// Rows; 0 before the first step.
    pub fn rows(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.mask_bt.size()[0] as usize)
    }

    /// Tokens per row so far, padding included.
    pub fn tokens(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.mask_bt.size()[1] as usize)
    }

    /// Whether the blocks have not been given all the tokens.
    pub(crate) fn behind(&self) -> bool {
        self.blocks.iter().any(|block| block.tokens as usize != self.tokens())
    }

    /// Empties the blocks.
    pub(crate) fn forget(&mut self) {
        self.blocks.fill_with(Past::default);
    }

    /// The rows of several caches of one model in one, in their order. All must have as many tokens, padding included.
    ///
    /// # Errors
    /// If they have not, or there are none.
    pub fn join(caches: Vec<Self>) -> Result<Self, ModelError> {
        let tokens: Vec<usize> = caches.iter().map(Self::tokens).collect();
        if tokens.iter().any(|&count| count == 0 || count != tokens[0]) || tokens.is_empty() {
            return Err(ModelError::Batch(format!("caches of {tokens:?} tokens make no batch")));
        }
        let settled = !caches.iter().any(Self::behind);
        let mut joined = Self::new(caches[0].blocks.len());
        if settled {
            for (at, block) in joined.blocks.iter_mut().enumerate() {
                let parts = caches.iter().map(|cache| cache.blocks[at].filled()).collect::<Option<Vec<_>>>();
                let rows = |part: usize, parts: &[[Tensor; 2]]| {
                    Tensor::cat(&parts.iter().map(|pair| &pair[part]).collect::<Vec<_>>(), 0)
                };
                block.buffers = parts.map(|parts| [rows(0, &parts), rows(1, &parts)]);
                block.tokens = tokens[0] as i64;
            }
        }
        let seen: Vec<Seen> = caches.into_iter().filter_map(|cache| cache.seen).collect();
        let rows = |of: fn(&Seen) -> &Tensor| Tensor::cat(&seen.iter().map(of).collect::<Vec<_>>(), 0);
        joined.seen = Some(Seen { ids_bt: rows(|seen| &seen.ids_bt), mask_bt: rows(|seen| &seen.mask_bt) });
        Ok(joined)
    }

    /// Keeps those rows, in that order: rows that are done are left out, and one row may be taken several times.
    ///
    /// # Errors
    /// If there is no such row, or none is kept; the cache is then as before.
    pub fn select(&mut self, rows: &[i64]) -> Result<(), ModelError> {
        let there = self.rows();
        if rows.is_empty() || rows.iter().any(|&row| row < 0 || row as usize >= there) {
            let message = format!("a cache of {there} rows has no rows {rows:?} to keep");
            return Err(ModelError::Batch(message));
        }
        let rows_b = Tensor::from_slice(rows);
        let picked = |tensor: &Tensor| tensor.index_select(0, &rows_b.to_device(tensor.device()));
        for block in &mut self.blocks {
            block.buffers = block.buffers.take().map(|buffers| buffers.map(|buffer| picked(&buffer)));
        }
        if let Some(seen) = &mut self.seen {
            *seen = Seen { ids_bt: picked(&seen.ids_bt), mask_bt: picked(&seen.mask_bt) };
        }
        Ok(())
    }
}

impl Past {
    /// Adds keys and values `[b, n, new, h]`; gives those of all tokens.
    pub(crate) fn extend(&mut self, new: [Tensor; 2]) -> [Tensor; 2] {
        let (past, count) = (self.tokens, new[0].size()[2]);
        let total = past + count;
        let room = self.buffers.as_ref().map_or(0, |[keys, _]| keys.size()[2]);
        if total > room {
            self.buffers = Some([0, 1].map(|part| self.moved(part, &new[part], total.max(2 * room))));
        }
        self.tokens = total;
        let buffers = self.buffers.as_ref().expect("there is room for at least the new tokens");
        [0, 1].map(|part| {
            buffers[part].narrow(2, past, count).copy_(&new[part]);
            buffers[part].narrow(2, 0, total)
        })
    }

    /// Keys and values of the tokens there are.
    fn filled(&self) -> Option<[Tensor; 2]> {
        self.buffers.as_ref().map(|buffers| [0, 1].map(|part| buffers[part].narrow(2, 0, self.tokens)))
    }

    /// A larger buffer with what the old one holds.
    fn moved(&self, part: usize, like: &Tensor, room: i64) -> Tensor {
        let mut shape = like.size();
        shape[2] = room;
        let larger = Tensor::zeros(&shape, (like.kind(), like.device()));
        if let Some(old) = &self.buffers {
            larger.narrow(2, 0, self.tokens).copy_(&old[part].narrow(2, 0, self.tokens));
        }
        larger
    }
}

impl Seen {
    /// With more tokens; the mask covers the old and the new.
    pub(crate) fn extended(before: Option<&Self>, ids_bt: &Tensor, mask_bt: &Tensor) -> Self {
        let cpu = |tensor: &Tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Int64);
        let ids_bt = match before {
            Some(seen) => Tensor::cat(&[&seen.ids_bt, &cpu(ids_bt)], 1),
            None => cpu(ids_bt).copy(),
        };
        Self { ids_bt, mask_bt: cpu(mask_bt).copy() }
    }

    /// Tokens of the longest row, padding not counted.
    pub(crate) fn longest(&self) -> usize {
        self.mask_bt.sum_dim_intlist(1, false, Kind::Int64).max().int64_value(&[]) as usize
    }
}
