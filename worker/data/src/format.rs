//! From the records of a source to examples: text, class and group of every row.

use fulcrum_common::plan::Format;
use serde_json::Value;

use crate::{
    error::{DataError, Result},
    source::{Record, Row},
    table::{MAX_TEXT_BYTES, Table},
    template::{Template, column_names},
};

/// A whole source, formatted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    /// Every row of the source in its order; labels where the format names a label column.
    pub table: Table,
    /// For each row the value it is grouped by, where the format names one.
    pub groups: Option<Vec<String>>,
}

impl Examples {
    /// Formats all rows of a source.
    ///
    /// # Errors
    /// The first row that cannot be read or does not fit the format, with file, line and the way out.
    pub fn collect(rows: impl Iterator<Item = Result<Row>>, format: &Format) -> Result<Self> {
        let formatter = Formatter::new(format)?;
        let mut examples = Self {
            table: Table { labels: formatter.label.is_some().then(Vec::new), ..Table::default() },
            groups: formatter.group_by.is_some().then(Vec::new),
        };
        for row in rows {
            let row = row?;
            let example = formatter.format(&row)?;
            examples.table.rows.push(row.row);
            examples.table.texts.push(example.text);
            examples.table.labels.iter_mut().zip(example.label).for_each(|(all, one)| all.push(one));
            examples.groups.iter_mut().zip(example.group).for_each(|(all, one)| all.push(one));
        }
        Ok(examples)
    }
}

/// A [`Format`] with its templates compiled.
struct Formatter {
    template: Template,
    label: Option<String>,
    classes: Vec<String>,
    group_by: Option<Group>,
}

/// What a row is grouped by: a column, or what a template makes of the columns (the question at the head of a prompt).
enum Group {
    Column(String),
    Template(Box<Template>),
}

impl Group {
    fn new(text: &str) -> Result<Self> {
        Ok(if text.contains("{{") {
            Self::Template(Box::new(Template::new(text)?))
        } else {
            Self::Column(text.to_owned())
        })
    }

    fn of(&self, record: &Record) -> std::result::Result<String, String> {
        match self {
            Self::Column(column) => value_text(record, column),
            Self::Template(template) => template.render(record),
        }
    }
}

struct Example {
    text: String,
    label: Option<i32>,
    group: Option<String>,
}

impl Formatter {
    fn new(format: &Format) -> Result<Self> {
        if format.label.is_some() && format.classes.is_empty() {
            return Err(DataError::value(
                "a label column is named but no classes: list its values in class order",
            ));
        }
        Ok(Self {
            template: Template::new(&format.text)?,
            label: format.label.clone(),
            classes: format.classes.clone(),
            group_by: format.group_by.as_deref().map(Group::new).transpose()?,
        })
    }

    fn format(&self, row: &Row) -> Result<Example> {
        self.format_record(&row.record).map_err(|what| row.place.fault(what))
    }

    fn format_record(&self, record: &Record) -> std::result::Result<Example, String> {
        let text = self.template.render(record)?;
        if text.trim().is_empty() {
            return Err("the text is empty: a model needs something to read".to_owned());
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(format!("the text has {} bytes, the most is {MAX_TEXT_BYTES}", text.len()));
        }
        let label = self.label.as_ref().map(|column| self.class(record, column)).transpose()?;
        let group = self.group_by.as_ref().map(|group| group.of(record)).transpose()?;
        Ok(Example { text, label, group })
    }

    /// Classes are compared as text, so that `1`, `"1"` and, in its JSON spelling, `true` can be named alike.
    fn class(&self, record: &Record, column: &str) -> std::result::Result<i32, String> {
        let value = value_text(record, column)?;
        let class = self.classes.iter().position(|class| *class == value);
        class.and_then(|class| i32::try_from(class).ok()).ok_or_else(|| {
            let value: String = value.chars().take(80).collect();
            format!("{column} is {value:?}, which is none of the classes {}", self.classes.join(", "))
        })
    }
}

