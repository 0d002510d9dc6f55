//! Chat templates: how a model wants a conversation to be written, told by the files beside its tokenizer.
//!
//! A template is a program by somebody else. It runs in an engine that reads no file and no clock, and on fuel: the
//! steps that it takes and the bytes that it makes are counted and bounded.
//!
//! The dialect is that of transformers' `apply_chat_template`: Jinja with trimmed blocks, loop controls and the methods
//! of Python's strings, lists and dictionaries.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    path::Path,
};

use chrono::{
    NaiveDate,
    format::{Item, StrftimeItems},
};
use fulcrum_common::plan::Date;
use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, ValueKind},
};
use minijinja_contrib::pycompat;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::error::{DataError, Result};

/// What one conversation may cost: about as many steps, or 64 times as many bytes made.
const FUEL: u64 = 1_000_000;

/// Lists and objects that `tojson` writes within each other.
const JSON_DEPTH: usize = 64;

/// Bytes that a file with a template may have; a tokenizer_config.json lists up to some thousand added tokens.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The special tokens that templates know by name.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A conversation's template.
#[derive(Debug)]
pub struct ChatTemplate {
    engine: Environment<'static>,
    special: Vec<(&'static str, String)>,
}

/// What is read of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
struct Config {
    chat_template: Option<Templates>,
    #[serde(flatten)]
    rest: Map<String, serde_json::Value>,
}

/// One template, or several for several purposes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl ChatTemplate {
    /// Reads the template of a model: that of `chat_template.jinja` where there is one, else that of
    /// `tokenizer_config.json`. Of several, the one named `default` counts. `date` is what `strftime_now` gives:
    /// nothing here depends on the day it runs.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be, or there is no template.
    pub fn load(config: Option<&Path>, jinja: Option<&Path>, date: Option<Date>) -> Result<Self> {
        let settings = match config {
            Some(path) => {
                let text = read(path)?;
                serde_json::from_str(&text)
                    .map_err(|e| DataError::file(path, format!("no tokenizer configuration: {e}")))?
            }
            None => Config::default(),
        };
        let special = settings.special();
        let (text, path) = match (jinja, settings.chat_template, config) {
            (Some(path), _, _) => (read(path)?, path),
            (None, Some(templates), Some(path)) => {
                (templates.choose().map_err(|what| DataError::file(path, what))?, path)
            }
            _ => {
                let what = "the model has no chat template: it is no chat model, give it plain prompts";
                return Err(DataError::value(what));
            }
        };
        let engine = engine(&text, date)
            .map_err(|e| DataError::file(path, format!("its chat template is none: {}", reason(&e))))?;
        Ok(Self { engine, special })
    }

    /// The text of a conversation, open for the model's next turn.
    ///
    /// # Errors
    /// What was wrong, to be placed by the caller: messages that are none, or that the template refuses.
    pub fn render(&self, messages: &[Message]) -> std::result::Result<String, String> {
        if messages.is_empty() {
            return Err("a conversation without messages: give one at least".to_owned());
        }
        let messages: Vec<Value> = messages.iter().map(Message::value).collect();
        let special = self.special.iter().map(|(name, token)| (*name, Value::from(token.as_str())));
        let own = [("messages", Value::from(messages)), ("add_generation_prompt", Value::from(true))];
        let template = self.engine.get_template("chat").map_err(|e| reason(&e))?;
        let values: BTreeMap<_, _> = own.into_iter().chain(special).collect();
        template.render(values).map_err(|error| format!("the chat template fails: {}", reason(&error)))
    }
}

/// One turn of a conversation: an object with a `role`, and most often `content`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message(Map<String, serde_json::Value>);

impl Message {
    /// What a user says.
    pub fn user(text: &str) -> Self {
        let field = |name: &str, value: &str| (name.to_owned(), value.into());
        Self([field("role", "user"), field("content", text)].into_iter().collect())
    }

    /// What a template sees: role and content first, as they are written everywhere, then the rest by name.
    fn value(&self) -> Value {
        let known = ["role", "content"];
        let first = known.iter().filter_map(|name| self.0.get_key_value(*name));
        let rest = self.0.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        Value::from_pairs(first.chain(rest).map(|(name, value)| (name.as_str(), Value::from(Serde(value)))))
    }

    /// The messages of a column's value, as JSON text: `[{"role": "user", "content": "..."}, ...]`.
    ///
    /// # Errors
    /// What was wrong, to be placed by the caller.
    pub fn list(json: &str) -> std::result::Result<Vec<Self>, String> {
        let expected = "expected a list such as [{\"role\": \"user\", \"content\": \"...\"}]";
        let found: Vec<Map<String, serde_json::Value>> =
            serde_json::from_str(json).map_err(|e| format!("no list of messages: {e}; {expected}"))?;
        match found.iter().position(|message| !message.get("role").is_some_and(serde_json::Value::is_string))
        {
            Some(at) => Err(format!("message {at} has no role; {expected}")),
            None => Ok(found.into_iter().map(Self).collect()),
        }
    }
}

