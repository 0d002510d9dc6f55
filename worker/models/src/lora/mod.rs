//! Low-rank adapters on the linear maps of a model (Hu et al. 2021), as PEFT has them.
//!
//! Reading order: this file (the adapters of a model, and what a [`Model`] can do with them), `targets` (which
//! linear maps), `adapter` (the computation), `config` and `folder` (the files of PEFT).
//!
//! Shape suffixes: r rank, i inputs and o outputs of a linear map.

mod adapter;
mod config;
mod folder;
mod targets;

use std::path::Path;

use fulcrum_common::{plan::Lora, rng::Rng};
use tch::{Device, Kind, Tensor};

use crate::{
    Model, ModelError,
    description::Description,
    families::Module,
    layout::{Part, Place, Slot},
    noise::Dropout,
};

pub(crate) use adapter::Adapter;
pub(crate) use targets::of_head;

use targets::Target;

/// The most rows of A that are believed.
const MOST_RANK: usize = 1 << 16;

/// The adapters of a model, in the order of what they adapt.
#[derive(Debug)]
pub(crate) struct Adapters {
    lora: Lora,
    scaling: Scaling,
    dropout: Dropout,
    all: Vec<Adapter>,
}

/// How alpha is scaled down with the rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scaling {
    /// By the rank (Hu et al. 2021, section 4.1).
    Rank,
    /// By its square root (Kalajdzievski 2023, equation 3).
    RootOfRank,
}

impl Scaling {
    fn scale(self, lora: &Lora) -> f64 {
        let rank = lora.rank as f64;
        lora.alpha / if self == Self::Rank { rank } else { rank.sqrt() }
    }
}

impl Adapters {
    /// The adapters that `lora` describes, with the factors A `[r, i]` and B `[o, r]` that `factors` gives for each.
    ///
    /// # Errors
    /// If a setting is out of range, a target matches nothing, or `factors` fails.
    fn new(
        lora: &Lora,
        scaling: Scaling,
        description: &Description,
        slots: &[Slot],
        mut factors: impl FnMut(&Target) -> Result<[Tensor; 2], ModelError>,
    ) -> Result<Self, ModelError> {
        check(lora)?;
        let (dropout, scale) = (Dropout::new(lora.dropout), scaling.scale(lora));
        let adapter = |target| {
            let [a_ri, b_or] = factors(&target)?.map(|factor| factor.set_requires_grad(true));
            Ok(Adapter { target, a_ri, b_or, scale, dropout: dropout.clone() })
        };
        let targets = targets::choose(description, slots, &lora.targets)?;
        let all = targets.into_iter().map(adapter).collect::<Result<_, ModelError>>()?;
        Ok(Self { lora: lora.clone(), scaling, dropout, all })
    }

    /// The adapters of what is left of a model; none if nothing is.
    pub(crate) fn kept(mut self, description: &Description, slots: &[Slot]) -> Option<Self> {
        let left = targets::all(description, slots);
        self.all.retain_mut(|Adapter { target, .. }| {
            let same = |other: &&Target| (other.module, other.block) == (target.module, target.block);
            left.iter().find(same).map(|other| target.clone_from(other)).is_some()
        });
        Some(self).filter(|adapters| !adapters.all.is_empty())
    }

    /// The factors by name, A before B.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (String, Tensor)> {
        let named = self.all.iter().flat_map(Adapter::factors);
        named.map(|(name, factor)| (name, factor.shallow_clone()))
    }

    /// Handles of the adapters by where they are.
    pub(crate) fn places(&self) -> impl Iterator<Item = ((Module, usize), Adapter)> {
        self.all
            .iter()
            .map(|adapter| ((adapter.target.module, adapter.target.block), adapter.shallow_clone()))
    }

    /// Numbers in all factors.
    pub(crate) fn count(&self) -> usize {
        let count = |Adapter { target, .. }: &Adapter| self.lora.rank * (target.inputs + target.outputs);
        self.all.iter().map(count).sum()
    }

    /// That of every adapter.
    pub(crate) fn dropout(&self) -> &Dropout {
        &self.dropout
    }
}

