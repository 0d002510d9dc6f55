//! Where rows come from.

use serde::{Deserialize, Serialize};

use super::Mixture;
use crate::Key;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Generated on the spot: claims such as `37+45=082`, right or nearly right, in a column `text`, with a column
    /// `label` that says `right` or `wrong`.
    Arithmetic(Arithmetic),
    /// Generated on the spot: several claims about a sum, of which one is right, in a list `claims` whose right one is at
    /// the place `answer`; the columns `right` and `wrong` have one of each.
    ArithmeticQuestions(Arithmetic),
    /// Generated on the spot: the classes of points, whose vectors are a [`super::View`]; columns `name` and `label`.
    Mixture(Mixture),
    /// Generated on the spot: games up to a position in which one move mates, in a column `moves`, with the columns `fen`,
    /// `san` and `uci`.
    MateInOne(MateInOne),
    /// One or more files (location roles `file/0`, `file/1`, ...), read in this order.
    Files {
        /// BLAKE3 of each file's bytes, with the name that decides its format.
        files: Vec<FileDigest>,
    },
}

/// One file of a [`Source::Files`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// File name without folders, e.g. `train.tsv.zst`: its endings name format and compression.
    pub name: String,
    /// BLAKE3 of the bytes as they lie on disk.
    pub digest: Key,
}

/// Parameters of `builtin:arithmetic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// How many rows to generate.
    pub rows: usize,
    /// Seed of the generator.
    pub seed: u64,
    /// Operands are below this.
    pub below: u32,
    /// For a corpus: the share of marks (right or wrong) that are flipped.
    pub noise: f64,
}

impl Arithmetic {
    /// Every character that claims and corpus lines are written in.
    pub const ALPHABET: &str = "0123456789+=TF";

    /// Operands are of two digits at most.
    pub const LARGEST_BELOW: u32 = 100;

    /// Claims about one sum.
    pub const ANSWERS: usize = 4;

    /// Tokens of a corpus line: the mark of the beginning, the nine characters of a claim, and its mark.
    pub const LINE_TOKENS: usize = 11;

    /// How many different claims there are: a right one for each pair of operands, and as many wrong ones at least.
    pub fn most_rows(&self) -> usize {
        2 * self.below as usize * self.below as usize
    }

    /// How many different sums there are.
    pub fn most_questions(&self) -> usize {
        self.below as usize * self.below as usize
    }

    /// The values of the generated `label` column, in class order.
    pub const CLASSES: [&str; 2] = ["wrong", "right"];
}

/// Parameters of `builtin:mate-in-one`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MateInOne {
    /// How many games to generate.
    pub rows: usize,
    /// Seed of the generator.
    pub seed: u64,
    /// Moves of the longest game, those of both sides counted.
    pub plies: usize,
    /// For a corpus: the share of games in which the mate is missed.
    pub noise: f64,
}

impl MateInOne {
    /// What an experiment calls it.
    pub const NAME: &str = "builtin:mate-in-one";
    /// Every character of the record of a game.
    pub const ALPHABET: &str = "12345678 .abcdefghKQRBNx=+#O-90";
    /// How long games may be. The shortest mate is the fourth move; with less than eight there are too few.
    pub const PLIES: std::ops::RangeInclusive<usize> = 8..=200;
    /// Tokens of the longest move, `Qa1xb2#`, and of the end of the text.
    pub const ANSWER_TOKENS: usize = 8;
}
