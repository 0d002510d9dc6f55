//! From token ids back to text, whole and token by token, and the prompts that a model continues.

use crate::{
    error::{DataError, Result},
    tokenizer::{Tokenizer, start_of},
};

/// What a decoder writes for bytes that are no character, or not one yet.
const INCOMPLETE: char = char::REPLACEMENT_CHARACTER;

/// A prompt as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub tokens: Vec<i64>,
    /// How many tokens were left out at its beginning.
    pub cut: usize,
}

/// Who says the special tokens of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// The tokenizer: those that it puts before a text.
    Added,
    /// The text itself, as that of a chat template does.
    Written,
}

impl Tokenizer {
    /// The token ids of a text that a model is to continue, at most `max_tokens`. What the tokenizer puts after a text
    /// is left out, as it would say that nothing follows. A longer text loses its beginning: what a model continues is
    /// the end. What the tokenizer puts before a text stays in either case.
    ///
    /// # Errors
    /// When the special tokens alone fill `max_tokens`, when the text gives no token, or when the tokenizer does not
    /// know what to do with it.
    pub fn prompt(&self, text: &str, special: Special, max_tokens: usize) -> Result<Prompt> {
        let failed = |e| DataError::value(format!("{:?} cannot be tokenized: {e}", start_of(text)));
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        let opening = if special == Special::Added { self.begin.as_slice() } else { &[] };
        let mut tokens: Vec<i64> = opening.iter().map(|&id| id.into()).collect();
        let room = max_tokens.checked_sub(tokens.len()).filter(|&room| room > 0).ok_or_else(|| {
            DataError::value(format!(
                "{max_tokens} tokens leave no room for a prompt beside {} special ones",
                tokens.len()
            ))
        })?;
        let cut = encoding.len().saturating_sub(room);
        tokens.extend(encoding.get_ids()[cut..].iter().map(|&id| i64::from(id)));
        if tokens.is_empty() {
            return Err(DataError::value(format!(
                "the prompt {:?} gives no tokens: a model needs one to begin with",
                start_of(text)
            )));
        }
        Ok(Prompt { tokens, cut })
    }

    /// The text of token ids, special tokens left out.
    ///
    /// # Errors
    /// When an id is none of the tokenizer's range, or its decoder fails.
    pub fn decode(&self, tokens: &[i64]) -> Result<String> {
        let ids = tokens.iter().map(|&token| id(token)).collect::<Result<Vec<_>>>()?;
        self.decode_ids(&ids)
    }

    fn decode_ids(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| DataError::value(format!("tokens cannot be decoded: {e}")))
    }

    /// The id of a token by its exact text.
    pub fn id_of(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }
}

fn id(token: i64) -> Result<u32> {
    u32::try_from(token).map_err(|_| DataError::value(format!("token {token} is none of a tokenizer")))
}

/// Text that grows with its tokens.
///
/// Tokens are bytes or pieces of words, so a character may span several, and what a token says may depend on the one
/// before (many decoders drop the space of a first word). Each piece is therefore what a window of recent tokens says
/// beyond what it said without the newest, and is held back while it ends in half a character.
#[derive(Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The recent tokens: those before `said`, whose text stands already, and those held back.
    window: Vec<u32>,
    said: usize,
    text: String,
}

impl<'a> Decoder<'a> {
    /// Nothing said yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), said: 0, text: String::new() }
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, token: i64) -> Result<()> {
        self.window.push(id(token)?);
        let (before, after) = self.ends()?;
        if after.ends_with(INCOMPLETE) {
            return Ok(());
        }
        self.text.push_str(beyond(&before, &after));
        // The tokens just said are context for the next; those before them have done their work.
        self.window.drain(..self.said);
        self.said = self.window.len();
        Ok(())
    }

    /// What was said so far, without a character that is not complete.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All that was said, with replacement characters for what was left incomplete.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(mut self) -> Result<String> {
        let (before, after) = self.ends()?;
        self.text.push_str(beyond(&before, &after));
        Ok(self.text)
    }

    /// What the window says without the tokens held back, and with them.
    fn ends(&self) -> Result<(String, String)> {
        let before = self.tokenizer.decode_ids(&self.window[..self.said])?;
        Ok((before, self.tokenizer.decode_ids(&self.window)?))
    }
}

/// What `after` says beyond `before`, which it begins with unless the decoder changes its mind about it.
fn beyond<'t>(before: &str, after: &'t str) -> &'t str {
    let common = before.char_indices().zip(after.chars()).find(|((_, b), a)| b != a);
    let at = common.map_or(before.len().min(after.len()), |((at, _), _)| at);
    &after[at..]
}

#[cfg(test)]
mod tests {
    use fulcrum_common::rng::Rng;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::tokenizer::character_tokenizer;

    fn tokenizer(file: &Value) -> Tokenizer {
        Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap()
    }

