//! What happened, as a number: two runs of a seed have the same.

use std::cell::{Cell, RefCell};
use std::fmt::{Arguments, Write};

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static HASH: Cell<u64> = const { Cell::new(FNV_OFFSET) };
    static EVENTS: Cell<u64> = const { Cell::new(0) };
    static PRINT: Cell<bool> = const { Cell::new(false) };
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Those of FNV-1a, 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// A hash of some bytes, going on from an earlier value: like FNV-1a, but by words, as whole databases are hashed.
pub(crate) fn hash(from: u64, bytes: &[u8]) -> u64 {
    let step = |from: u64, word: u64| {
        let mixed = (from ^ word).wrapping_mul(FNV_PRIME);
        mixed ^ (mixed >> 29)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut result = step(from, bytes.len() as u64);
    for word in words {
        result = step(result, u64::from_le_bytes(*word));
    }
    rest.iter().fold(result, |result, byte| step(result, u64::from(*byte)))
}

/// The hash of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    hash(FNV_OFFSET, bytes)
}

/// Whether each event is also printed.
pub(crate) fn print(print: bool) {
    PRINT.set(print);
}

/// Sets the time of the events that follow, in milliseconds.
pub(crate) fn set_time(now: u64) {
    NOW.set(now);
}

/// The simulated time, in milliseconds.
pub(crate) fn now() -> u64 {
    NOW.get()
}

/// Notes an event.
pub(crate) fn event(what: Arguments<'_>) {
    LINE.with_borrow_mut(|line| {
        line.clear();
        let _ = write!(line, "{:>7} {what}", NOW.get());
        HASH.set(hash(HASH.get(), line.as_bytes()));
        EVENTS.set(EVENTS.get() + 1);
        if PRINT.get() {
            eprintln!("{line}");
        }
    });
}

/// Prints something that is not the same in every run, as names of directories are.
pub(crate) fn remark(what: Arguments<'_>) {
    if PRINT.get() {
        eprintln!("{:>7} {what}", NOW.get());
    }
}

/// How many events there were, and the number for all of them.
pub(crate) fn result() -> (u64, u64) {
    (EVENTS.get(), HASH.get())
}
