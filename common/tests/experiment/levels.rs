//! From easy rows to hard ones.

use super::{parse, task};

const RATED: &str = "text = \"{{ q }}\"\nlabel = \"a\"\nclasses = [\"0\", \"1\"]\n";

/// A task whose split says more, and which may tell how hard a row is.
fn leveled(difficulty: &str, split: &str) -> String {
    task(&format!("{RATED}{difficulty}")).replace("test = 50 }", &format!("test = 50{split} }}"))
}

fn is_refused(text: &str, expected: &str) {
    let problems = parse(text).err().unwrap_or_default();
    assert!(problems.contains(expected), "{problems}\n{text}");
}

#[test]
fn rows_may_be_told_apart_by_how_hard_they_are() {
    let rated = "difficulty = \"rating\"\n";
    for split in [", easy = 1300, hard = 2000", ", easy = -0.5, hard = 0.5"] {
        parse(&leveled(rated, split)).unwrap_or_else(|e| panic!("{e}"));
    }
    let cases = [
        (rated, ", easy = 2000, hard = 2000", "task.split.hard = 2000 is not above task.split.easy = 2000"),
        (rated, ", easy = 2000", "easy, hard and task.difficulty go together: say all three"),
        ("", ", easy = 1, hard = 2", "easy, hard and task.difficulty go together: say all three"),
        (rated, "", "task.difficulty is not read: the split has neither `easy` nor `hard`"),
        (rated, ", easy = \"low\", hard = 2", "a number"),
    ];
    for (difficulty, split, expected) in cases {
        is_refused(&leveled(difficulty, split), expected);
    }
    let named = task("format = \"sciq\"\ndifficulty = \"rating\"\n")
        .replace("test = 50 }", "test = 50, easy = 1, hard = 2 }");
    is_refused(&named, "task.difficulty is not read: the formatter \"sciq\" has its own");
}
