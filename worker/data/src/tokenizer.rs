//! From text to token ids, by the tokenizer file that lies beside a model.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::{
    Encoding, Token,
    utils::truncation::{TruncationParams, truncate_encodings},
};

use crate::error::{DataError, Result};

/// Bytes that a tokenizer file may have; the largest known vocabularies (256 thousand tokens) take about 35 MB.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// Token names that padding goes by, most telling first; a decoder without any pads with its end of text.
const PAD_NAMES: [&str; 6] = ["[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>", "</s>"];

/// A tokenizer in the Hugging Face format (`tokenizer.json`).
///
/// The file's own settings for truncation and padding are taken off: who calls decides how long a sequence may be,
/// and padding is a matter of batches.
#[derive(Debug)]
pub struct Tokenizer {
    pub(crate) inner: tokenizers::Tokenizer,
    /// Special tokens before a text.
    pub(crate) begin: Vec<u32>,
    /// Special tokens after a text.
    close: Vec<u32>,
    pad_id: i64,
    vocab_size: usize,
    /// One more than the largest id that the model of the file gives, added tokens left out.
    plain_size: usize,
}

/// What a model sets to its sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences are cut to this many tokens.
    pub max_tokens: usize,
    /// Ids are below this.
    pub vocabulary: usize,
    /// What ends a completion, where the model has something for that.
    pub end: Option<i64>,
}

