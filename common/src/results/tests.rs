//! Results as bytes.

use super::*;

fn results() -> Results {
    let interval = Interval { mean: 0.75, low: 0.5, high: 1.0 };
    Results {
        per_question: None,
        schema: SCHEMA,
        test_rows: 4,
        left_out: 0,
        chance: 0.5,
        ladder: vec![Model { name: "a".into(), parameters: 10 }],
        supervisors: vec![Score {
            model: "a".into(),
            method: None,
            seed: 0,
            accuracy: 0.1 + 0.2,
            balanced_accuracy: 0.5,
            probabilistic: Some(Probabilistic {
                log_loss: 0.1 * 3.0,
                ece: 0.25,
                ece_sweep: None,
                auroc: Some(0.7),
            }),
            moves: Some(Moves { legal: 3, illegal: 1, unreadable: 0 }),
        }],
        ceilings: vec![],
        students: vec![Student {
            method: "naive".into(),
            weak: "a".into(),
            strong: "a".into(),
            seed: 0,
            accuracy: 0.75,
            balanced_accuracy: 0.75,
            probabilistic: None,
            agreement: Agreement { overall: 1.0, supervisor_right: Some(1.0), supervisor_wrong: None },
            contradiction: Some(Contradiction {
                confident: 0.5,
                rate: Some(0.25),
                overconfidence: -0.1,
                errors_copied: None,
            }),
            pgr: None,
            points: vec![Point { progress: 0.5, accuracy: 1.0 }],
            moves: None,
        }],
        summary: vec![Summary {
            method: "naive".into(),
            weak: "a".into(),
            strong: "a".into(),
            seeds: 1,
            weak_accuracy: interval,
            student_accuracy: interval,
            ceiling_accuracy: interval,
            gap: Interval { mean: 0.0, low: 0.0, high: 0.0 },
            pgr: None,
            auroc: Some(Recovered {
                weak: interval,
                student: interval,
                ceiling: interval,
                gap: interval,
                pgr: None,
            }),
            agreement: AgreementIntervals {
                overall: interval,
                supervisor_right: Some(interval),
                supervisor_wrong: None,
            },
            legality: None,
            flags: vec![Flag::CeilingBelowWeak],
        }],
    }
}

#[test]
fn written_results_read_back_to_the_last_bit() {
    let text = results().to_json();
    assert_eq!(Results::from_json(&text).unwrap(), results());
    assert_eq!(Results::from_json(&text).unwrap().to_json(), text);
}

#[test]
fn another_version_is_named_as_such() {
    for (text, schema) in [(&br#"{"schema":1,"old":true}"#[..], 1), (br#"{"schema":3,"new":true}"#, 3)] {
        let error = Results::from_json(text).unwrap_err();
        assert!(matches!(error, ResultsError::Schema(found) if found == schema), "{error}");
        assert!(error.to_string().contains("`fulcrum run` of its experiment"), "{error}");
    }
}

#[test]
fn a_number_that_is_not_finite_does_not_read_back() {
    let mut broken = results();
    broken.chance = f64::NAN;
    assert!(matches!(Results::from_json(&broken.to_json()), Err(ResultsError::Malformed(_))));
}

#[test]
fn unknown_and_missing_keys_are_refused() {
    let text = String::from_utf8(results().to_json()).unwrap();
    for broken in [text.replace("\"chance\"", "\"luck\""), text.replace("\"chance\": 0.5,", "")] {
        assert!(Results::from_json(broken.as_bytes()).is_err(), "{broken}");
    }
}
