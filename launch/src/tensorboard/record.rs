//! The frames of an event file: TFRecord, each record with its length and two masked checksums (CRC-32C).

/// The reflected polynomial of CRC-32C (Castagnoli).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a checksum is masked with, so that a checksum of bytes that hold checksums says something.
const MASK: u32 = 0xa282_ead8;

/// The remainder of every byte.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ POLYNOMIAL } else { rest >> 1 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |rest: u32, byte: &u8| rest >> 8 ^ TABLE[usize::from(rest as u8 ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// Adds a record to a file.
pub(super) fn add(file: &mut Vec<u8>, record: &[u8]) {
    let length = (record.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&masked(&length).to_le_bytes());
    file.extend_from_slice(record);
    file.extend_from_slice(&masked(record).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
    #[test]
    fn checksums_are_those_of_the_specification() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        let cases = [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (&falling, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ];
        for (bytes, checksum) in cases {
            assert_eq!(crc32c(bytes), checksum, "{bytes:?}");
        }
    }

    #[test]
    fn a_record_has_its_length_and_two_checksums() {
        let mut file = Vec::new();
        add(&mut file, b"abc");
        assert_eq!(file.len(), 8 + 4 + 3 + 4);
        assert_eq!(file[..8], 3_u64.to_le_bytes());
        assert_eq!(file[8..12], masked(&file[..8]).to_le_bytes());
        assert_eq!((&file[12..15], &file[15..]), (&b"abc"[..], &masked(b"abc").to_le_bytes()[..]));
        assert_eq!(masked(b""), MASK);
    }
}
