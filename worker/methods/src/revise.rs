//! Prepare: rows and labels as a student gets them: the surest ones, with a hint, or with errors on other rows.

use std::cmp::Reverse;

use fulcrum_common::{
    plan::{ErrorPattern, Part, Revision},
    rng::Rng,
};
use fulcrum_data::{Completions, Labels, Probabilities, Table};

use crate::{
    Error, Job, Outcome,
    job::part_name,
    labels::{self, hard},
};

/// Leaves the part's rows and their labels, of which either may be new.
pub(crate) fn run(job: &Job<'_>, part: Part, revision: &Revision) -> Result<Outcome, Error> {
    let table = Table::read(job.file("data", &part.file())?)?;
    let (table, probabilities) = match revision {
        Revision::Answers => return answered(job, part, table),
        Revision::Hint { endings } => {
            let (table, labels) = labelled(job, &table)?;
            (with_hints(table, &labels, endings)?, labels)
        }
        Revision::Confident { share } => {
            let (table, labels) = labelled(job, &table)?;
            let kept = surest(&labels, *share);
            (table.select(&kept), kept.into_iter().map(|place| labels[place].clone()).collect())
        }
        Revision::Errors { pattern, seed } => {
            let roles: &[&str] = if pattern.asks_strong() { &["labels", "strong"] } else { &["labels"] };
            let (table, columns) = predicted(job, &table, roles)?;
            let moved = with_errors(&table, &columns[0], &columns[columns.len() - 1], *pattern, *seed)?;
            (table, moved)
        }
    };
    let (rows, files) = (table.len() as u64, [part.file(), part_name(0)]);
    table.write(&job.output.join(&files[0]))?;
    Probabilities { rows: table.rows, probabilities }.write(&job.output.join(&files[1]))?;
    let facts = [(part.fact(), rows), ("rows".to_owned(), rows)];
    Ok(Outcome { files: files.into(), facts: facts.into() })
}

/// The rows that have labels, and these.
fn labelled(job: &Job<'_>, table: &Table) -> Result<(Table, Vec<Vec<f32>>), Error> {
    let (table, labels) = predicted(job, table, &["labels"])?;
    Ok((table, labels.concat()))
}

/// What an input says of rows: the probabilities of each.
type Column = Vec<Vec<f32>>;

/// The rows of which each input says something, and what each says.
fn predicted(job: &Job<'_>, table: &Table, roles: &[&str]) -> Result<(Table, Vec<Column>), Error> {
    let said = roles.iter().map(|role| labels::join(&table.rows, job.prediction(role)?));
    let (kept, columns) = labels::whole(said.collect::<Result<_, _>>()?);
    Ok((table.select(&kept), columns))
}

/// Leaves the part's rows with what was written after each prompt in place of their texts.
fn answered(job: &Job<'_>, part: Part, mut table: Table) -> Result<Outcome, Error> {
    if table.prompts.is_none() {
        let what = "the rows have no prompts, so nothing was written after them";
        return Err(Error::Mismatch(what.to_owned()));
    }
    table.texts = labels::written(&table.rows, Completions::read(&job.parts("labels")?)?)?;
    table.write(&job.output.join(part.file()))?;
    Ok(Outcome { files: vec![part.file()], facts: [(part.fact(), table.len() as u64)].into() })
}

/// Leaves every `of`-th row of the part, from the `index`-th on.
pub(crate) fn share(job: &Job<'_>, part: Part, index: usize, of: usize) -> Result<Outcome, Error> {
    if index >= of {
        return Err(Error::Mismatch(format!("share {index} of {of} is none: they are counted from 0")));
    }
    let table = Table::read(job.file("data", &part.file())?)?;
    let table = table.select(&(index..table.len()).step_by(of).collect::<Vec<_>>());
    table.write(&job.output.join(part.file()))?;
    Ok(Outcome { files: vec![part.file()], facts: [(part.fact(), table.len() as u64)].into() })
}

fn with_hints(mut table: Table, labels: &[Vec<f32>], endings: &[String]) -> Result<Table, Error> {
    let ending = |class: usize| {
        endings.get(class).ok_or_else(|| {
            let known = endings.len();
            Error::Mismatch(format!("a label names class {class}, but there are endings for {known}"))
        })
    };
    let mut others = table.others.as_mut().map(|others| others.iter_mut());
    for (text, label) in table.texts.iter_mut().zip(labels) {
        let class = likeliest(label);
        match others.as_mut().and_then(Iterator::next) {
            None => text.push_str(ending(class)?),
            // Of a pair each text is told by itself whether it is preferred.
            Some(other) => {
                text.push_str(ending(usize::from(class == 0))?);
                other.push_str(ending(class)?);
            }
        }
    }
    Ok(table)
}

