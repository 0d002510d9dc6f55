//! Reading on from a cache gives what reading everything gives.
//!
//! Shape suffixes: b rows, t tokens, v vocabulary.

use fulcrum_common::rng::Rng;
use fulcrum_models::{Cache, Model};
use tch::{Device, Kind, Reduction, Tensor};

use crate::support::{DECODER_CLASSIFIER, DECODERS, ENCODER_CLASSIFIER, Expected, LANGUAGE_MODEL};
use crate::support::{distance, folder, load};

/// Rows that grow together: each has a text that is longer than what has been read of it.
struct Rows {
    texts: Vec<Vec<i64>>,
    read: Vec<usize>,
}

impl Rows {
    /// Rows of which so many tokens are to be read first.
    fn new(first: &[usize]) -> Self {
        let text = |row: usize| {
            let mut rng = Rng::new(7, "text", row as u64);
            (0..14).map(|_| rng.below(97) as i64).collect()
        };
        Self { texts: (0..first.len()).map(text).collect(), read: first.to_vec() }
    }

    /// The mask of what has been read, padded on the left.
    fn mask(&self, columns: usize) -> Tensor {
        let row = |&read: &usize| [vec![0i64; columns - read], vec![1; read]].concat();
        stacked(self.read.iter().map(row))
    }

    /// The last columns of what has been read; padding is a token like any other.
    fn ids(&self, columns: usize) -> Tensor {
        let row = |(text, &read): (&Vec<i64>, &usize)| {
            let start = read.saturating_sub(columns);
            [vec![5i64; columns - (read - start)], text[start..read].to_vec()].concat()
        };
        stacked(self.texts.iter().zip(&self.read).map(row))
    }

    /// Logits after what has been read, each row alone and all of it, `[b, v]`.
    fn reference(&self, model: &Model) -> Tensor {
        let row = |(text, &read): (&Vec<i64>, &usize)| {
            let ids_bt = Tensor::from_slice(&text[..read]).unsqueeze(0);
            model.forward(&ids_bt, &ids_bt.ones_like()).unwrap().select(1, -1)
        };
        let rows: Vec<Tensor> = self.texts.iter().zip(&self.read).map(row).collect();
        Tensor::cat(&rows, 0)
    }

    /// Reads on by so many tokens.
    fn step(&mut self, model: &Model, cache: &mut Cache, tokens: usize) -> Tensor {
        self.read.iter_mut().for_each(|read| *read += tokens);
        let columns = cache.tokens() + tokens;
        model.step(&self.ids(tokens), &self.mask(columns), cache).unwrap()
    }

    fn select(&mut self, rows: &[i64]) {
        self.texts = rows.iter().map(|&row| self.texts[row as usize].clone()).collect();
        self.read = rows.iter().map(|&row| self.read[row as usize]).collect();
    }
}

fn stacked(rows: impl Iterator<Item = Vec<i64>>) -> Tensor {
    Tensor::stack(&rows.map(|row| Tensor::from_slice(&row)).collect::<Vec<_>>(), 0)
}

#[test]
fn cached_logits_equal_uncached_ones_for_rows_of_different_lengths() {
    for fixture in DECODERS {
        let model = load(&folder(fixture)).unwrap();
        let mut cache = model.cache();
        let mut rows = Rows::new(&[4, 7, 2, 1]);
        let compare = |rows: &Rows, logits_bv: &Tensor, moment: &str| {
            let distance = distance(logits_bv, &rows.reference(&model));
            assert!(distance < 1e-4, "{fixture} {moment}: {distance}");
        };
        let logits_bv = model.step(&rows.ids(7), &rows.mask(7), &mut cache).unwrap();
        compare(&rows, &logits_bv, "first");
        for tokens in [1, 1, 2, 1] {
            let logits_bv = rows.step(&model, &mut cache, tokens);
            compare(&rows, &logits_bv, &format!("{} tokens", cache.tokens()));
        }
        // The longest row, which a dynamic scaling reads anew each time, is done: the rest goes on without it.
        cache.select(&[3, 0, 3]).unwrap();
        rows.select(&[3, 0, 3]);
        assert_eq!((cache.rows(), cache.tokens()), (3, 12));
        for tokens in [1, 1] {
            let logits_bv = rows.step(&model, &mut cache, tokens);
            compare(&rows, &logits_bv, "after a selection");
        }
    }
}

#[test]
fn rows_without_padding_may_be_read_one_token_at_a_time() {
    for fixture in DECODERS {
        let model = load(&folder(fixture)).unwrap();
        let mut cache = model.cache();
        let mut rows = Rows::new(&[0, 0]);
        for token in 1..=6 {
            let logits_bv = rows.step(&model, &mut cache, 1);
            let distance = distance(&logits_bv, &rows.reference(&model));
            assert!(distance < 1e-4, "{fixture} at {token}: {distance}");
        }
    }
}

