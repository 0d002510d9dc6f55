//! Rotary positions (Su et al. 2021, section 3.2.2): queries and keys are rotated by angles that grow with the
//! position, and the ways to stretch those angles over more positions than the model was trained on.
//!
//! The formulas, their f32 arithmetic and their defaults are those of transformers' `modeling_rope_utils`.
//!
//! Shape suffixes: b rows, t tokens, n heads, h width of a head, r half of the part of a head that is rotated.

use std::f64::consts::{PI, TAU};

use fulcrum_torch_shim::rotated;
use tch::{Device, Kind, Tensor};

use crate::{ModelError, description::Description};

/// Which angles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rotary {
    /// Base of the wavelengths.
    pub(crate) base: f64,
    /// Share of a head that is rotated, its front.
    pub(crate) fraction: f64,
    /// How the angles are stretched.
    pub(crate) scaling: Scaling,
}

/// Ways to stretch the angles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    /// All of them evenly (Chen et al. 2023, section 2.3).
    Linear {
        /// By how much.
        factor: f64,
    },
    /// By a base that grows with a row's length once that exceeds the model's positions ("dynamic NTK"; Peng et
    /// al. 2023, section 3.3). transformers takes the length of the longest row of the batch, and with padding;
    /// here each row has its own, so that it does not depend on its company.
    Dynamic {
        /// By how much at twice the length, less 1.
        factor: f64,
    },
    /// The long wavelengths more than the short ones (Peng et al. 2023, section 3).
    Yarn(Yarn),
    /// The long wavelengths only (Llama 3.1; Grattafiori et al. 2024, section 3.4.2, in transformers' form).
    Llama3(Llama3),
}

/// The numbers of YaRN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Yarn {
    pub(crate) factor: f64,
    /// Positions before the stretching; none for the model's.
    pub(crate) original: Option<usize>,
    /// What cosines and sines are multiplied by; none for 0.1 ln(factor) + 1, or its form with two magnitudes.
    pub(crate) attention: Option<f64>,
    /// Magnitudes over and under the line of that form.
    pub(crate) magnitudes: Option<(f64, f64)>,
    /// Dimensions that turn more often than this over the original positions are left alone.
    pub(crate) fast: f64,
    /// Dimensions that turn less often than this are stretched in full.
    pub(crate) slow: f64,
    /// Whether the border dimensions are rounded outwards.
    pub(crate) truncate: bool,
}

/// The numbers of Llama 3.1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Llama3 {
    pub(crate) factor: f64,
    /// Positions before the stretching; none for the model's.
    pub(crate) original: Option<usize>,
    /// Wavelengths above `original` over this are stretched in full.
    pub(crate) low: f64,
    /// Wavelengths below `original` over this are left alone.
    pub(crate) high: f64,
}

impl Rotary {
    /// Bounds every number.
    ///
    /// # Errors
    /// Names field, value and bound.
    pub(crate) fn check(&self, head_width: usize) -> Result<(), ModelError> {
        let field = |name, value: f64, reason: &str| Err(ModelError::field(name, value, reason));
        if !(self.base.is_finite() && self.base > 1.0) {
            return field("rope_theta", self.base, "it must be a number above 1");
        }
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return field("partial_rotary_factor", self.fraction, "it must be above 0 and at most 1");
        }
        let width = self.width(head_width);
        if width < 4 || !width.is_multiple_of(2) {
            let reason = "it must leave an even number of at least 4 dimensions to rotate";
            return Err(ModelError::field(
                "head_dim",
                format!("{head_width}, of which {width} rotate"),
                reason,
            ));
        }
        self.scaling.check()
    }

    /// How much of a head is rotated.
    fn width(&self, head_width: usize) -> usize {
        (head_width as f64 * self.fraction) as usize
    }

    /// The longest sequence of a model with so many positions.
    pub(crate) fn longest(&self, positions: usize) -> usize {
        let stretched = |original: usize, factor: f64| (original as f64 * factor) as usize;
        let longest = match &self.scaling {
            Scaling::None => positions,
            Scaling::Linear { factor } | Scaling::Dynamic { factor } => stretched(positions, *factor),
            Scaling::Yarn(Yarn { factor, original, .. })
            | Scaling::Llama3(Llama3 { factor, original, .. }) => {
                stretched(original.unwrap_or(positions), *factor)
            }
        };
        longest.max(positions)
    }
}

