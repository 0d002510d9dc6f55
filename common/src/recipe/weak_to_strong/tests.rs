//! What each part of a method adds to the plan.

mod ladder;

use super::*;
use crate::{
    experiment,
    plan::{
        ErrorPattern, Head, HeadInit, Merge, Objective, Output, Prepare, Revision, Source, Span, Style,
        Trainable,
    },
    recipe::compile,
};

/// A ladder of three, with what follows its pairs.
fn plan_with(pairs: &str, rest: &str) -> Plan {
    split_plan("", pairs, rest)
}

/// The same with other rows beside those of every experiment.
fn split_plan(split: &str, pairs: &str, rest: &str) -> Plan {
    compiled(&written(split, pairs, rest))
}

fn written(split: &str, pairs: &str, rest: &str) -> String {
    let model = |(name, layers)| {
        format!(
            "[[model]]\nname = {name:?}\nlayers = {layers}\nhidden = 16\nheads = 2\ncontext = 32\n\
             head_init = [\"F\", \"T\"]\n"
        )
    };
    let ladder = [("s", 1), ("m", 2), ("l", 3)].map(model).concat();
    format!(
        "name = \"n\"\nrecipe = \"weak-to-strong\"\n[task]\nsource = \"builtin:arithmetic\"\n\
         split = {{ ground_truth = 100, weak_labels = 80, validation = 20, test = 50{split} }}\n{ladder}[methods]\nrun = []\n{pairs}\n{rest}"
    )
}

/// The same of another kind of task; heads of rewards begin with one token.
fn plan_of_kind(kind: &str, rest: &str) -> Plan {
    let text = written("", "", rest).replace("[task]\n", &format!("[task]\nkind = {kind:?}\n"));
    compiled(&match kind {
        "preference" => text.replace("[\"F\", \"T\"]", "[\"T\"]"),
        _ => text.replace("head_init = [\"F\", \"T\"]\n", ""),
    })
}

fn compiled(text: &str) -> Plan {
    let experiment = experiment::parse("n.toml", text, "".as_ref()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let plan = compile(&experiment, &Sources::default()).unwrap();
    plan.check().unwrap();
    plan
}

/// A file of that text, with the folders that it needs.
fn put(folder: &std::path::Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn plan(rest: &str) -> Plan {
    plan_with("pairs = \"weaker-to-stronger\"", rest)
}

fn named<'a>(plan: &'a Plan, name: &str) -> &'a Spec {
    let found = plan.stages().iter().find(|stage| stage.name == name);
    let names = || plan.stages().iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join("\n");
    &found.unwrap_or_else(|| panic!("no {name:?} in\n{}", names())).spec
}

/// The name of the stage that another one reads.
fn read<'a>(plan: &'a Plan, name: &str, role: &str) -> &'a str {
    &plan.stage(named(plan, name).input(role).unwrap()).unwrap().name
}

fn training<'a>(plan: &'a Plan, name: &str) -> &'a crate::plan::Train {
    let Work::Train(train) = &named(plan, name).work else { panic!("{name} is no training") };
    train
}

/// The roles that are measured, by the names of the models.
fn roles(plan: &Plan) -> Vec<Role> {
    let Work::Measure(Measure::WeakToStrong { predictions, .. }) = &plan.stages().last().unwrap().spec.work
    else {
        panic!("the goal is no measurement")
    };
    predictions.iter().map(|prediction| prediction.role.clone()).collect()
}

#[test]
fn a_multiple_choice_is_a_classification_whose_questions_are_written_down() {
    let plan = plan_of_kind("multiple-choice", "[[method]]\nname = \"a\"");
    let Work::Prepare(Prepare::Dataset { source, format, split, questions, .. }) =
        &named(&plan, "dataset").work
    else {
        panic!("no dataset")
    };
    assert!(*questions && matches!(source, Source::ArithmeticQuestions(_)) && !format.compares());
    assert_eq!(split.balance, 1.0, "no answer is taken from a question");
    assert_eq!(training(&plan, "weak s seed 0").head.head, Head::Classifier { classes: 2 });
}

