//! Templates: how the columns of a row become the text that a model reads.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, value::Serde};

use crate::{
    error::{DataError, Result},
    source::Record,
};

/// Steps of the template engine that one row may take: a template is written by people, but may loop.
const STEPS: u64 = 1_000_000;

/// The name under which all columns can be looked up, for those whose name is no identifier:
/// `{{ columns["Best Answer"] }}`.
const COLUMNS: &str = "columns";

/// A Jinja template over the columns of a row.
///
/// Strict: a column that a row does not have, and a value that is null, are errors and never empty text.
#[derive(Debug)]
pub struct Template {
    engine: Environment<'static>,
}

impl Template {
    /// Compiles a template such as `{{ question }} {{ answer }}`.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn new(text: &str) -> Result<Self> {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_formatter(refuse_null);
        engine.set_fuel(Some(STEPS));
        engine
            .add_template_owned("text", text.to_owned())
            .map_err(|e| DataError::Value(format!("{text:?} is no template: {}", reason(&e))))?;
        Ok(Self { engine })
    }

    /// The text of a row.
    ///
    /// # Errors
    /// What was wrong, to be placed by the caller: a missing column, a null, an operation that does not fit the value.
    pub fn render(&self, record: &Record) -> std::result::Result<String, String> {
        let mut values: BTreeMap<&str, Value> =
            record.iter().map(|(column, value)| (column.as_str(), Value::from(Serde(value)))).collect();
        if !record.contains_key(COLUMNS) {
            values.insert(COLUMNS, Value::from(Serde(record)));
        }
        let template = self.engine.get_template("text").map_err(|e| reason(&e))?;
        template.render(values).map_err(|error| {
            if error.kind() != ErrorKind::UndefinedError {
                return format!("the template fails: {}", reason(&error));
            }
            let used: BTreeSet<_> = template.undeclared_variables(false).into_iter().collect();
            let missing: Vec<_> =
                used.iter().filter(|name| *name != COLUMNS && !record.contains_key(*name)).collect();
            let what = match missing.first() {
                Some(name) => format!("the template asks for the column `{name}`"),
                None => format!("the template fails: {}", reason(&error)),
            };
            format!("{what}; columns are {}", column_names(record))
        })
    }
}

/// The columns of a record, for messages.
pub(crate) fn column_names(record: &Record) -> String {
    record.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn refuse_null(out: &mut Output, state: &mut State, value: &Value) -> std::result::Result<(), Error> {
    if value.is_none() {
        let what = "a value is null: give another, as in {{ column or \"-\" }}";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    minijinja::escape_formatter(out, state, value)
}

/// What the engine says, without its mention of the template's internal name.
fn reason(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        serde_json::from_value(json!({
            "premise": "<A> lever & a load", "hypothesis": " it lifts ", "n": 3, "right": true, "nothing": null,
            "Best Answer": "yes", "choices": ["a", "b"]
        }))
        .unwrap()
    }

    #[test]
    fn columns_are_filled_in_as_they_are() {
        let cases = [
            ("{{ premise }}", "<A> lever & a load"),
            ("{{ premise }}\n{{ hypothesis | trim }}", "<A> lever & a load\nit lifts"),
            ("{{ n }} {{ right }} {{ choices[1] }} {{ columns['Best Answer'] }}", "3 True b yes"),
            ("{% for c in choices %}({{ loop.index }}) {{ c }} {% endfor %}", "(1) a (2) b "),
            ("{{ nothing or '-' }}{% if absent is defined %}x{% endif %}", "-"),
        ];
        for (template, expected) in cases {
            assert_eq!(Template::new(template).unwrap().render(&record()).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_an_error_and_never_empty_text() {
        let cases = [
            (
                "{{ premise }} {{ hypotesis }}",
                "the template asks for the column `hypotesis`; columns are Best Answer, choices, hypothesis, n",
            ),
            ("{{ columns.premis }}", "the template fails: "),
            ("{{ nothing }}", "a value is null: give another"),
            ("{{ premise + 1 }}", "the template fails: "),
            (
                "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
                "ran out of fuel",
            ),
        ];
        for (template, expected) in cases {
            let message = Template::new(template).unwrap().render(&record()).unwrap_err();
            assert!(message.contains(expected), "{template}: {message}");
        }
    }

    #[test]
    fn a_text_that_is_no_template_is_refused() {
        let message = Template::new("{{ premise }").unwrap_err().to_string();
        assert!(message.starts_with("\"{{ premise }\" is no template: "), "{message}");
    }
}
