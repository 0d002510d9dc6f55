//! What the fuzzer runs: readers of bytes from outside, and what must hold of everything that they let pass.

use std::path::Path;

use fulcrum_common::{
    experiment,
    source::checkpoint::{Header, Index},
};

/// A safetensors file: whatever passes describes tensors inside the file, with as many bytes as their shapes say.
/// Returns whether it passed.
pub fn header(bytes: &[u8]) -> bool {
    let Ok(header) = Header::read(&mut &bytes[..], bytes.len() as u64, Path::new("fuzzed.safetensors"))
    else {
        return false;
    };
    let mut end = 0;
    for name in header.names() {
        let info = header.info(&name).expect("a name of the header is in the header");
        let numbers = info.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let bits = numbers.and_then(|numbers| numbers.checked_mul(info.dtype.bitsize()));
        let (begin, stop) = info.data_offsets;
        assert_eq!(Some(8 * (stop - begin)), bits, "{name:?} has other bytes than its shape says");
        assert_eq!(begin, end, "{name:?} leaves a gap, or lies over another tensor");
        end = stop;
    }
    assert_eq!(header.data() + end as u64, bytes.len() as u64, "the tensors do not fill the file");
    true
}

/// An index of shards: whatever passes names plain files. Returns whether it passed.
pub fn index(bytes: &[u8]) -> bool {
    let Ok(index) = Index::parse(bytes) else { return false };
    let folder = Path::new("folder");
    for name in index.names() {
        let path = folder.join(name);
        assert_eq!(path.parent(), Some(folder), "{name:?} leads elsewhere");
        assert!(path.file_name().is_some_and(|file| file == name), "{name:?} is no file name");
    }
    true
}

/// An experiment file: whatever does not pass is refused in lines that can be shown. Returns whether it passed.
pub fn experiment(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match experiment::parse("fuzzed.toml", text, Path::new("")) {
        Ok(experiment) => {
            let name = Path::new(experiment.name());
            assert_eq!(name.file_name(), Some(name.as_os_str()), "the name of a run is a folder's name");
            true
        }
        Err(errors) => {
            assert!(!errors.to_string().is_empty(), "a refusal says nothing");
            false
        }
    }
}
