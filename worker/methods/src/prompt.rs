//! Prepare: texts after others with their answers, from which a model that nobody finetunes is to see what is asked.

use fulcrum_common::{
    metrics::argmax,
    plan::{Part, Shots},
    rng::Rng,
};
use fulcrum_data::Table;

use crate::{Error, Job, Outcome, labels};

/// Leaves the part's rows, their texts after as many others as there are to be and `fits` allows.
pub(crate) fn run(
    job: &Job<'_>,
    part: Part,
    shots: &Shots,
    fits: impl Fn(&str) -> Result<bool, Error>,
) -> Result<Outcome, Error> {
    let mut table = Table::read(job.file("data", &part.file())?)?;
    if table.prompts.is_some() {
        let what = "the texts complete prompts of their own: nothing can stand before them";
        return Err(Error::Mismatch(what.to_owned()));
    }
    let shown = if shots.count > 0 { shown(job, shots)? } else { Vec::new() };
    let (mut used, mut shortened) = (0, 0);
    for (row, text) in table.rows.iter().zip(&mut table.texts) {
        let mut rng = Rng::new(shots.seed, "shots", *row as u64);
        let mut drawn = draw(&mut rng, shown.len(), shots.count);
        let wanted = drawn.len();
        *text = loop {
            let others = drawn.iter().map(|&at| format!("{}{}", shown[at], shots.separator));
            let prompted = others.collect::<String>() + text;
            if drawn.is_empty() || fits(&prompted)? {
                break prompted;
            }
            drawn.pop();
        };
        used += drawn.len() as u64;
        shortened += u64::from(drawn.len() < wanted);
    }
    table.write(&job.output.join(part.file()))?;
    let rows = table.len() as u64;
    let facts = [(part.fact(), rows), ("shots".to_owned(), used), ("shortened".to_owned(), shortened)];
    Ok(Outcome { files: vec![part.file()], facts: facts.into() })
}

/// The weak-label rows with their answers.
fn shown(job: &Job<'_>, shots: &Shots) -> Result<Vec<String>, Error> {
    let mut table = Table::read(job.file("data", &Part::WeakLabels.file())?)?;
    let classes: Vec<usize> = if job.stage.spec.inputs.contains_key("labels") {
        let (kept, labels) = labels::whole(vec![labels::join(&table.rows, job.prediction("labels")?)?]);
        table = table.select(&kept);
        labels.iter().flatten().map(|label| argmax(label)).collect()
    } else {
        let truth = table.labels.as_ref().ok_or_else(|| {
            Error::Mismatch("the rows to be shown carry no labels, and no other labels are given".to_owned())
        })?;
        truth.iter().map(|&class| class as usize).collect()
    };
    let answered = |(text, class): (&String, usize)| {
        let known = shots.answers.len();
        let answer = shots.answers.get(class).ok_or_else(|| {
            Error::Mismatch(format!("a label names class {class}, but there are answers for {known}"))
        })?;
        Ok(format!("{text}{answer}"))
    };
    table.texts.iter().zip(classes).map(answered).collect()
}

/// So many different places below `of`, all where there are fewer, in the order in which they are drawn.
fn draw(rng: &mut Rng, of: usize, count: usize) -> Vec<usize> {
    let mut drawn: Vec<usize> = Vec::with_capacity(count.min(of));
    while drawn.len() < count.min(of) {
        let place = rng.index(of);
        if !drawn.contains(&place) {
            drawn.push(place);
        }
    }
    drawn
}