impl Scaling {
    fn check(&self) -> Result<(), ModelError> {
        let numbers = match self {
            Self::None => Vec::new(),
            Self::Linear { factor } | Self::Dynamic { factor } => vec![("factor", *factor, 1.0)],
            Self::Yarn(yarn) => {
                let (over, under) = yarn.magnitudes.unwrap_or((1.0, 1.0));
                vec![
                    ("factor", yarn.factor, 1.0),
                    ("attention_factor", yarn.attention.unwrap_or(1.0), 0.0),
                    ("mscale", over, 0.0),
                    ("mscale_all_dim", under, 0.0),
                    ("beta_slow", yarn.slow, 0.0),
                    ("beta_fast", yarn.fast, yarn.slow),
                ]
            }
            Self::Llama3(llama) => vec![
                ("factor", llama.factor, 1.0),
                ("low_freq_factor", llama.low, f64::MIN_POSITIVE),
                ("high_freq_factor", llama.high, llama.low.next_up()),
            ],
        };
        if let Some((field, value, least)) =
            numbers.into_iter().find(|(_, value, least)| !(value.is_finite() && value >= least))
        {
            return Err(ModelError::field(field, value, format!("it must be a number of at least {least}")));
        }
        match self {
            Self::Yarn(Yarn { original: Some(0), .. }) | Self::Llama3(Llama3 { original: Some(0), .. }) => {
                Err(ModelError::field("original_max_position_embeddings", 0, "it must be at least 1"))
            }
            _ => Ok(()),
        }
    }
}

/// The angles of a model, ready to be turned into rotations.
#[derive(Debug)]
pub(crate) struct Angles {
    /// Angle per position.
    frequencies_r: Tensor,
    /// What cosines and sines are multiplied by.
    magnitude: f64,
    dynamic: Option<Dynamic>,
}

/// What the angles of a row longer than the positions are made of.
#[derive(Debug)]
struct Dynamic {
    base: f64,
    factor: f64,
    positions: usize,
    /// Dimension over width, for each pair.
    exponents_r: Tensor,
    /// Width of what is rotated.
    width: usize,
}

impl Angles {
    pub(crate) fn new(description: &Description, rotary: &Rotary, device: Device) -> Self {
        let width = rotary.width(description.head_width());
        let exponents_r =
            Tensor::arange_start_step(0, width as i64, 2, (Kind::Float, Device::Cpu)) / width as f64;
        let plain_r = Tensor::pow_scalar(rotary.base, &exponents_r).reciprocal();
        let (frequencies_r, magnitude) = match &rotary.scaling {
            Scaling::None | Scaling::Dynamic { .. } => (plain_r, 1.0),
            Scaling::Linear { factor } => (plain_r / *factor, 1.0),
            Scaling::Yarn(yarn) => {
                let positions = yarn.original.unwrap_or(description.positions);
                (yarn.frequencies(&plain_r, rotary.base, width, positions), yarn.magnitude())
            }
            Scaling::Llama3(llama) => {
                let positions = llama.original.unwrap_or(description.positions);
                (llama.frequencies(&plain_r, positions), 1.0)
            }
        };
        let dynamic = match rotary.scaling {
            Scaling::Dynamic { factor } => Some(Dynamic {
                base: rotary.base,
                factor,
                positions: description.positions,
                exponents_r: exponents_r.to_device(device),
                width,
            }),
            _ => None,
        };
        Self { frequencies_r: frequencies_r.to_device(device), magnitude, dynamic }
    }

    /// Past how many tokens of a row the angles of all its tokens change with each new one.
    pub(crate) fn settled(&self) -> Option<usize> {
        self.dynamic.as_ref().map(|dynamic| dynamic.positions)
    }

