//! Every form, from records to examples, and what is said of rows that do not fit.

use serde_json::{Value, json};

use super::*;
use crate::source::{Place, Record};

fn rows(records: &Value) -> Vec<Result<Row>> {
    let records: Vec<Record> = serde_json::from_value(records.clone()).unwrap();
    let row =
        |(i, record)| Ok(Row { row: i as i64, record, place: Place::new("a.jsonl".into(), i as u64 + 1) });
    records.into_iter().enumerate().map(row).collect()
}

fn collect(records: &Value, format: &Format) -> Result<Examples> {
    Examples::collect(rows(records).into_iter(), format)
}

fn templates(form: Form, group_by: Option<&str>) -> Format {
    Format::Templates(Templates {
        columns: Vec::new(),
        form,
        group_by: group_by.map(str::to_owned),
        difficulty: None,
    })
}

fn labelled(classes: &[&str]) -> Format {
    let classes = classes.iter().map(|&class| class.to_owned()).collect();
    let form = Form::Classes { text: "{{ text }}".into(), label: "label".into(), classes };
    templates(form, Some("document"))
}

fn choices(choices: &[&str], answer: &str, pick: Pick) -> Form {
    let choices = match choices {
        [list] => Choices::List((*list).to_owned()),
        each => Choices::Each(each.iter().map(|&one| one.to_owned()).collect()),
    };
    Form::Choices {
        text: "{{ q }} {{ letter }}) {{ choice }}".into(),
        choices,
        answer: answer.into(),
        pick,
        seed: 0,
    }
}