#[test]
fn models_of_preferences_end_in_a_reward_and_read_pairs() {
    let plan = plan_of_kind("preference", "[[method]]\nname = \"g\"\ngenerative = 1");
    for name in ["weak s seed 0", "ceiling l seed 0", "student g s>l seed 0"] {
        assert_eq!(training(&plan, name).head.head, Head::Reward, "{name}");
    }
    let style = |name: &str| match &named(&plan, name).work {
        Work::Prepare(Prepare::Tokens { style, .. }) => *style,
        other => panic!("{name} is {other:?}"),
    };
    for name in ["tokens s ground_truth", "tokens l weak_labels", "tokens l test"] {
        assert_eq!(style(name), Style::Pair, "{name}");
    }
    assert_eq!(style("tokens l corpus"), Style::Plain);
    assert_eq!(read(&plan, "language l seed 0", "tokens"), "tokens l weak_labels", "both texts of a pair");
    let Work::Prepare(Prepare::Dataset { source, format, .. }) = &named(&plan, "dataset").work else {
        panic!("no dataset")
    };
    assert!(matches!(source, Source::ArithmeticQuestions(_)) && format.compares(), "{source:?} {format:?}");
}

#[test]
fn members_of_an_ensemble_differ_in_their_seeds_and_share_the_first() {
    let plan = plan("[[method]]\nname = \"e\"\nensemble = 3");
    let labels = read(&plan, "student e s>m seed 0", "labels");
    assert_eq!(named(&plan, labels).work, Work::Merge(Merge::Predictions));
    let members: Vec<u64> = (0..3)
        .map(|i| training(&plan, read(&plan, read(&plan, labels, &format!("labels/{i}")), "model")).seed)
        .collect();
    assert_eq!(members, [0, 1 << 32, 2 << 32]);
    assert_eq!(read(&plan, read(&plan, labels, "labels/0"), "model"), "weak s seed 0");
}

#[test]
fn generative_students_and_their_ceilings_learn_the_language_first() {
    let plan = plan("[[method]]\nname = \"g\"\ngenerative = 2");
    for name in ["student g s>l seed 0", "ceiling g l seed 0"] {
        let language = read(&plan, name, "model");
        assert_eq!(language, "language l seed 0", "{name}");
        let train = training(&plan, language);
        assert_eq!((train.objective, train.optimizer.passes), (Objective::LanguageModel, 2));
        assert_eq!(train.part, Part::WeakLabels);
        assert!(!named(&plan, language).inputs.contains_key("labels"));
    }
    assert_eq!(read(&plan, "ceiling l seed 0", "model"), "pretrain l");
    assert!(roles(&plan).contains(&Role::Ceiling { model: "l".into(), method: Some("g".into()) }));
}

#[test]
fn probes_train_a_classifier_alone_before_or_after() {
    let with = |tuning: &str| {
        plan(&format!("[[method]]\nname = \"p\"\ntuning = {tuning:?}\nprobe_learning_rate = 0.5"))
    };
    let student = "student p s>m seed 0";
    let probe = with("probe");
    let train = training(&probe, student);
    assert_eq!((&train.trainable, train.optimizer.learning_rate), (&Trainable::Head, 0.5));
    assert_eq!(training(&probe, "ceiling p m seed 0").trainable, Trainable::Head);

    let before = with("probe-then-finetune");
    let first = read(&before, student, "model");
    assert_eq!(training(&before, first).trainable, Trainable::Head);
    let train = training(&before, student);
    assert_eq!((&train.trainable, train.optimizer.learning_rate), (&Trainable::All, 1e-4));
    assert_eq!(train.head.init, HeadInit::Normal, "the head that is there is kept");

    let after = with("finetune-then-probe");
    let first = read(&after, student, "model");
    assert_eq!(read(&after, first, "labels"), "weak labels s seed 0");
    let train = training(&after, student);
    assert_eq!((&train.trainable, &train.head.init), (&Trainable::Head, &HeadInit::Zero));
    assert!(!named(&after, student).inputs.contains_key("labels"), "it learns from true labels");
}

