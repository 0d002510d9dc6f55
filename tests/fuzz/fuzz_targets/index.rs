//! `fulcrum_fuzz::index` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fulcrum_fuzz::index(bytes);
});
