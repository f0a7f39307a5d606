//! Chance, taken from the seed: whoever asks the operating system for randomness gets a repeatable stream.
//!
//! openraft draws its election timeouts from `rand`'s thread generator, maps hash with random keys, tokio's `select!`
//! picks by a random seed: all of them ask the system once, through `getrandom` or `syscall`. Both are defined here, in
//! place of the C library's.

use std::cell::Cell;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Begins the stream.
pub(crate) fn seed(seed: u64) {
    STATE.set(seed);
}

/// The next bytes of the stream.
pub(crate) fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        let (state, number) = next(STATE.get());
        STATE.set(state);
        chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
    }
}

mod system {
    #![allow(unsafe_code, reason = "takes the place of two functions of the C library")]

    use libc::{c_long, c_uint, c_void, size_t, ssize_t};

    /// getrandom(2).
    ///
    /// # Safety
    /// As the C library's: `buffer` has to be writable for `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, _flags: c_uint) -> ssize_t {
        if length > 0 {
            // SAFETY: the caller says so.
            super::fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), length) });
        }
        length.cast_signed()
    }

    /// syscall(2): answers getrandom itself, and hands everything else to the kernel. Declared with all arguments that
    /// a call can have; a caller that passes fewer leaves the other registers as they are, which the kernel ignores.
    ///
    /// # Safety
    /// As the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn syscall(
        number: c_long,
        a: c_long,
        b: c_long,
        c: c_long,
        d: c_long,
        e: c_long,
        f: c_long,
    ) -> c_long {
        if number == libc::SYS_getrandom {
            // SAFETY: the caller passes getrandom's arguments.
            return unsafe { getrandom(a as *mut c_void, b as size_t, 0) } as c_long;
        }
        // SAFETY: the caller is responsible for the system call.
        let result = unsafe { kernel(number, [a, b, c, d, e, f]) };
        if (-4095..0).contains(&result) {
            // SAFETY: the address is this thread's, and valid as long as the thread is.
            unsafe { *libc::__errno_location() = -result as i32 };
            return -1;
        }
        result
    }

    #[cfg(target_arch = "x86_64")]
    unsafe fn kernel(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
        let result;
        // SAFETY: the kernel's calling convention on x86-64; it overwrites rcx and r11.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
                in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }

    #[cfg(target_arch = "aarch64")]
    unsafe fn kernel(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
        let result;
        // SAFETY: the kernel's calling convention on 64-bit ARM.
        unsafe {
            std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
                in("x3") d, in("x4") e, in("x5") f, options(nostack));
        }
        result
    }
}