impl Config {
    /// The special tokens that are named, each a text or an object around one.
    fn special(&self) -> Vec<(&'static str, String)> {
        let text = |value: &serde_json::Value| {
            value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
        };
        SPECIAL.iter().filter_map(|name| Some((*name, text(self.rest.get(*name)?)?))).collect()
    }
}

impl Templates {
    fn choose(self) -> std::result::Result<String, String> {
        let named = match self {
            Self::One(text) => return Ok(text),
            Self::Named(named) => named,
        };
        let names = named.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let default = named.into_iter().find(|one| one.name == "default");
        default.map(|one| one.template).ok_or_else(|| {
            format!("none of its chat templates ({names}) is named default: save the one meant as chat_template.jinja")
        })
    }
}

/// The token that ends a turn or text, as `tokenizer_config.json` names it.
///
/// # Errors
/// When the file cannot be read or is not what it should be.
pub fn end_token(config: &Path) -> Result<Option<String>> {
    let settings: Config = serde_json::from_str(&read(config)?)
        .map_err(|e| DataError::file(config, format!("no tokenizer configuration: {e}")))?;
    Ok(settings.special().into_iter().find(|(name, _)| *name == "eos_token").map(|(_, token)| token))
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let mut file = File::open(path).map_err(DataError::io(path))?.take(MAX_FILE_BYTES + 1);
    file.read_to_string(&mut text).map_err(DataError::io(path))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(DataError::file(
            path,
            format!("more than {MAX_FILE_BYTES} bytes, which no chat template has"),
        ));
    }
    Ok(text)
}

fn engine(text: &str, date: Option<Date>) -> std::result::Result<Environment<'static>, Error> {
    let mut engine = Environment::new();
    engine.set_fuel(Some(FUEL));
    engine.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    engine.set_unknown_method_callback(pycompat::unknown_method_callback);
    engine.add_filter("tojson", to_json);
    engine.add_function("raise_exception", |what: String| -> std::result::Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what))
    });
    engine.add_function("strftime_now", move |format: String| match date.and_then(day) {
        Some(day) => spell(day, &format),
        None => {
            Err(Error::new(ErrorKind::InvalidOperation, "it asks for today's date: give one with --date"))
        }
    });
    engine.add_template_owned("chat", without_generation_tags(text))?;
    Ok(engine)
}

fn day(date: Date) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(date.year().into(), date.month().into(), date.day().into())
}

/// Midnight of a day in a format of C's `strftime`.
fn spell(day: NaiveDate, format: &str) -> std::result::Result<String, Error> {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    let mut text = String::new();
    let written =
        std::fmt::Write::write_fmt(&mut text, format_args!("{}", midnight.format_with_items(items.iter())));
    written
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("{format:?} is no format of a date")))?;
    Ok(text)
}

/// A value as Python's `json.dumps` writes it without `ensure_ascii`: a space after comma and colon, or indented.
pub(crate) fn to_json(state: &State, value: &Value, options: Kwargs) -> std::result::Result<Value, Error> {
    let refused = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let indent: Option<usize> = options.get("indent")?;
    // Objects come in the order of their keys always, so that one is granted.
    let _: Option<bool> = options.get("sort_keys")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(refused("tojson(ensure_ascii=true) is not supported: leave it out".to_owned()));
    }
    options.assert_all_used()?;
    check_depth(state, value, JSON_DEPTH)?;
    let mut text = Vec::new();
    let written = match indent {
        Some(indent) => {
            let indent = vec![b' '; indent.min(16)];
            let pretty = serde_json::ser::PrettyFormatter::with_indent(&indent);
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced)),
    };
    written.map_err(|e| refused(format!("tojson: {e}")))?;
    state.consume_fuel(text.len() as u64 / 64)?;
    String::from_utf8(text).map(Value::from).map_err(|e| refused(format!("tojson: {e}")))
}

