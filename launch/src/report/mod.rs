//! The report of a run: terminal table, self-contained HTML page with two plots, CSV.
//!
//! Rust decides what is said and where every mark lies; the templates beside this file draw it and escape
//! every value. The page reads nothing from outside and its bytes depend on the results and the experiment
//! file alone.

mod accuracy_plot;
mod agreement_plot;
mod artifacts;
mod colours;
mod course_plot;
mod csv;
mod gap_plot;
mod pgr_plot;
mod released;
mod rows;
#[cfg(test)]
mod sample;
mod scale;
mod tasks;
mod tasks_page;
mod terminal;

use anyhow::{Context, Result, bail};
use fulcrum_common::{
    plan::CODE_VERSION,
    results::{Interval, Results},
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use accuracy_plot::AccuracyPlot;
use agreement_plot::AgreementPlot;
pub(crate) use artifacts::Artifacts;
use colours::Colours;
use course_plot::CoursePlot;
pub(crate) use csv::csv;
use gap_plot::GapPlot;
use pgr_plot::PgrPlot;
#[cfg(test)]
pub(crate) use sample::results as sample_results;
pub(crate) use scale::{three, two};
pub(crate) use tasks::{over_tasks, released_table};
pub(crate) use tasks_page::tasks_html;
pub(crate) use terminal::table;

/// The outcome of an experiment: its results and what they are called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Name of the experiment.
    pub(crate) experiment: String,
    /// The recipe it was compiled with.
    pub(crate) recipe: String,
    /// What was measured.
    pub(crate) results: Results,
}

impl Outcome {
    /// Checks what came from a file: the reports rely on it.
    ///
    /// # Errors
    /// If a name is used that the ladder lacks, or a share is out of its range.
    pub(crate) fn check(&self) -> Result<()> {
        self.results.per_question.iter().try_for_each(|questions| check(questions))?;
        check(&self.results)
    }
}

fn check(results: &Results) -> Result<()> {
    let known = |name: &str| match results.ladder.iter().any(|model| model.name == name) {
        true => Ok(()),
        false => bail!("the model {name:?} is not in the ladder"),
    };
    let share = |what: &str, value: f64| match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => bail!("{what} is {value}, which is no share from 0 to 1"),
    };
    share("chance", results.chance)?;
    for score in results.supervisors.iter().chain(&results.ceilings) {
        known(&score.model)?;
        share("an accuracy", score.accuracy)?;
    }
    for student in &results.students {
        known(&student.weak)?;
        known(&student.strong)?;
        share("an accuracy", student.accuracy)?;
    }
    for summary in &results.summary {
        known(&summary.weak)?;
        known(&summary.strong)?;
        for Interval { mean, low, high } in
            [summary.weak_accuracy, summary.student_accuracy, summary.ceiling_accuracy]
        {
            [mean, low, high].into_iter().try_for_each(|value| share("an accuracy", value))?;
        }
    }
    Ok(())
}

/// What the page tells beside the outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// The experiment file, where it is known.
    pub(crate) experiment_file: Option<String>,
    /// The command that makes the run again.
    pub(crate) command: String,
    /// What the run warned of, one line each.
    pub(crate) warnings: Vec<String>,
    /// The artifacts that the numbers rest on, where the plan is known.
    pub(crate) artifacts: Artifacts,
}

/// What the page template is given.
#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    recipe: &'a str,
    seeds: u64,
    test_rows: String,
    chance: String,
    leads: Vec<rows::Lead>,
    legend: Vec<(&'a str, usize)>,
    accuracy: AccuracyPlot,
    pgr: PgrPlot,
    gap: Option<GapPlot>,
    agreement: AgreementPlot,
    course: Option<CoursePlot>,
    flagged: Vec<rows::Flagged>,
    released: Vec<ReleasedRow>,
    summary: rows::Table,
    questions: Option<Questions>,
    legality: Option<rows::Table>,
    runs: rows::Table,
    artifacts: &'a [artifacts::ArtifactRow],
    version: &'static str,
    code: u32,
    command: &'a str,
    warnings: &'a [String],
    experiment_file: Option<&'a str>,
}