/// The tokens of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// What the model reads.
    pub ids: Vec<i32>,
    /// How many of them are the prompt, the special tokens before it counted; 0 for a row without one.
    pub prompt: usize,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads a tokenizer file.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, is no tokenizer, or cuts texts at random.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = fs::metadata(path).map_err(DataError::io(path))?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(DataError::file(
                path,
                format!("{bytes} bytes, a tokenizer has at most {MAX_FILE_BYTES}"),
            ));
        }
        let text = fs::read(path).map_err(DataError::io(path))?;
        Self::from_bytes(&text).map_err(|what| DataError::file(path, what))
    }

    pub(crate) fn from_bytes(text: &[u8]) -> std::result::Result<Self, String> {
        let mut inner = tokenizers::Tokenizer::from_bytes(text).map_err(|e| format!("no tokenizer: {e}"))?;
        refuse_sampling(text)?;
        let padding = inner.get_padding().map(|padding| padding.pad_id);
        inner.with_padding(None).with_truncation(None).map_err(|e| format!("no tokenizer: {e}"))?;
        let last =
            inner.get_vocab(true).into_values().max().ok_or("no tokenizer: its vocabulary is empty")?;
        if let Some(id) = padding.filter(|&id| id > last) {
            return Err(format!("pads with token {id}, but the last of its vocabulary is {last}"));
        }
        let plain = inner.get_vocab(false).into_values().max().map_or(0, |last| last as usize + 1);
        let (begin, close) = surroundings(&inner).map_err(|e| format!("no tokenizer: {e}"))?;
        let named = || PAD_NAMES.iter().find_map(|name| inner.token_to_id(name));
        Ok(Self {
            begin,
            close,
            pad_id: padding.or_else(named).unwrap_or(0).into(),
            vocab_size: last as usize + 1,
            plain_size: plain,
            inner,
        })
    }

    /// The token ids of a text with the special tokens that the file asks for, at most `max_tokens`. A longer text
    /// loses its end, and the closing special tokens stay.
    ///
    /// # Errors
    /// When the special tokens alone fill `max_tokens`, when the text gives no token, or when the tokenizer does not
    /// know what to do with it.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Vec<i64>> {
        Ok(self.cut(text, max_tokens)?.0.get_ids().iter().map(|&id| id.into()).collect())
    }

    /// [`Tokenizer::encode`], and whether the text lost its end.
    fn cut(&self, text: &str, max_tokens: usize) -> Result<(Encoding, bool)> {
        let room = self.room(max_tokens)?;
        let failed = |e| DataError::value(format!("{:?} cannot be tokenized: {e}", start_of(text)));
        let params = TruncationParams { max_length: room, ..TruncationParams::default() };
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        let truncated = encoding.len() > room;
        let (encoding, _) = truncate_encodings(encoding, None, &params).map_err(failed)?;
        let encoding = self.inner.post_process(encoding, None, true).map_err(failed)?;
        if encoding.is_empty() {
            return Err(DataError::value(format!("{:?} gives no tokens", start_of(text))));
        }
        Ok((encoding, truncated))
    }

    /// Places beside the special tokens.
    fn room(&self, max_tokens: usize) -> Result<usize> {
        let added = self.begin.len() + self.close.len();
        max_tokens.checked_sub(added).filter(|&room| room > 0).ok_or_else(|| {
            DataError::value(format!(
                "max_tokens = {max_tokens} leaves no room beside {added} special tokens"
            ))
        })
    }

    /// The tokens of a row as a model reads them.
    ///
    /// A text alone is encoded as by [`Tokenizer::encode`]. A text that completes a prompt is encoded by itself, so
    /// that the border between the two is one between tokens: special tokens of the beginning, ids of the prompt, ids
    /// of the text, and then either the special tokens of the close or, where the file has none, the model's token for
    /// the end of a text. What is too long loses its end; the close stays, the end of the text does not.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and when an id is not of the model.
    pub fn row(&self, prompt: Option<&str>, text: &str, limits: &Limits) -> Result<Tokens> {
        let (ids, prompt, truncated) = match prompt {
            None => {
                let (encoding, truncated) = self.cut(text, limits.max_tokens)?;
                (encoding.get_ids().to_vec(), 0, truncated)
            }
            Some(prompt) => self.complete(prompt, text, limits)?,
        };
        Ok(Tokens { ids: known(ids, text, limits)?, prompt, truncated })
    }

    /// The tokens of a text that is to be judged with what comes before it. The text is encoded apart from its prompt; what
    /// is too long loses its beginning, the prompt's first. Nothing is put behind but the special tokens of the close.
    ///
    /// # Errors
    /// As [`Tokenizer::row`].
    pub fn ending(&self, prompt: Option<&str>, text: &str, limits: &Limits) -> Result<Tokens> {
        let room = self.room(limits.max_tokens)?;
        let (prompt, plain) = (self.plain(prompt.unwrap_or_default())?, self.plain(text)?);
        let all = [prompt.get_ids(), plain.get_ids()].concat();
        let cut = all.len().saturating_sub(room);
        let ids = [&self.begin, &all[cut..], &self.close].concat();
        if ids.is_empty() {
            return Err(DataError::value(format!("{:?} gives no tokens", start_of(text))));
        }
        Ok(Tokens { ids: known(ids, text, limits)?, prompt: 0, truncated: cut > 0 })
    }

    /// Without special tokens.
    fn plain(&self, text: &str) -> Result<Encoding> {
        let failed = |e| DataError::value(format!("{:?} cannot be tokenized: {e}", start_of(text)));
        self.inner.encode_fast(text, false).map_err(failed)
    }

    /// Ids of a prompt and its completion, how many of them are the prompt's, and whether any were cut off.
    fn complete(&self, prompt: &str, text: &str, limits: &Limits) -> Result<(Vec<u32>, usize, bool)> {
        let room = self.room(limits.max_tokens)?;
        let (prompt, text) = (self.plain(prompt)?, self.plain(text)?);
        let end = limits.end.filter(|_| self.close.is_empty()).and_then(|end| u32::try_from(end).ok());
        let between: Vec<u32> = prompt.get_ids().iter().chain(text.get_ids()).copied().chain(end).collect();
        let kept = between.len().min(room);
        let ids = [&self.begin, &between[..kept], &self.close].concat();
        let given = (self.begin.len() + prompt.len()).min(self.begin.len() + kept);
        if ids.is_empty() {
            return Err(DataError::value("a prompt and its completion give no tokens"));
        }
        Ok((ids, given, kept < between.len()))
    }

    /// Whether the file is that of a model with so large a vocabulary. Tokens that were added to the file and that no
    /// text gives (fillers above all) may lie beyond it.
    ///
    /// # Errors
    /// Says which ids there are.
    pub fn check(&self, limits: &Limits) -> Result<()> {
        if self.plain_size <= limits.vocabulary {
            return Ok(());
        }
        let (last, size) = (self.plain_size - 1, limits.vocabulary);
        Err(DataError::value(format!(
            "the tokenizer gives ids up to {last}, but the model embeds {size} tokens: tokenizer.json is of another model"
        )))
    }

    /// What fills the places beyond the end of a shorter sequence. Models mask them, so any known token would do.
    pub fn pad_id(&self) -> i64 {
        self.pad_id
    }

    /// The id of a text that is one token, no special ones added.
    ///
    /// # Errors
    /// When it is none or several, with their number.
    pub fn single(&self, text: &str) -> Result<i64> {
        match self.plain(text)?.get_ids() {
            &[id] => Ok(id.into()),
            ids => {
                let (text, count) = (start_of(text), ids.len());
                let way_out = "name one that is, mind the space before it";
                Err(DataError::value(format!(
                    "{text:?} is {count} tokens of this tokenizer, not one: {way_out}"
                )))
            }
        }
    }

    /// One more than the largest token id: the rows that a model's embedding needs at least.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

