//! Runs libFuzzer within a test, so that private functions can be fuzzed.
//!
//! The programs of `libfuzzer-sys` have the `main` of the library. Here it is that of the test
//! harness, and a test calls the driver of the library. The crate is empty unless it is built for
//! fuzzing: see `scripts/fuzz.sh`.

#![cfg(fuzzing)]

use std::{
    cell::OnceCell,
    env,
    ffi::{CString, c_char, c_int},
};

/// The variable with the arguments of libFuzzer, separated by spaces.
const ARGUMENTS: &str = "LIBFUZZER_ARGS";

type Property = Box<dyn Fn(&[u8])>;
type Callback = extern "C" fn(*const u8, usize) -> c_int;

thread_local! {
    static PROPERTY: OnceCell<Property> = const { OnceCell::new() };
}

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        count: *mut c_int,
        arguments: *mut *mut *mut c_char,
        callback: Callback,
    ) -> c_int;
}

// The callback of programs without a `main` of their own. Never called.
libfuzzer_sys::fuzz_target!(|_input: &[u8]| {});

/// Searches for an input for which `property` panics, and ends the process.
pub fn run(property: impl Fn(&[u8]) + 'static) -> ! {
    let is_first = PROPERTY.with(|own| own.set(Box::new(property)).is_ok());
    assert!(is_first, "one test can be fuzzed at a time");
    let arguments = env::var(ARGUMENTS).unwrap_or_default();
    let program = env::args().next().unwrap_or_default();
    let arguments = [program.as_str()].into_iter().chain(arguments.split_whitespace());
    let arguments = arguments.filter_map(|argument| CString::new(argument).ok());
    // The library keeps them, and a null pointer ends them.
    let mut arguments: Vec<*mut c_char> = arguments.map(CString::into_raw).collect();
    let mut count = c_int::try_from(arguments.len()).unwrap_or(1);
    arguments.push(std::ptr::null_mut());
    let mut arguments = arguments.leak().as_mut_ptr();
    // SAFETY: the pointers are those of `main` in C, and live as long as the process.
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut arguments, test_one_input) };
    std::process::exit(code);
}

/// A panic in it ends the process, and libFuzzer writes the input to a file.
extern "C" fn test_one_input(bytes: *const u8, length: usize) -> c_int {
    // SAFETY: the library passes that many bytes, which do not change during the call.
    let input =
        if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(bytes, length) } };
    PROPERTY.with(|own| own.get().map(|property| property(input)));
    0
}
