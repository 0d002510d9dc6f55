//! From the rows of a source to examples: text, class and group, one row at a time.

mod question;

use std::{borrow::Cow, collections::HashMap};

use fulcrum_common::{
    plan::{Choices, Form, Format, Pick, Templates},
    rng::Rng,
};
use minijinja::Value;

use crate::{
    chess::Position,
    error::{DataError, Result},
    formatters::{self, Derive},
    source::Row,
    table::{MAX_TEXT_BYTES, Table},
    template::{Field, Scope, Template, plain_text},
};
use question::Question;

/// A whole source, formatted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    /// Every example in the order of the source, with its position for its row id; labels where the format has some.
    pub table: Table,
    /// For each example the value it is grouped by, where the format groups them.
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
            table: Table {
                labels: formatter.labelled().then(Vec::new),
                groups: formatter.grouped().then(Vec::new),
                prompts: formatter.prompted().then(Vec::new),
                others: formatter.paired().then(Vec::new),
                ..Table::default()
            },
            groups: formatter.grouped().then(Vec::new),
        };
        let mut numbers = HashMap::new();
        for row in rows {
            for example in formatter.format(&row?)? {
                examples.push(example, &mut numbers);
            }
        }
        Ok(examples)
    }

    /// Adds an example; `numbers` has the groups so far in the order of their first example.
    fn push(&mut self, example: Example, numbers: &mut HashMap<String, i64>) {
        let table = &mut self.table;
        table.rows.push(table.rows.len() as i64);
        table.texts.push(example.text);
        table.labels.iter_mut().zip(example.label).for_each(|(all, one)| all.push(one));
        table.prompts.iter_mut().zip(example.prompt).for_each(|(all, one)| all.push(one));
        table.others.iter_mut().zip(example.other).for_each(|(all, one)| all.push(one));
        let Some(group) = example.group else { return };
        let next = numbers.len() as i64;
        let number = *numbers.entry(group.clone()).or_insert(next);
        table.groups.iter_mut().for_each(|all| all.push(number));
        self.groups.iter_mut().for_each(|all| all.push(group.clone()));
    }
}

/// What a model reads, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What is given before the text, where the format has such a part.
    pub prompt: Option<String>,
    /// The text, at least one character that is no blank.
    pub text: String,
    /// The second text of a pair, of which the same holds.
    pub other: Option<String>,
    /// The class, counted from 0, where the format has labels.
    pub label: Option<i32>,
    /// Examples with the same value stay in one part of a split, where the format groups them.
    pub group: Option<String>,
    /// How hard it is, where the format says so.
    pub difficulty: Option<f64>,
    /// The chess position in which the text is a move, where the format has one.
    pub position: Option<Position>,
}

impl Example {
    /// Its one text, or its two.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.text.as_str()).chain(self.other.as_deref())
    }
}

/// A [`Format`] with its templates compiled.
pub struct Formatter {
    form: Shape,
    group_by: Option<Field>,
    difficulty: Option<Field>,
    /// What a formatter of ours does to a row before its templates are filled.
    derive: Option<(Derive, u64)>,
}

/// A [`Form`] with its templates compiled.
enum Shape {
    Text(Template),
    Classes { text: Template, label: Field, classes: Vec<String> },
    Choices { text: Template, choices: Answers, answer: Field, pick: Pick, seed: u64 },
    Pair { prompt: Option<Field>, chosen: Field, rejected: Field, pick: Pick, seed: u64 },
    Comparison { prompt: Option<Field>, chosen: Field, rejected: Field, seed: u64 },
    Completion { prompt: Field, completion: Field, position: Option<Field> },
}

/// Where the answers of a row are.
enum Answers {
    List(Field),
    Each(Vec<Field>),
}

/// What went wrong with a row, to be placed by the caller.
type Fault<T> = std::result::Result<T, String>;

impl Formatter {
    /// Compiles a format.
    ///
    /// # Errors
    /// When a template is none, there are no classes, or a named formatter has another version here.
    pub fn new(format: &Format) -> Result<Self> {
        match format {
            Format::Templates(templates) => Self::of(templates),
            Format::Named(named) => {
                let (templates, derive) = formatters::templates(named)?;
                Ok(Self { derive: derive.map(|derive| (derive, named.seed)), ..Self::of(&templates)? })
            }
        }
    }

    fn of(templates: &Templates) -> Result<Self> {
        let group_by = templates.group_by.as_deref().map(Field::new).transpose()?;
        let difficulty = templates.difficulty.as_deref().map(Field::new).transpose()?;
        Ok(Self { form: Shape::new(&templates.form)?, group_by, difficulty, derive: None })
    }

