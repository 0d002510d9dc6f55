//! Running out of memory is survived: the step is done again with smaller slots.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::Error;

/// What libtorch says where a device, or the host, has no memory left.
const SIGNS: [&str; 3] = ["out of memory", "not enough memory", "can't allocate memory"];

/// Runs a pass; none where memory ran out. Models compute with operations that panic where libtorch refuses, so a
/// panic may be it too.
///
/// # Errors
/// That of the pass, where it is about anything but memory.
///
/// # Panics
/// As the pass does, where it is about anything but memory.
pub(crate) fn survive<T>(pass: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, Error> {
    match catch_unwind(AssertUnwindSafe(pass)) {
        Ok(Ok(gave)) => Ok(Some(gave)),
        Ok(Err(error)) if is_memory(&error.to_string()) => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            if text.is_some_and(is_memory) { Ok(None) } else { resume_unwind(panic) }
        }
    }
}

fn is_memory(message: &str) -> bool {
    SIGNS.iter().any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use tch::TchError;

    use super::*;

    fn shortage() -> Error {
        Error::Torch(TchError::Torch("CUDA out of memory. Tried to allocate 2.00 GiB".to_owned()))
    }

    #[test]
    fn a_lack_of_memory_is_survived_and_nothing_else() {
        let survived = |pass: fn() -> Result<(), Error>| matches!(survive(pass), Ok(None));
        assert!(survived(|| Err(shortage())));
        assert!(survived(|| panic!("called `Result::unwrap()` on an `Err` value: {}", shortage())));
        assert!(matches!(survive(|| Ok(1)), Ok(Some(1))));
        assert!(survive::<()>(|| Err(Error::Objective("a sign".into()))).is_err());
        assert!(catch_unwind(|| survive::<()>(|| panic!("another"))).is_err());
    }
}
