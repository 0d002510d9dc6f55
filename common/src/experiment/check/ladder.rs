//! `[[model]]` and who supervises whom.

use std::{collections::BTreeSet, path::Path};

use super::vectors;
use crate::{
    experiment::{
        Body, Model, Pair,
        keys::{self, Raw},
        problem::Log,
        value::{Pairs, Through},
    },
    plan::{Architecture, Head, HeadInit},
};

pub(super) fn ladder(raw: &Raw, folder: &Path, log: &Log<'_>) -> Option<Vec<Model>> {
    if raw.models.len() < 2 {
        let line = raw.models.first().and_then(|model| model.line);
        log.add(line, "the ladder needs at least two models: write a [[model]] for each, weakest first");
    }
    let images = vectors::has_images(raw);
    let mut names = BTreeSet::new();
    for model in &raw.models {
        if !names.insert(&model.name.value.0) {
            let name = &model.name.value.0;
            log.add(model.name.line, format!("model.name = {name:?} is taken by an earlier model"));
        }
    }
    let models: Vec<_> = raw.models.iter().map(|model| rung(model, images, folder, log)).collect();
    models.into_iter().collect()
}

fn rung(raw: &keys::Model, images: bool, folder: &Path, log: &Log<'_>) -> Option<Model> {
    let name = &raw.name.value.0;
    let vectors = vectors::body(raw, images, folder, log);
    let body = match &raw.from.value {
        _ if vectors.is_some() => vectors?,
        Some(source) => {
            let shape =
                [("hidden", raw.hidden.line), ("heads", raw.heads.line), ("context", raw.context.line)];
            for (key, line) in shape.into_iter().filter(|(_, line)| line.is_some()) {
                log.add(line, format!("model.{key} is not read: {name:?} has its shape `from` elsewhere"));
            }
            let origin = source.below(folder);
            let adapter = raw.adapter.value.as_ref().map(|source| source.0.below(folder));
            Body::Pretrained { origin, layers: raw.layers.value.map(|count| count.0), adapter }
        }
        None => {
            if let Some(line) = raw.adapter.line {
                log.add(
                    Some(line),
                    format!("model.adapter is not read: {name:?} is made here and has no `from`"),
                );
            }
            Body::New(architecture(raw, log)?)
        }
    };
    Some(Model {
        name: name.clone(),
        body,
        learning_rate: raw.learning_rate.value.map(|rate| rate.0),
        confidence_weight: raw.confidence_weight.value.map(|weight| weight.0),
        workers: raw.workers.value.map(|count| count.0),
        head_init: raw.head_init.value.clone(),
        readout: raw.readout.value,
    })
}

fn architecture(raw: &keys::Model, log: &Log<'_>) -> Option<Architecture> {
    let name = &raw.name.value.0;
    let needed = |key: &str, value: Option<usize>| {
        if value.is_none() {
            let way_out = "a model made here has layers, hidden, heads and context, any other has from";
            log.add(raw.line, format!("model.{key} is missing for {name:?}: {way_out}"));
        }
        value
    };
    let layers = needed("layers", raw.layers.value.map(|layers| layers.0));
    let hidden = needed("hidden", raw.hidden.value.map(|hidden| hidden.0));
    let heads = needed("heads", raw.heads.value.map(|heads| heads.0));
    let context = needed("context", raw.context.value.map(|context| context.0));
    let (hidden, heads) = (hidden?, heads?);
    if !hidden.is_multiple_of(heads) {
        log.add(raw.heads.line, format!("model.heads = {heads} does not divide model.hidden = {hidden}"));
    }
    Some(Architecture { layers: layers?, hidden, heads, context: context? })
}

/// A head that begins with the rows of tokens has one for each class, or the one of a reward.
pub(super) fn heads(raw: &Raw, head: Head, log: &Log<'_>) {
    let (logits, there_are) = match head {
        Head::Classifier { classes } => (classes, format!("the task has {classes} classes")),
        Head::Reward | Head::LanguageModel => (1, "a reward begins with one".to_owned()),
    };
    for model in &raw.models {
        if let HeadInit::Unembedding(tokens) = &model.head_init.value
            && tokens.len() != logits
        {
            let found = tokens.len();
            log.add(model.head_init.line, format!("model.head_init has {found} tokens, but {there_are}"));
        }
    }
}

/// Every pair of a ladder whose student stands at least so many rungs above its supervisor.
fn every_pair(models: usize, above: usize) -> Vec<Pair> {
    let students = |weak| (weak + above..models).map(move |strong| Pair { weak, strong });
    (0..models).flat_map(students).collect()
}

pub(super) fn pairs(raw: &Raw, log: &Log<'_>) -> Vec<Pair> {
    let names: Vec<&str> = raw.models.iter().map(|model| model.name.value.0.as_str()).collect();
    let listed = match &raw.methods.pairs.value {
        Pairs::List(listed) => listed,
        Pairs::WeakerToStronger => return every_pair(names.len(), 1),
        Pairs::WithSelf => return every_pair(names.len(), 0),
    };
    let line = raw.methods.pairs.line;
    let place = |name: &String| {
        let place = names.iter().position(|known| known == name);
        if place.is_none() {
            log.add(
                line,
                format!("methods.pairs names {name:?}, which is no model; known: {}", names.join(", ")),
            );
        }
        place
    };
    let mut pairs = Vec::new();
    for (weak_name, strong_name) in listed {
        let (Some(weak), Some(strong)) = (place(weak_name), place(strong_name)) else { continue };
        let pair = Pair { weak, strong };
        if weak > strong {
            let way_out = "a pair is [weak, strong], and the ladder is listed weakest first";
            log.add(line, format!("methods.pairs has [{weak_name:?}, {strong_name:?}]: {way_out}"));
        } else if pairs.contains(&pair) {
            log.add(line, format!("methods.pairs has [{weak_name:?}, {strong_name:?}] twice"));
        } else {
            pairs.push(pair);
        }
    }
    for (place, model) in raw.models.iter().enumerate() {
        let name = &model.name.value.0;
        let is_in =
            |pair: &Pair| pair.weak == place || pair.strong == place || teaches(raw, name, place, *pair);
        if !pairs.iter().any(is_in) {
            let way_out = "add a pair, lead a method through it, or drop the model";
            log.add(model.line, format!("model {name:?} is in none of methods.pairs: {way_out}"));
        }
    }
    pairs
}

/// Whether a method leads from one model of the pair to the other through this one.
fn teaches(raw: &Raw, name: &str, place: usize, pair: Pair) -> bool {
    let leads = |method: &keys::Method| match &method.through.value {
        Some(Through::Intermediate) => true,
        Some(Through::List(names)) => names.iter().any(|one| one == name),
        None => false,
    };
    (pair.weak + 1..pair.strong).contains(&place) && raw.made.iter().any(leads)
}
