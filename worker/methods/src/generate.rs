//! Infer, completions: a language model continues the prompts of one shard of rows.

use std::path::Path;

use fulcrum_common::plan::{Chat, Infer, Sampling, Turns};
use fulcrum_data::{
    ChatTemplate, Completion, Completions, DataError, Decoder, Table, Tokenizer,
    chat::{Message, end_token},
    completions::Finish,
    decoding::{Prompt, Special},
};
use fulcrum_models::{Model, ModelFiles, generation_ends};
use fulcrum_train::{Listener, Monitor, generation};

use crate::{Error, Job, Outcome, infer};

/// Without a shard: all rows, as one.
pub(crate) fn run(
    job: &Job<'_>,
    work: &Infer,
    sampling: &Sampling,
    monitor: &dyn Monitor,
) -> Result<Outcome, Error> {
    let table = Table::read(job.file("data", &work.part.file())?)?;
    let (shard, all) = (job.shard(work.shard, table.len())?, table.rows.clone());
    let table = table.select(&shard.computed());
    let (model, tokenizer) = (job.model("model")?, job.tokenizer("model")?);
    let voice = Voice::new(job, &model, tokenizer)?;
    infer::begin(&table.rows, monitor)?;
    let prompts = voice.prompts(&table, sampling, &model)?;
    let cut = prompts.iter().filter(|prompt| prompt.cut > 0).count();
    let completions = voice.speak(&model, &table.rows, &prompts, sampling, monitor)?;
    let counts = [("rows", table.len()), ("completions", completions.0.len()), ("cut", cut)];
    let Some((file, left)) = infer::outcome(&shard, &all, work.shard, counts) else {
        return Ok(Outcome::default());
    };
    completions.write(&job.output.join(file))?;
    Ok(left)
}

/// What lies between a model's tokens and people's words.
struct Voice<'a> {
    tokenizer: Tokenizer,
    /// The files about conversations, where the model has them.
    config: Option<&'a Path>,
    template: Option<&'a Path>,
    /// Tokens that end a text.
    ends: Vec<i64>,
}

impl<'a> Voice<'a> {
    fn new(job: &'a Job<'_>, model: &Model, tokenizer: &Path) -> Result<Self, Error> {
        let file = |name| Ok::<_, Error>(job.input("model")?.files.get(name).map(|path| path.as_path()));
        let (config, template) = (file("tokenizer_config.json")?, file("chat_template.jinja")?);
        let tokenizer = Tokenizer::from_file(tokenizer)?;
        let mut ends = model.ends();
        // A model made for conversations says in these what ends a turn, and in its configuration only what ends a text.
        if let Some(generation) = file(ModelFiles::GENERATION)? {
            ends.extend(generation_ends(generation, model.vocab_size())?);
        }
        let turn = config.map(end_token).transpose()?.flatten();
        ends.extend(turn.and_then(|token| tokenizer.id_of(&token)));
        Ok(Self { tokenizer, config, template, ends })
    }

    /// The tokens of each row's prompt, cut to leave room for what the model says.
    fn prompts(&self, table: &Table, sampling: &Sampling, model: &Model) -> Result<Vec<Prompt>, Error> {
        let (new, context) = (sampling.max_new_tokens, model.max_tokens());
        let room = context.checked_sub(new).filter(|&room| room > 0).ok_or_else(|| {
            Error::Mismatch(format!(
                "max_new_tokens = {new} leaves no room for a prompt: the model reads {context} tokens"
            ))
        })?;
        let template = sampling
            .chat
            .map(|chat| {
                Ok::<_, DataError>((chat, ChatTemplate::load(self.config, self.template, chat.date)?))
            })
            .transpose()?;
        let given = table.prompts.as_ref().unwrap_or(&table.texts);
        let prompt = |(row, given): (&i64, &String)| {
            let place = |what: &dyn std::fmt::Display| Error::Mismatch(format!("row {row}: {what}"));
            let (text, special) = match &template {
                Some((chat, template)) => {
                    (conversation(template, *chat, given).map_err(|what| place(&what))?, Special::Written)
                }
                None => (given.clone(), Special::Added),
            };
            self.tokenizer.prompt(&text, special, room).map_err(|error| place(&error))
        };
        table.rows.iter().zip(given).map(prompt).collect()
    }

