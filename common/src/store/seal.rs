//! JSON that says whether it is whole: an object with the BLAKE3 of its other fields in `seal`.
//!
//! Files are compared with the digests that manifests and marks state; this is what those themselves are compared with.
//! Text without a seal is taken as it is: manifests had none before.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Key;

const SEAL: &str = "seal";

#[derive(Serialize)]
struct Sealed<'a, T> {
    #[serde(flatten)]
    value: &'a T,
    seal: Key,
}

/// The text of an object, for people too.
pub(super) fn write<T: Serialize>(value: &T) -> Vec<u8> {
    let sealed = Sealed { value, seal: digest(value) };
    let mut text = serde_json::to_vec_pretty(&sealed).expect("what is sealed is plain data");
    text.push(b'\n');
    text
}

/// The object, or what is wrong with the text.
pub(super) fn read<T: Serialize + DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let mut object: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let seal = object.as_object_mut().and_then(|fields| fields.remove(SEAL));
    let value: T = serde_json::from_value(object).map_err(|error| error.to_string())?;
    match seal {
        Some(seal) if seal != Value::String(digest(&value).to_string()) => {
            Err("its seal is that of another text".to_owned())
        }
        _ => Ok(value),
    }
}

/// Of the fields in the order in which the type has them, without spaces.
fn digest<T: Serialize>(value: &T) -> Key {
    Key::of(&serde_json::to_vec(value).expect("what is sealed is plain data"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Fields = BTreeMap<String, f64>;

    #[test]
    fn no_flipped_bit_changes_what_is_read() {
        let fields = Fields::from([("rows".to_owned(), 100.0), ("share".to_owned(), 0.1 + 0.2)]);
        let text = write(&fields);
        assert_eq!(read::<Fields>(&text).unwrap(), fields);
        let mut refused = 0;
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match read::<Fields>(&flipped) {
                Ok(found) => assert_eq!(found, fields, "bit {bit}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > text.len() * 6, "{refused} of {}", text.len() * 8);
        assert_eq!(read::<Fields>(b"{\"rows\": 3}").unwrap()["rows"], 3.0);
    }
}
