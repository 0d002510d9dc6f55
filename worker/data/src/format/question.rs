//! Questions with answers to choose from: which are right, and which become examples.

use fulcrum_common::{plan::Pick, rng::Rng};
use serde_json::Value;

/// The answers of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// As the row has them.
    pub texts: Vec<String>,
    /// Those that can become examples.
    answers: Vec<Answer>,
}

/// An answer that can become an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its place among the answers of the row.
    pub place: usize,
    /// Whether it is right.
    pub right: bool,
}

impl Question {
    /// Takes the answers of a row and the value that tells the right one.
    ///
    /// A wrong answer that is blank is none, and equal answers are one, which is right if one of them is.
    ///
    /// # Errors
    /// When there are less than two answers, or none that the value tells.
    pub(super) fn new(texts: Vec<String>, answer: &Value) -> Result<Self, String> {
        let right = right(&texts, answer)?;
        let mut answers: Vec<Answer> = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            let same = answers.iter_mut().find(|earlier| texts[earlier.place].trim() == text.trim());
            match same {
                Some(earlier) => earlier.right |= right[place],
                None if !text.trim().is_empty() => answers.push(Answer { place, right: right[place] }),
                None if right[place] => return Err("the right answer is empty".to_owned()),
                None => {}
            }
        }
        match answers.len() {
            0 => Err("there are no answers to choose from".to_owned()),
            1 => Err("there is only one answer to choose from".to_owned()),
            _ => Ok(Self { texts, answers }),
        }
    }

    /// The answers that become examples, in the order of the row. What is left to chance depends on the seed and the
    /// position of the row alone.
    pub(super) fn pick(&self, pick: Pick, seed: u64, row: i64) -> Vec<Answer> {
        let mut coins = Rng::new(seed, "answers of a row", row as u64);
        let mut draw = |right: bool| {
            let such: Vec<_> = self.answers.iter().filter(|answer| answer.right == right).collect();
            (!such.is_empty()).then(|| *such[coins.index(such.len())])
        };
        let mut picked = match pick {
            Pick::All => return self.answers.clone(),
            Pick::Two => [draw(true), draw(false)].into_iter().flatten().collect(),
            Pick::One => {
                let (right, wrong) = (draw(true), draw(false));
                let (first, second) = if coins.chance(0.5) { (right, wrong) } else { (wrong, right) };
                Vec::from_iter(first.or(second))
            }
        };
        picked.sort_by_key(|answer: &Answer| answer.place);
        picked
    }
}

/// For each answer whether it is right.
///
/// A number is a position from 0, a list has a mark for each answer, and a text is the right answer itself or its
/// letter. What can be read in two ways is refused: a wrong guess would turn labels around.
fn right(texts: &[String], answer: &Value) -> Result<Vec<bool>, String> {
    if let Value::Array(marks) = answer {
        return marked(texts, marks);
    }
    let position = match answer {
        Value::Number(number) => number.as_u64().map(|position| position as usize),
        Value::String(text) => named(texts, text)?,
        _ => None,
    };
    match position.filter(|position| *position < texts.len()) {
        Some(right) => Ok((0..texts.len()).map(|place| place == right).collect()),
        None => {
            let shown: String = answer.to_string().chars().take(80).collect();
            Err(format!("the answer {shown} is none of the {} there are to choose from", texts.len()))
        }
    }
}

/// The place of the answer that a text names.
fn named(texts: &[String], text: &str) -> Result<Option<usize>, String> {
    let text = text.trim();
    let same = texts.iter().position(|answer| answer.trim() == text);
    let letter = match text.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(usize::from(letter.to_ascii_uppercase() - b'A')),
        _ => None,
    };
    match (same, letter.filter(|place| *place < texts.len())) {
        (Some(same), Some(letter)) if same != letter => Err(format!(
            "the answer {text:?} is the letter of one answer and the text of another: give its position"
        )),
        (None, None) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => Err(format!(
            "the answer {text:?} is text: write `| int` behind it if it counts from 0, and `| int - 1` if from 1"
        )),
        (same, letter) => Ok(same.or(letter)),
    }
}

