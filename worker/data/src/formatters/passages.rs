//! A passage and one thing to judge by it.

use super::{Definition, Rows};

pub(super) const BOOLQ: Definition = Definition {
    dataset: "google/boolq",
    pool: "train, validation",
    rows: Rows::Classes {
        text: "Passage: {{ passage }}\nQuestion: {{ question }}",
        label: "answer",
        classes: ["false", "true"],
    },
    group_by: Some("passage"),
    derive: None,
    remark: "about 62 % are yes: the split's balance takes care of it",
};

pub(super) const ANLI_R2: Definition = Definition {
    dataset: "facebook/anli",
    pool: "train_r2, dev_r2, test_r2",
    rows: Rows::Classes {
        text: "Premise: {{ premise }}\nHypothesis: {{ hypothesis }}\n\nDoes the hypothesis follow from the premise?",
        // Entailment against neutral and contradiction.
        label: "{'0': 'yes', '1': 'no', '2': 'no'}[label | string]",
        classes: ["no", "yes"],
    },
    group_by: Some("premise"),
    remark: "neutral and contradiction are both class 0",
    ..BOOLQ
};

pub(super) const MULTIRC: Definition = Definition {
    dataset: "aps/super_glue multirc",
    rows: Rows::Classes {
        text: "Passage: {{ paragraph }}\n\nQuestion: {{ question }}\nIs this an answer: {{ answer }}",
        label: "label",
        classes: ["0", "1"],
    },
    group_by: Some("paragraph"),
    remark: "a question may have several right answers",
    ..BOOLQ
};

pub(super) const MC_TACO: Definition = Definition {
    dataset: "CogComp/mc_taco",
    pool: "validation, test",
    rows: Rows::Classes {
        text: "{{ sentence }}\n\nQuestion: {{ question }}\nIs this plausible: {{ answer }}",
        label: "label",
        classes: ["0", "1"],
    },
    group_by: Some("sentence"),
    remark: "the hub has no train split",
    ..BOOLQ
};
