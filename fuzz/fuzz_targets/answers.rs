//! See `src/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_http_transport::fuzz::answers(data));