fn pair(prompt: Option<&str>, pick: Pick) -> Form {
    let prompt = prompt.map(str::to_owned);
    Form::Pair { prompt, chosen: "good".into(), rejected: "bad".into(), pick, seed: 0 }
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
        let examples = collect(&records.into(), &labelled(&classes)).unwrap();
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
        (
            json!({"text": "t", "lable": 1, "document": 7}),
            "no column `label`; did you mean `lable`? columns are",
        ),
        (json!({"text": "t", "label": 1}), "no column `document`; columns are label, text"),
        (json!({"text": " ", "label": 1, "document": 7}), "the text is empty"),
        (json!({"label": 1, "document": 7}), "the template asks for the column `text`"),
    ];
    for (bad, expected) in cases {
        let message = collect(&json!([good, bad]), &labelled(&["0", "1"])).unwrap_err().to_string();
        assert!(message.starts_with("a.jsonl: line 2: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn rows_may_be_grouped_by_a_part_of_a_column() {
    let records = json!([{"text": "Q: why?\nA: so"}, {"text": "Q: why?\nA: no"}, {"text": "Q: how?\nA: so"}]);
    let of = |group_by| templates(Form::Text { text: "{{ text }}".into() }, Some(group_by));
    let examples = collect(&records, &of("{{ text | lines | first }}")).unwrap();
    assert_eq!(examples.groups.unwrap(), ["Q: why?", "Q: why?", "Q: how?"]);

    let message = collect(&records, &of("{{ txt }}")).unwrap_err().to_string();
    let expected = "the template asks for the column `txt`; did you mean `text`? columns are text";
    assert_eq!(message, format!("a.jsonl: line 1: {expected}"));
}

#[test]
fn without_label_and_group_there_are_none() {
    let examples = collect(&json!([{"text": "t"}]), &Format::unlabelled("{{ text }}")).unwrap();
    assert_eq!((examples.table.labels, examples.groups), (None, None));
}

#[test]
fn each_answer_of_a_question_is_an_example_of_one_group() {
    let each = json!([
        {"q": "metal?", "a": "iron", "b": "wood", "right": 0}, {"q": "tree?", "a": "iron", "b": "wood", "right": 1}
    ]);
    let list = json!([
        {"q": "metal?", "answers": {"text": ["iron", "wood"], "label": ["1", "2"]}, "right": "1"},
        {"q": "tree?", "answers": {"text": ["iron", "wood"], "label": ["1", "2"]}, "right": "2"},
    ]);
    for (records, form) in [
        (&each, choices(&["a", "b"], "right", Pick::All)),
        (&each, choices(&["{{ a }}", "b"], "[a, b][right]", Pick::All)),
        (&list, choices(&["answers.text"], "right | among(answers.label)", Pick::All)),
        (&list, choices(&["answers.text"], "right | int - 1", Pick::Two)),
    ] {
        let examples = collect(records, &templates(form, None)).unwrap();
        assert_eq!(
            examples.table.texts,
            ["metal? A) iron", "metal? B) wood", "tree? A) iron", "tree? B) wood"]
        );
        assert_eq!(examples.table.labels, Some(vec![1, 0, 0, 1]));
        assert_eq!(examples.table.rows, [0, 1, 2, 3]);
        assert_eq!(examples.groups.unwrap(), ["0", "0", "1", "1"]);
    }
}

#[test]
fn a_column_may_have_the_name_of_what_is_shown() {
    let records = json!([{"choice": ["x", "y"], "choices": "which?", "letter": "B"}]);
    let form = Form::Choices {
        text: "{{ columns.choices }} {{ choice }} of {{ choices | join('/') }}".into(),
        choices: Choices::List("choice".into()),
        answer: "letter".into(),
        pick: Pick::All,
        seed: 0,
    };
    let examples = collect(&records, &templates(form, None)).unwrap();
    assert_eq!(examples.table.texts, ["which? x of x/y", "which? y of x/y"]);
    assert_eq!(examples.table.labels, Some(vec![0, 1]));
}

#[test]
fn a_coin_shows_one_answer_and_depends_on_the_row_alone() {
    let record = json!({"q": "metal?", "a": "iron", "b": "wood", "c": "clay", "right": "iron", "topic": "t"});
    let format = templates(choices(&["a", "b", "c"], "right", Pick::One), Some("topic"));
    let all = collect(&vec![record.clone(); 200].into(), &format).unwrap();
    let labels = all.table.labels.unwrap();
    assert_eq!((labels.len(), all.groups.unwrap()[7].as_str()), (200, "t"));
    assert!((70..130).contains(&labels.iter().sum::<i32>()));
    assert!(all.table.texts.iter().zip(&labels).all(|(text, label)| text.contains("iron") == (*label == 1)));
    let first = collect(&vec![record; 9].into(), &format).unwrap();
    assert_eq!(first.table.texts, all.table.texts[..9]);
}

#[test]
fn of_two_texts_the_preferred_one_is_of_class_one() {
    let records = json!([
        {"q": "hello\n", "good": "hi", "bad": "what"}, {"q": "x", "good": "same", "bad": "same "},
        {"q": "y", "good": " ", "bad": "what"},
        {"q": "bye\n", "good": "take care", "bad": "no"}
    ]);
    let examples = collect(&records, &templates(pair(Some("q"), Pick::All), None)).unwrap();
    assert_eq!(examples.table.texts, ["hi", "what", "take care", "no"]);
    assert_eq!(examples.table.prompts.unwrap(), ["hello\n", "hello\n", "bye\n", "bye\n"]);
    assert_eq!(examples.table.groups.unwrap(), [0, 0, 1, 1]);
    assert_eq!(examples.table.labels, Some(vec![1, 0, 1, 0]));
    assert_eq!(
        examples.groups.unwrap(),
        ["0", "0", "3", "3"],
        "pairs with equal or empty texts are left out"
    );

    let records: Value = vec![records[0].clone(); 100].into();
    let one = collect(&records, &templates(pair(None, Pick::One), Some("q"))).unwrap();
    let labels = one.table.labels.unwrap();
    assert!((30..70).contains(&labels.iter().sum::<i32>()));
    assert!(one.table.texts.iter().zip(labels).all(|(text, label)| text == ["what", "hi"][label as usize]));
}

fn comparison(seed: u64) -> Format {
    let (chosen, rejected) = ("good".into(), "bad".into());
    templates(Form::Comparison { prompt: Some("q".into()), chosen, rejected, seed }, None)
}

#[test]
fn a_comparison_is_one_example_whose_class_tells_that_the_second_text_is_preferred() {
    let record = |i: usize| json!({"q": "q", "good": format!("better {i}"), "bad": format!("worse {i}")});
    let records: Vec<_> = (0..400).map(record).collect();
    let of = |seed| collect(&records.clone().into(), &comparison(seed)).unwrap();
    let (examples, others) = (of(0), of(1));
    let (table, labels) = (&examples.table, examples.table.labels.as_ref().unwrap());
    assert_eq!((table.len(), &table.groups), (400, &None));
    for (place, label) in labels.iter().enumerate() {
        let (first, second) = (&table.texts[place], &table.others.as_ref().unwrap()[place]);
        let preferred = if *label == 1 { second } else { first };
        assert_eq!(preferred, &format!("better {place}"));
        assert_ne!(first.starts_with("better"), second.starts_with("better"));
        assert_eq!(table.prompts.as_ref().unwrap()[place], "q");
    }
    let second = labels.iter().sum::<i32>();
    assert!((160..240).contains(&second), "{second} of 400 have the preferred text second");
    assert_ne!(Some(labels), others.table.labels.as_ref(), "the seed decides");
    let few = collect(&records[..9].to_vec().into(), &comparison(0)).unwrap();
    assert_eq!(few.table.labels.unwrap(), labels[..9], "a row's coin is its own");
}

#[test]
fn a_comparison_of_equal_or_empty_texts_is_none() {
    let record = |good: &str, bad: &str| json!({"q": "q", "good": good, "bad": bad});
    let records = json!([record("a", " a "), record("a", ""), record(" ", "b"), record("a", "b")]);
    assert_eq!(collect(&records, &comparison(0)).unwrap().table.len(), 1);
}

#[test]
fn questions_and_pairs_that_do_not_fit_are_named_with_their_line() {
    let question = |answers: Value, right: Value| json!([{"q": "q", "answers": answers, "right": right}]);
    let of = |form| templates(form, None);
    let cases = [
        (question(json!(["a", "b"]), json!(2)), "the answer 2 is none of the 2 there are to choose from"),
        (question(json!([]), json!(0)), "the answer 0 is none of the 0 there are to choose from"),
        (question(json!([]), json!([])), "there are no answers to choose from"),
        (question(json!("a, b"), json!(0)), "choices is no list: name one, or several columns"),
        (question(json!(["a", null]), json!(0)), "answer 2 is null"),
        (question(json!(["a", ["b"]]), json!(0)), "answer 2 holds several values, expected one"),
        (json!([{"q": "q", "answers": ["a", "b"]}]), "no column `right`; columns are answers, q"),
    ];
    for (records, expected) in cases {
        let message =
            collect(&records, &of(choices(&["answers"], "right", Pick::All))).unwrap_err().to_string();
        assert_eq!(message, format!("a.jsonl: line 1: {expected}"));
    }
    for (record, expected) in [
        (json!({"good": "a"}), "no column `bad`; columns are good"),
        (json!({"good": null, "bad": "b"}), "good is null"),
    ] {
        let message = collect(&json!([record]), &of(pair(None, Pick::All))).unwrap_err().to_string();
        assert_eq!(message, format!("a.jsonl: line 1: {expected}"));
    }
}

#[test]
fn a_prompt_and_what_follows_stay_apart() {
    let form = Form::Completion {
        prompt: "Q: {{ q }}\nA:".to_owned(),
        completion: " {{ a }}".to_owned(),
        position: None,
    };
    let formatter = Formatter::new(&templates(form, None)).unwrap();
    assert!(formatter.prompted() && !formatter.labelled() && !formatter.grouped());
    let row = rows(&json!([{"q": "why?", "a": "so"}])).remove(0).unwrap();
    let example = Example { prompt: Some("Q: why?\nA:".to_owned()), ..example(" so".to_owned(), None) };
    assert_eq!(formatter.format(&row).unwrap(), [example]);
}

#[test]
fn how_hard_a_row_is_goes_to_all_its_examples_and_must_be_a_number() {
    let Format::Templates(pairs) = templates(pair(None, Pick::All), None) else {
        panic!("it was written so")
    };
    let formatter =
        Formatter::new(&Format::Templates(Templates { difficulty: Some("rating".into()), ..pairs })).unwrap();
    let records = json!([
        {"good": "a", "bad": "b", "rating": " 1520.5"},
        {"good": "a", "bad": "b", "rating": -3},
        {"good": "a", "bad": "b", "rating": "NaN"},
        {"good": "a", "bad": "b", "rating": "high"},
    ]);
    let found: Vec<_> = rows(&records).into_iter().map(|row| formatter.format(&row.unwrap())).collect();
    let difficulties = |at: usize| {
        let examples: &Vec<Example> = found[at].as_ref().unwrap();
        examples.iter().map(|example| example.difficulty).collect::<Vec<_>>()
    };
    assert_eq!((difficulties(0), difficulties(1)), (vec![Some(1520.5); 2], vec![Some(-3.0); 2]));
    for (at, value) in [(2, "NaN"), (3, "high")] {
        let error = found[at].as_ref().unwrap_err().to_string();
        assert!(error.contains(&format!("its difficulty is {value:?}, which is no number")), "{error}");
    }
}
