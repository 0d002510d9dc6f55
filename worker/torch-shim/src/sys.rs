//! The C face of the C++ files, one to one.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr::NonNull,
    time::Duration,
};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::Error;

/// A `c10d::TCPStore`.
#[repr(C)]
pub(crate) struct Store {
    _opaque: [u8; 0],
}

/// A `c10d::ProcessGroupGloo`.
#[repr(C)]
pub(crate) struct Group {
    _opaque: [u8; 0],
}

/// A `c10d::Reducer`.
#[repr(C)]
pub(crate) struct Reducer {
    _opaque: [u8; 0],
}

/// A `c10d::Work`.
#[repr(C)]
pub(crate) struct Work {
    _opaque: [u8; 0],
}

pub(crate) type Call = extern "C" fn(*mut c_void) -> c_int;
pub(crate) type Drop = extern "C" fn(*mut c_void);

unsafe extern "C" {
    pub(crate) fn fulcrum_free_message(text: *mut c_char);
    pub(crate) fn fulcrum_cuda_peak(index: c_int, out: *mut i64) -> *mut c_char;
    pub(crate) fn fulcrum_store_server(
        host: *const c_char,
        port: u16,
        fd: c_int,
        timeout_ms: i64,
        out: *mut *mut Store,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_store_client(
        host: *const c_char,
        port: u16,
        timeout_ms: i64,
        out: *mut *mut Store,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_store_free(store: *mut Store);
    pub(crate) fn fulcrum_store_set(
        store: *mut Store,
        key: *const c_char,
        data: *const u8,
        length: usize,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_store_get(
        store: *mut Store,
        key: *const c_char,
        data: *mut u8,
        length: *mut usize,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_new(
        store: *mut Store,
        prefix: *const c_char,
        address: *const c_char,
        is_interface: bool,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        out: *mut *mut Group,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_free(group: *mut Group);
    pub(crate) fn fulcrum_gloo_broken(group: *mut Group) -> bool;
    pub(crate) fn fulcrum_gloo_abort(group: *mut Group) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_all_reduce(
        group: *mut Group,
        tensor: *const C_tensor,
        op: c_int,
        out: *mut *mut Work,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_reduce_scatter(
        group: *mut Group,
        output: *const C_tensor,
        input: *const C_tensor,
        op: c_int,
        out: *mut *mut Work,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_all_gather(
        group: *mut Group,
        output: *const C_tensor,
        input: *const C_tensor,
        out: *mut *mut Work,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_broadcast(
        group: *mut Group,
        tensor: *const C_tensor,
        root: c_int,
        out: *mut *mut Work,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gloo_barrier(group: *mut Group, out: *mut *mut Work) -> *mut c_char;
    pub(crate) fn fulcrum_work_wait(work: *mut Work, timeout_ms: i64) -> *mut c_char;
    pub(crate) fn fulcrum_work_done(work: *mut Work) -> bool;
    pub(crate) fn fulcrum_work_free(work: *mut Work);
    pub(crate) fn fulcrum_reducer_new(
        group: *mut Group,
        parameters: *const *const C_tensor,
        count: usize,
        first_bytes: i64,
        bytes: i64,
        out: *mut *mut Reducer,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_reducer_prepare(reducer: *mut Reducer) -> *mut c_char;
    pub(crate) fn fulcrum_reducer_free(reducer: *mut Reducer);
    pub(crate) fn fulcrum_set_gradient_hook(
        leaf: *const C_tensor,
        closure: *mut c_void,
        call: Option<Call>,
        drop: Option<Drop>,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_set_gradient(leaf: *const C_tensor, gradient: *const C_tensor) -> *mut c_char;
    pub(crate) fn fulcrum_linear(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_gated(
        gate: *const C_tensor,
        up: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_rms_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        epsilon: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_rotated(
        x: *const C_tensor,
        cosine: *const C_tensor,
        sine: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_embedding(
        table: *const C_tensor,
        ids: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_cross_entropy(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        targets: *const C_tensor,
        cap: f64,
        factor: f64,
        numbers: i64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_fused_adamw(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        means: *const *const C_tensor,
        squares: *const *const C_tensor,
        count: usize,
        step: *const C_tensor,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_fused_sgd(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        directions: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        momentum: f64,
        nesterov: bool,
    ) -> *mut c_char;
    pub(crate) fn fulcrum_memory_count();
    pub(crate) fn fulcrum_memory_counted(now: *mut i64, most: *mut i64);
    pub(crate) fn fulcrum_memory_trim();
}

/// Turns what the C face returned into a result, and frees the message.
pub(crate) fn check(message: *mut c_char) -> Result<(), Error> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: every function of the C face returns null or a string of its own allocation that ends in a
    // zero; it is copied here before it is freed, once.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        fulcrum_free_message(message);
        text
    };
    Err(Error::new(without_location(&text)))
}

/// Gloo begins its messages with a place in its source, which helps nobody here.
fn without_location(text: &str) -> &str {
    match text.strip_prefix("[/").and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest,
        None => text,
    }
}

/// The tensors' pointers, valid for as long as `tensors` is borrowed.
pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

/// The text as C reads it.
pub(crate) fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::new(format!("{text:?} holds a zero byte")))
}

/// At least one: c10d reads zero as no limit.
pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2).clamp(1, 30 * 86_400_000)
}

/// A pointer that the C face has set.
pub(crate) fn made<T>(raw: *mut T) -> NonNull<T> {
    NonNull::new(raw).expect("the C face sets its out pointer whenever it returns no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_the_place_in_the_source_and_nothing_else() {
        assert_eq!(without_location("[/a/b.cc:5] closed by peer [1.2.3.4]:5"), "closed by peer [1.2.3.4]:5");
        for text in ["[1.2.3.4]:5 is gone", "plain", "[/unclosed"] {
            assert_eq!(without_location(text), text);
        }
    }
}
