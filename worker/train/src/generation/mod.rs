//! A language model continues prompts: decoding with a cache, many completions at a time.
//!
//! The text of a completion must not depend on who is decoded beside it, and the last bits of a logit do: libtorch
//! picks its kernels by the shapes of tensors, and another kernel adds in another order. A draw that falls on the edge
//! between two tokens then falls to the other side, and the rest of the text is another. Rounding would only move the
//! edges. So shapes follow from a completion alone (docs/generation.md, "The same text"):
//!
//! - A prompt is read alone, padded on the left to a width that its length decides. Its samples share that reading.
//! - Completions are decoded together only if their prompts are padded to one width, in a batch of always the same
//!   number of places: empty ones are computed too, as copies.
//! - A completion that is done keeps its place until its batch is done.
//!
//! No row of a batch enters the arithmetic of another, so equal shapes give equal bits.
//!
//! Shape suffixes: b places of a batch, t tokens so far, v vocabulary.

mod sampler;

use fulcrum_common::plan::{Head, Sampling};
use fulcrum_models::{Cache, Model};
use tch::{Device, Kind, Tensor};

use self::sampler::{Choice, Place, Sampler};
use crate::{Error, Monitor, Progress};

/// What a model is to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt<'a> {
    /// Names the prompt's draws.
    pub row: i64,
    /// At least one.
    pub tokens: &'a [i64],
}

/// Hears the tokens of one completion, and knows the texts at which it is to stop.
pub trait Listener {
    /// Takes the next token, the end of text excepted; true says that nothing more is wanted.
    ///
    /// # Errors
    /// If the token is none.
    fn hear(&mut self, token: i64) -> Result<bool, Error>;
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// By the end of text, or because its listener had heard enough.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

/// One completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion<L> {
    /// The prompt's.
    pub row: i64,
    /// From 0.
    pub sample: usize,
    /// All tokens that were drawn, that of the end included.
    pub tokens: Vec<i64>,
    /// Natural logarithm of the probability of these tokens under the distribution that they were drawn from; at
    /// temperature 0 under the model's own.
    pub log_probability: f64,
    /// Why it ended.
    pub finish: Finish,
    /// Who heard it.
    pub listener: L,
}

/// Completes every prompt `sampling.samples` times; completions come in the order of (prompt, sample). `ends` are the
/// tokens that end a text, and every completion gets a listener of its own.
///
/// # Errors
/// If the model is no language model, the settings draw nothing, a prompt is empty or leaves no room, a logit is not
/// finite, or the monitor cancels.
pub fn generate<L: Listener>(
    model: &Model,
    prompts: &[Prompt<'_>],
    sampling: &Sampling,
    ends: &[i64],
    listener: impl Fn() -> L,
    monitor: &dyn Monitor,
) -> Result<Vec<Completion<L>>, Error> {
    if model.head() != Some(Head::LanguageModel) {
        return Err(Error::Examples("only a language model continues prompts".into()));
    }
    sampling.check().map_err(Error::Examples)?;
    let batches = batches(model, prompts, sampling)?;
    let draw = Draw { model, sampling, sampler: Sampler::new(sampling), ends, monitor };
    let mut done: Vec<(usize, Completion<L>)> = Vec::with_capacity(prompts.len() * sampling.samples);
    for (step, batch) in batches.iter().enumerate() {
        let lines = batch.members.iter().map(|&(at, sample)| Line::new(prompts[at].row, sample, listener()));
        let lines = draw.decode(step, prompts, batch, lines.collect())?;
        done.extend(
            batch.members.iter().map(|&(at, _)| at).zip(lines.into_iter().map(|line| line.completion)),
        );
        let (steps, examples) = (batches.len(), done.len() / sampling.samples);
        monitor.progress(Progress { step: step + 1, steps, examples, loss: None });
    }
    done.sort_by_key(|(at, completion)| (*at, completion.sample));
    Ok(done.into_iter().map(|(_, completion)| completion).collect())
}

/// Completions that are decoded together.
#[derive(Debug)]
struct Batch {
    /// Tokens that every prompt is padded to.
    width: usize,
    /// Prompts by place in the list, and their samples.
    members: Vec<(usize, usize)>,
}

/// What the shapes of a completion's tensors follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    width: usize,
    /// Without any padding there is no mask, and the kernel is another.
    padded: bool,
    /// Of a model that reads long batches anew the length too, as the longest row says when.
    tokens: Option<usize>,
}

