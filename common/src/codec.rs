//! Small binary files of our own: what they are, which version, how long, the value, and a checksum of it all.
//!
//! ```text
//! 8 bytes   "FULCRUM" and a zero
//! 4         what it is
//! 4         version, little endian as all numbers here
//! 8         length of the value
//! ...       the value, as bincode's standard configuration writes it
//! 32        BLAKE3 of everything before
//! ```
//!
//! This is the only place that knows bincode.

use serde::{Serialize, de::DeserializeOwned};

/// How every file begins.
const MAGIC: [u8; 8] = *b"FULCRUM\0";

/// Bytes before the value, and after it.
const HEAD: usize = MAGIC.len() + 4 + 4 + 8;
const TAIL: usize = blake3::OUT_LEN;

/// Values longer than this, in bytes, are neither written nor read.
const LIMIT: usize = 1 << 30;

/// What a file holds, and in which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Four letters.
    pub name: [u8; 4],
    /// Raised whenever the value's form changes.
    pub version: u32,
}

/// Bytes that do not hold such a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They were cut, or changed.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// They hold something else.
    #[error("it is {found}, not {expected}")]
    Foreign {
        /// What they say they are.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The value is too long, or not of the form that its version has.
    #[error("its value cannot be coded: {0}")]
    Value(String),
}

impl Format {
    /// A value in its bytes. The same value gives the same bytes.
    ///
    /// # Errors
    /// If it is longer than a gigabyte.
    pub fn encode<T: Serialize>(self, value: &T) -> Result<Vec<u8>, CodecError> {
        let value = bincode::serde::encode_to_vec(value, settings())
            .map_err(|error| CodecError::Value(error.to_string()))?;
        if value.len() > LIMIT {
            return Err(CodecError::Value(format!("{} bytes, more than {LIMIT}", value.len())));
        }
        let mut bytes = Vec::with_capacity(HEAD + value.len() + TAIL);
        bytes.extend(MAGIC);
        bytes.extend(self.name);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((value.len() as u64).to_le_bytes());
        bytes.extend(value);
        let sum = blake3::hash(&bytes);
        bytes.extend(sum.as_bytes());
        Ok(bytes)
    }

    /// The value in bytes that [`Format::encode`] gave. Nothing of them is trusted before their checksum.
    ///
    /// # Errors
    /// If they are cut or changed, hold something else, or more than the value.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        let (rest, sum) = bytes.split_last_chunk::<TAIL>().ok_or(CodecError::Damaged("it is too short"))?;
        let Some((head, value)) = rest.split_first_chunk::<HEAD>() else {
            return Err(CodecError::Damaged("it is too short"));
        };
        if head[..8] != MAGIC {
            return Err(CodecError::Damaged("it does not begin as such files do"));
        }
        if blake3::hash(rest) != *sum {
            return Err(CodecError::Damaged("its checksum is another"));
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let found = Self { name: [head[8], head[9], head[10], head[11]], version: number(12) };
        if found != self {
            return Err(CodecError::Foreign { found: found.to_string(), expected: self.to_string() });
        }
        let length = u64::from(number(16)) | u64::from(number(20)) << 32;
        if length != value.len() as u64 {
            return Err(CodecError::Damaged("it has another length than it says"));
        }
        let (value, read) = bincode::serde::decode_from_slice(value, settings())
            .map_err(|error| CodecError::Value(error.to_string()))?;
        if read as u64 == length { Ok(value) } else { Err(CodecError::Damaged("more follows the value")) }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of version {}", self.name.escape_ascii(), self.version)
    }
}

/// Lengths inside a value are bounded, so that no number in it makes anybody ask for memory without end.
fn settings() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMAT: Format = Format { name: *b"test", version: 3 };

    type Value = (u64, Vec<(String, f64)>);

    fn value() -> Value {
        (7, vec![("lever".to_owned(), 0.1), ("load".to_owned(), -1e300)])
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = FORMAT.encode(&value()).unwrap();
        assert_eq!(FORMAT.decode::<Value>(&bytes).unwrap(), value());
        assert_eq!(FORMAT.encode(&value()).unwrap(), bytes);
    }

    #[test]
    fn another_kind_version_or_form_is_refused() {
        let bytes = FORMAT.encode(&value()).unwrap();
        for other in [Format { name: *b"rest", ..FORMAT }, Format { version: 4, ..FORMAT }] {
            let error = other.decode::<Value>(&bytes).unwrap_err().to_string();
            assert_eq!(error, format!("it is test of version 3, not {other}"));
        }
        let longer = FORMAT.encode(&(value(), 1u8)).unwrap();
        assert!(FORMAT.decode::<Value>(&longer).is_err(), "what follows the value is not skipped");
        let huge = FORMAT.encode(&(7u64, u64::MAX)).unwrap();
        assert!(matches!(FORMAT.decode::<Value>(&huge), Err(CodecError::Value(_))), "a length without end");
    }

    proptest! {
        #[test]
        fn no_cut_and_no_flipped_bit_passes(cut in 0usize..200, at in 0usize..200, bit in 0u8..8) {
            let bytes = FORMAT.encode(&value()).unwrap();
            let cut = cut % bytes.len();
            prop_assert!(FORMAT.decode::<Value>(&bytes[..cut]).is_err());
            let mut flipped = bytes.clone();
            flipped[at % bytes.len()] ^= 1 << bit;
            prop_assert!(FORMAT.decode::<Value>(&flipped).is_err());
        }
    }
}
