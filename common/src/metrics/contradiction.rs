//! What a student does with what its supervisor is sure of.

use super::argmax;
use crate::results::Contradiction;

/// A model is confident of a class above this probability, where contradictions are counted.
const CONFIDENT: f32 = 0.95;

/// And above this one where errors taken over are counted.
const LEANING: f32 = 0.55;

/// The three rates by which EleutherAI's reproduction tells students that correct a supervisor from those that copy
/// it, over more than two classes too; `docs/results.md` defines them.
pub fn contradiction(student: &[Vec<f32>], supervisor: &[Vec<f32>], labels: &[i32]) -> Contradiction {
    let named = |row: &Vec<f32>| {
        let class = argmax(row);
        (class, row[class])
    };
    let (mut sure, mut against, mut wrong, mut copied, mut excess) = (0u64, 0u64, 0u64, 0u64, 0.0);
    for ((row, teacher), &label) in student.iter().zip(supervisor).zip(labels) {
        let ((class, confidence), (taught, certainty)) = (named(row), named(teacher));
        if confidence > CONFIDENT {
            sure += 1;
            against += u64::from(certainty > CONFIDENT && class != taught);
        }
        if confidence > LEANING && i32::try_from(class) != Ok(label) {
            wrong += 1;
            copied += u64::from(certainty > LEANING && class == taught);
        }
        excess += f64::from(confidence) - f64::from(teacher.get(class).copied().unwrap_or(0.0));
    }
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    Contradiction {
        confident: share(sure, labels.len() as u64).unwrap_or(0.0),
        rate: share(against, sure),
        overconfidence: if labels.is_empty() { 0.0 } else { excess / labels.len() as f64 },
        errors_copied: share(copied, wrong),
    }
}