/// Refuses lists and objects more than `most` within each other: what writes them calls itself.
fn check_depth(state: &State, value: &Value, most: usize) -> std::result::Result<(), Error> {
    // A list may hold another many times over, so that to look through it is work.
    state.consume_fuel(1)?;
    if !matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    if most == 0 {
        let what = format!("tojson: more than {JSON_DEPTH} lists and objects within each other");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let is_map = value.kind() == ValueKind::Map;
    for item in value.try_iter()? {
        let item = if is_map { value.get_item(&item)? } else { item };
        check_depth(state, &item, most - 1)?;
    }
    Ok(())
}

/// JSON on one line with a space after comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// Templates mark what the assistant says by `{% generation %}`, for training alone. Here the mark is a branch that is
/// always taken.
fn without_generation_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once("{%") {
        plain.push_str(before);
        plain.push_str("{%");
        let Some((inside, after)) = tag.split_once("%}") else {
            rest = tag;
            break;
        };
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => plain.push_str(&inside.replace(word, "if true")),
            "endgeneration" => plain.push_str(&inside.replace(word, "endif")),
            _ => plain.push_str(inside),
        }
        plain.push_str("%}");
        rest = after;
    }
    plain + rest
}

/// What the engine says, without its mention of the template's internal name.
fn reason(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn loaded(config: &serde_json::Value, jinja: Option<&str>) -> Result<ChatTemplate> {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) =
            (folder.path().join("tokenizer_config.json"), folder.path().join("chat_template.jinja"));
        std::fs::write(&path, config.to_string()).unwrap();
        if let Some(text) = jinja {
            std::fs::write(&file, text).unwrap();
        }
        ChatTemplate::load(Some(&path), jinja.map(|_| file.as_path()), None)
    }

    fn rendered(template: &str) -> std::result::Result<String, String> {
        let config = json!({"chat_template": template, "eos_token": "</s>"});
        loaded(&config, None).map_err(|e| e.to_string())?.render(&[Message::user("lift")])
    }

    #[test]
    fn the_template_is_looked_up_where_models_keep_it() {
        let of = |template: ChatTemplate| template.render(&[Message::user("lift")]).unwrap();
        let one = json!({"chat_template": "one {{ messages[0].content }}"});
        assert_eq!(of(loaded(&one, None).unwrap()), "one lift");
        assert_eq!(of(loaded(&one, Some("file {{ messages[0].role }}\n")).unwrap()), "file user");
        let named = |name: &str| json!({"chat_template": [{"name": "rag", "template": "r"}, {"name": name, "template": "d"}]});
        assert_eq!(of(loaded(&named("default"), None).unwrap()), "d");
        let refused = [
            (named("tool"), "none of its chat templates (rag, tool) is named default"),
            (json!({}), "the model has no chat template"),
            (json!({"chat_template": "{% for %}"}), "tokenizer_config.json: its chat template is none: "),
            (json!({"chat_template": 3}), "tokenizer_config.json: no tokenizer configuration: "),
        ];
        for (config, expected) in refused {
            let message = loaded(&config, None).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_hostile_template_runs_dry() {
        let cases = [
            ("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", "out of fuel"),
            (
                "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
                "out of fuel",
            ),
            ("{{ 'a' * 90000000 }}", "out of fuel"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion limit exceeded"),
            (
                "{% set n = namespace(x=[]) %}{% for i in range(9000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}",
                "more than 64 lists",
            ),
            (
                "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
                "out of fuel",
            ),
            ("{% include '/etc/passwd' %}", "include"),
            ("{{ strftime_now('%Y') }}", "it asks for today's date: give one with --date"),
            ("{{ raise_exception('no such role') }}", "the chat template fails: no such role"),
        ];
        for (template, expected) in cases {
            let message = rendered(template).unwrap_err();
            assert!(message.contains(expected), "{template}: {message}");
        }
    }

    #[test]
    fn messages_are_objects_with_a_role() {
        let list = Message::list(r#"[{"role": "user", "content": "a", "name": "b"}]"#).unwrap();
        let config = json!({"chat_template": "{{ messages[0] | tojson }}"});
        let text = loaded(&config, None).unwrap().render(&list).unwrap();
        assert_eq!(text, r#"{"role": "user", "content": "a", "name": "b"}"#);
        assert!(loaded(&config, None).unwrap().render(&[]).unwrap_err().contains("without messages"));
        for (text, expected) in [
            ("lift", "no list of messages"),
            (r#"{"role": "user"}"#, "no list of messages"),
            (r#"[{"role": "user"}, {"content": "x"}]"#, "message 1 has no role"),
            (r#"[{"role": 3}]"#, "message 0 has no role"),
        ] {
            let message = Message::list(text).unwrap_err();
            assert!(message.contains(expected) && message.contains("expected a list such as"), "{message}");
        }
    }

    #[test]
    fn a_format_of_a_date_that_is_none_is_an_error() {
        let config = json!({"chat_template": "{{ strftime_now('%Q!') }}"});
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer_config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let date = "2024-07-06".parse().ok();
        let message =
            ChatTemplate::load(Some(&path), None, date).unwrap().render(&[Message::user("a")]).unwrap_err();
        assert!(message.contains("\"%Q!\" is no format of a date"), "{message}");
    }
}