/// Whether the numbers make sense.
///
/// # Errors
/// Names the one that does not.
fn check(lora: &Lora) -> Result<(), ModelError> {
    let refuse = |reason: String| Err(ModelError::Adapter(reason));
    let Lora { rank, alpha, dropout, .. } = *lora;
    if !(1..=MOST_RANK).contains(&rank) {
        return refuse(format!("the rank is {rank}: it must be from 1 to {MOST_RANK}"));
    }
    if !(alpha.is_finite() && alpha > 0.0) {
        return refuse(format!("alpha is {alpha}: it must be a number above 0"));
    }
    if !(0.0..1.0).contains(&dropout) {
        return refuse(format!("the dropout is {dropout}: it must be from 0 to below 1"));
    }
    Ok(())
}

/// A drawn uniformly from plus and minus the inverse square root of the inputs (He et al. 2015, with the slope sqrt(5)
/// of torch's linear layers), B zero: the model begins as it is without adapters.
fn fresh(target: &Target, rank: usize, seed: u64, device: Device) -> [Tensor; 2] {
    let Target { name, outputs, inputs, .. } = target;
    let mut rng = Rng::new(seed, &format!("{name}.lora_A.weight"), 0);
    let bound = (*inputs as f64).sqrt().recip();
    let a: Vec<f32> = (0..rank * inputs).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect();
    // No view, as in `initialize::fresh`.
    let a_ri = Tensor::from_slice(&a).resize_([rank as i64, *inputs as i64]);
    let b_or = Tensor::zeros([*outputs as i64, rank as i64], (Kind::Float, device));
    [a_ri.to_device(device), b_or]
}

impl Model {
    /// The same model with fresh adapters, drawn from `seed`. What it computes does not change yet. Adapters and
    /// a classifier or reward on top are trainable, the rest is frozen; the adapters come last in
    /// [`Model::parameters`], as `NAME.lora_A.weight` `[rank, in]` and `NAME.lora_B.weight` `[out, rank]`.
    ///
    /// # Errors
    /// If the model has adapters already, a number is out of range, or a target matches no linear map.
    pub fn with_lora(self, lora: &Lora, seed: u64) -> Result<Self, ModelError> {
        self.check_plain()?;
        let fresh = |target: &Target| Ok(fresh(target, lora.rank, seed, self.device()));
        let adapters = Adapters::new(lora, Scaling::Rank, &self.description, &self.slots, fresh)?;
        Ok(self.adapted(Some(adapters)))
    }

    /// The same model with the adapters of a folder that PEFT or [`Model::save_adapter`] has written. Where the
    /// folder holds a classifier or a reward, the model ends in it: it may have one of the same size, which gives way,
    /// or none.
    ///
    /// # Errors
    /// If a file cannot be read, settings ask for what is not supported, or a tensor is missing, extra,
    /// misshapen, of another kind, or not finite.
    pub fn with_adapter(self, folder: &Path) -> Result<Self, ModelError> {
        self.check_plain()?;
        self.check_present()?;
        let (model, adapters) = folder::read(folder, self)?;
        Ok(model.adapted(Some(adapters)))
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` (f32) into `folder` as PEFT does: adapters, and a
    /// classifier or reward on top of the model. The same model gives the same bytes.
    ///
    /// # Errors
    /// If the model has no adapters, a weight is not finite, or a file cannot be written.
    pub fn save_adapter(&self, folder: &Path) -> Result<(), ModelError> {
        let Some(adapters) = &self.adapters else {
            return Err(ModelError::Adapter("the model has none that could be saved".to_owned()));
        };
        folder::write(folder, self, adapters)
    }

    /// The same computation without adapters: what they add is added to the weights. All parameters are trainable.
    pub fn merged(mut self) -> Self {
        let Some(adapters) = self.adapters.take() else { return self };
        let _guard = tch::no_grad_guard();
        for adapter in &adapters.all {
            let Target { module, block, .. } = adapter.target;
            let place = Place { module, block, part: Part::Weight };
            let at = self.slots.iter().position(|slot| slot.place == place);
            let at = at.expect("an adapter is on a weight of its model");
            let _ = self.parameters[at].1.shallow_clone().g_add_(&adapter.product());
        }
        self.adapted(None)
    }

    /// A model must be plain where adapters come onto it.
    fn check_plain(&self) -> Result<(), ModelError> {
        match &self.adapters {
            Some(_) => {
                Err(ModelError::Adapter("the model has adapters already: merge them first".to_owned()))
            }
            None => Ok(()),
        }
    }
}
