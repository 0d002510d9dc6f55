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
        let known = |id: u32| i32::try_from(id).ok().filter(|_| (id as usize) < limits.vocabulary);
        let ids = ids.into_iter().map(|id| known(id).ok_or(id)).collect::<std::result::Result<_, u32>>();
        let ids = ids.map_err(|id| {
            let size = limits.vocabulary;
            DataError::value(format!("{:?} gives token {id}, but the model embeds {size}", start_of(text)))
        })?;
        Ok(Tokens { ids, prompt, truncated })
    }

    /// Ids of a prompt and its completion, how many of them are the prompt's, and whether any were cut off.
    fn complete(&self, prompt: &str, text: &str, limits: &Limits) -> Result<(Vec<u32>, usize, bool)> {
        let room = self.room(limits.max_tokens)?;
        let plain = |text: &str| {
            let encoding = self.inner.encode_fast(text, false);
            encoding.map_err(|e| DataError::value(format!("{:?} cannot be tokenized: {e}", start_of(text))))
        };
        let (prompt, text) = (plain(prompt)?, plain(text)?);
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
        let failed = |e| DataError::value(format!("{:?} cannot be tokenized: {e}", start_of(text)));
        match self.inner.encode_fast(text, false).map_err(failed)?.get_ids() {
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
mod tests {
    use super::*;

    /// A small tokenizer of the kind that BERT models carry, which asks to be cut and padded to 4 tokens.
    fn word_pieces() -> Value {
        let special = |id: usize, content: &str| {
            json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        };
        let words =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "long", "##er", "lever", "lifts", "##s", ".", "!"];
        let vocabulary: Map<_, _> =
            words.iter().enumerate().map(|(i, w)| (w.to_string(), i.into())).collect();
        let special_piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        json!({
            "version": "1.0",
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                        "pad_type_id": 0, "pad_token": "[PAD]"},
            "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                           "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special_piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special_piece("[SEP]")],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                                   "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}},
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": vocabulary},
        })
    }

    fn tokenizer(file: &Value) -> Tokenizer {
        Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_file_neither_cuts_nor_pads_behind_our_back() {
        let tokenizer = tokenizer(&word_pieces());
        let long = "A longer Lever lifts levers.";
        assert_eq!(tokenizer.encode(long, 128).unwrap(), [2, 4, 5, 6, 7, 8, 7, 9, 10, 3]);
        assert_eq!(tokenizer.encode("!", 128).unwrap(), [2, 11, 3]);
        assert_eq!((tokenizer.pad_id(), tokenizer.vocab_size()), (0, 12));
    }

    #[test]
    fn a_text_that_is_cut_keeps_the_closing_special_token() {
        let tokenizer = tokenizer(&word_pieces());
        for (most, expected) in
            [(3, vec![2, 4, 3]), (5, vec![2, 4, 5, 6, 3]), (9, vec![2, 4, 5, 6, 7, 8, 7, 9, 3])]
        {
            assert_eq!(tokenizer.encode("A longer Lever lifts levers.", most).unwrap(), expected);
        }
        for most in [0, 1, 2] {
            let message = tokenizer.encode("a", most).unwrap_err().to_string();
            assert!(message.ends_with("leaves no room beside 2 special tokens"), "{message}");
        }
    }

    #[test]
    fn a_completion_follows_its_prompt_and_the_closing_token_stays_when_it_is_cut() {
        let tokenizer = tokenizer(&word_pieces());
        let row = |prompt, max_tokens| {
            // The file closes its texts, so the model's own end has no part in them.
            let limits = Limits { max_tokens, vocabulary: 12, end: Some(1) };
            let Tokens { ids, prompt, truncated } = tokenizer.row(prompt, "levers a", &limits).unwrap();
            (ids, prompt, truncated)
        };
        assert_eq!(row(None, 9), (vec![2, 7, 9, 4, 3], 0, false));
        assert_eq!(row(None, 4), (vec![2, 7, 9, 3], 0, true));
        assert_eq!(row(Some("A long"), 9), (vec![2, 4, 5, 7, 9, 4, 3], 3, false));
        assert_eq!(row(Some("A long"), 5), (vec![2, 4, 5, 7, 3], 3, true));
        assert_eq!(row(Some("A long"), 3), (vec![2, 4, 3], 2, true));
        assert_eq!(row(Some(""), 9), (vec![2, 7, 9, 4, 3], 1, false));
    }

    #[test]
    fn a_token_that_was_added_beyond_the_embedding_is_refused_where_a_text_gives_it() {
        let mut file = word_pieces();
        let mut filler = file["added_tokens"][0].clone();
        (filler["id"], filler["content"]) = (12.into(), "<filler>".into());
        file["added_tokens"].as_array_mut().unwrap().push(filler);
        let (tokenizer, limits) = (tokenizer(&file), Limits { max_tokens: 9, vocabulary: 12, end: None });
        tokenizer.check(&limits).unwrap();
        assert_eq!(tokenizer.row(None, "a", &limits).unwrap().ids, [2, 4, 3]);
        let message = tokenizer.row(None, "a <filler>", &limits).unwrap_err().to_string();
        assert_eq!(message, "\"a <filler>\" gives token 12, but the model embeds 12");
    }

    #[test]
    fn a_character_tokenizer_knows_each_character_as_one_token() {
        let text = character_tokenizer("0123456789+=TF0\né");
        let tokenizer = Tokenizer::from_bytes(text.as_bytes()).unwrap();
        assert_eq!((tokenizer.pad_id(), tokenizer.vocab_size()), (0, 3 + 16));
        assert_eq!(tokenizer.encode("37+45=082T", 32).unwrap(), [1, 6, 10, 13, 7, 8, 14, 3, 11, 5, 15]);
        assert_eq!(tokenizer.encode("1 é\n??", 32).unwrap(), [1, 4, 2, 18, 17, 2, 2]);
        assert_eq!(tokenizer.encode("0123", 3).unwrap(), [1, 3, 4]);
        assert_eq!(tokenizer.encode("0<unk>", 32).unwrap(), [1, 3, 2]);
        assert_eq!(tokenizer.encode("", 32).unwrap(), [BEGIN]);
        assert_eq!(character_tokenizer("abc"), character_tokenizer("abcabc"));
    }

    #[test]
    fn a_text_that_is_one_token_has_its_id() {
        let pieces = tokenizer(&word_pieces());
        assert_eq!(pieces.single("!").unwrap(), 11);
        for (text, count) in [("a longer", 3), ("", 0)] {
            let message = pieces.single(text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{text:?} is {count} tokens of this tokenizer")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_text_without_any_token_is_refused() {
        let mut file: Value = serde_json::from_str(&character_tokenizer("ab")).unwrap();
        file["post_processor"] = Value::Null;
        assert_eq!(tokenizer(&file).encode("ab", 32).unwrap(), [3, 4]);
        let message = tokenizer(&file).encode("", 32).unwrap_err().to_string();
        assert_eq!(message, "\"\" gives no tokens");
    }

    #[test]
    fn padding_goes_by_the_file_then_by_name_then_by_the_first_token() {
        let mut file = word_pieces();
        file["padding"]["pad_id"] = 10.into();
        assert_eq!(tokenizer(&file).pad_id(), 10);
        file["padding"] = Value::Null;
        assert_eq!(tokenizer(&file).pad_id(), 0);
        let text = character_tokenizer("ab").replace("<pad>", "<first>").replace("<unk>", "<|endoftext|>");
        assert_eq!(Tokenizer::from_bytes(text.as_bytes()).unwrap().pad_id(), 2);
        assert_eq!(Tokenizer::from_bytes(text.replace("<|endoftext|>", "x").as_bytes()).unwrap().pad_id(), 0);
    }

    #[test]
    fn a_file_that_cuts_texts_at_random_is_refused() {
        let pairs: Value = serde_json::from_str(&character_tokenizer("ab")).unwrap();
        let mut unigram = pairs.clone();
        unigram["model"] = json!({"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": [
            ["<pad>", 0.0], ["<begin>", 0.0], ["<unk>", 0.0], ["a", -1.0], ["b", -1.0], ["ab", -1.5],
        ]});
        let loaded = |base: &Value, name: &str, value: Value| {
            let mut file = base.clone();
            file["model"][name] = value;
            Tokenizer::from_bytes(file.to_string().as_bytes()).map(|_| ())
        };
        let cases = [
            (&pairs, "dropout", json!(0.1), json!(0.0)),
            (&unigram, "alpha", json!(0.2), json!(0.0)),
            (&unigram, "nbest_size", json!(64), json!(1)),
            (&unigram, "nbest_size", json!(-1), json!(0)),
        ];
        for (base, name, random, fixed) in cases {
            let message = loaded(base, name, random.clone()).unwrap_err();
            let expected = format!("model.{name} = {random} cuts texts at random");
            assert!(message.starts_with(&expected), "{message}");
            for value in [fixed, Value::Null] {
                assert_eq!(loaded(base, name, value), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        let mut far = word_pieces();
        far["padding"]["pad_id"] = 99.into();
        let cases = [
            ("{\"model\": 1}".to_owned(), "no tokenizer: "),
            (String::new(), "no tokenizer: "),
            (character_tokenizer("").replace("BPE", "Pickle"), "no tokenizer: "),
            (far.to_string(), "pads with token 99, but the last of its vocabulary is 11"),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).unwrap();
            let message = Tokenizer::from_file(&path).unwrap_err().to_string();
            assert!(message.contains("tokenizer.json: ") && message.contains(expected), "{message}");
        }
        fs::File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        let message = Tokenizer::from_file(&path).unwrap_err().to_string();
        assert!(message.contains("a tokenizer has at most"), "{message}");
    }
}
