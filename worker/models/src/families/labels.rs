//! The part of a `config.json` that tells the head: `architectures` and the class names.

use std::collections::BTreeMap;

use fulcrum_common::plan::Head;
use serde_json::Value;

use crate::{ModelError, description::Description};

/// Names of the classes by number, as in `id2label`.
pub(super) type Labels = BTreeMap<usize, Value>;

/// How many classes a checkpoint with a classifier has.
///
/// # Errors
/// If the numbers have gaps or contradict `num_labels`.
pub(super) fn classes(labels: Option<&Labels>, count: Option<usize>) -> Result<usize, ModelError> {
    /// What transformers takes where a configuration is silent.
    const DEFAULT: usize = 2;
    let Some(labels) = labels else { return Ok(count.unwrap_or(DEFAULT)) };
    if let Some((expected, found)) = labels.keys().enumerate().find(|(expected, found)| expected != *found) {
        let reason = format!("class {expected} must come before it");
        return Err(ModelError::field("id2label", format!("{{..., \"{found}\": ...}}"), reason));
    }
    match count {
        Some(count) if count != labels.len() => {
            Err(ModelError::field("num_labels", count, format!("id2label names {} classes", labels.len())))
        }
        _ => Ok(labels.len()),
    }
}

/// What a checkpoint for sequence classification ends in: one class, which no softmax needs, is a reward.
///
/// # Errors
/// As [`classes`].
pub(super) fn sequence_head(labels: Option<&Labels>, count: Option<usize>) -> Result<Head, ModelError> {
    Ok(match classes(labels, count)? {
        1 => Head::Reward,
        classes => Head::Classifier { classes },
    })
}

/// The names of the classes, where all have one that is not just a number.
pub(super) fn names(labels: &Labels) -> Option<Vec<String>> {
    let names: Option<Vec<_>> = labels.values().map(|name| name.as_str().map(str::to_owned)).collect();
    names.filter(|names| names.iter().enumerate().any(|(class, name)| *name != unnamed(class)))
}

/// What transformers calls a class without a name.
fn unnamed(class: usize) -> String {
    format!("LABEL_{class}")
}

/// The one architecture that a configuration names, if it names any.
///
/// # Errors
/// If there is more than one.
pub(super) fn architecture(architectures: Option<&[String]>) -> Result<Option<&str>, ModelError> {
    match architectures.unwrap_or_default() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        more => Err(ModelError::field("architectures", format!("{more:?}"), "name one")),
    }
}

/// `id2label` and `label2id` of a model that is saved, with the names that transformers gives unnamed classes.
pub(super) fn named(description: &Description) -> (Option<Labels>, Option<BTreeMap<String, usize>>) {
    let Some(classes) = description.logits() else { return (None, None) };
    let names = description.labels.clone().unwrap_or_else(|| (0..classes).map(unnamed).collect());
    let numbers = names.iter().enumerate().map(|(class, name)| (name.clone(), class)).collect();
    (Some(names.into_iter().map(Value::String).enumerate().collect()), Some(numbers))
}

/// The architectures of a family of decoders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Architectures {
    /// Without a head.
    pub(super) bare: &'static str,
    pub(super) language_model: &'static str,
    pub(super) classifier: &'static str,
}

impl Architectures {
    /// The head of a decoder. A bare model whose output is the token embedding is read as a language model: it
    /// lacks nothing.
    ///
    /// # Errors
    /// If the architecture is another, or the classes are not told clearly.
    pub(super) fn head(
        &self,
        architectures: Option<&[String]>,
        tied: bool,
        labels: Option<&Labels>,
        count: Option<usize>,
    ) -> Result<Option<Head>, ModelError> {
        match architecture(architectures)? {
            None => Ok(Some(Head::LanguageModel)),
            Some(found) if found == self.bare => Ok(tied.then_some(Head::LanguageModel)),
            Some(found) if found == self.language_model => Ok(Some(Head::LanguageModel)),
            Some(found) if found == self.classifier => sequence_head(labels, count).map(Some),
            Some(other) => Err(ModelError::field(
                "architectures",
                format!("[{other:?}]"),
                format!("use {}, {} or {}", self.bare, self.language_model, self.classifier),
            )),
        }
    }

    /// The architecture of a model that is saved.
    pub(super) fn named(&self, head: Option<Head>) -> Vec<String> {
        let name = match head {
            None => self.bare,
            Some(Head::LanguageModel) => self.language_model,
            Some(Head::Classifier { .. } | Head::Reward) => self.classifier,
        };
        vec![name.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_common::plan::Architecture;

    use super::*;
    use crate::description::SpecialTokens;

    fn labels(numbers: &[usize]) -> Labels {
        numbers.iter().map(|&number| (number, Value::Null)).collect()
    }

    #[test]
    fn classes_are_counted_as_transformers_counts_them() {
        assert_eq!(classes(None, None).unwrap(), 2);
        assert_eq!(classes(None, Some(5)).unwrap(), 5);
        assert_eq!(classes(Some(&labels(&[0, 1, 2])), None).unwrap(), 3);
        assert_eq!(classes(Some(&labels(&[0, 1, 2])), Some(3)).unwrap(), 3);
    }

    #[test]
    fn classes_with_gaps_or_another_count_are_refused() {
        let error = classes(Some(&labels(&[0, 2])), None).unwrap_err();
        assert!(error.to_string().contains("class 1 must come before"), "{error}");
        let error = classes(Some(&labels(&[0, 1])), Some(3)).unwrap_err();
        assert!(error.to_string().starts_with("num_labels = 3"), "{error}");
    }

    #[test]
    fn what_is_saved_counts_the_same_classes() {
        let architecture = Architecture { layers: 1, hidden: 4, heads: 1, context: 3 };
        let mut description = Description::from_scratch(&architecture, 5, SpecialTokens::default()).unwrap();
        assert_eq!(named(&description), (None, None));
        description.head = Some(Head::Classifier { classes: 11 });
        let (labels, ids) = named(&description);
        assert_eq!(sequence_head(labels.as_ref(), None).unwrap(), Head::Classifier { classes: 11 });
        assert_eq!((names(&labels.unwrap()), ids.unwrap()["LABEL_10"]), (None, 10));
        description.head = Some(Head::Reward);
        assert_eq!(sequence_head(named(&description).0.as_ref(), None).unwrap(), Head::Reward);
        description.labels = Some(vec!["good".to_owned()]);
        let (labels, ids) = named(&description);
        assert_eq!((names(&labels.unwrap()), ids.unwrap()["good"]), (description.labels, 0));
    }
}