/// The same numbers of questions.
#[derive(Serialize)]
struct Questions {
    count: String,
    chance: String,
    summary: rows::Table,
}

/// A method by the released notebook's rule.
#[derive(Serialize)]
struct ReleasedRow {
    method: String,
    pgr: Option<String>,
    students: usize,
    dropped: usize,
}

impl ReleasedRow {
    fn new(found: released::Released) -> Self {
        let released::Released { method, students, dropped, pgr } = found;
        Self { method, pgr: pgr.map(two), students, dropped }
    }
}

/// The page.
///
/// # Errors
/// If a template is broken, which the tests rule out.
pub(crate) fn html(outcome: &Outcome, made: &Made) -> Result<String> {
    let results = &outcome.results;
    let colours = Colours::new(results);
    let page = Page {
        name: &outcome.experiment,
        recipe: &outcome.recipe,
        seeds: results.summary.iter().map(|summary| summary.seeds).max().unwrap_or(0),
        test_rows: crate::progress::thousands(results.test_rows),
        chance: scale::three(results.chance),
        leads: rows::leads(results),
        legend: colours.legend(results),
        accuracy: AccuracyPlot::new(results, &colours),
        pgr: PgrPlot::new(results, &colours),
        gap: GapPlot::new(results, &colours),
        agreement: AgreementPlot::new(results, &colours),
        course: CoursePlot::new(results, &colours),
        flagged: rows::flagged(results),
        released: released::released(results).into_iter().map(ReleasedRow::new).collect(),
        summary: rows::summary(results, &colours, &made.artifacts),
        questions: results.per_question.as_ref().map(|found| Questions {
            count: crate::progress::thousands(found.test_rows),
            chance: scale::three(found.chance),
            summary: rows::summary(found, &colours, &made.artifacts),
        }),
        legality: rows::legality(results, &colours, &made.artifacts),
        runs: rows::runs(results, &made.artifacts),
        artifacts: made.artifacts.rows(),
        version: env!("CARGO_PKG_VERSION"),
        code: CODE_VERSION,
        command: &made.command,
        warnings: &made.warnings,
        experiment_file: made.experiment_file.as_deref(),
    };
    let environment = environment()?;
    let template = environment.get_template("page.html").context("the report has no page template")?;
    template.render(Serde(&page)).context("the report cannot be drawn")
}

