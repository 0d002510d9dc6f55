//! Adafactor (Shazeer & Stern 2018, algorithm 4 for matrices, 5 for vectors) at a given learning rate.
//!
//! Shape suffixes: n rows, m columns. A tensor of more dimensions counts as many matrices.

use tch::{Kind, Tensor};

use super::{Piece, Rule};
use crate::Error;

/// Decay of the second moment: of update t, 1 - t to this power is kept (section 7.2).
const DECAY: f64 = -0.8;
/// Below this root, a second moment counts as it (epsilon 1).
const SMALLEST_ROOT: f64 = f32::EPSILON as f64;
/// Parameters smaller than this in the mean are updated as if they were of this size (epsilon 2).
const SMALLEST_SCALE: f64 = 1e-3;
/// Updates larger than this in the mean are scaled down to it (d).
const LARGEST_UPDATE: f64 = 1.0;

/// For a matrix one number per row and per column, for a vector one per number.
#[derive(Debug)]
pub(super) struct Adafactor {
    weight_decay: f64,
    parameters: Vec<Parameter>,
    rows: Vec<Tensor>,
    columns: Vec<Tensor>,
    squares: Vec<Tensor>,
}

/// A whole parameter.
#[derive(Debug)]
struct Parameter {
    value: Tensor,
    gradient: Tensor,
    decays: bool,
    moment: Moment,
}

/// The running mean of the squared gradient.
#[derive(Debug)]
enum Moment {
    /// Its means over columns and over rows.
    Factored { row_n1: Tensor, column_1m: Tensor },
    /// Itself.
    Whole { square_n: Tensor },
}

impl Adafactor {
    pub(super) fn new(weight_decay: f64, pieces: &[Piece]) -> Result<Self, Error> {
        let (mut rows, mut columns, mut squares) = (Vec::new(), Vec::new(), Vec::new());
        let parameter = |piece: &Piece| {
            let Piece { parameter, gradient, decays } = piece;
            let moment = if parameter.dim() < 2 {
                let square_n = parameter.f_zeros_like()?;
                squares.push(square_n.shallow_clone());
                Moment::Whole { square_n }
            } else {
                let row_n1 = parameter.narrow(-1, 0, 1).f_zeros_like()?.contiguous();
                let column_1m = parameter.narrow(-2, 0, 1).f_zeros_like()?.contiguous();
                rows.push(row_n1.shallow_clone());
                columns.push(column_1m.shallow_clone());
                Moment::Factored { row_n1, column_1m }
            };
            let (value, gradient) = (parameter.shallow_clone(), gradient.shallow_clone());
            Ok(Parameter { value, gradient, decays: *decays, moment })
        };
        let parameters = pieces.iter().map(parameter).collect::<Result<_, Error>>()?;
        Ok(Self { weight_decay, parameters, rows, columns, squares })
    }
}

impl Rule for Adafactor {
    fn update(&mut self, number: u64, learning_rate: f64) -> Result<(), Error> {
        let number = number as f64;
        let (weight, rate) = (number.powf(DECAY), learning_rate.min(number.sqrt().recip()));
        for Parameter { value, gradient, decays, moment } in &mut self.parameters {
            let scale = root_mean_square(value)?.max(SMALLEST_SCALE);
            if *decays && self.weight_decay > 0.0 {
                let _ = value.f_mul_scalar_(1.0 - learning_rate * self.weight_decay)?;
            }
            let mut update = moment.inverse_root(gradient, weight)?.f_mul_(gradient)?;
            let excess = (root_mean_square(&update)? / LARGEST_UPDATE).max(1.0);
            let _ = value.f_sub_(&update.f_mul_scalar_(rate * scale / excess)?)?;
        }
        Ok(())
    }

    fn memory(&self) -> Vec<(&'static str, &[Tensor])> {
        vec![("rows", &self.rows), ("columns", &self.columns), ("squares", &self.squares)]
    }
}

impl Moment {
    /// One over the root of the mean, once it has moved towards the square of this gradient by `weight`.
    fn inverse_root(&mut self, gradient: &Tensor, weight: f64) -> Result<Tensor, Error> {
        let mut square = match self {
            Self::Factored { row_n1, column_1m } => {
                for (mean, dim) in [(&mut *row_n1, -1), (&mut *column_1m, -2)] {
                    // The norm does not hold all squares at once.
                    let sum = gradient.f_norm_scalaropt_dim(2, dim, true)?.f_square_()?;
                    let length = gradient.size()[(gradient.dim() as i64 + dim) as usize];
                    let _ = mean.f_lerp_(&sum.f_div_scalar(length)?, weight)?;
                }
                let mean = row_n1.f_mean_dim([-2i64].as_slice(), true, Kind::Float)?;
                row_n1.f_matmul(column_1m)?.f_div_(&mean.f_clamp_min(SMALLEST_ROOT)?)?
            }
            Self::Whole { square_n } => {
                let _ = square_n.f_lerp_(&gradient.f_square()?, weight)?;
                square_n.copy()
            }
        };
        Ok(square.f_clamp_min_(SMALLEST_ROOT * SMALLEST_ROOT)?.f_rsqrt_()?)
    }
}

fn root_mean_square(tensor: &Tensor) -> Result<f64, Error> {
    Ok(tensor.f_norm()?.f_double_value(&[])? / (tensor.numel() as f64).sqrt())
}
