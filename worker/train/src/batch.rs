//! Rows as a model reads them, and how a list of them becomes one slot of padded tensors.
//!
//! Shape suffixes: b rows of a slot, t tokens, c classes.

use std::{collections::BTreeSet, ops::Range, path::Path};

use fulcrum_models::Given;
use tch::{Device, Kind, Tensor};

use crate::{Error, features::Features};

/// Tokenized rows, or vectors, with soft or hard labels where there are any. A row that is a vector counts as one of a
/// single token, whose state the vector is.
///
/// The tokens of a prepared part stay in its files, mapped into memory, and are read when a slot is made of them.
#[derive(Debug)]
pub struct Examples {
    /// i32, all rows one after the other.
    tokens: Tensor,
    /// Where each row begins and ends in them.
    spans: Vec<Range<i64>>,
    /// How many tokens of each row are its prompt.
    prompts: Option<Vec<i32>>,
    pad: i64,
    /// Sequences of a row: 1, or 2 where rows are pairs.
    per_row: usize,
    /// Rows that only keep their place: they are as long as they are, and all padding.
    blanks: BTreeSet<usize>,
    /// What stands in place of tokens.
    features: Option<Features>,
    targets: Option<Targets>,
}

/// Where the tokens of a part lie.
#[derive(Clone, Copy, Debug)]
pub struct TokenFiles<'a> {
    /// i32, all rows one after the other.
    pub tokens: &'a Path,
    /// i64, where each row begins in them, and where the last one ends.
    pub offsets: &'a Path,
    /// i32, how many tokens of each row are its prompt, where rows have prompts.
    pub prompts: Option<&'a Path>,
}

#[derive(Clone, Debug)]
struct Targets {
    classes: usize,
    /// Row after row, one probability per class.
    values: Vec<f32>,
}

/// The tensors of one forward pass. The b of tokens is that of sequences: of pairs, two for each row, one after the other.
#[derive(Debug)]
pub struct Padded {
    /// i64 `[b, t]`.
    pub ids_bt: Tensor,
    /// i64 `[b, t]`, 1 for a token, 0 for padding.
    pub mask_bt: Tensor,
    /// i64 `[b, t]`, 1 for a token that a language model predicts: not the first of a row, and not of its prompt.
    pub predicted_bt: Tensor,
    /// f32 `[b, d]`, where the rows are vectors.
    pub vectors_bd: Option<Tensor>,
    /// f32 `[b, c]`.
    pub targets_bc: Option<Tensor>,
}

impl Padded {
    /// What a model reads of it.
    pub fn given(&self) -> Given<'_> {
        match &self.vectors_bd {
            Some(x_bd) => Given::Vectors(x_bd),
            None => Given::Tokens { ids_bt: &self.ids_bt, mask_bt: &self.mask_bt },
        }
    }
}

impl Examples {
    /// Maps the rows `rows` of a part into memory; they are counted from 0 in what comes of it. `pad` fills short
    /// rows (the mask hides it).
    ///
    /// # Errors
    /// If a file cannot be mapped, is not as long as the others make it, or holds a row without tokens, a prompt
    /// longer than its row, or an id that is not below `vocabulary`.
    pub fn open(
        files: &TokenFiles<'_>,
        rows: Range<usize>,
        vocabulary: usize,
        pad: i64,
    ) -> Result<Self, Error> {
        let broken = |path: &Path, what: String| Error::Tokens { path: path.to_owned(), what };
        let all = map(files.offsets, Kind::Int64)?;
        let (first, count) = (rows.start as i64, rows.len() as i64 + 1);
        if rows.start > rows.end || first + count > all.size()[0] {
            let there = all.size()[0] - 1;
            return Err(broken(files.offsets, format!("rows {rows:?} are not within the {there} there are")));
        }
        let mut offsets = Vec::<i64>::try_from(all.f_narrow(0, first, count)?)?;
        let tokens = map(files.tokens, Kind::Int)?;
        let (begin, end) = (offsets[0], offsets[rows.len()]);
        let rising = offsets.is_sorted_by(|a, b| a < b);
        if begin < 0 || !rising || end > tokens.size()[0] {
            let what = format!("rows {rows:?} have no place of their own in {}", files.tokens.display());
            return Err(broken(files.offsets, what));
        }
        let tokens = tokens.f_narrow(0, begin, end - begin)?;
        if tokens.numel() > 0 {
            let (low, high) = tokens.f_aminmax(None, false)?;
            let (low, high) = (low.f_int64_value(&[])?, high.f_int64_value(&[])?);
            if low < 0 || high >= vocabulary as i64 {
                let id = if low < 0 { low } else { high };
                return Err(broken(
                    files.tokens,
                    format!("holds token {id} of a model that embeds {vocabulary}"),
                ));
            }
        }
        offsets.iter_mut().for_each(|offset| *offset -= begin);
        let prompts = files.prompts.map(|path| prompts(path, &rows, &offsets)).transpose()?;
        let (spans, blanks) = (spans(&offsets), BTreeSet::new());
        Ok(Self { tokens, spans, prompts, pad, per_row: 1, blanks, features: None, targets: None })
    }