fn marked(texts: &[String], marks: &[Value]) -> Result<Vec<bool>, String> {
    if marks.len() != texts.len() {
        return Err(format!("{} answers have {} marks", texts.len(), marks.len()));
    }
    let mark = |mark: &Value| match (mark, mark.as_u64()) {
        (Value::Bool(right), _) => Ok(*right),
        (_, Some(mark @ (0 | 1))) => Ok(mark == 1),
        _ => Err(format!("an answer is marked {mark}: marks are 0, 1, true and false")),
    };
    marks.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(texts: &[&str], answer: Value) -> Result<Question, String> {
        Question::new(texts.iter().map(|&text| text.to_owned()).collect(), &answer)
    }

    fn rights(texts: &[&str], answer: Value) -> Vec<(usize, bool)> {
        let question = question(texts, answer).unwrap();
        question.pick(Pick::All, 0, 0).iter().map(|answer| (answer.place, answer.right)).collect()
    }

    #[test]
    fn the_right_answer_is_told_by_position_letter_text_or_marks() {
        let texts = ["iron", "wood", "clay"];
        for answer in [json!(1), json!("B"), json!("b"), json!("wood"), json!(" wood\n"), json!([0, 1, 0])] {
            assert_eq!(rights(&texts, answer.clone()), [(0, false), (1, true), (2, false)], "{answer}");
        }
        assert_eq!(rights(&texts, json!([true, false, true])), [(0, true), (1, false), (2, true)]);
        assert_eq!(rights(&texts, json!([0, 0, 0])), [(0, false), (1, false), (2, false)]);
        assert_eq!(rights(&["2", "3"], json!("3")), [(0, false), (1, true)]);
    }

    #[test]
    fn an_answer_that_tells_nothing_or_two_things_is_refused() {
        let texts: &[&str] = &["iron", "wood", "clay"];
        let none = "is none of the 3 there are to choose from";
        let cases: [(&[&str], Value, &str); 15] = [
            (texts, json!(3), none),
            (texts, json!(-1), none),
            (texts, json!(0.5), none),
            (texts, json!("D"), none),
            (texts, json!("tin"), none),
            (texts, json!(""), none),
            (texts, json!(null), none),
            (texts, json!(true), none),
            (texts, json!("1"), "write `| int` behind it if it counts from 0"),
            (texts, json!([1, 0]), "3 answers have 2 marks"),
            (texts, json!([1, 0, 2]), "an answer is marked 2"),
            (&["B", "A"], json!("A"), "is the letter of one answer and the text of another"),
            (&[], json!([]), "there are no answers to choose from"),
            (&["iron", ""], json!(0), "there is only one answer"),
            (&["iron", " "], json!(1), "the right answer is empty"),
        ];
        for (texts, answer, expected) in cases {
            let message = question(texts, answer.clone()).unwrap_err();
            assert!(message.contains(expected), "{texts:?} {answer}: {message}");
        }
    }

    #[test]
    fn equal_answers_are_one_and_blank_ones_are_none() {
        assert_eq!(rights(&["iron", "wood", "iron", " "], json!(2)), [(0, true), (1, false)]);
    }

    #[test]
    fn coins_depend_on_seed_and_row_and_are_fair() {
        let question = question(&["a", "b", "c", "d"], json!(2)).unwrap();
        let picked = |pick, seed| (0..4000).map(move |row| (pick, seed, row));
        let one: Vec<_> = picked(Pick::One, 5).flat_map(|(p, s, r)| question.pick(p, s, r)).collect();
        assert_eq!(one.len(), 4000);
        let rights = one.iter().filter(|answer| answer.right).count();
        assert!((1880..2120).contains(&rights), "{rights}");
        for place in [0, 1, 3] {
            let count = one.iter().filter(|answer| answer.place == place).count();
            assert!((570..770).contains(&count), "{place}: {count}");
        }
        for (pick, seed, row) in picked(Pick::Two, 5) {
            let two = question.pick(pick, seed, row);
            assert_eq!(two.iter().map(|answer| answer.right).filter(|right| *right).count(), 1);
            assert!(two.len() == 2 && two[0].place < two[1].place, "{two:?}");
        }
        let again: Vec<_> = picked(Pick::One, 5).flat_map(|(p, s, r)| question.pick(p, s, r)).collect();
        let other: Vec<_> = picked(Pick::One, 6).flat_map(|(p, s, r)| question.pick(p, s, r)).collect();
        assert!(one == again && one != other);
    }

    #[test]
    fn what_a_coin_asks_for_and_a_question_lacks_is_replaced() {
        let none = question(&["a", "b"], json!([0, 0])).unwrap();
        let both = question(&["a", "b"], json!([1, 1])).unwrap();
        for row in 0..20 {
            for pick in [Pick::One, Pick::Two] {
                assert!(matches!(none.pick(pick, 0, row)[..], [Answer { right: false, .. }]));
                assert!(matches!(both.pick(pick, 0, row)[..], [Answer { right: true, .. }]));
            }
        }
    }
}