    /// Whether its examples have labels.
    pub fn labelled(&self) -> bool {
        !matches!(self.form, Shape::Text(_) | Shape::Completion { .. })
    }

    /// Whether its examples have groups: those of one row always do where there may be several.
    pub fn grouped(&self) -> bool {
        self.group_by.is_some() || matches!(self.form, Shape::Choices { .. } | Shape::Pair { .. })
    }

    /// Whether its examples have prompts.
    pub fn prompted(&self) -> bool {
        matches!(
            self.form,
            Shape::Pair { prompt: Some(_), .. }
                | Shape::Comparison { prompt: Some(_), .. }
                | Shape::Completion { .. }
        )
    }

    /// Whether its examples are moves in chess positions.
    pub fn positioned(&self) -> bool {
        matches!(self.form, Shape::Completion { position: Some(_), .. })
    }

    /// Whether its examples are pairs of texts.
    pub fn paired(&self) -> bool {
        matches!(self.form, Shape::Comparison { .. })
    }

    /// The examples of one row, in the order of its answers, or the preferred text first. There may be none: a
    /// preference between equal texts, or for or against an empty one, teaches nothing.
    ///
    /// # Errors
    /// When the row does not fit the format, with file, line and the way out.
    pub fn format(&self, row: &Row) -> Result<Vec<Example>> {
        self.examples(row).map_err(|what| row.place.fault(what))
    }

    fn examples(&self, row: &Row) -> Fault<Vec<Example>> {
        let record = match self.derive {
            Some((derive, seed)) => Cow::Owned(derive(&row.record, seed, row.row)?),
            None => Cow::Borrowed(&row.record),
        };
        let mut scope = Scope::new(&record);
        let group = match &self.group_by {
            Some(group_by) => Some(group_by.text(&scope)?),
            None => self.grouped().then(|| row.row.to_string()),
        };
        let difficulty = self.difficulty.as_ref().map(|field| number(&field.text(&scope)?)).transpose()?;
        let mut examples = self.form.examples(&mut scope, row.row)?;
        for example in &mut examples {
            check(example)?;
            example.group.clone_from(&group);
            example.difficulty = difficulty;
        }
        Ok(examples)
    }
}

impl Shape {
    fn new(form: &Form) -> Result<Self> {
        Ok(match form {
            Form::Text { text } => Self::Text(Template::new(text)?),
            Form::Classes { classes, .. } if classes.is_empty() => {
                return Err(DataError::value(
                    "a label column is named but no classes: list its values in class order",
                ));
            }
            Form::Classes { text, label, classes } => Self::Classes {
                text: Template::new(text)?,
                label: Field::new(label)?,
                classes: classes.clone(),
            },
            Form::Choices { text, choices, answer, pick, seed } => Self::Choices {
                text: Template::new(text)?,
                choices: match choices {
                    Choices::List(list) => Answers::List(Field::new(list)?),
                    Choices::Each(each) => {
                        Answers::Each(each.iter().map(|one| Field::new(one)).collect::<Result<_>>()?)
                    }
                },
                answer: Field::new(answer)?,
                pick: *pick,
                seed: *seed,
            },
            Form::Pair { prompt, chosen, rejected, pick, seed } => Self::Pair {
                prompt: prompt.as_deref().map(Field::new).transpose()?,
                chosen: Field::new(chosen)?,
                rejected: Field::new(rejected)?,
                pick: *pick,
                seed: *seed,
            },
            Form::Comparison { prompt, chosen, rejected, seed } => Self::Comparison {
                prompt: prompt.as_deref().map(Field::new).transpose()?,
                chosen: Field::new(chosen)?,
                rejected: Field::new(rejected)?,
                seed: *seed,
            },
            Form::Completion { prompt, completion, position } => Self::Completion {
                prompt: Field::new(prompt)?,
                completion: Field::new(completion)?,
                position: position.as_deref().map(Field::new).transpose()?,
            },
        })
    }

