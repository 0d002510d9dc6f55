//! What tokenizers read, refuse and give.

use super::*;

/// A small tokenizer of the kind that BERT models carry, which asks to be cut and padded to 4 tokens.
fn word_pieces() -> Value {
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "long", "##er", "lever", "lifts", "##s", ".", "!"];
    let vocabulary: Map<_, _> = words.iter().enumerate().map(|(i, w)| (w.to_string(), i.into())).collect();
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
        assert!(message.starts_with(&format!("{text:?} is {count} tokens of this tokenizer")), "{message}");
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

#[test]
fn an_ending_keeps_the_end_of_the_text_and_the_special_tokens_around_it() {
    let tokenizer = tokenizer(&word_pieces());
    let ending = |prompt, max_tokens| {
        let limits = Limits { max_tokens, vocabulary: 12, end: Some(1) };
        tokenizer.ending(prompt, "lever lifts", &limits)
    };
    let of = |ids: &[i32], truncated| Tokens { ids: ids.to_vec(), prompt: 0, truncated };
    assert_eq!(ending(None, 9).unwrap(), of(&[2, 7, 8, 3], false));
    assert_eq!(ending(Some("a longer"), 9).unwrap(), of(&[2, 4, 5, 6, 7, 8, 3], false));
    assert_eq!(ending(Some("a longer"), 6).unwrap(), of(&[2, 5, 6, 7, 8, 3], true));
    assert_eq!(ending(Some("a longer"), 3).unwrap(), of(&[2, 8, 3], true));
    assert!(ending(None, 2).unwrap_err().to_string().contains("leaves no room"));
}