fn environment() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, text) in [
        ("page.html", include_str!("page.html")),
        ("tasks.html", include_str!("tasks.html")),
        ("table.html", include_str!("table.html")),
        ("tasks.svg", include_str!("tasks.svg")),
        ("style.css", include_str!("style.css")),
        ("accuracy.svg", include_str!("accuracy.svg")),
        ("pgr.svg", include_str!("pgr.svg")),
        ("gap.svg", include_str!("gap.svg")),
        ("agreement.svg", include_str!("agreement.svg")),
        ("course.svg", include_str!("course.svg")),
        ("sort.js", include_str!("sort.js")),
    ] {
        environment.add_template(name, text).with_context(|| format!("the template {name} is broken"))?;
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(outcome: &Outcome) -> String {
        let made = Made {
            experiment_file: Some("name = \"sample\"  # a <b>bold</b> \"choice\" & more".into()),
            command: "fulcrum run sample.toml --workers 2".into(),
            warnings: vec!["warning: 3 texts are in two parts".into()],
            artifacts: Artifacts::default(),
        };
        html(outcome, &made).unwrap()
    }

    #[test]
    fn the_page_holds_both_plots_every_number_and_what_is_not_available() {
        let page = page(&sample::outcome());
        assert_eq!(page.matches("<svg class=\"plot accuracy\"").count(), 2, "one panel per method");
        assert_eq!(page.matches("<svg class=\"plot pgr\"").count(), 1);
        for text in [
            "0.842",
            "0.61 [0.48, 0.73]",
            "n/a",
            "not above noise",
            "--workers 2",
            "3 texts are in two parts",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn moves_have_a_table_of_their_own() {
        let mut outcome = sample::outcome();
        assert!(!page(&outcome).contains("Legal moves"));
        outcome.results = sample::of_chess();
        let found = page(&outcome);
        assert!(found.contains("Legal moves") && found.contains("0.800"), "{found}");
        assert!(found.contains("8 legal, 1 illegal, 1 no move at all"), "{found}");
    }

    #[test]
    fn questions_have_a_table_of_their_own() {
        let mut outcome = sample::outcome();
        assert!(!page(&outcome).contains("Per question"));
        outcome.results.per_question =
            Some(Box::new(Results { test_rows: 250, chance: 0.25, ..sample::results() }));
        let found = page(&outcome);
        assert!(found.contains("The same over the 250 questions") && found.contains("Chance is 0.250"));
        let rows = |page: &str| page.matches("<table class=\"sortable\">").count();
        assert_eq!(rows(&found), rows(&page(&sample::outcome())) + 1);
        outcome.check().unwrap();
        outcome.results.per_question.as_mut().unwrap().chance = 1.5;
        assert!(outcome.check().is_err());
    }

    #[test]
    fn every_text_from_outside_is_escaped() {
        let evil = "<script>alert('&')</script>";
        let mut outcome = sample::outcome();
        outcome.experiment = evil.into();
        outcome.recipe = evil.into();
        let results = &mut outcome.results;
        let weak = results.ladder[0].name.clone();
        let rename = |name: &mut String| {
            if *name == weak {
                *name = evil.into();
            }
        };
        results.ladder.iter_mut().for_each(|model| rename(&mut model.name));
        results.supervisors.iter_mut().for_each(|score| rename(&mut score.model));
        for student in &mut results.students {
            rename(&mut student.weak);
            student.method = evil.into();
        }
        for summary in &mut results.summary {
            rename(&mut summary.weak);
            summary.method = evil.into();
        }
        let made = Made {
            experiment_file: Some(evil.into()),
            command: evil.into(),
            warnings: vec![evil.into()],
            ..Made::default()
        };
        let page = html(&outcome, &made).unwrap();
        assert_eq!(page.matches("<script").count(), 1, "a text from outside became markup");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn the_page_reads_nothing_from_outside() {
        let page = page(&sample::outcome());
        for word in ["http:", "https:", "src=", "@import", "url(", "<link", "fetch(", "import("] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn the_same_outcome_gives_the_same_bytes() {
        assert_eq!(page(&sample::outcome()), page(&sample::outcome()));
    }

    #[test]
    fn markup_is_closed_where_it_was_opened() {
        let page = page(&sample::outcome());
        for tag in [
            "svg", "g", "table", "tr", "td", "th", "section", "figure", "text", "details", "pre", "div", "p",
            "li",
        ] {
            let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn an_outcome_with_nothing_in_it_still_gives_a_page() {
        let mut outcome = sample::outcome();
        let results = &mut outcome.results;
        results.summary.clear();
        results.students.clear();
        results.supervisors.clear();
        results.ceilings.clear();
        results.ladder.clear();
        assert!(page(&outcome).contains("sample"));
    }

    #[test]
    fn an_outcome_that_contradicts_itself_is_refused() {
        sample::outcome().check().unwrap();
        let mut stranger = sample::outcome();
        stranger.results.summary[0].weak = "nobody".into();
        assert_eq!(stranger.check().unwrap_err().to_string(), "the model \"nobody\" is not in the ladder");
        let mut beyond = sample::outcome();
        beyond.results.ceilings[0].accuracy = 1.5;
        assert_eq!(
            beyond.check().unwrap_err().to_string(),
            "an accuracy is 1.5, which is no share from 0 to 1"
        );
    }
}