/// A label or group value as text.
fn value_text(record: &Record, column: &str) -> std::result::Result<String, String> {
    match record.get(column) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
        Some(Value::Null) => Err(format!("{column} is null")),
        Some(_) => Err(format!("{column} holds several values, expected one")),
        None => Err(format!("no column `{column}`; columns are {}", column_names(record))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::Place;

    fn rows(records: &Value) -> Vec<Result<Row>> {
        let records: Vec<Record> = serde_json::from_value(records.clone()).unwrap();
        let row = |(i, record)| {
            Ok(Row { row: i as i64, record, place: Place::new("a.jsonl".into(), i as u64 + 1) })
        };
        records.into_iter().enumerate().map(row).collect()
    }

    fn format(classes: &[&str]) -> Format {
        Format {
            text: "{{ text }}".to_owned(),
            label: Some("label".to_owned()),
            classes: classes.iter().map(|&c| c.to_owned()).collect(),
            columns: Vec::new(),
            group_by: Some("document".to_owned()),
        }
    }

    #[test]
    fn labels_are_compared_as_text_whatever_their_type() {
        for (labels, classes) in [
            (json!([0, 1, 1]), ["0", "1"]),
            (json!([false, true, true]), ["false", "true"]),
            (json!(["not_entailment", "entailment", "entailment"]), ["not_entailment", "entailment"]),
            (json!(["0", 1, "1"]), ["0", "1"]),
        ] {
            let labels = labels.as_array().unwrap().iter();
            let records: Vec<_> =
                labels.map(|label| json!({"text": "t", "label": label, "document": 7})).collect();
            let examples = Examples::collect(rows(&records.into()).into_iter(), &format(&classes)).unwrap();
            assert_eq!(examples.table.labels, Some(vec![0, 1, 1]));
            assert_eq!(examples.groups, Some(vec!["7".to_owned(); 3]));
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_named_with_its_line() {
        let good = json!({"text": "t", "label": 1, "document": 7});
        let cases = [
            (
                json!({"text": "t", "label": 2, "document": 7}),
                "label is \"2\", which is none of the classes 0, 1",
            ),
            (json!({"text": "t", "label": null, "document": 7}), "label is null"),
            (json!({"text": "t", "label": [1], "document": 7}), "label holds several values"),
            (json!({"text": "t", "document": 7}), "no column `label`; columns are document, text"),
            (json!({"text": "t", "label": 1}), "no column `document`; columns are label, text"),
            (json!({"text": " ", "label": 1, "document": 7}), "the text is empty"),
            (json!({"label": 1, "document": 7}), "the template asks for the column `text`"),
        ];
        for (bad, expected) in cases {
            let records = json!([good, bad]);
            let message = Examples::collect(rows(&records).into_iter(), &format(&["0", "1"])).unwrap_err();
            let message = message.to_string();
            assert!(message.starts_with("a.jsonl: line 2: ") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn rows_may_be_grouped_by_a_part_of_a_column() {
        let records =
            json!([{"text": "Q: why?\nA: so"}, {"text": "Q: why?\nA: no"}, {"text": "Q: how?\nA: so"}]);
        let group_by = Some("{{ text | lines | first }}".to_owned());
        let format = Format { group_by, ..Format::unlabelled("{{ text }}") };
        let examples = Examples::collect(rows(&records).into_iter(), &format).unwrap();
        assert_eq!(examples.groups.unwrap(), ["Q: why?", "Q: why?", "Q: how?"]);

        let format = Format { group_by: Some("{{ txt }}".to_owned()), ..format };
        let message = Examples::collect(rows(&records).into_iter(), &format).unwrap_err().to_string();
        assert_eq!(message, "a.jsonl: line 1: the template asks for the column `txt`; columns are text");
    }

    #[test]
    fn without_label_and_group_there_are_none() {
        let format = Format::unlabelled("{{ text }}");
        let examples = Examples::collect(rows(&json!([{"text": "t"}])).into_iter(), &format).unwrap();
        assert_eq!((examples.table.labels, examples.groups), (None, None));
    }
}
