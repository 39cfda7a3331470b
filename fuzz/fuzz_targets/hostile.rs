#![no_main]
//! A channel's files as an attacker writes them, and every call there is, in any order.
//!
//! An input is a program (`program`): its first byte chooses one of a few small channels (`channel`), the
//! next one how it lies there, and then every 12 bytes are one step: a change of a file (a field of
//! `docs/FORMAT.md` and a value, a cut, a copy, a name gone) or a call. Changes come before, between and
//! after the calls, also under live mappings: a hostile writer, but one that can be replayed.
//!
//! No call may crash, panic, hang, read what is not its own, or return the code of a bug; what is received
//! is what was sent, unless the program forged it (`calls`).

mod hostile {
    pub mod calls;
    pub mod channel;
    pub mod edits;
    #[path = "../../../tests/hostile/fields.rs"]
    #[allow(dead_code)]
    pub mod fields;
    pub mod program;
    #[path = "../../../tests/golden/sparse.rs"]
    pub mod sparse;
}

libfuzzer_sys::fuzz_target!(init: hostile::channel::init(), |data: &[u8]| {
    hostile::program::run(data);
});