    /// Maps the vectors of the rows `rows` of a part into memory, as [`Examples::open`] does tokens: f32, `width` numbers for each
    /// row, row after row through all of the files.
    ///
    /// # Errors
    /// If a file cannot be mapped or holds no whole number of vectors, or there are fewer rows.
    pub fn of_vectors(files: &[&Path], rows: Range<usize>, width: usize) -> Result<Self, Error> {
        let features = Features::open(files, rows, width)?;
        let placeholders = vec![vec![0]; features.len()];
        Ok(Self { features: Some(features), ..Self::new(placeholders, 0)? })
    }

    /// Rows of token ids; `pad` fills short rows (the mask hides it).
    ///
    /// # Errors
    /// If a row has no token.
    pub fn new(tokens: Vec<Vec<i64>>, pad: i64) -> Result<Self, Error> {
        if let Some(row) = tokens.iter().position(Vec::is_empty) {
            return Err(Error::Examples(format!("row {row} has no tokens: remove it, or give it text")));
        }
        let ends = tokens.iter().scan(0, |end, row| {
            *end += row.len() as i64;
            Some(*end)
        });
        let offsets: Vec<i64> = std::iter::once(0).chain(ends).collect();
        let tokens = Tensor::from_slice(&tokens.concat()).f_to_kind(Kind::Int)?;
        let (spans, blanks) = (spans(&offsets), BTreeSet::new());
        Ok(Self { tokens, spans, prompts: None, pad, per_row: 1, blanks, features: None, targets: None })
    }

    /// Takes every two sequences for one row. It comes before labels.
    ///
    /// # Errors
    /// If one is left over.
    pub fn in_pairs(mut self) -> Result<Self, Error> {
        let sequences = self.spans.len();
        if !sequences.is_multiple_of(2) {
            return Err(Error::Examples(format!("{sequences} sequences are no whole number of pairs")));
        }
        self.per_row = 2;
        Ok(self)
    }

    /// Whether rows are pairs of sequences.
    pub fn paired(&self) -> bool {
        self.per_row == 2
    }

    /// The sequences of a row, counted over all rows.
    pub(crate) fn sequences(&self, row: usize) -> Range<usize> {
        row * self.per_row..(row + 1) * self.per_row
    }

    /// These rows alone, in this order; they have no labels yet.
    ///
    /// # Errors
    /// If one is not there.
    pub fn only(self, rows: &[usize]) -> Result<Self, Error> {
        if let Some(row) = rows.iter().find(|&&row| row >= self.len()) {
            return Err(Error::Examples(format!("row {row} is asked for of {} rows", self.len())));
        }
        let sequences: Vec<usize> = rows.iter().flat_map(|&row| self.sequences(row)).collect();
        let spans = sequences.iter().map(|&at| self.spans[at].clone()).collect();
        let prompts = self.prompts.map(|prompts| sequences.iter().map(|&at| prompts[at]).collect());
        let features = self.features.map(|features| features.only(rows));
        Ok(Self { spans, prompts, blanks: BTreeSet::new(), features, targets: None, ..self })
    }

    /// Leaves these rows out of inference. The others keep the batches, and so the bytes, that they had beside them.
    pub fn without(mut self, rows: impl IntoIterator<Item = usize>) -> Self {
        self.blanks.extend(rows);
        self
    }

    /// Whether a row only keeps its place.
    pub fn is_blank(&self, row: usize) -> bool {
        self.blanks.contains(&row)
    }

    /// Says how many tokens of each row are its prompt.
    ///
    /// # Errors
    /// If there are more or fewer than rows, or one is not within its row.
    pub fn with_prompts(mut self, prompts: Vec<i32>) -> Result<Self, Error> {
        let lengths = (0..self.spans.len()).map(|at| self.length(at) as i64);
        check_prompts(&prompts, lengths).map_err(Error::Examples)?;
        self.prompts = Some(prompts);
        Ok(self)
    }

