//! Questions with answers to choose from.

use serde_json::{Value, json};

use super::{Definition, Rows};
use crate::source::Record;

pub(super) const SCIQ: Definition = Definition {
    dataset: "allenai/sciq",
    pool: "train, validation, test",
    rows: Rows::Choices {
        text: "Q: {{ question }} A: {{ choice }}",
        choices: &["correct_answer", "distractor1", "distractor2", "distractor3"],
        answer: "0",
    },
    group_by: Some("question"),
    derive: None,
    remark: "",
};

pub(super) const SCIQ_WITH_SUPPORT: Definition = Definition {
    rows: Rows::Choices {
        text: "{% if support %}{{ support }}\n\n{% endif %}Q: {{ question }} A: {{ choice }}",
        choices: &["correct_answer", "distractor1", "distractor2", "distractor3"],
        answer: "0",
    },
    group_by: Some("{{ support or question }}"),
    remark: "some rows have no passage; they are grouped by their question",
    ..SCIQ
};

pub(super) const DREAM: Definition = Definition {
    dataset: "dataset-org/dream",
    rows: Rows::Choices {
        text: "{{ dialogue | join('\n') }}\n\nQ: {{ question }} A: {{ choice }}",
        choices: &["choice"],
        answer: "answer",
    },
    group_by: Some("{{ dialogue | join('\n') }}"),
    ..SCIQ
};

pub(super) const HELLASWAG: Definition = Definition {
    dataset: "Rowan/hellaswag",
    pool: "train, validation",
    rows: Rows::Choices {
        text: "Beginning: {{ ctx }}\n\nEndings:\n{{ choices | join('\n') }}\n\nIs this the right one: {{ choice }}",
        choices: &["endings"],
        answer: "label | int",
    },
    group_by: Some("source_id"),
    remark: "grouped by the video or article that rows were cut from",
    ..SCIQ
};

pub(super) const OPENBOOKQA: Definition = Definition {
    dataset: "allenai/openbookqa main",
    rows: Rows::Choices {
        text: "Q: {{ question_stem }}\n\nChoices:\n{% for one in choices %}- {{ one }}\n{% endfor %}\nAnswer: {{ choice }}",
        choices: &["choices.text"],
        answer: "answerKey | among(columns.choices.label)",
    },
    group_by: Some("question_stem"),
    remark: "right and wrong answers are both shown by their text. A public reproduction shows the letter of right ones \
             only, which gives the label away",
    ..SCIQ
};

pub(super) const PIQA: Definition = Definition {
    dataset: "ybisk/piqa",
    pool: "train, validation",
    rows: Rows::Choices {
        text: "Q: {{ goal }} A: {{ choice }}",
        choices: &["sol1", "sol2"],
        answer: "label",
    },
    group_by: Some("goal"),
    ..SCIQ
};

pub(super) const QUAIL: Definition = Definition {
    dataset: "textmachinelab/quail",
    pool: "train, validation, challenge",
    rows: Rows::Choices {
        text: "Passage: {{ context }}\n\nQuestion: {{ question }}\nIs this the answer: {{ choice }}",
        choices: &["answers"],
        answer: "correct_answer_id",
    },
    group_by: Some("context_id"),
    remark: "\"not enough information\" is an answer like any other",
    ..SCIQ
};

pub(super) const QUARTZ: Definition = Definition {
    dataset: "allenai/quartz",
    rows: Rows::Choices {
        text: "Passage: {{ para }}\n\nQuestion: {{ question }}\nIs this the answer: {{ choice }}",
        choices: &["choices.text"],
        answer: "answerKey | among(columns.choices.label)",
    },
    group_by: Some("para_id"),
    remark: "questions come in pairs that turn one word around, so they are grouped by their passage",
    ..SCIQ
};

pub(super) const SOCIAL_I_QA: Definition = Definition {
    dataset: "allenai/social_i_qa",
    pool: "train, validation",
    rows: Rows::Choices {
        text: "{{ context }}\n\nQuestion: {{ question }}\nChoices:\n{{ choices | join('\n') }}\n\nIs this the answer: {{ choice }}",
        choices: &["answerA", "answerB", "answerC"],
        answer: "(label | trim | int) - 1",
    },
    group_by: Some("context"),
    ..SCIQ
};

pub(super) const COSMOS_QA: Definition = Definition {
    dataset: "allenai/cosmos_qa",
    pool: "train, validation",
    rows: Rows::Choices {
        text: "Context: {{ context }}\nQuestion: {{ question }}\nAnswer: {{ choice }}",
        choices: &["shown"],
        answer: "marks",
    },
    group_by: Some("context"),
    derive: Some(without_none_of_the_above),
    remark: "\"None of the above choices .\" is never shown, right or wrong, as it means nothing without the choices and \
             published code shows it as a wrong answer only; where it is right, all examples are wrong answers",
};

/// Leaves "None of the above choices ." out of the answers: `shown` has the others, `marks` which of them is right.
fn without_none_of_the_above(record: &Record, _: u64, _: i64) -> Result<Record, String> {
    let label = record.get("label").ok_or("no column `label`")?;
    // A number on the hub, text in the files of the dataset's authors.
    let label = label.as_u64().or_else(|| label.as_str()?.parse().ok()).filter(|label| *label < 4);
    let label = label.ok_or("label is not one of 0 to 3")?;
    let (mut shown, mut marks) = (Vec::new(), Vec::new());
    for place in 0..4 {
        let column = format!("answer{place}");
        let answer = record.get(&column).and_then(Value::as_str);
        let answer = answer.ok_or_else(|| format!("{column} is no text"))?;
        if !answer.to_lowercase().contains("none of the above choices") {
            shown.push(answer);
            marks.push(u8::from(place == label));
        }
    }
    let mut derived = record.clone();
    derived.insert("shown".to_owned(), json!(shown));
    derived.insert("marks".to_owned(), json!(marks));
    Ok(derived)
}