    fn examples(&self, scope: &mut Scope<'_>, row: i64) -> Fault<Vec<Example>> {
        match self {
            Self::Text(text) => Ok(vec![example(text.render(scope)?, None)]),
            Self::Classes { text, label, classes } => {
                let class = class(label, classes, scope)?;
                Ok(vec![example(text.render(scope)?, Some(class))])
            }
            Self::Choices { text, choices, answer, pick, seed } => {
                let question = Question::new(choices.texts(scope)?, &answer.value(scope)?)?;
                let texts = &question.texts;
                scope.set("choices", texts.iter().map(String::as_str).collect());
                let mut example = |place: usize, right| {
                    scope.set("choice", Value::from(texts[place].as_str()));
                    scope.set("letter", letter(place));
                    Ok(example(text.render(scope)?, Some(i32::from(right))))
                };
                let picked = question.pick(*pick, *seed, row);
                picked.into_iter().map(|answer| example(answer.place, answer.right)).collect()
            }
            Self::Pair { prompt, chosen, rejected, pick, seed } => {
                let prompt = prompt.as_ref().map(|prompt| prompt.text(scope)).transpose()?;
                let texts = vec![rejected.text(scope)?, chosen.text(scope)?];
                if teaches_nothing(&texts[0], &texts[1]) {
                    return Ok(Vec::new());
                }
                let one = |place: usize, right| Example {
                    prompt: prompt.clone(),
                    ..example(texts[place].clone(), Some(i32::from(right)))
                };
                let question = Question::new(texts.clone(), &1.into())?;
                // The preferred text comes first, as in the name of the form.
                let picked = question.pick(*pick, *seed, row).into_iter().rev();
                Ok(picked.map(|answer| one(answer.place, answer.right)).collect())
            }
            Self::Comparison { prompt, chosen, rejected, seed } => {
                let prompt = prompt.as_ref().map(|prompt| prompt.text(scope)).transpose()?;
                let mut texts = [rejected.text(scope)?, chosen.text(scope)?];
                if teaches_nothing(&texts[0], &texts[1]) {
                    return Ok(Vec::new());
                }
                let second = Rng::new(*seed, "order of a pair", row as u64).chance(0.5);
                if !second {
                    texts.reverse();
                }
                let [text, other] = texts;
                let other = Some(other);
                Ok(vec![Example { prompt, other, ..example(text, Some(i32::from(second))) }])
            }
            Self::Completion { prompt, completion, position } => {
                let completion = completion.text(scope)?;
                let position = position.as_ref().map(|position| solved(position, &completion, scope));
                let (prompt, position) = (Some(prompt.text(scope)?), position.transpose()?);
                Ok(vec![Example { prompt, position, ..example(completion, None) }])
            }
        }
    }
}

impl Answers {
    fn texts(&self, scope: &Scope<'_>) -> Fault<Vec<String>> {
        let list = match self {
            Self::Each(each) => return each.iter().map(|one| one.text(scope)).collect(),
            Self::List(list) => list.value(scope)?,
        };
        let serde_json::Value::Array(list) = list else {
            return Err("choices is no list: name one, or several columns".to_owned());
        };
        let text =
            |(place, value)| plain_text(value).map_err(|what| format!("answer {} {what}", place + 1_usize));
        list.into_iter().enumerate().map(text).collect()
    }
}

/// A preference between equal texts, or for or against an empty one.
fn teaches_nothing(rejected: &str, chosen: &str) -> bool {
    let [worse, better] = [rejected, chosen].map(str::trim);
    worse == better || worse.is_empty() || better.is_empty()
}

/// How hard a row is.
fn number(text: &str) -> Fault<f64> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| {
        format!("its difficulty is {text:?}, which is no number: give `difficulty` another value")
    })
}

fn example(text: String, label: Option<i32>) -> Example {
    Example { prompt: None, text, other: None, label, group: None, difficulty: None, position: None }
}

/// The position of a chess problem, in which its answer is a legal move.
fn solved(position: &Field, answer: &str, scope: &Scope<'_>) -> Fault<Position> {
    let position = Position::read(&position.text(scope)?)?;
    position.find(answer.trim()).map_err(|what| format!("completion: {what}"))?;
    Ok(position)
}

/// `A` for the first answer; those beyond `Z` have numbers, as people write them.
fn letter(place: usize) -> Value {
    match u8::try_from(place) {
        Ok(place @ 0..26) => Value::from(char::from(b'A' + place).to_string()),
        _ => Value::from((place + 1).to_string()),
    }
}

/// Classes are compared as text, so that `1`, `"1"` and, in its JSON spelling, `true` can be named alike.
fn class(label: &Field, classes: &[String], scope: &Scope<'_>) -> Fault<i32> {
    let value = label.text(scope)?;
    let class = classes.iter().position(|class| *class == value);
    class.and_then(|class| i32::try_from(class).ok()).ok_or_else(|| {
        let value: String = value.chars().take(80).collect();
        format!("{} is {value:?}, which is none of the classes {}", label.name(), classes.join(", "))
    })
}

fn check(example: &Example) -> Fault<()> {
    if example.texts().any(|text| text.trim().is_empty()) {
        return Err("the text is empty: a model needs something to read".to_owned());
    }
    let longest = example.texts().map(str::len).max().unwrap_or(0);
    let bytes = longest + example.prompt.as_ref().map_or(0, String::len);
    if bytes > MAX_TEXT_BYTES {
        return Err(format!("the text has {bytes} bytes, the most is {MAX_TEXT_BYTES}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