#[test]
fn a_control_moves_errors_before_the_first_lesson_and_leaves_the_rows() {
    let plan = plan("[[method]]\nname = \"c\"\nerrors = \"random\"\nrounds = 1");
    let first = "student c s>m round 1 seed 0";
    let moved = read(&plan, first, "labels");
    assert_eq!(read(&plan, moved, "labels"), "weak labels s seed 0");
    let Work::Prepare(Prepare::Revised { revision, .. }) = &named(&plan, moved).work else {
        panic!("{moved}")
    };
    assert_eq!(revision, &Revision::Errors { pattern: ErrorPattern::Random, seed: 0 });
    assert_eq!(
        (read(&plan, first, "data"), read(&plan, first, "tokens")),
        ("dataset", "tokens m weak_labels")
    );
    assert_eq!(read(&plan, "student c s>m seed 0", "labels"), format!("weak labels {first}"));
}

#[test]
fn errors_of_a_strong_model_are_those_of_one_that_never_saw_the_rows() {
    let plan = plan("[[method]]\nname = \"c\"\nerrors = \"strong-unconfident\"");
    let moved = read(&plan, "student c s>l seed 0", "labels");
    assert_eq!(read(&plan, moved, "labels"), "weak labels s seed 0");
    let strong = read(&plan, moved, "strong");
    assert_eq!((strong, read(&plan, strong, "model")), ("weak labels l seed 0", "weak l seed 0"));
    assert_eq!(training(&plan, "weak l seed 0").part, Part::GroundTruth);
}

#[test]
fn the_surest_rows_are_read_with_their_labels() {
    let plan = plan("[[method]]\nname = \"f\"\nconfident = 0.2");
    let student = "student f s>m seed 0";
    let kept = read(&plan, student, "labels");
    assert_eq!(read(&plan, student, "data"), kept);
    assert_eq!(read(&plan, read(&plan, student, "tokens"), "data"), kept);
    let test = read(&plan, &format!("test of {student}"), "data");
    assert_eq!(test, "dataset", "students are tested on all rows");
}

#[test]
fn a_hint_is_told_in_the_test_too() {
    let plan = plan("[[method]]\nname = \"h\"\nhint = [\"no\", \"yes\"]");
    let student = "student h s>m seed 0";
    let test = format!("test of {student}");
    for (stage, labels) in [(student, "weak labels s seed 0"), (&test, "test of weak s seed 0")] {
        let hints = read(&plan, stage, "data");
        assert_eq!(read(&plan, hints, "labels"), labels);
        assert_eq!(read(&plan, read(&plan, stage, "tokens"), "data"), hints);
    }
    let test = read(&plan, "test of ceiling m seed 0", "data");
    assert_eq!(test, "dataset", "a ceiling is told nothing");
}

#[test]
fn a_model_may_teach_its_like() {
    let plan = plan_with("pairs = \"with-self\"", "[[method]]\nname = \"a\"");
    let students = roles(&plan).into_iter().filter(|role| matches!(role, Role::Student { .. })).count();
    assert_eq!(students, 6);
    assert_eq!(read(&plan, "student a m>m seed 0", "labels"), "weak labels m seed 0");
}

/// What is measured of the students of a method and of `s`: the models' names and how far their training was.
fn measured(plan: &Plan, method: &str) -> Vec<(String, Option<f64>, bool)> {
    let goal = &plan.stages().last().unwrap().spec;
    let Work::Measure(Measure::WeakToStrong { predictions, .. }) = &goal.work else { panic!("{goal:?}") };
    let is_its = |it: &&Prediction| matches!(&it.role, Role::Student { method: of, weak, .. } if of == method && weak == "s");
    let name = |it: &Prediction| plan.stage(goal.input(&it.model).unwrap()).unwrap().name.clone();
    predictions.iter().filter(is_its).map(|it| (name(it), it.progress, it.oracle)).collect()
}

#[test]
fn a_student_is_looked_at_on_its_way_by_stages_that_go_on_from_each_other() {
    let plan = plan_with("pairs = [[\"s\", \"m\"], [\"m\", \"l\"]]", "[[method]]\nname = \"w\"\nmoments = 2");
    let student = "student w s>m seed 0";
    let first = format!("{student}: 1 of 2");
    assert_eq!(measured(&plan, "w"), [(first.clone(), Some(0.5), false), (student.to_owned(), None, false)]);
    assert_eq!(training(&plan, &first).span, Some(Span { begin: 0, end: 1, of: 2 }));
    assert_eq!(training(&plan, student).span, Some(Span { begin: 1, end: 2, of: 2 }));
    assert_eq!(read(&plan, student, "before"), first);
    assert!(!named(&plan, &first).inputs.contains_key("before"));
    assert_eq!(training(&plan, "ceiling m seed 0").span, None);
}