    /// Adds a label to every row: `values` holds one probability per class, row after row
    /// (a hard label is one-hot).
    ///
    /// # Errors
    /// If there are more or fewer than `classes` values per row, or one is not in 0..=1.
    pub fn with_targets(mut self, values: Vec<f32>, classes: usize) -> Result<Self, Error> {
        let expected = self.len() * classes;
        if values.len() != expected || classes == 0 {
            let message =
                format!("{} label values for {} rows of {classes} classes", values.len(), self.len());
            return Err(Error::Examples(message));
        }
        if let Some(at) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
            let message =
                format!("row {} has a label of {}: it must be from 0 to 1", at / classes, values[at]);
            return Err(Error::Examples(message));
        }
        self.targets = Some(Targets { classes, values });
        Ok(self)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.spans.len() / self.per_row
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens a sequence has: a row's, where rows are single ones.
    pub fn length(&self, sequence: usize) -> usize {
        (self.spans[sequence].end - self.spans[sequence].start) as usize
    }

    /// Tokens of a forward pass over `rows` rows of which this one has the longest sequence, padding counted.
    pub(crate) fn padded_tokens(&self, row: usize, rows: usize) -> usize {
        rows * self.per_row * self.longest(row)
    }

    /// Tokens of a row's longest sequence.
    pub(crate) fn longest(&self, row: usize) -> usize {
        self.sequences(row).map(|sequence| self.length(sequence)).max().unwrap_or(0)
    }

    /// How many tokens of a row are its prompt; 0 where rows have none.
    pub fn prompt(&self, row: usize) -> usize {
        self.prompts.as_ref().map_or(0, |prompts| prompts[row] as usize)
    }

    /// How many tokens of a row a language model predicts: all but the first, and of a row with a prompt what follows it.
    pub fn predicted(&self, row: usize) -> usize {
        let of = |sequence| self.length(sequence) - self.prompt(sequence).max(1);
        self.sequences(row).map(of).sum()
    }

    /// The tensors of one forward pass over `rows`, padded to the longest of them: the shape depends on
    /// these rows alone, never on who runs them. Ids and mask stay on the CPU, where models check them;
    /// labels go to `device`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn pad(&self, rows: &[usize], device: Device) -> Result<Padded, Error> {
        let sequences: Vec<usize> = rows.iter().flat_map(|&row| self.sequences(row)).collect();
        let longest = rows.iter().map(|&row| self.longest(row)).max().unwrap_or(0);
        let (size, shape) = (sequences.len() * longest, [sequences.len() as i64, longest as i64]);
        let mut ids = vec![self.pad as i32; size];
        let (mut mask, mut predicted) = (vec![0u8; size], vec![0u8; size]);
        for (place, &row) in sequences.iter().enumerate() {
            let (begin, length) = (place * longest, self.length(row));
            if !self.is_blank(row / self.per_row) {
                let tokens = self.tokens.f_narrow(0, self.spans[row].start, length as i64)?;
                tokens.f_copy_data(&mut ids[begin..begin + length], length)?;
            }
            mask[begin..begin + length].fill(1);
            predicted[begin + self.prompt(row).max(1)..begin + length].fill(1);
        }
        let marks = |marks: &[u8]| Tensor::from_slice(marks).f_view(shape)?.f_to_kind(Kind::Int64);
        Ok(Padded {
            ids_bt: Tensor::from_slice(&ids).f_view(shape)?.f_to_kind(Kind::Int64)?,
            mask_bt: marks(&mask)?,
            predicted_bt: marks(&predicted)?,
            vectors_bd: self.vectors(rows, device)?,
            targets_bc: self.targets(rows, device),
        })
    }

    /// Vectors of `rows`, f32 `[b, d]`; those of rows that only keep their place are not looked at.
    fn vectors(&self, rows: &[usize], device: Device) -> Result<Option<Tensor>, Error> {
        let Some(features) = &self.features else { return Ok(None) };
        let places = rows.iter().map(|&row| (!self.is_blank(row)).then_some(row));
        Ok(Some(features.pick(places, device)?))
    }

    /// Labels of `rows`, f32 `[b, c]`.
    pub fn targets(&self, rows: &[usize], device: Device) -> Option<Tensor> {
        let Targets { classes, values } = self.targets.as_ref()?;
        let picked: Vec<f32> =
            rows.iter().flat_map(|row| &values[row * classes..(row + 1) * classes]).copied().collect();
        let shape = [rows.len() as i64, *classes as i64];
        Some(Tensor::from_slice(&picked).view(shape).to_kind(Kind::Float).to_device(device))
    }
}