    fn speak(
        &self,
        model: &Model,
        rows: &[i64],
        prompts: &[Prompt],
        sampling: &Sampling,
        monitor: &dyn Monitor,
    ) -> Result<Completions, Error> {
        let prompts: Vec<_> = rows
            .iter()
            .zip(prompts)
            .map(|(&row, prompt)| generation::Prompt { row, tokens: &prompt.tokens })
            .collect();
        let ear = || Ear { decoder: Decoder::new(&self.tokenizer), stop: &sampling.stop, end: None };
        let found = generation::generate(model, &prompts, sampling, &self.ends, ear, monitor)?;
        let lines = found.into_iter().map(|found| {
            Ok(Completion {
                row: found.row,
                sample: found.sample as i64,
                text: found.listener.text()?,
                tokens: found.tokens.len() as i64,
                log_probability: found.log_probability,
                finish: match found.finish {
                    generation::Finish::Stop => Finish::Stop,
                    generation::Finish::Length => Finish::Length,
                },
            })
        });
        lines.collect::<Result<_, Error>>().map(Completions)
    }
}

/// A row's prompt as the model's template writes it.
fn conversation(template: &ChatTemplate, chat: Chat, given: &str) -> Result<String, String> {
    let messages = match chat.turns {
        Turns::User => vec![Message::user(given)],
        Turns::Messages => Message::list(given)?,
    };
    template.render(&messages)
}

/// Hears one completion, up to the first stop text.
struct Ear<'a> {
    decoder: Decoder<'a>,
    stop: &'a [String],
    /// Where a stop text begins.
    end: Option<usize>,
}

impl Listener for Ear<'_> {
    fn hear(&mut self, token: i64) -> Result<bool, fulcrum_train::Error> {
        let before = self.decoder.text().len();
        self.decoder.push(token).map_err(|error| fulcrum_train::Error::Examples(error.to_string()))?;
        let text = self.decoder.text();
        // A stop text may have begun in what was said before, but not ended there.
        let found = |stop: &String| {
            let from = text.floor_char_boundary((before + 1).saturating_sub(stop.len()));
            text[from..].find(stop.as_str()).map(|at| from + at)
        };
        self.end = self.stop.iter().filter_map(found).min();
        Ok(self.end.is_some())
    }
}

impl Ear<'_> {
    fn text(self) -> Result<String, Error> {
        match self.end {
            Some(end) => Ok(self.decoder.text()[..end].to_owned()),
            None => Ok(self.decoder.finish()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_data::tokenizer::character_tokenizer;

    use super::*;

    #[test]
    fn a_stop_text_is_heard_across_tokens_and_the_first_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, character_tokenizer("abcdé")).unwrap();
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        let cases: [(&[&str], &str, &str, usize); 7] = [
            (&[], "abcd", "abcd", 4),
            (&["bc"], "abcd", "a", 3),
            (&["a"], "abcd", "", 1),
            (&["d", "bcd"], "abcda", "a", 4),
            (&["éa"], "bébéab", "béb", 5),
            (&["aab"], "aaab", "a", 4),
            (&["abc", "b"], "abc", "a", 2),
        ];
        for (stop, said, expected, heard) in cases {
            let stop: Vec<String> = stop.iter().map(|text| (*text).to_owned()).collect();
            let mut ear = Ear { decoder: Decoder::new(&tokenizer), stop: &stop, end: None };
            let tokens = tokenizer.prompt(said, Special::Written, 99).unwrap().tokens;
            let ended = tokens.iter().position(|&token| ear.hear(token).unwrap());
            assert_eq!(ended.map_or(tokens.len(), |at| at + 1), heard, "{stop:?} in {said}");
            assert_eq!(ear.text().unwrap(), expected, "{stop:?} in {said}");
        }
    }
}
