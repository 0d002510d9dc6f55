//! roberta (Liu et al. 2019): bert without segments that mean anything, whose positions begin after the padding
//! token's id, and whose classifier has a layer of its own instead of the pooler.

use super::{
    Family, Module, Weight,
    bert::{self, Kin},
};
use crate::description::SpecialTokens;

/// The family.
pub(super) static ROBERTA: Family = Family {
    model_type: "roberta",
    read: |text| bert::read(text, &KIN),
    write: |description| bert::write(description, &KIN),
    prefix: "roberta.",
    output: &[Weight::biased(Module::HeadInner, "classifier.dense")],
    classifier: Weight::biased(Module::Classifier, "classifier.out_proj"),
    // Positions 0, 1, 2, ...; the pooler of a bare model, which the classifier does not read; the output for masked
    // tokens.
    ignored: &[
        "embeddings.position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
        "lm_head.bias",
        "lm_head.dense.weight",
        "lm_head.dense.bias",
        "lm_head.layer_norm.weight",
        "lm_head.layer_norm.bias",
        "lm_head.decoder.weight",
        "lm_head.decoder.bias",
    ],
    ..bert::LIKE
};

static KIN: Kin = Kin {
    family: &ROBERTA,
    bare: "RobertaModel",
    pretrained: &["RobertaForMaskedLM"],
    classifier: "RobertaForSequenceClassification",
    vocabulary: 50265,
    tokens: SpecialTokens { pad: Some(1), begin: Some(0), end: Some(2) },
    after_padding: true,
};
