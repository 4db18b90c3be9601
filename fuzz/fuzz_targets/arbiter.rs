//! See `fuzz/src/program.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::program::arbiter(bytes));
