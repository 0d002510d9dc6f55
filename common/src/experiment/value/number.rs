//! Numbers and their ranges.

use toml::de::DeValue;

use super::{Value, Wrong};
use crate::plan::{Architecture, Arithmetic, Infer, MateInOne, Mixture};

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value.as_float() {
        Some(float) => float.as_str().parse().ok()?,
        None => integer(value)? as f64,
    };
    number.is_finite().then_some(number)
}

macro_rules! whole {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn kind() -> String {
                "a whole number from 0".into()
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
                integer(value).and_then(|number| number.try_into().ok()).ok_or(Wrong::Kind)
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole!(u64, usize);

macro_rules! within {
    ($($(#[$doc:meta])* $name:ident($type:ty): $kind:literal, $from:ident, $accept:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(in crate::experiment) struct $name(pub $type);

        impl Value for $name {
            fn kind() -> String {
                $kind.into()
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
                let accept: fn(&$type) -> bool = $accept;
                let number = $from(value).and_then(|number| <$type>::try_from(number).ok());
                number.filter(accept).map(Self).ok_or(Wrong::Kind)
            }

            fn show(&self) -> String {
                format!("{:?}", self.0)
            }
        }
    )+};
}

within! {
    /// Something there is at least one of.
    Count(usize): "a whole number from 1", integer, |n| *n >= 1;
    /// Blocks of a model.
    Layers(usize): "a whole number from 1 to 1024", integer, |n| (1..=Architecture::MOST_LAYERS).contains(n);
    /// Width of a model.
    Hidden(usize): "a whole number from 1 to 131072", integer, |n| (1..=Architecture::MOST_HIDDEN).contains(n);
    /// Attention heads of a model.
    Heads(usize): "a whole number from 1 to 1024", integer, |n| (1..=Architecture::MOST_HEADS).contains(n);
    /// Longest sequence of a model made here: it must hold a line of the corpus.
    Context(usize): "a whole number from 11 to 4194304", integer, |n| {
        (Arithmetic::LINE_TOKENS..=Architecture::MOST_CONTEXT).contains(n)
    };
    /// Draws of a bootstrap.
    Draws(usize): "a whole number from 1 to 1000000", integer, |n| (1..=1_000_000).contains(n);
    /// Rows that may be left out.
    PoisonRows(usize): "a whole number from 0 to 1000", integer, |n| *n <= Infer::MOST_POISON_ROWS;
    /// A bound of the operands of `builtin:arithmetic`.
    Below(u32): "a whole number from 2 to 100", integer, |n| (2..=Arithmetic::LARGEST_BELOW).contains(n);
    /// Classes of `builtin:mixture`.
    Classes(usize): "a whole number from 2 to 1024", integer, |n| (2..=Mixture::MOST_CLASSES).contains(n);
    /// Dimensions of `builtin:mixture`, and of what is seen of it.
    Dimensions(usize): "a whole number from 1 to 4096", integer, |n| (1..=Mixture::MOST_DIMENSIONS).contains(n);
    /// Moves of a game of `builtin:mate-in-one`.
    Plies(usize): "a whole number from 8 to 200", integer, |n| MateInOne::PLIES.contains(n);
    /// A part of a whole.
    Share(f64): "a number from 0 to 1", number, |x| (0.0..=1.0).contains(x);
    /// The largest share that the larger of two classes may have.
    Balance(f64): "a number from 0.5 to 1", number, |x| (0.5..=1.0).contains(x);
    /// Rank of an adapter.
    Rank(usize): "a whole number from 1 to 65536", integer, |n| (1..=1 << 16).contains(n);
    /// A share that is never nothing.
    Portion(f64): "a number above 0 up to 1", number, |x| *x > 0.0 && *x <= 1.0;
    /// A share that is never all.
    Fraction(f64): "a number from 0 to below 1", number, |x| (0.0..1.0).contains(x);
    /// A rate.
    Positive(f64): "a number above 0", number, |x| *x > 0.0;
    /// How hard a row is.
    Difficulty(f64): "a number", number, |_| true;
    /// A strength that may be nothing.
    NonNegative(f64): "a number from 0", number, |x| *x >= 0.0;
}