#[test]
fn a_student_that_stops_early_is_chosen_by_held_out_rows_and_shares_its_training() {
    let methods = [("w", ""), ("e", "stop = \"weak-labels\""), ("o", "stop = \"ground-truth\"")];
    let methods = methods.map(|(name, stop)| format!("[[method]]\nname = {name:?}\nmoments = 2\n{stop}\n"));
    let plan = plan_with("pairs = [[\"s\", \"m\"], [\"m\", \"l\"]]", &methods.concat());
    let student = "student w s>m seed 0";
    for (method, by, labels) in [("e", "weak labels", true), ("o", "true labels", false)] {
        let best = format!("best of student {method} s>m seed 0 by {by}");
        assert_eq!(measured(&plan, method), [(best.clone(), None, !labels)]);
        assert_eq!(named(&plan, &best).work, Work::Merge(Merge::Best));
        assert_eq!(read(&plan, &best, "model/0"), format!("{student}: 1 of 2"), "nothing is trained again");
        assert_eq!(read(&plan, &best, "model/1"), student);
        let validation = read(&plan, &best, "prediction/1");
        let Work::Infer(infer) = &named(&plan, validation).work else { panic!("{validation}") };
        assert_eq!((infer.part, read(&plan, validation, "model")), (Part::Validation, student));
        assert_eq!(named(&plan, &best).inputs.contains_key("labels"), labels);
    }
    let best = "best of student e s>m seed 0 by weak labels";
    assert_eq!(read(&plan, best, "labels"), "weak labels validation s seed 0");
}

#[test]
fn those_who_learn_in_turn_may_have_rows_of_their_own() {
    let method = "[[method]]\nname = \"f\"\nthrough = [\"m\"]\nrounds = 1\nfresh = true";
    let plan = split_plan(", fresh = 21", "pairs = \"weaker-to-stronger\"", method);
    let rounds = ["student f s>m round 1 seed 0", "student f s>l round 2 seed 0"];
    for (index, round) in rounds.into_iter().enumerate() {
        let data = read(&plan, round, "data");
        assert_eq!(
            named(&plan, data).work,
            Work::Prepare(Prepare::Share { part: Part::Fresh, index, of: 2 })
        );
        let labels = read(&plan, round, "labels");
        assert_eq!(
            (read(&plan, labels, "data"), read(&plan, read(&plan, labels, "tokens"), "data")),
            (data, data)
        );
    }
    assert_eq!(read(&plan, "student f s>l seed 0", "data"), "dataset");
    assert_eq!(training(&plan, "student f s>l seed 0").part, Part::WeakLabels);
}

#[test]
fn a_model_that_is_asked_learns_nothing_and_is_shown_the_answers_of_its_supervisor() {
    let plan = plan("[[method]]\nname = \"p\"\ntuning = \"prompt\"\nshots = 2\nseparator = \"=\"");
    let (student, ceiling) = ("test of student p s>m seed 0", "test of ceiling p m seed 0");
    for (test, labels) in [(student, Some("weak labels s seed 0")), (ceiling, None)] {
        let model = read(&plan, test, "model");
        assert!(matches!(&named(&plan, model).work, Work::Prepare(Prepare::Head { .. })), "{model}");
        assert_eq!(read(&plan, model, "model"), "pretrain m");
        let rows = read(&plan, test, "data");
        assert_eq!(read(&plan, read(&plan, test, "tokens"), "data"), rows);
        let Work::Prepare(Prepare::Prompted { shots, .. }) = &named(&plan, rows).work else {
            panic!("{rows}")
        };
        assert_eq!((shots.count, shots.answers.concat(), &*shots.separator), (2, "FT".to_owned(), "="));
        let given = named(&plan, rows).inputs.contains_key("labels").then(|| read(&plan, rows, "labels"));
        assert_eq!(given, labels);
    }
    assert!(roles(&plan).contains(&Role::Ceiling { model: "m".into(), method: Some("p".into()) }));
}