    /// One token per byte, in the alphabet of gpt2, and two special tokens around every text.
    fn bytes() -> Tokenizer {
        let mut file: Value = serde_json::from_str(&character_tokenizer("")).unwrap();
        let mut alphabet: Vec<char> =
            tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let special = ["<pad>", "<begin>", "<unk>"].map(String::from);
        let words = special.into_iter().chain(alphabet.into_iter().map(String::from));
        file["model"]["vocab"] =
            Value::Object(words.enumerate().map(|(id, word)| (word, id.into())).collect::<Map<_, _>>());
        let level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        file["pre_tokenizer"] = level.clone();
        file["decoder"] = level;
        let end = json!({"SpecialToken": {"id": "<unk>", "type_id": 0}});
        file["post_processor"]["single"].as_array_mut().unwrap().push(end);
        file["post_processor"]["special_tokens"]["<unk>"] =
            json!({"id": "<unk>", "ids": [2], "tokens": ["<unk>"]});
        tokenizer(&file)
    }

    /// Words with their space before them, and bytes for the rest, as SentencePiece spells them.
    fn pieces() -> Tokenizer {
        let mut file: Value = serde_json::from_str(&character_tokenizer("")).unwrap();
        let words = ["<pad>", "<begin>", "<unk>", "▁a", "▁lever", "s", "▁"].map(String::from);
        let words = words.into_iter().chain((0..256).map(|byte| format!("<0x{byte:02X}>")));
        file["model"]["vocab"] =
            Value::Object(words.enumerate().map(|(id, word)| (word, id.into())).collect::<Map<_, _>>());
        file["model"]["byte_fallback"] = true.into();
        file["decoder"] = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        tokenizer(&file)
    }

    fn told(tokenizer: &Tokenizer, tokens: &[i64]) -> Vec<String> {
        let mut decoder = Decoder::new(tokenizer);
        let said = |decoder: &Decoder<'_>| decoder.text().to_owned();
        let mut texts: Vec<_> = tokens
            .iter()
            .map(|&token| {
                decoder.push(token).unwrap();
                said(&decoder)
            })
            .collect();
        texts.push(decoder.finish().unwrap());
        texts
    }

    #[test]
    fn a_character_is_said_when_its_last_byte_is() {
        let tokenizer = bytes();
        let tokens = tokenizer.prompt("aé🙂", Special::Written, 64).unwrap().tokens;
        assert_eq!(tokens.len(), 7);
        assert_eq!(told(&tokenizer, &tokens), ["a", "a", "aé", "aé", "aé", "aé", "aé🙂", "aé🙂"]);
        assert_eq!(told(&tokenizer, &tokens[..5]).last().unwrap(), "aé\u{fffd}");
    }

    #[test]
    fn the_space_of_a_word_is_said_unless_it_is_the_first() {
        assert_eq!(
            told(&pieces(), &[4, 5, 3, 4]),
            ["lever", "levers", "levers a", "levers a lever", "levers a lever"]
        );
    }

    #[test]
    fn what_is_said_token_by_token_is_what_is_said_at_once() {
        let whole = |tokenizer: &Tokenizer, rng: &mut Rng| {
            let text: String = (0..6).map(|_| ["a", "é", "🙂", " lever", "ß"][rng.index(5)]).collect();
            tokenizer.prompt(&text, Special::Written, 99).unwrap().tokens
        };
        let any = |tokenizer: &Tokenizer, rng: &mut Rng| {
            (0..12).map(|_| rng.index(tokenizer.vocab_size()) as i64).collect()
        };
        // Among pieces a byte that fits nowhere spoils all bytes around it, also those that were whole when they came.
        type Draw<'a> = &'a dyn Fn(&Tokenizer, &mut Rng) -> Vec<i64>;
        let cases: [(Tokenizer, Draw<'_>); 3] = [(bytes(), &whole), (bytes(), &any), (pieces(), &whole)];
        for (tokenizer, draw) in cases {
            for run in 0..200 {
                let tokens = draw(&tokenizer, &mut Rng::new(5, "ids", run));
                let texts = told(&tokenizer, &tokens);
                assert_eq!(texts.last().unwrap(), &tokenizer.decode(&tokens).unwrap(), "{tokens:?}");
            }
        }
    }

    #[test]
    fn a_prompt_keeps_what_opens_it_and_its_end() {
        let tokenizer = bytes();
        let whole = tokenizer.prompt("lever", Special::Added, 6).unwrap();
        assert_eq!((whole.tokens.len(), whole.tokens[0], whole.cut), (6, 1, 0));
        let cut = tokenizer.prompt("lever", Special::Added, 3).unwrap();
        assert_eq!((cut.tokens[0], tokenizer.decode(&cut.tokens).unwrap().as_str(), cut.cut), (1, "er", 3));
        let written = tokenizer.prompt("<begin>er", Special::Written, 6).unwrap();
        assert_eq!(written.tokens, cut.tokens);
        let empty = tokenizer.prompt("", Special::Added, 6).unwrap();
        assert_eq!(empty.tokens, [1]);
        for (special, most, expected) in [
            (Special::Added, 1, "1 tokens leave no room for a prompt beside 1 special ones"),
            (Special::Written, 0, "0 tokens leave no room"),
            (Special::Written, 3, "the prompt \"\" gives no tokens"),
        ] {
            let message = tokenizer.prompt("", special, most).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn ids_that_no_tokenizer_has_are_refused() {
        for token in [-1, i64::from(u32::MAX) + 1] {
            let message = bytes().decode(&[token]).unwrap_err().to_string();
            assert_eq!(message, format!("token {token} is none of a tokenizer"));
        }
    }
}