    /// The rotations of tokens at `positions_bt` in rows of `lengths_b` tokens.
    pub(crate) fn at(&self, positions_bt: &Tensor, lengths_b: &Tensor) -> Rotation {
        let positions_b1t1 = positions_bt.to_kind(Kind::Float).unsqueeze(1).unsqueeze(3);
        let angles_b1tr = match &self.dynamic {
            None => positions_b1t1 * &self.frequencies_r,
            Some(dynamic) => positions_b1t1 * dynamic.frequencies(lengths_b).unsqueeze(1).unsqueeze(1),
        };
        let scaled = |tensor: Tensor| if self.magnitude == 1.0 { tensor } else { tensor * self.magnitude };
        Rotation { cos_b1tr: scaled(angles_b1tr.cos()), sin_b1tr: scaled(angles_b1tr.sin()) }
    }
}

impl Dynamic {
    /// The angles of rows of such lengths, `[b, r]`.
    fn frequencies(&self, lengths_b: &Tensor) -> Tensor {
        let (positions, width) = (self.positions as f64, self.width as f64);
        let lengths_b = lengths_b.to_kind(Kind::Float).clamp_min(positions);
        let stretch_b = lengths_b * (self.factor / positions) - (self.factor - 1.0);
        let bases_b = stretch_b.pow_tensor_scalar(width / (width - 2.0)) * self.base;
        bases_b.unsqueeze(1).pow(&self.exponents_r).reciprocal()
    }
}

impl Yarn {
    /// Peng et al. 2023, equation 22 and section 3.4.
    fn magnitude(&self) -> f64 {
        let of = |magnitude: f64| match self.factor {
            factor if factor <= 1.0 => 1.0,
            factor => 0.1 * magnitude * factor.ln() + 1.0,
        };
        self.attention.unwrap_or_else(|| match self.magnitudes {
            Some((over, under)) => of(over) / of(under),
            None => of(1.0),
        })
    }

    /// Between left alone and stretched, along a ramp over the dimensions (equation 23).
    fn frequencies(&self, plain_r: &Tensor, base: f64, width: usize, positions: usize) -> Tensor {
        let dimension =
            |turns: f64| width as f64 * (positions as f64 / (turns * TAU)).ln() / (2.0 * base.ln());
        let (mut low, mut high) = (dimension(self.fast), dimension(self.slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(width as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let pairs_r = Tensor::arange(plain_r.size()[0], (Kind::Float, Device::Cpu));
        let stretched_r = ((pairs_r - low) / (high - low)).clamp(0.0, 1.0);
        (plain_r / self.factor) * &stretched_r + plain_r * (stretched_r.ones_like() - &stretched_r)
    }
}

impl Llama3 {
    /// Between left alone and stretched, along a ramp over the inverse wavelengths.
    fn frequencies(&self, plain_r: &Tensor, positions: usize) -> Tensor {
        let positions = positions as f64;
        let wavelengths_r = plain_r.reciprocal() * (2.0 * PI);
        let smooth_r = (wavelengths_r.reciprocal() * positions - self.low) / (self.high - self.low);
        let stretched_r = plain_r / self.factor;
        let between_r = (smooth_r.ones_like() - &smooth_r) * &stretched_r + &smooth_r * plain_r;
        let long_r = wavelengths_r.gt(positions / self.low);
        let short_r = wavelengths_r.lt(positions / self.high);
        stretched_r.where_self(&long_r, &plain_r.where_self(&short_r, &between_r))
    }
}

/// The rotations of the tokens of a batch.
#[derive(Debug)]
pub(crate) struct Rotation {
    cos_b1tr: Tensor,
    sin_b1tr: Tensor,
}

impl Rotation {
    /// Turns the front of every head, pairing each dimension of its first half with one of its second.
    pub(crate) fn apply(&self, x_bnth: &Tensor) -> Tensor {
        rotated(x_bnth, &self.cos_b1tr, &self.sin_b1tr)
    }
}