/// The ids of a text as the model reads them.
///
/// # Errors
/// When one is not of the model.
fn known(ids: Vec<u32>, text: &str, limits: &Limits) -> Result<Vec<i32>> {
    let known = |id: u32| i32::try_from(id).ok().filter(|_| (id as usize) < limits.vocabulary).ok_or(id);
    ids.into_iter().map(known).collect::<std::result::Result<_, u32>>().map_err(|id| {
        let size = limits.vocabulary;
        DataError::value(format!("{:?} gives token {id}, but the model embeds {size}", start_of(text)))
    })
}

/// The special tokens before and after a text, found by what is put around one.
fn surroundings(inner: &tokenizers::Tokenizer) -> tokenizers::Result<(Vec<u32>, Vec<u32>)> {
    let text = Encoding::from_tokens(vec![Token::new(0, String::new(), (0, 0))], 0);
    let encoding = inner.post_process(text, None, true)?;
    let special = encoding.get_special_tokens_mask();
    let at = special.iter().position(|&special| special == 0).unwrap_or(special.len());
    let rest = encoding.get_ids().get(at + 1..).unwrap_or_default();
    Ok((encoding.get_ids()[..at].to_vec(), rest.to_vec()))
}

/// The settings of a tokenizer file by which a text is cut at random.
#[derive(Deserialize)]
struct Sampling {
    model: SamplingModel,
}

/// Of byte-pair encoding the share of merges left out; of a unigram model the smoothing of its draw, and among how
/// many of the best ways to cut a text it draws (0 and 1: the best).
#[derive(Deserialize)]
struct SamplingModel {
    dropout: Option<f64>,
    alpha: Option<f64>,
    nbest_size: Option<i64>,
}

/// Refuses a file that cuts texts at random: the library draws from a generator of its own, so each worker would
/// read other tokens, and each run too.
fn refuse_sampling(text: &[u8]) -> std::result::Result<(), String> {
    let Sampling { model } = serde_json::from_slice(text).map_err(|e| format!("no tokenizer: {e}"))?;
    let settings = [
        ("dropout", model.dropout.filter(|&share| share != 0.0).map(|share| share.to_string())),
        ("alpha", model.alpha.filter(|&alpha| alpha != 0.0).map(|alpha| alpha.to_string())),
        ("nbest_size", model.nbest_size.filter(|best| !(0..=1).contains(best)).map(|best| best.to_string())),
    ];
    match settings.into_iter().find_map(|(name, value)| Some((name, value?))) {
        Some((name, value)) => Err(format!(
            "model.{name} = {value} cuts texts at random, so no two workers would read the same tokens: set it to null"
        )),
        None => Ok(()),
    }
}

/// The id of the token that [`character_tokenizer`] puts before every text.
pub const BEGIN: i64 = 1;

pub(crate) fn start_of(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A tokenizer file that knows every character of an alphabet as one token, after `<pad>` (0), `<begin>` (1) and
/// `<unk>` (2). Characters get their ids in the order in which they first appear. Every text begins with `<begin>`, so
/// that a language model has something to predict the first character from; nothing marks the end, so that what
/// follows the last character is still open.
pub fn character_tokenizer(alphabet: &str) -> String {
    let special = ["<pad>", "<begin>", "<unk>"];
    let mut vocabulary = Map::new();
    for token in special.into_iter().map(str::to_owned).chain(alphabet.chars().map(String::from)) {
        let next = vocabulary.len();
        vocabulary.entry(token).or_insert(next.into());
    }
    let added_token = |(id, content): (usize, &&str)| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    // Byte-pair encoding without a single merge: what is left are the characters.
    let model = json!({
        "type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "fuse_unk": false,
        "byte_fallback": false, "ignore_merges": false, "dropout": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null,
    });
    let begin = json!({"SpecialToken": {"id": "<begin>", "type_id": 0}});
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special.iter().enumerate().map(added_token).collect::<Vec<Value>>(),
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<begin>": {"id": "<begin>", "ids": [BEGIN], "tokens": ["<begin>"]}},
        },
        "decoder": {"type": "Fuse"},
        "model": model,
    });
    format!("{file:#}\n")
}

#[cfg(test)]
mod tests;
