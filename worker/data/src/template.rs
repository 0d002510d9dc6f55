//! Templates: how the columns of a row become the text that a model reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use minijinja::{
    Environment, Error, ErrorKind, Expression, Output, State, UndefinedBehavior, Value,
    value::{Serde, ValueKind},
};

use crate::{
    chat::to_json,
    chess,
    error::{DataError, Result},
    source::Record,
};

/// Steps of the template engine that one row may take: a template is written by people, but may loop.
const STEPS: u64 = 1_000_000;

/// The name under which all columns can be looked up, for those whose name is no identifier:
/// `{{ columns["Best Answer"] }}`.
const COLUMNS: &str = "columns";

/// Below this likeness a guess at a column would be no help.
const LIKE: f64 = 0.75;

/// Expressions need an engine that outlives them; templates bring their own.
static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(engine);

/// Strict: what a row does not have, and a value that is null, are errors and never empty text.
fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_formatter(refuse_what_is_no_text);
    engine.set_fuel(Some(STEPS));
    engine.add_filter("among", among);
    engine.add_filter("tojson", to_json);
    chess::add_filters(&mut engine);
    engine
}

/// What templates and expressions can name for one row: its columns, and what a format adds to them.
#[derive(Clone, Debug)]
pub struct Scope<'r> {
    record: &'r Record,
    values: BTreeMap<&'r str, Value>,
}

impl<'r> Scope<'r> {
    /// The columns of a row.
    pub fn new(record: &'r Record) -> Self {
        let mut values: BTreeMap<&str, Value> =
            record.iter().map(|(column, value)| (column.as_str(), Value::from(Serde(value)))).collect();
        if !record.contains_key(COLUMNS) {
            values.insert(COLUMNS, Value::from(Serde(record)));
        }
        Self { record, values }
    }

    /// Adds a value under a name of ours, which hides a column of that name (`columns.NAME` still has it).
    pub fn set(&mut self, name: &'static str, value: Value) {
        self.values.insert(name, value);
    }

    /// The first of some names that is not there.
    fn missing<'n>(&self, mut names: impl Iterator<Item = &'n String>) -> Option<&'n String> {
        names.find(|name| !self.values.contains_key(name.as_str()))
    }

    fn context(&self) -> Value {
        Value::from(self.values.clone())
    }
}

/// A Jinja template over the columns of a row.
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
        let mut engine = engine();
        engine
            .add_template_owned("text", text.to_owned())
            .map_err(|e| DataError::Value(format!("{text:?} is no template: {}", reason(&e))))?;
        Ok(Self { engine })
    }

    /// The text of a row.
    ///
    /// # Errors
    /// What was wrong, to be placed by the caller: a missing column, a null, an operation that does not fit the value.
    pub fn render(&self, scope: &Scope<'_>) -> std::result::Result<String, String> {
        let template = self.engine.get_template("text").map_err(|e| reason(&e))?;
        template.render(scope.context()).map_err(|error| {
            let used: BTreeSet<_> = template.undeclared_variables(false).into_iter().collect();
            match scope.missing(used.iter()) {
                Some(name) if error.kind() == ErrorKind::UndefinedError => {
                    format!("the template asks for the column `{name}`; {}", nearest(scope.record, name))
                }
                _ => format!("the template fails: {}", reason(&error)),
            }
        })
    }
}

/// A value of a row: a column, an expression over columns (`choices.text`), or what a template makes of them.
#[derive(Debug)]
pub struct Field {
    text: String,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Template(Box<Template>),
    /// Used where no column has the text for its name. With the names it asks for.
    Expression(Box<Expression<'static, 'static>>, Vec<String>),
    /// No expression, so it must be a column.
    Column,
}

impl Field {
    /// Takes a text with `{{` or `{%` for a template and any other for a column or an expression.
    ///
    /// # Errors
    /// When it looks like a template and is none.
    pub fn new(text: &str) -> Result<Self> {
        let rule = if text.contains("{{") || text.contains("{%") {
            Rule::Template(Box::new(Template::new(text)?))
        } else if let Ok(expression) = ENGINE.compile_expression_owned(text.to_owned()) {
            let names: BTreeSet<_> = expression.undeclared_variables(false).into_iter().collect();
            Rule::Expression(Box::new(expression), names.into_iter().collect())
        } else {
            Rule::Column
        };
        Ok(Self { text: text.to_owned(), rule })
    }

    /// As it is written.
    pub(crate) fn name(&self) -> &str {
        &self.text
    }

    /// The value in a row.
    ///
    /// # Errors
    /// What was wrong, to be placed by the caller: a missing column, a part of it that is not there.
    pub fn value(&self, scope: &Scope<'_>) -> std::result::Result<serde_json::Value, String> {
        let Self { text, rule } = self;
        if let Rule::Template(template) = rule {
            return template.render(scope).map(serde_json::Value::from);
        }
        if let Some(value) = scope.record.get(text) {
            return Ok(value.clone());
        }
        let Rule::Expression(expression, names) = rule else {
            return Err(format!("no column `{text}`; {}", nearest(scope.record, text)));
        };
        if let Some(name) = scope.missing(names.iter()) {
            return Err(format!("no column `{name}`; {}", nearest(scope.record, name)));
        }
        let value = expression.eval(scope.context()).map_err(|e| format!("{text} fails: {}", reason(&e)))?;
        if value.is_undefined() {
            return Err(format!("{text} is not there"));
        }
        serde_json::to_value(&value).map_err(|_| format!("{text} is no plain value"))
    }

