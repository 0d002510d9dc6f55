//! Heads over whole sequences: a classifier or a reward, and how a new one begins.
//!
//! Shape suffixes: b rows, t tokens, d residual width, c classes (1 of a reward).

use fulcrum_common::plan::{Head, Readout};
use tch::{Kind, Tensor};

use crate::{
    Model, ModelError,
    batch::Batch,
    description::{self, Activation, Description},
    families::Module,
    layout::{Part, Slot, Tensors},
    modules::Linear,
};

/// A head to be put on a model, for [`Model::with_head`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewHead {
    /// What the model shall end in.
    pub head: Head,
    /// How its last matrix begins.
    pub init: Init,
    /// Which state a classifier or a reward reads; none for the one that it has, or else the family's own: the
    /// last token in a decoder, the first in an encoder.
    pub readout: Option<Readout>,
}

/// How the last matrix of a new head begins; its bias begins at zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// Normal with the standard deviation 0.02; a head of the same kind and size is kept.
    #[default]
    Normal,
    /// All zeros: every text begins with the same logits.
    Zero,
    /// Row c is the unembedding row of the c-th of these tokens, so that a decoder begins with the logits that it
    /// would give to these words (Burns et al. 2023, appendix A.1).
    Unembedding(Vec<i64>),
}

impl From<Head> for NewHead {
    /// The head with the defaults of everything else.
    fn from(head: Head) -> Self {
        Self { head, init: Init::default(), readout: None }
    }
}

impl NewHead {
    /// Whether a model of this description can end so.
    ///
    /// # Errors
    /// Names the head, or what it was told and cannot do.
    pub(crate) fn check(&self, description: &Description) -> Result<(), ModelError> {
        description::check_head(description.family, self.head)?;
        if self.head == Head::LanguageModel && (self.init != Init::Normal || self.readout.is_some()) {
            let reason = "a language model head is the unembedding, and reads every token";
            return Err(ModelError::Init(reason.to_owned()));
        }
        Ok(())
    }

    /// The last matrix `[c, d]` of the head where it does not begin normally, from a model's parameters as they are.
    ///
    /// # Errors
    /// If tokens are not one per class, not of the vocabulary, or the model has no unembedding.
    pub(crate) fn weight(&self, model: &Model) -> Result<Option<Tensor>, ModelError> {
        let description = &model.description;
        let logits = Description { head: Some(self.head), ..description.clone() }.logits();
        let (Some(logits), hidden) = (logits, description.hidden as i64) else { return Ok(None) };
        match &self.init {
            Init::Normal => Ok(None),
            Init::Zero => Ok(Some(Tensor::zeros([logits as i64, hidden], (Kind::Float, model.device())))),
            Init::Unembedding(ids) if ids.len() != logits => {
                let reason = format!("{} tokens for {logits} logits: give one for each", ids.len());
                Err(ModelError::Init(reason))
            }
            Init::Unembedding(ids) => {
                let table_vd = unembedding(model)?;
                let vocabulary = description.vocabulary as i64;
                if let Some(id) = ids.iter().find(|id| !(0..vocabulary).contains(id)) {
                    let reason = format!("token {id} is outside the vocabulary of {vocabulary}");
                    return Err(ModelError::Init(reason));
                }
                let rows = Tensor::from_slice(ids).to_device(table_vd.device());
                Ok(Some(table_vd.detach().index_select(0, &rows)))
            }
        }
    }
}

/// The matrix that makes logits of states.
///
/// # Errors
/// If the model has none.
fn unembedding(model: &Model) -> Result<Tensor, ModelError> {
    let description = &model.description;
    let weight = |module| {
        let of_module = |slot: &Slot| slot.place.module == module && slot.place.part == Part::Weight;
        model.slots.iter().position(of_module)
    };
    let model_type = description.family.model_type;
    if !description.family.causal {
        return Err(ModelError::Init(format!(
            "a {model_type} model is an encoder and has no unembedding: let the head begin normal or zero"
        )));
    }
    let tied = || weight(Module::TokenEmbedding).filter(|_| description.traits.tied);
    let at = weight(Module::Unembedding).or_else(tied).ok_or_else(|| {
        ModelError::Init(format!(
            "this {model_type} model has lost its unembedding to another head: begin with the language model"
        ))
    })?;
    model.fetch(at)
}

impl Model {
    /// The same model ending in `new.head`, with every parameter trainable.
    ///
    /// A head of the same kind and size keeps its weights, class names and readout, unless `new` tells another
    /// beginning than [`Init::Normal`] or another readout. What is drawn is drawn from `seed`; a
    /// language model head is the token embedding.
    ///
    /// # Errors
    /// If models of this family cannot end so, or the head cannot begin so.
    pub fn with_head(self, new: &NewHead, seed: u64) -> Result<Self, ModelError> {
        new.check(&self.description)?;
        let weight = new.weight(&self)?;
        let same = self.description.head == Some(new.head);
        let mut description = Description { head: Some(new.head), ..self.description.clone() };
        if !same {
            (description.readout, description.labels) = (None, None);
            description.traits.tied |= new.head == Head::LanguageModel;
        }
        if let Some(readout) = new.readout {
            description.readout = Some(readout).filter(|&readout| readout != description.own_readout());
        }
        let model = self.rebuilt(description, seed);
        if let Some(weight) = weight {
            model.begin_head(&weight)?;
        }
        Ok(model)
    }

    /// Puts `weight` into the last matrix of the head, under a bias of zero.
    fn begin_head(&self, weight: &Tensor) -> Result<(), ModelError> {
        let _guard = tch::no_grad_guard();
        let of_head =
            self.slots.iter().enumerate().filter(|(_, slot)| slot.place.module == Module::Classifier);
        for (at, slot) in of_head {
            self.fill(at)?;
            let mut tensor = self.parameters[at].1.shallow_clone();
            match slot.place.part {
                Part::Weight => tensor.copy_(weight),
                Part::Bias => drop(tensor.zero_()),
            }
        }
        Ok(())
    }

    /// Which state a classifier or a reward reads; none for other heads.
    pub fn readout(&self) -> Option<Readout> {
        let own = self.description.own_readout();
        self.description.logits().map(|_| self.description.readout.unwrap_or(own))
    }
}

/// The network of a classifier or a reward.
#[derive(Debug)]
pub(crate) struct SequenceHead {
    readout: Readout,
    /// The layer before the last, where there are two, and what comes between.
    inner: Option<(Linear, Activation)>,
    output: Linear,
}

impl SequenceHead {
    pub(crate) fn new(description: &Description, tensors: &Tensors) -> Self {
        let inner = [Module::Pooler, Module::HeadInner].into_iter().find(|&module| tensors.has(module));
        Self {
            readout: description.readout.unwrap_or_else(|| description.own_readout()),
            inner: inner.map(|module| (Linear::new(tensors, module, 0), description.traits.head_activation)),
            output: Linear::new(tensors, Module::Classifier, 0),
        }
    }

    /// Which token of each row is read, i64 `[b]`; none where it is all of them.
    pub(crate) fn reads(&self, batch: &Batch) -> Option<Tensor> {
        match self.readout {
            Readout::Last => Some(batch.last()),
            Readout::First => Some(batch.first()),
            Readout::Mean => None,
        }
    }

    /// Logits `[b, c]` of what is read, `[b, d]`.
    pub(crate) fn forward(&self, read_bd: &Tensor) -> Tensor {
        match &self.inner {
            Some((linear, activation)) => self.output.forward(&activation.of(&linear.forward(read_bd))),
            None => self.output.forward(read_bd),
        }
    }
}