#[test]
fn a_model_that_is_asked_at_once_has_the_ceiling_of_all_others() {
    let plan = plan("[[method]]\nname = \"z\"\ntuning = \"prompt\"");
    assert_eq!(read(&plan, "test of student z s>m seed 0", "data"), "dataset");
    assert!(!roles(&plan).contains(&Role::Ceiling { model: "m".into(), method: Some("z".into()) }));
    assert_eq!(measured(&plan, "z").iter().map(|it| it.2).collect::<Vec<_>>(), [false, false]);
}

#[test]
fn every_model_is_the_best_of_its_trials() {
    let grid = "[grid]\nlearning_rate = [1e-3, 1e-4]\nepochs = [1, 3]\n";
    let chain = "[[method]]\nname = \"c\"\nrounds = 1\n[[method]]\nname = \"e\"\nmoments = 2\nstop = \"weak-labels\"\n";
    let plan = plan(&format!("{grid}{chain}"));
    let student = "student c s>m seed 0";
    let bests = [
        ("best of weak s seed 0 by true labels", None, 4),
        ("best of ceiling m seed 0 by true labels", None, 4),
        ("best of student c s>m round 1 seed 0 by weak labels", Some("weak labels validation s seed 0"), 4),
        ("best of student c s>m seed 0 by weak labels", None, 4),
        ("best of student e s>m seed 0 by weak labels", Some("weak labels validation s seed 0"), 8),
    ];
    for (best, labels, models) in bests {
        let inputs = &named(&plan, best).inputs;
        assert_eq!(inputs.keys().filter(|role| role.starts_with("model/")).count(), models, "{best}");
        if let Some(labels) = labels {
            assert_eq!(read(&plan, best, "labels"), labels);
        }
    }
    let last = "best of student c s>m seed 0 by weak labels";
    let second = read(&plan, last, "model/1");
    assert_eq!(second, format!("{student}, rate 0.001, 3 epochs"));
    let settings = &training(&plan, second).optimizer;
    assert_eq!((settings.learning_rate, settings.passes), (1e-3, 3));
    // The next one learns from the best, and what says which is best is the teacher of each.
    let first = "best of student c s>m round 1 seed 0 by weak labels";
    assert_eq!(read(&plan, read(&plan, second, "labels"), "model"), first);
    assert_eq!(read(&plan, read(&plan, last, "labels"), "model"), first);
    assert_eq!(measured(&plan, "c")[0].0, last);
    assert_eq!(read(&plan, "weak labels s seed 0", "model"), "best of weak s seed 0 by true labels");
}

#[test]
fn models_that_write_learn_from_what_another_wrote() {
    let plan = plan_of_kind("generation", "[[method]]\nname = \"b\"\nthrough = [\"m\"]");
    let (first, last) = ("student b s>m round 1 seed 0", "student b s>l seed 0");
    for name in ["weak s seed 0", "ceiling l seed 0", first, last] {
        let train = training(&plan, name);
        assert_eq!(
            (train.objective, train.head.head),
            (Objective::LanguageModel, Head::LanguageModel),
            "{name}"
        );
    }
    for (student, teacher) in
        [(first, "weak labels s seed 0".to_owned()), (last, format!("weak labels {first}"))]
    {
        let answers = read(&plan, student, "data");
        let Work::Prepare(Prepare::Revised { part, revision }) = &named(&plan, answers).work else {
            panic!("{answers}")
        };
        assert_eq!((*part, revision), (Part::WeakLabels, &Revision::Answers));
        assert_eq!((read(&plan, answers, "labels"), read(&plan, answers, "data")), (&*teacher, "dataset"));
        assert_eq!(read(&plan, read(&plan, student, "tokens"), "data"), answers);
        assert!(!named(&plan, student).inputs.contains_key("labels"));
        let written = named(&plan, &teacher);
        let Work::Infer(infer) = &written.work else { panic!("{teacher}") };
        assert!(matches!(&infer.output, Output::Completions(sampling) if sampling.max_new_tokens == 3));
        assert_eq!(written.inputs.keys().collect::<Vec<_>>(), ["data", "model"]);
    }
    let goal = &plan.stages().last().unwrap().spec.work;
    assert!(matches!(goal, Work::Measure(Measure::WeakToStrong { written: true, .. })), "{goal:?}");
}