fn spans(offsets: &[i64]) -> Vec<Range<i64>> {
    offsets.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The numbers of a file, mapped into memory.
pub(crate) fn map(path: &Path, kind: Kind) -> Result<Tensor, Error> {
    let broken = |what: String| Error::Tokens { path: path.to_owned(), what };
    let bytes = path.metadata().map_err(|error| broken(error.to_string()))?.len();
    let size = kind.elt_size_in_bytes() as u64;
    if !bytes.is_multiple_of(size) {
        return Err(broken(format!("{bytes} bytes are no whole number of tokens")));
    }
    let name = path.to_str().ok_or_else(|| broken("the name is not UTF-8".to_owned()))?;
    let count = i64::try_from(bytes / size).map_err(|error| broken(error.to_string()))?;
    let options = (kind, Device::Cpu);
    // Nothing cannot be mapped.
    Ok(if count == 0 {
        Tensor::f_zeros([0], options)?
    } else {
        Tensor::f_from_file(name, false, count, options)?
    })
}

fn prompts(path: &Path, rows: &Range<usize>, offsets: &[i64]) -> Result<Vec<i32>, Error> {
    let broken = |what: String| Error::Tokens { path: path.to_owned(), what };
    let all = map(path, Kind::Int)?;
    if (all.size()[0] as usize) < rows.end {
        return Err(broken(format!("holds {} prompts, rows {rows:?} are asked for", all.size()[0])));
    }
    let prompts = Vec::<i32>::try_from(all.f_narrow(0, rows.start as i64, rows.len() as i64)?)?;
    check_prompts(&prompts, offsets.windows(2).map(|pair| pair[1] - pair[0])).map_err(broken)?;
    Ok(prompts)
}

fn check_prompts(prompts: &[i32], lengths: impl ExactSizeIterator<Item = i64>) -> Result<(), String> {
    if prompts.len() != lengths.len() {
        return Err(format!("{} prompts for {} rows", prompts.len(), lengths.len()));
    }
    let wrong = |(prompt, length): (&i32, i64)| !(0..=length).contains(&i64::from(*prompt));
    match prompts.iter().zip(lengths).position(wrong) {
        Some(row) => {
            Err(format!("row {row} has a prompt of {} tokens, which it does not hold", prompts[row]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn two_rows() -> Examples {
        Examples::new(vec![vec![5, 6, 7], vec![8]], 0).unwrap()
    }

    fn lists(tensor: Tensor) -> Vec<Vec<i64>> {
        tensor.try_into().unwrap()
    }

    #[test]
    fn a_slot_is_padded_to_its_own_longest_row() {
        let padded = two_rows().pad(&[1, 0], Device::Cpu).unwrap();
        assert_eq!(lists(padded.ids_bt), [[8, 0, 0], [5, 6, 7]]);
        assert_eq!(lists(padded.mask_bt), [[1, 0, 0], [1, 1, 1]]);
        assert_eq!(lists(padded.predicted_bt), [[0, 0, 0], [0, 1, 1]]);
        assert_eq!(two_rows().pad(&[1], Device::Cpu).unwrap().ids_bt.size(), [1, 1]);
    }

    #[test]
    fn of_a_prompt_nothing_is_predicted() {
        let examples = two_rows().with_prompts(vec![2, 1]).unwrap();
        assert_eq!(lists(examples.pad(&[0, 1], Device::Cpu).unwrap().predicted_bt), [[0, 0, 1], [0, 0, 0]]);
        assert_eq!([0, 1].map(|row| (examples.prompt(row), examples.predicted(row))), [(2, 1), (1, 0)]);
        for wrong in [vec![2], vec![4, 0], vec![-1, 0]] {
            assert!(two_rows().with_prompts(wrong).is_err());
        }
    }

    #[test]
    fn rows_may_be_chosen_and_a_blank_one_keeps_its_length() {
        let rows = || Examples::new(vec![vec![5, 6, 7], vec![8], vec![9, 9]], 0).unwrap();
        let chosen = rows().with_prompts(vec![2, 1, 0]).unwrap().only(&[2, 0]).unwrap();
        assert_eq!((chosen.len(), chosen.length(1), chosen.prompt(1)), (2, 3, 2));
        assert_eq!(lists(chosen.pad(&[0, 1], Device::Cpu).unwrap().ids_bt), [[9, 9, 0], [5, 6, 7]]);
        assert!(rows().only(&[3]).is_err());
        let blank = rows().without([0]);
        let (padded, whole) =
            (blank.pad(&[0, 1], Device::Cpu).unwrap(), rows().pad(&[0, 1], Device::Cpu).unwrap());
        assert_eq!(lists(padded.ids_bt), [[0, 0, 0], [8, 0, 0]]);
        assert_eq!(padded.mask_bt, whole.mask_bt);
    }

    #[test]
    fn labels_follow_their_rows() {
        let examples = two_rows().with_targets(vec![0.25, 0.75, 1.0, 0.0], 2).unwrap();
        let targets_bc = examples.pad(&[1, 0], Device::Cpu).unwrap().targets_bc.unwrap();
        assert_eq!(Vec::<Vec<f32>>::try_from(targets_bc).unwrap(), [[1.0, 0.0], [0.25, 0.75]]);
    }

    #[test]
    fn rows_and_labels_that_do_not_fit_are_refused() {
        assert!(Examples::new(vec![vec![1], vec![]], 0).unwrap_err().to_string().contains("row 1"));
        assert!(two_rows().with_targets(vec![1.0; 3], 2).is_err());
        for wrong in [f32::NAN, -0.1, 1.5, f32::INFINITY] {
            let error = two_rows().with_targets(vec![0.0, 1.0, wrong, 0.0], 2).unwrap_err();
            assert!(error.to_string().starts_with("row 1 has a label of"), "{error}");
        }
    }

    /// A part's files.
    struct Part {
        folder: tempfile::TempDir,
    }

    impl Part {
        fn new(tokens: &[i32], offsets: &[i64], prompts: &[i32]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let ints = |numbers: &[i32]| numbers.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
            fs::write(folder.path().join("tokens"), ints(tokens)).unwrap();
            let bytes: Vec<u8> = offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
            fs::write(folder.path().join("offsets"), bytes).unwrap();
            fs::write(folder.path().join("prompts"), ints(prompts)).unwrap();
            Self { folder }
        }

        fn open(&self, rows: Range<usize>) -> Result<Examples, Error> {
            let [tokens, offsets, prompts] =
                ["tokens", "offsets", "prompts"].map(|name| self.folder.path().join(name));
            let files = TokenFiles { tokens: &tokens, offsets: &offsets, prompts: Some(&prompts) };
            Examples::open(&files, rows, 10, 0)
        }
    }

    #[test]
    fn a_stretch_of_a_part_is_read_as_if_it_were_all() {
        let part = Part::new(&[5, 6, 7, 8, 9, 1], &[0, 3, 4, 6], &[1, 0, 2]);
        assert_eq!(lists(part.open(0..3).unwrap().pad(&[0, 1, 2], Device::Cpu).unwrap().ids_bt).len(), 3);
        let rest = part.open(1..3).unwrap();
        let padded = rest.pad(&[1, 0], Device::Cpu).unwrap();
        assert_eq!(lists(padded.ids_bt), [[9, 1], [8, 0]]);
        assert_eq!((rest.len(), rest.prompt(1), rest.predicted(1)), (2, 2, 0));
        assert!(part.open(3..3).unwrap().is_empty());
        assert!(Part::new(&[], &[0], &[]).open(0..0).unwrap().is_empty());
    }

    #[test]
    fn files_that_do_not_fit_each_other_or_the_model_are_refused() {
        let cases: [(Part, &str); 8] = [
            (Part::new(&[1, 2], &[0, 1], &[0]), "offsets: rows 0..2 are not within the 1 there are"),
            (Part::new(&[1, 2], &[0, 1, 3], &[0, 0]), "have no place of their own in"),
            (Part::new(&[1, 2], &[0, 0, 2], &[0, 0]), "have no place of their own in"),
            (Part::new(&[1, 2], &[-1, 1, 2], &[0, 0]), "have no place of their own in"),
            (Part::new(&[1, 10], &[0, 1, 2], &[0, 0]), "tokens: holds token 10 of a model that embeds 10"),
            (Part::new(&[-1, 1], &[0, 1, 2], &[0, 0]), "tokens: holds token -1"),
            (Part::new(&[1, 2], &[0, 1, 2], &[0]), "prompts: holds 1 prompts"),
            (Part::new(&[1, 2], &[0, 1, 2], &[0, 2]), "row 1 has a prompt of 2 tokens"),
        ];
        for (part, expected) in cases {
            let message = part.open(0..2).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let part = Part::new(&[1, 2], &[0, 1, 2], &[0, 0]);
        fs::write(part.folder.path().join("tokens"), [0; 7]).unwrap();
        let message = part.open(0..2).unwrap_err().to_string();
        assert!(message.ends_with("7 bytes are no whole number of tokens"), "{message}");
    }
}
