//! NCCL's library, opened at run time, and the functions of it that are used here.
//!
//! The types are cudarc's. Its loader is not used: it knows no `libnccl.so.2`, which is what torch's wheels bring,
//! and panics where it finds nothing. The library that torch has loaded goes first, so that no process holds two.

use std::{
    env,
    error::Error as _,
    ffi::{CStr, c_char, c_int, c_void},
    sync::OnceLock,
};

use cudarc::nccl::sys::{
    self, cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId,
};

/// The first release with the configuration that [`super::communicator`] fills in, as NCCL counts.
const OLDEST: c_int = 22_800;
/// Where binary compatibility ends.
const TOO_NEW: c_int = 30_000;

const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

macro_rules! functions {
    ($($name:ident = $symbol:ident($($argument:ty),*) -> $result:ty;)*) => {
        /// NCCL's functions; the library stays open for the life of the process.
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        // cudarc's bindings, made from NCCL's header, vouch for the types above: else this does not compile.
        $(const _: unsafe fn($($argument),*) -> $result = sys::$symbol;)*

        impl Library {
            fn bind(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: each symbol has the type that cudarc's binding of it has.
                unsafe {
                    Ok(Self { $($name: *library.get(concat!(stringify!($symbol), "\0"))?,)* })
                }
            }
        }
    };
}

functions! {
    version = ncclGetVersion(*mut c_int) -> ncclResult_t;
    unique_id = ncclGetUniqueId(*mut ncclUniqueId) -> ncclResult_t;
    error_text = ncclGetErrorString(ncclResult_t) -> *const c_char;
    last_error = ncclGetLastError(ncclComm_t) -> *const c_char;
    init = ncclCommInitRankConfig(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t) -> ncclResult_t;
    state = ncclCommGetAsyncError(ncclComm_t, *mut ncclResult_t) -> ncclResult_t;
    finalize = ncclCommFinalize(ncclComm_t) -> ncclResult_t;
    destroy = ncclCommDestroy(ncclComm_t) -> ncclResult_t;
    abort = ncclCommAbort(ncclComm_t) -> ncclResult_t;
    all_reduce = ncclAllReduce(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) -> ncclResult_t;
    reduce_scatter = ncclReduceScatter(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t) -> ncclResult_t;
    all_gather = ncclAllGather(*const c_void, *mut c_void, usize, ncclDataType_t, ncclComm_t, cudaStream_t) -> ncclResult_t;
    broadcast = ncclBroadcast(*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t) -> ncclResult_t;
}

impl Library {
    /// The library, opened once.
    ///
    /// # Errors
    /// What was looked for and where, or which release was found.
    pub(super) fn open() -> Result<&'static Self, String> {
        static OPENED: OnceLock<Result<Library, String>> = OnceLock::new();
        OPENED.get_or_init(|| Self::open_one_of(&NAMES)).as_ref().map_err(Clone::clone)
    }

    fn open_one_of(names: &[&str]) -> Result<Self, String> {
        let mut refusals = Vec::new();
        for name in names {
            // SAFETY: NCCL's initializers touch nothing of ours.
            match unsafe { libloading::Library::new(*name) } {
                Ok(library) => return Self::check(name, library),
                Err(error) => refusals.push(words(&error)),
            }
        }
        let path = env::var("LD_LIBRARY_PATH").unwrap_or_default();
        Err(format!(
            "torch has loaded none, and neither LD_LIBRARY_PATH=`{path}` nor the system has {}: {}",
            names.join(" or "),
            refusals.join("; ")
        ))
    }

    fn check(name: &str, library: libloading::Library) -> Result<Self, String> {
        let bound =
            Self::bind(&library).map_err(|error| format!("{name} is not whole: {}", words(&error)))?;
        let mut version = 0;
        // SAFETY: the pointer outlives the call.
        bound.result(unsafe { (bound.version)(&mut version) }, None)?;
        if !(OLDEST..TOO_NEW).contains(&version) {
            return Err(format!("{name} is of release {}: 2.28 or a later 2 is needed", written(version)));
        }
        std::mem::forget(library);
        Ok(bound)
    }

    /// Its release, as its makers write it.
    pub(super) fn release(&self) -> Result<String, String> {
        let mut version = 0;
        // SAFETY: the pointer outlives the call.
        self.result(unsafe { (self.version)(&mut version) }, None)?;
        Ok(written(version))
    }

    /// A new gang's id, which its members share.
    pub(super) fn new_id(&self) -> Result<Id, String> {
        let mut id = ncclUniqueId { internal: [0; Id::BYTES] };
        // SAFETY: the pointer outlives the call.
        self.result(unsafe { (self.unique_id)(&mut id) }, None)?;
        Ok(Id(id))
    }

    /// What a function returned, as a result: an operation that goes on is no error.
    pub(super) fn result(&self, result: ncclResult_t, comm: Option<ncclComm_t>) -> Result<(), String> {
        match result {
            ncclResult_t::ncclSuccess | ncclResult_t::ncclInProgress => Ok(()),
            error => Err(self.describe(error, comm)),
        }
    }

    /// NCCL's words for an error, and what it says of the latest in a communicator.
    fn describe(&self, error: ncclResult_t, comm: Option<ncclComm_t>) -> String {
        let text = |text: *const c_char| match text.is_null() {
            true => String::new(),
            false => {
                // SAFETY: NCCL returns constant strings, or ones that the next error of the same thread overwrites.
                let text = unsafe { CStr::from_ptr(text) };
                text.to_string_lossy().trim().replace('\n', " ")
            }
        };
        // SAFETY: any code may be asked for; the communicator is alive, or null, which NCCL allows here.
        let (what, last) = unsafe {
            let comm = comm.unwrap_or(std::ptr::null_mut());
            (text((self.error_text)(error)), text((self.last_error)(comm)))
        };
        if last.is_empty() { what } else { format!("{what}: {last}") }
    }
}

/// A release as its makers write it, of one as NCCL counts.
fn written(version: c_int) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

/// An error of the loader in one line; what the system says is its source.
fn words(error: &libloading::Error) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}").replace('\n', " ")
}

/// What the members of a gang must share to meet: an address and a secret of rank 0.
#[derive(Clone, Copy)]
pub(super) struct Id(pub(super) ncclUniqueId);

impl Id {
    pub(super) const BYTES: usize = size_of::<ncclUniqueId>();

    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.0.internal.iter().map(|byte| byte.cast_unsigned()).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let bytes: [u8; Self::BYTES] = bytes
            .try_into()
            .map_err(|_| format!("rank 0 gave an id of {} bytes instead of {}", bytes.len(), Self::BYTES))?;
        Ok(Self(ncclUniqueId { internal: bytes.map(u8::cast_signed) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_one_line_that_says_what_was_looked_for() {
        let error = Library::open_one_of(&["libno-such-nccl.so.2"]).err().unwrap();
        assert!(error.contains("libno-such-nccl.so.2") && error.contains("LD_LIBRARY_PATH"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_library_without_nccls_functions_is_refused() {
        let error = Library::open_one_of(&["libc.so.6"]).err().unwrap();
        assert!(error.starts_with("libc.so.6 is not whole: ") && error.contains("nccl"), "{error}");
    }

    #[test]
    fn an_id_travels_as_bytes_and_another_length_is_refused() {
        let bytes: Vec<u8> = (0..Id::BYTES).map(|at| (at * 2) as u8).collect();
        assert_eq!(Id::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        let error = Id::from_bytes(&bytes[1..]).err().unwrap();
        assert_eq!(error, "rank 0 gave an id of 127 bytes instead of 128");
    }
}