impl Shape {
    fn of(model: &Model, prompt: &Prompt<'_>, room: usize, new: usize) -> Self {
        let tokens = prompt.tokens.len();
        // At most a quarter of it is padding, from 64 tokens on.
        let unit = (tokens.next_power_of_two() / 8).max(16);
        let width = tokens.next_multiple_of(unit).min(room);
        let anew = model.settled_tokens().is_some_and(|settled| width + new > settled);
        Self { width, padded: width > tokens, tokens: anew.then_some(tokens) }
    }
}

/// Completions of one shape go together, those of the first prompts first.
fn batches(model: &Model, prompts: &[Prompt<'_>], sampling: &Sampling) -> Result<Vec<Batch>, Error> {
    let (new, context) = (sampling.max_new_tokens, model.max_tokens());
    let room = context.checked_sub(new).filter(|&room| room > 0).ok_or_else(|| {
        Error::Examples(format!("{new} new tokens leave no room for a prompt: the model reads {context}"))
    })?;
    if let Some(Prompt { row, tokens }) =
        prompts.iter().find(|prompt| !(1..=room).contains(&prompt.tokens.len()))
    {
        let tokens = tokens.len();
        return Err(Error::Examples(format!(
            "the prompt of row {row} has {tokens} tokens: it may have 1 to {room}"
        )));
    }
    let mut order: Vec<(Shape, usize)> =
        prompts.iter().map(|prompt| Shape::of(model, prompt, room, new)).zip(0..).collect();
    order.sort();
    let groups = order.chunk_by(|(a, _), (b, _)| a == b);
    let batches = groups.flat_map(|group| {
        let width = group[0].0.width;
        let members: Vec<(usize, usize)> =
            group.iter().flat_map(|&(_, at)| (0..sampling.samples).map(move |sample| (at, sample))).collect();
        let batch = move |members: &[(usize, usize)]| Batch { width, members: members.to_vec() };
        members.chunks(sampling.slots).map(batch).collect::<Vec<_>>()
    });
    Ok(batches.collect())
}

/// A completion in the making.
struct Line<L> {
    completion: Completion<L>,
    done: bool,
}

impl<L: Listener> Line<L> {
    fn new(row: i64, sample: usize, listener: L) -> Self {
        let (tokens, finish) = (Vec::new(), Finish::Length);
        let completion = Completion { row, sample, tokens, log_probability: 0.0, finish, listener };
        Self { completion, done: false }
    }

    /// Takes a token that was drawn.
    fn take(&mut self, choice: Choice, ends: &[i64], most: usize) -> Result<(), Error> {
        let completion = &mut self.completion;
        completion.tokens.push(choice.token);
        completion.log_probability += choice.log_probability;
        if ends.contains(&choice.token) || completion.listener.hear(choice.token)? {
            completion.finish = Finish::Stop;
            self.done = true;
        }
        self.done |= completion.tokens.len() == most;
        Ok(())
    }

    fn place(&self) -> Place {
        let Completion { row, sample, tokens, .. } = &self.completion;
        Place { row: *row, sample: *sample, position: tokens.len() }
    }
}

/// What does not change from batch to batch.
struct Draw<'a> {
    model: &'a Model,
    sampling: &'a Sampling,
    sampler: Sampler,
    ends: &'a [i64],
    monitor: &'a dyn Monitor,
}