    /// The value in a row as text: numbers and booleans in their JSON spelling.
    ///
    /// # Errors
    /// As [`Field::value`], and when it is null or several values.
    pub fn text(&self, scope: &Scope<'_>) -> std::result::Result<String, String> {
        plain_text(self.value(scope)?).map_err(|what| format!("{} {what}", self.text))
    }
}

/// A single value as text.
pub(crate) fn plain_text(value: serde_json::Value) -> std::result::Result<String, &'static str> {
    match value {
        serde_json::Value::String(text) => Ok(text),
        value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => Ok(value.to_string()),
        serde_json::Value::Null => Err("is null"),
        _ => Err("holds several values, expected one"),
    }
}

/// Filter: the position of a value in a list, as in `answerKey | among(choices.label)`.
fn among(value: &Value, list: &Value) -> std::result::Result<usize, Error> {
    let position = list.try_iter()?.position(|entry| entry == *value);
    position
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("{value:?} is not among {list:?}")))
}

/// What a row has instead of `name`, for messages.
fn nearest(record: &Record, name: &str) -> String {
    let like = |column: &&String| strsim::jaro_winkler(&column.to_lowercase(), &name.to_lowercase());
    let best = record.keys().map(|column| (like(&column), column)).max_by(|a, b| a.0.total_cmp(&b.0));
    let columns = record.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match best {
        Some((likeness, column)) if likeness >= LIKE => {
            format!("did you mean `{column}`? columns are {columns}")
        }
        _ => format!("columns are {columns}"),
    }
}

fn refuse_what_is_no_text(
    out: &mut Output,
    state: &mut State,
    value: &Value,
) -> std::result::Result<(), Error> {
    if value.is_none() {
        let what = "a value is null: give another, as in {{ column or \"-\" }}";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let kind = value.kind();
    if matches!(kind, ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        let what = format!("a value is a {kind}, not a text: name a part of it, or join its items");
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

    fn render(template: &str) -> std::result::Result<String, String> {
        Template::new(template).unwrap().render(&Scope::new(&record()))
    }

    #[test]
    fn columns_are_filled_in_as_they_are() {
        let cases = [
            ("{{ premise }}", "<A> lever & a load"),
            ("{{ premise }}\n{{ hypothesis | trim }}", "<A> lever & a load\nit lifts"),
            ("{{ n }} {{ right }} {{ choices[1] }} {{ columns['Best Answer'] }}", "3 True b yes"),
            ("{% for c in choices %}({{ loop.index }}) {{ c }} {% endfor %}", "(1) a (2) b "),
            ("{{ choices | tojson }}", r#"["a", "b"]"#),
            ("{{ nothing or '-' }}{% if absent is defined %}x{% endif %}", "-"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_is_an_error_and_never_empty_text() {
        let cases = [
            (
                "{{ premise }} {{ hypotesis }}",
                "the template asks for the column `hypotesis`; did you mean `hypothesis`? columns are Best Answer, ch",
            ),
            ("{{ columns.premis }}", "the template fails: "),
            ("{{ choices }}", "a value is a sequence, not a text: name a part of it"),
            ("{{ columns }}", "a value is a map, not a text"),
            ("{{ nothing }}", "a value is null: give another"),
            ("{{ premise + 1 }}", "the template fails: "),
            (
                "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
                "ran out of fuel",
            ),
        ];
        for (template, expected) in cases {
            let message = render(template).unwrap_err();
            assert!(message.contains(expected), "{template}: {message}");
        }
    }

    #[test]
    fn a_text_that_is_no_template_is_refused() {
        let message = Template::new("{{ premise }").unwrap_err().to_string();
        assert!(message.starts_with("\"{{ premise }\" is no template: "), "{message}");
    }

    #[test]
    fn a_value_is_a_column_an_expression_or_a_template() {
        let cases = [
            ("n", json!(3)),
            ("Best Answer", json!("yes")),
            ("choices", json!(["a", "b"])),
            ("choices[1]", json!("b")),
            ("n - 1", json!(2)),
            ("'b' | among(choices)", json!(1)),
            ("{'3': 'three'}[n | string]", json!("three")),
            ("choices | map('upper') | list", json!(["A", "B"])),
            ("{{ n }}{{ right }}", json!("3True")),
            ("nothing", json!(null)),
        ];
        let record = record();
        for (text, expected) in cases {
            assert_eq!(Field::new(text).unwrap().value(&Scope::new(&record)), Ok(expected), "{text}");
        }
        let wrong = [
            ("premis", "no column `premis`; did you mean `premise`? columns are Best Answer, choices, hyp"),
            ("best answr", "no column `best answr`; did you mean `Best Answer`? columns are"),
            ("zzz == 1", "no column `zzz`; columns are Best Answer, choices"),
            ("choices[7]", "choices[7] is not there"),
            ("'c' | among(choices)", "'c' | among(choices) fails: 'c' is not among ['a', 'b']"),
            ("nothing", "nothing is null"),
            ("choices", "choices holds several values, expected one"),
        ];
        for (text, expected) in wrong {
            let message = Field::new(text).unwrap().text(&Scope::new(&record)).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
        assert!(Field::new("{{ n }").unwrap_err().to_string().contains("is no template"));
    }
}
