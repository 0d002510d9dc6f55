//! One or two sentences with a label.

use super::{Definition, Rows};

const PLAIN: Definition = Definition {
    dataset: "",
    pool: "train, validation",
    rows: Rows::Classes { text: "{{ sentence | trim }}", label: "label", classes: ["0", "1"] },
    group_by: None,
    derive: None,
    remark: "",
};

pub(super) const SST2: Definition = Definition { dataset: "stanfordnlp/sst2", ..PLAIN };

pub(super) const COLA: Definition = Definition { dataset: "nyu-mll/glue cola", ..PLAIN };

pub(super) const TWITTER_SENTIMENT: Definition = Definition {
    dataset: "EleutherAI/twitter-sentiment",
    pool: "train, test",
    rows: Rows::Classes { text: "{{ text | trim }}", label: "label", classes: ["0", "1"] },
    ..PLAIN
};

pub(super) const AMAZON_POLARITY: Definition = Definition {
    dataset: "fancyzhx/amazon_polarity",
    pool: "train, test",
    rows: Rows::Classes {
        text: "{{ (title ~ '\n' ~ content) | trim }}",
        label: "label",
        classes: ["0", "1"],
    },
    ..PLAIN
};

pub(super) const PAWS: Definition = Definition {
    dataset: "google-research-datasets/paws labeled_final",
    pool: "train, validation, test",
    rows: Rows::Classes {
        text: "First: {{ sentence1 }}\nSecond: {{ sentence2 }}\n\nDo both sentences say the same?",
        label: "label",
        classes: ["0", "1"],
    },
    // Pairs are made by swapping the words of one sentence, so a bag of words tells which belong together.
    group_by: Some("{{ sentence1 | lower | split | sort | join(' ') }}"),
    remark: "grouped by the words of the first sentence, in whatever order",
    ..PLAIN
};

pub(super) const WIC: Definition = Definition {
    dataset: "aps/super_glue wic",
    rows: Rows::Classes {
        text: "First: {{ sentence1 }}\nSecond: {{ sentence2 }}\n\nDoes \"{{ word }}\" mean the same in both?",
        label: "label",
        classes: ["0", "1"],
    },
    group_by: Some("word"),
    ..PLAIN
};