impl Draw<'_> {
    /// Brings the lines of a batch to their ends.
    fn decode<L: Listener>(
        &self,
        step: usize,
        prompts: &[Prompt<'_>],
        batch: &Batch,
        mut lines: Vec<Line<L>>,
    ) -> Result<Vec<Line<L>>, Error> {
        let slots = self.sampling.slots;
        let (mut cache, mut mask_bt) = self.read(step, prompts, batch, &mut lines)?;
        let another = Tensor::ones([slots as i64, 1], (Kind::Int64, Device::Cpu));
        while lines.iter().any(|line| !line.done) {
            self.go_on(step)?;
            let last = |slot: usize| lines.get(slot).unwrap_or(&lines[0]).completion.tokens.last().copied();
            let ids: Vec<i64> = (0..slots).map(|slot| last(slot).unwrap_or_default()).collect();
            let ids_bt = Tensor::from_slice(&ids).view([slots as i64, 1]);
            mask_bt = Tensor::cat(&[&mask_bt, &another], 1);
            let logits = numbers(&self.model.step(&ids_bt, &mask_bt, &mut cache)?)?;
            for (line, logits) in lines.iter_mut().zip(logits.chunks(self.model.vocab_size())) {
                self.extend(line, logits)?;
            }
        }
        Ok(lines)
    }

    /// Reads each prompt of a batch alone and draws the first tokens; what is remembered of the prompts in all places,
    /// and its mask.
    fn read<L: Listener>(
        &self,
        step: usize,
        prompts: &[Prompt<'_>],
        batch: &Batch,
        lines: &mut [Line<L>],
    ) -> Result<(Cache, Tensor), Error> {
        let (mut caches, mut masks, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let members = batch.members.chunk_by(|(a, _), (b, _)| a == b);
        let mut lines = lines.iter_mut();
        for (prompt, samples) in members.enumerate() {
            self.go_on(step)?;
            let (ids_bt, mask_bt) = padded(prompts[samples[0].0].tokens, batch.width);
            let mut cache = self.model.cache();
            let logits = numbers(&self.model.step(&ids_bt, &mask_bt, &mut cache)?)?;
            for line in lines.by_ref().take(samples.len()) {
                self.extend(line, &logits)?;
                places.push(prompt as i64);
            }
            caches.push(cache);
            masks.push(mask_bt);
        }
        places.resize(self.sampling.slots, 0);
        let mut cache = Cache::join(caches)?;
        cache.select(&places)?;
        Ok((cache, Tensor::cat(&masks, 0).index_select(0, &Tensor::from_slice(&places))))
    }

    fn extend<L: Listener>(&self, line: &mut Line<L>, logits: &[f32]) -> Result<(), Error> {
        if line.done {
            return Ok(());
        }
        let choice = self.sampler.choose(logits, line.place())?;
        line.take(choice, self.ends, self.sampling.max_new_tokens)
    }

    fn go_on(&self, step: usize) -> Result<(), Error> {
        if self.monitor.cancelled() { Err(Error::Cancelled { step }) } else { Ok(()) }
    }
}

/// Ids and mask of one prompt, padded on the left, i64 `[1, width]`.
fn padded(tokens: &[i64], width: usize) -> (Tensor, Tensor) {
    let padding = width - tokens.len();
    // Padding is masked, so any id that the model knows serves, and the first of the row is one.
    let mut ids = vec![tokens[0]; padding];
    ids.extend_from_slice(tokens);
    let mask: Vec<i64> = (0..width).map(|at| i64::from(at >= padding)).collect();
    let row = |values: &[i64]| Tensor::from_slice(values).view([1, width as i64]);
    (row(&ids), row(&mask))
}

/// The logits `[b, v]` on this side of the device, one place after the other.
fn numbers(logits_bv: &Tensor) -> Result<Vec<f32>, Error> {
    let flat = logits_bv.to_kind(Kind::Float).to_device(Device::Cpu).contiguous().view(-1);
    Ok(Vec::<f32>::try_from(flat)?)
}