/// A ladder over generated points.
fn points(rest: &str) -> Plan {
    let text = format!(
        "name = \"n\"\nrecipe = \"weak-to-strong\"\n[task]\nsource = \"builtin:mixture\"\n\
         split = {{ ground_truth = 100, weak_labels = 80, test = 50 }}\n\
         [[model]]\nname = \"s\"\nwidth = 2\n[[model]]\nname = \"l\"\nwidth = 8\n{rest}"
    );
    let experiment = experiment::parse("n.toml", &text, "".as_ref()).unwrap_or_else(|e| panic!("{e}"));
    let plan = compile(&experiment, &Sources::default()).unwrap();
    plan.check().unwrap();
    plan
}

#[test]
fn what_a_model_sees_is_made_once_and_read_by_all_that_is_trained_on_it() {
    let plan = points("[methods]\nrun = [\"naive\", \"confidence\"]\n");
    for stage in ["ceiling l seed 0", "student naive s>l seed 0", "student confidence s>l seed 0"] {
        assert_eq!(read(&plan, stage, "features"), "features l weak_labels");
        assert_eq!(read(&plan, stage, "model"), "model l");
        assert_eq!(training(&plan, stage).head, Head::Classifier { classes: 5 }.into());
        assert_eq!(read(&plan, &format!("test of {stage}"), "features"), "features l test");
    }
    assert_eq!(read(&plan, "weak s seed 0", "features"), "features s ground_truth");
    assert_eq!(read(&plan, "weak labels s seed 0", "features"), "features s weak_labels");
    assert!(plan.stages().iter().all(|stage| !stage.name.contains("tokens")));
}

#[test]
fn the_images_of_a_part_are_decoded_once_and_a_network_sees_them_once() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| put(folder.path(), path, text);
    for name in ["small", "large"] {
        write(&format!("{name}/config.json"), r#"{"model_type": "cifar_resnet"}"#);
        write(&format!("{name}/model.safetensors"), name);
    }
    write(
        "texts/config.json",
        r#"{"model_type": "bert", "num_hidden_layers": 1, "max_position_embeddings": 9}"#,
    );
    for file in ["model.safetensors", "tokenizer.json"] {
        write(&format!("texts/{file}"), "");
    }
    write("a.tar", "images");
    let text = |strong: &str| {
        format!(
            "name = \"n\"\nrecipe = \"weak-to-strong\"\n[task]\nsource = \".\"\nfiles = [\"a.tar\"]\n\
             classes = [\"a\", \"b\"]\nsplit = {{ ground_truth = 10, weak_labels = 8, test = 5 }}\n\
             [[model]]\nname = \"s\"\nfrom = \"small\"\nown_classifier = true\n[[model]]\nname = \"l\"\nfrom = {strong:?}\n"
        )
    };
    let compiled = |strong| {
        let experiment = experiment::parse("n.toml", &text(strong), folder.path()).unwrap();
        let cache = folder.path().join("cache");
        let roots =
            crate::source::Roots { data: None, hub: crate::source::HubCache::new(cache.clone()), cache };
        compile(&experiment, &Sources::resolve(&experiment, &roots).unwrap())
    };
    let plan = compiled("large").unwrap();
    for (stage, network) in [("features s weak_labels", "network s"), ("features l weak_labels", "network l")]
    {
        assert_eq!(
            (read(&plan, stage, "images"), read(&plan, stage, "model")),
            ("images weak_labels", network)
        );
    }
    assert_eq!(read(&plan, "weak labels s seed 0", "model"), "own classifier of s");
    assert_eq!(read(&plan, "weak labels s seed 0", "features"), "features s weak_labels");
    assert_eq!(read(&plan, "own classifier of s", "model"), "network s");
    assert!(
        plan.stages().iter().all(|stage| !stage.name.contains("ground_truth")),
        "nobody is trained on it"
    );
    let error = compiled("texts").unwrap_err().to_string();
    assert!(error.starts_with("\"l\" reads texts, but the rows of the task are images"), "{error}");
}

#[test]
fn the_surest_rows_have_features_of_their_own() {
    let plan = points("[[method]]\nname = \"f\"\nconfident = 0.2\n");
    let student = "student f s>l seed 0";
    assert_eq!(read(&plan, read(&plan, student, "features"), "data"), read(&plan, student, "data"));
}