/// The places whose labels are surest, of each class the same share, in their order.
fn surest(labels: &[Vec<f32>], share: f64) -> Vec<usize> {
    let classes = labels.first().map_or(0, Vec::len);
    let mut kept = Vec::new();
    for class in 0..classes {
        let mut places: Vec<usize> =
            (0..labels.len()).filter(|&place| likeliest(&labels[place]) == class).collect();
        // Stable: of equally sure ones the earlier are kept.
        places.sort_by(|&a, &b| labels[b][class].total_cmp(&labels[a][class]));
        places.truncate((share * places.len() as f64).ceil() as usize);
        kept.append(&mut places);
    }
    kept.sort_unstable();
    kept
}

/// One-hot labels that are true but on as many rows as `labels` are wrong on. A wrong one is the likeliest of the wrong
/// classes. `strong` is what a strong model says of the rows, for patterns that ask it.
fn with_errors(
    table: &Table,
    labels: &[Vec<f32>],
    strong: &[Vec<f32>],
    pattern: ErrorPattern,
    seed: u64,
) -> Result<Vec<Vec<f32>>, Error> {
    let classes = labels.first().map_or(0, Vec::len);
    let known = Labels { rows: table.rows.clone(), labels: table.labels.clone(), groups: None };
    let truth = hard(&known, classes)?;
    let mut truth: Vec<Vec<f32>> = truth.chunks_exact(classes.max(1)).map(<[f32]>::to_vec).collect();
    let errors = truth.iter().zip(labels).filter(|(truth, label)| likeliest(truth) != likeliest(label));
    let errors = errors.count();
    if let Some(row) = strong.iter().find(|row| row.len() != classes) {
        let found = row.len();
        return Err(Error::Mismatch(format!(
            "the strong model knows {found} classes, the labels have {classes}"
        )));
    }
    let mut places: Vec<usize> = (0..table.len()).collect();
    match pattern {
        ErrorPattern::Random => Rng::new(seed, "errors", 0).shuffle(&mut places),
        ErrorPattern::Longest => places.sort_by_key(|&place| Reverse(length(table, place))),
        ErrorPattern::Shortest => places.sort_by_key(|&place| length(table, place)),
        ErrorPattern::StrongUnconfident => {
            places.sort_by(|&a, &b| top(&strong[a]).total_cmp(&top(&strong[b])));
        }
        ErrorPattern::StrongConfident => {
            let of_truth = |place: usize| strong[place][likeliest(&truth[place])];
            places.sort_by(|&a, &b| of_truth(b).total_cmp(&of_truth(a)));
        }
    }
    for &place in &places[..errors] {
        let right = likeliest(&truth[place]);
        let mut others = labels[place].clone();
        others[right] = f32::NEG_INFINITY;
        let wrong = likeliest(&others);
        truth[place].fill(0.0);
        truth[place][wrong] = 1.0;
    }
    Ok(truth)
}

/// The largest of the probabilities.
fn top(probabilities: &[f32]) -> f32 {
    probabilities[likeliest(probabilities)]
}

/// Bytes of a row's text, or of its two.
fn length(table: &Table, place: usize) -> usize {
    table.texts[place].len() + table.others.as_ref().map_or(0, |others| others[place].len())
}