#[test]
fn a_step_that_does_not_fit_is_refused_and_leaves_the_cache_as_it_was() {
    let model = load(&folder("llama")).unwrap();
    let mut cache = model.cache();
    let mut rows = Rows::new(&[3, 2]);
    let _ = model.step(&rows.ids(3), &rows.mask(3), &mut cache).unwrap();
    let ones = |rows: i64, tokens: i64| Tensor::ones([rows, tokens], (Kind::Int64, Device::Cpu));
    let ends_early = Tensor::cat(&[rows.mask(3), Tensor::from_slice(&[1i64, 0]).unsqueeze(1)], 1);
    let cases = [
        (ones(2, 1), ones(2, 1), "the mask with 3 tokens before"),
        (ones(3, 1), ones(3, 4), "is not that of the tokens that came before"),
        (ones(2, 1), ones(2, 4), "is not that of the tokens that came before"),
        (ones(2, 1), ends_early, "leave out rows that are done"),
        (ones(2, 22), ones(2, 25), "25 tokens in a row, the model takes 24"),
        (ones(2, 1) * 97, Tensor::cat(&[rows.mask(3), ones(2, 1)], 1), "token 97 is outside the vocabulary"),
    ];
    for (ids_bt, mask_bt, fragment) in cases {
        let message = model.step(&ids_bt, &mask_bt, &mut cache).unwrap_err().to_string();
        assert!(message.contains(fragment), "{message}");
    }
    for bad in [&[2][..], &[-1], &[]] {
        assert!(cache.select(bad).unwrap_err().to_string().contains("a cache of 2 rows"), "{bad:?}");
    }
    let logits_bv = rows.step(&model, &mut cache, 1);
    assert!(distance(&logits_bv, &rows.reference(&model)) < 1e-4);
}

#[test]
fn only_a_language_model_gives_next_tokens() {
    for fixture in [DECODER_CLASSIFIER, ENCODER_CLASSIFIER] {
        let model = load(&folder(fixture)).unwrap();
        let ids_bt = Tensor::from_slice(&[1i64, 2]).unsqueeze(0);
        let stepped = model.step(&ids_bt, &ids_bt.ones_like(), &mut model.cache()).unwrap_err();
        let states = model.states(&ids_bt, &ids_bt.ones_like()).unwrap();
        for error in [stepped, model.unembed(&states).unwrap_err()] {
            assert!(error.to_string().contains("does not end in a language model head"), "{error}");
        }
    }
    let model = load(&folder(LANGUAGE_MODEL)).unwrap();
    let narrow = Tensor::zeros([2, 31], (Kind::Float, Device::Cpu));
    assert!(model.unembed(&narrow).unwrap_err().to_string().contains("the last must be 32"));
}

#[test]
fn logits_of_chosen_tokens_equal_those_of_all() {
    for fixture in DECODERS {
        let (expected, model) = (Expected::of(fixture), load(&folder(fixture)).unwrap());
        let states_btd = model.states(expected.get("ids"), expected.get("mask")).unwrap();
        let chosen_n = expected.get("mask").flatten(0, 1).nonzero().squeeze_dim(1);
        let picked = |tensor: &Tensor| tensor.flatten(0, 1).index_select(0, &chosen_n);
        let logits_nv = model.unembed(&picked(&states_btd)).unwrap();
        let distance = distance(&logits_nv, &picked(expected.get("logits")));
        assert!(distance < 1e-4, "{fixture}: {distance}");
    }
}

#[test]
fn a_cross_entropy_without_whole_logits_is_that_with_them_and_so_are_its_gradients() {
    let factor = 0.25;
    let gradients = |fixture: &str, whole: bool| {
        let (expected, model) = (Expected::of(fixture), load(&folder(fixture)).unwrap());
        let states_btd = model.states(expected.get("ids"), expected.get("mask")).unwrap();
        let (states_nd, next_n) = (states_btd.flatten(0, 1), expected.get("ids").flatten(0, 1));
        let sum = if whole {
            let logits_nv = model.unembed(&states_nd).unwrap();
            logits_nv.cross_entropy_loss(&next_n, None::<Tensor>, Reduction::Sum, -100, 0.0)
        } else {
            model.cross_entropy(&states_nd, &next_n, factor).unwrap()
        };
        (&sum * factor).backward();
        let named = model.parameters().iter().map(|(name, tensor)| (name.clone(), tensor.grad()));
        (sum.double_value(&[]), named.collect::<Vec<_>>())
    };
    for fixture in DECODERS {
        let ((found, ours), (expected, theirs)) = (gradients(fixture, false), gradients(fixture, true));
        assert!((found - expected).abs() < 1e-4 * expected, "{fixture}: {found} is not {expected}");
        for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            let distance = distance(ours, theirs);
            assert!(distance < 1e-4, "{fixture}: {name} is {distance} off");
        }
    }
}
