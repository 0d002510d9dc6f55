//! The one source of randomness: seeded, keyed by purpose, the same on every machine.
//!
//! A stream is named by (seed, purpose, index) and needs no state to be saved: whoever needs the numbers
//! of step 17 makes the stream of step 17. BLAKE3 turns the name into the state of xoshiro256++
//! (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), so streams of
//! neighbouring names are unrelated. Only integer arithmetic and the exactly rounded operations of IEEE 754
//! (`+ - * /` and `sqrt`) are used: `ln` of the platform's mathematics library may differ in the last bit.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
    spare_normal: Option<f64>,
}

impl Rng {
    /// The stream of that name. `purpose` separates uses of one seed, `index` repetitions of one use.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("fulcrum 2026 random stream v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        hasher.update(purpose.as_bytes());
        let bytes = *hasher.finalize().as_bytes();
        let word = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("8 bytes"));
        // All zeros is the one state that xoshiro cannot leave; the hash makes it once in 2^256 names.
        Self { state: [word(0), word(1), word(2), word(3) | 1], spare_normal: None }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..bound`, every value equally likely (Lemire, "Fast random integer generation in an
    /// interval", 2019).
    ///
    /// # Panics
    /// If `bound` is zero: an empty range has no member.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a range must not be empty");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// [`Rng::below`] for positions in a slice.
    ///
    /// # Panics
    /// If `len` is zero.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True with that probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Normal with mean 0 and variance 1 (Marsaglia's polar form of Box and Muller).
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare_normal.take() {
            return value;
        }
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * ln(square) / square).sqrt();
                self.spare_normal = Some(v * scale);
                return u * scale;
            }
        }
    }

    /// Puts the items into a random order, every order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// Natural logarithm of a positive normal number, to about 1e-16 relative, from exactly rounded operations.
///
/// x = 2^e m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172:
/// twelve terms of the series leave less than 2^-60.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rng, ln};

    #[test]
    fn a_stream_is_the_same_on_every_machine() {
        let mut rng = Rng::new(7, "golden", 3);
        let integers: Vec<u64> = (0..2).map(|_| rng.next_u64()).collect();
        assert_eq!(integers, [14_666_962_466_767_603_945, 9_013_057_494_002_595_662]);
        let _ = rng.next_u64();
        let normals: Vec<u64> = (0..3).map(|_| rng.normal().to_bits()).collect();
        assert_eq!(
            normals,
            [4_597_795_304_088_202_750, 13_836_832_408_549_135_845, 4_606_480_475_885_062_263]
        );
    }

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        let mut rng = Rng { state: [1, 2, 3, 4], spare_normal: None };
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn seed_purpose_and_index_each_name_another_stream() {
        let first = |seed, purpose, index| Rng::new(seed, purpose, index).next_u64();
        let streams = [first(0, "a", 0), first(1, "a", 0), first(0, "b", 0), first(0, "a", 1)];
        assert!((0..4).all(|i| (0..i).all(|j| streams[i] != streams[j])), "{streams:?}");
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut rng = Rng::new(0, "moments", 0);
        let n = 100_000;
        let mut moments = |draw: &mut dyn FnMut(&mut Rng) -> f64| {
            let values: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n))
        };
        let (mean, variance) = moments(&mut Rng::uniform);
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.001, "{mean} {variance}");
        let (mean, variance) = moments(&mut Rng::normal);
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn every_value_of_a_range_is_equally_likely() {
        let mut rng = Rng::new(0, "range", 0);
        let mut counts = [0u32; 6];
        (0..60_000).for_each(|_| counts[rng.index(6)] += 1);
        // 99.9 % point of chi square with 5 degrees of freedom.
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 20.5, "{counts:?}");
    }

    proptest! {
        #[test]
        fn the_logarithm_is_that_of_the_platform_to_a_few_last_bits(x in 1e-300f64..1e300) {
            prop_assert!((ln(x) - x.ln()).abs() <= 4.0 * f64::EPSILON * x.ln().abs().max(1.0));
        }

        #[test]
        fn a_value_below_a_bound_is_below_it(seed: u64, bound in 1u64..) {
            prop_assert!(Rng::new(seed, "bound", 0).below(bound) < bound);
        }

        #[test]
        fn shuffling_loses_nothing(seed: u64, n in 0usize..200) {
            let mut items: Vec<usize> = (0..n).collect();
            Rng::new(seed, "shuffle", 0).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..n).collect::<Vec<_>>());
        }
    }
}