/// The class of the largest value, the first of equals.
fn likeliest(values: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in values.iter().enumerate() {
        if value.total_cmp(&values[best]).is_gt() {
            best = class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let texts = ["a", "bbbb", "cc", "ddd"].map(str::to_owned).into();
        Table { rows: vec![9, 4, 7, 1], texts, labels: Some(vec![0, 1, 1, 0]), ..Table::default() }
    }

    /// Wrong on the second row alone.
    fn labels() -> Vec<Vec<f32>> {
        [0.9, 0.6, 0.3, 0.7].map(|p: f32| vec![p, 1.0 - p]).into()
    }

    #[test]
    fn a_text_ends_in_what_its_label_says() {
        let endings = [" (no)".to_owned(), " (yes)".to_owned()];
        let hinted = with_hints(table(), &labels(), &endings).unwrap();
        assert_eq!(hinted.texts[1], "bbbb (no)");
        assert_eq!(hinted.texts[2], "cc (yes)");
        let error = with_hints(table(), &labels(), &endings[..1]).unwrap_err().to_string();
        assert!(error.contains("names class 1, but there are endings for 1"), "{error}");
    }

    /// The first text of the second row is the preferred one, the second of the others.
    fn pairs() -> Table {
        let others = ["bbbb", "a", "ddd", "ccccccc"].map(str::to_owned).into();
        Table { others: Some(others), labels: Some(vec![1, 0, 1, 1]), ..table() }
    }

    #[test]
    fn each_text_of_a_pair_ends_in_whether_it_is_preferred() {
        let endings = [" (no)".to_owned(), " (yes)".to_owned()];
        let hinted = with_hints(pairs(), &labels(), &endings).unwrap();
        let others = hinted.others.unwrap();
        assert_eq!((&*hinted.texts[1], &*others[1]), ("bbbb (yes)", "a (no)"));
        assert_eq!((&*hinted.texts[2], &*others[2]), ("cc (no)", "ddd (yes)"));
        assert!(with_hints(pairs(), &labels(), &endings[..1]).is_err());
    }

    #[test]
    fn a_pair_is_as_long_as_its_texts_together() {
        let truth = [0.0, 1.0, 0.0, 0.0].map(|p: f32| vec![p, 1.0 - p]);
        let mut labels = Vec::from(truth);
        labels[0].swap(0, 1);
        for (pattern, wrong) in [(ErrorPattern::Longest, 3), (ErrorPattern::Shortest, 0)] {
            let moved = with_errors(&pairs(), &labels, &[], pattern, 0).unwrap();
            let errors: Vec<_> = (0..4)
                .filter(|&place| likeliest(&moved[place]) as i32 != pairs().labels.unwrap()[place])
                .collect();
            assert_eq!(errors, [wrong], "{pattern:?}");
        }
    }

    #[test]
    fn of_each_class_the_surest_rows_stay_in_their_order() {
        assert_eq!(surest(&labels(), 0.5), [0, 2, 3], "two of three, and one of one");
        assert_eq!(surest(&labels(), 0.1), [0, 2]);
        assert_eq!(surest(&labels(), 1.0), [0, 1, 2, 3]);
        let tie: Vec<Vec<f32>> = vec![vec![0.8, 0.2]; 3];
        assert_eq!(surest(&tie, 0.6), [0, 1]);
    }

    #[test]
    fn a_control_has_as_many_errors_as_the_labels_and_chooses_their_rows() {
        let strong = [0.9, 0.2, 0.4, 0.55].map(|p: f32| vec![p, 1.0 - p]);
        let wrong = |pattern, seed| -> Vec<usize> {
            let moved = with_errors(&table(), &labels(), &strong, pattern, seed).unwrap();
            let truth = table().labels.unwrap();
            (0..4).filter(|&place| likeliest(&moved[place]) as i32 != truth[place]).collect()
        };
        assert_eq!(wrong(ErrorPattern::Longest, 0), [1]);
        assert_eq!(wrong(ErrorPattern::Shortest, 0), [0]);
        assert_eq!(wrong(ErrorPattern::StrongUnconfident, 0), [3]);
        assert_eq!(wrong(ErrorPattern::StrongConfident, 0), [0]);
        let drawn: Vec<_> = (0..40).map(|seed| wrong(ErrorPattern::Random, seed)).collect();
        assert!(drawn.iter().all(|places| places.len() == 1));
        assert!((0..4).all(|place| drawn.contains(&vec![place])), "{drawn:?}");
        let unlabelled = Table { labels: None, ..table() };
        assert!(with_errors(&unlabelled, &labels(), &[], ErrorPattern::Random, 0).is_err());
    }

    #[test]
    fn a_wrong_label_of_many_is_the_likeliest_wrong_one() {
        let table =
            Table { labels: Some(vec![2]), rows: vec![0], texts: vec!["x".into()], ..Table::default() };
        let moved = with_errors(&table, &[vec![0.2, 0.5, 0.3]], &[], ErrorPattern::Longest, 0).unwrap();
        assert_eq!(moved, [[0.0, 1.0, 0.0]]);
    }
}
