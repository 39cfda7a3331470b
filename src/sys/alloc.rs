//! Running out of memory without an abort. Rust's collections abort the process when an allocation
//! fails, which a C library must not do. So the C libraries (feature `capi`) allocate through a
//! reserve: when the system has no more, 1 MiB of static memory lets the call in progress complete.
//! The C layer counts what a call took from it ([`failures`]), undoes the call and returns
//! `-ENOMEM`; and it starts no call without room for it ([`room`]).
//!
//! The reserve is a bitmap of blocks, claimed word by word with compare-exchange: nobody waits, and
//! a fork amid an allocation costs the child at most a few blocks.

/// Whether a call that allocates may start.
pub fn room() -> bool {
    #[cfg(feature = "capi")]
    return reserve::room();
    #[cfg(not(feature = "capi"))]
    true
}

/// How many allocations of this thread the system refused so far.
pub fn failures() -> u64 {
    #[cfg(feature = "capi")]
    return reserve::failures();
    #[cfg(not(feature = "capi"))]
    0
}

#[cfg(any(feature = "capi", test))]
#[cfg_attr(not(feature = "capi"), allow(dead_code))]
mod reserve {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::{Cell, UnsafeCell};
    #[cfg(feature = "capi")]
    use std::hint::black_box;
    use std::ptr;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    const SIZE: usize = 1 << 20;
    const BLOCK: usize = 64;
    const WORDS: usize = SIZE / BLOCK / 64;
    /// The most that the reserve may have lent for a call to start anyway.
    const LENT_MAX: usize = SIZE / 2;
    /// What the system must be able to give otherwise.
    const PROBE: usize = 256 * 1024;
    /// The reserve's own alignment, and the greatest that it serves.
    const ALIGN: usize = 4_096;

    #[repr(C, align(4096))]
    struct Memory(UnsafeCell<[u8; SIZE]>);
    // SAFETY: only addresses are taken of it; each byte belongs to whoever claimed its block.
    unsafe impl Sync for Memory {}

    /// Static memory, lent in runs of blocks.
    pub struct Reserve {
        memory: Memory,
        /// A bit per block: lent.
        lent: [AtomicU64; WORDS],
        lent_bytes: AtomicUsize,
    }

    impl Reserve {
        pub const fn new() -> Reserve {
            Reserve {
                memory: Memory(UnsafeCell::new([0; SIZE])),
                lent: [const { AtomicU64::new(0) }; WORDS],
                lent_bytes: AtomicUsize::new(0),
            }
        }

        fn base(&self) -> *mut u8 {
            self.memory.0.get().cast()
        }

        fn blocks(size: usize) -> usize {
            size.div_ceil(BLOCK).max(1)
        }

        /// The first run of free blocks that fits; null when there is none.
        pub fn alloc(&self, layout: Layout) -> *mut u8 {
            if layout.size() > SIZE || layout.align() > ALIGN {
                return ptr::null_mut();
            }
            let count = Self::blocks(layout.size());
            let step = (layout.align() / BLOCK).max(1);
            let mut first = 0;
            while first + count <= SIZE / BLOCK {
                match self.claim(first, count) {
                    Ok(()) => {
                        self.lent_bytes.fetch_add(count * BLOCK, Ordering::Relaxed);
                        // SAFETY: `first` is a block of the memory.
                        return unsafe { self.base().add(first * BLOCK) };
                    }
                    // The next start beyond the block in the way: advances by at least one.
                    Err(taken) => first = (taken + 1).next_multiple_of(step),
                }
            }
            ptr::null_mut()
        }

        /// Claim a run, or say which of its blocks is lent (the last of those seen at once).
        fn claim(&self, first: usize, count: usize) -> Result<(), usize> {
            let mut at = first;
            while at < first + count {
                let (word, mask) = self.part(at, first + count);
                let mut seen = word.load(Ordering::Relaxed);
                loop {
                    if seen & mask != 0 {
                        self.release(first, at - first);
                        let last = 63 - (seen & mask).leading_zeros() as usize;
                        return Err(at / 64 * 64 + last);
                    }
                    // Acquire (reserve-block): what the last owner did with the blocks is over.
                    let claimed = word.compare_exchange_weak(
                        seen,
                        seen | mask,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    );
                    match claimed {
                        Ok(_) => break,
                        Err(now) => seen = now,
                    }
                }
                at = (at / 64 + 1) * 64;
            }
            Ok(())
        }

        fn release(&self, first: usize, count: usize) {
            let mut at = first;
            while at < first + count {
                let (word, mask) = self.part(at, first + count);
                // Release (reserve-block): before the next owner's claim.
                word.fetch_and(!mask, Ordering::Release);
                at = (at / 64 + 1) * 64;
            }
        }

        /// The word of block `at`, and the bits in it from there to block `end`.
        fn part(&self, at: usize, end: usize) -> (&AtomicU64, u64) {
            let bits = (end - at).min(64 - at % 64);
            (&self.lent[at / 64], (u64::MAX >> (64 - bits)) << (at % 64))
        }

        pub fn owns(&self, p: *mut u8) -> bool {
            (p as usize).wrapping_sub(self.base() as usize) < SIZE
        }

        /// Take back what `alloc` gave for a layout of this size.
        pub fn free(&self, p: *mut u8, size: usize) {
            let first = (p as usize - self.base() as usize) / BLOCK;
            let count = Self::blocks(size);
            self.release(first, count);
            self.lent_bytes.fetch_sub(count * BLOCK, Ordering::Relaxed);
        }

        pub fn lent_bytes(&self) -> usize {
            self.lent_bytes.load(Ordering::Relaxed)
        }
    }

    /// The system's allocator, and the reserve when it has no more.
    pub struct EmergencyAlloc(pub Reserve);

    thread_local! {
        // Without a destructor, and so without an allocation when first used.
        static FAILURES: Cell<u64> = const { Cell::new(0) };
    }

    impl EmergencyAlloc {
        #[cold]
        fn rescue(&self, layout: Layout) -> *mut u8 {
            let _ = FAILURES.try_with(|n| n.set(n.get() + 1));
            self.0.alloc(layout)
        }
    }

    // SAFETY: memory is the system's, or a run of blocks lent to this caller alone, as large and as
    // aligned as asked for; which of the two, the address tells.
    unsafe impl GlobalAlloc for EmergencyAlloc {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promises about `layout`.
            let p = unsafe { System.alloc(layout) };
            if p.is_null() {
                return self.rescue(layout);
            }
            p
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promises about `layout`.
            let p = unsafe { System.alloc_zeroed(layout) };
            if !p.is_null() {
                return p;
            }
            let p = self.rescue(layout);
            if !p.is_null() {
                // SAFETY: lent to us with that size.
                unsafe { p.write_bytes(0, layout.size()) };
            }
            p
        }

        unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
            if self.0.owns(p) {
                return self.0.free(p, layout.size());
            }
            // SAFETY: not ours, so it came from the system, with this layout.
            unsafe { System.dealloc(p, layout) }
        }

        unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            if !self.0.owns(p) {
                // SAFETY: not ours, so it came from the system, with this layout.
                let moved = unsafe { System.realloc(p, layout, size) };
                if !moved.is_null() {
                    return moved;
                }
            } else if Reserve::blocks(size) == Reserve::blocks(layout.size()) {
                return p;
            }
            // SAFETY: the caller promises that `size` makes a layout with this alignment.
            let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
            // SAFETY: the caller's promises about `size` and `p`; the two do not overlap.
            unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(p, moved, size.min(layout.size()));
                    self.dealloc(p, layout);
                }
                moved
            }
        }
    }

    #[cfg(feature = "capi")]
    #[global_allocator]
    static GLOBAL: EmergencyAlloc = EmergencyAlloc(Reserve::new());

    /// Most of the reserve is free, or the system has memory again.
    #[cfg(feature = "capi")]
    pub fn room() -> bool {
        if GLOBAL.0.lent_bytes() <= LENT_MAX {
            return true;
        }
        // SAFETY: freed at once; free takes NULL as well.
        unsafe {
            // Opaque: a compiler may take a block that nobody uses for granted.
            let p = black_box(libc::malloc(PROBE));
            libc::free(p);
            !p.is_null()
        }
    }

    pub fn failures() -> u64 {
        FAILURES.try_with(Cell::get).unwrap_or(0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn layout(size: usize, align: usize) -> Layout {
            Layout::from_size_align(size, align).unwrap()
        }

        #[test]
        fn lends_all_of_it_and_takes_it_back() {
            static RESERVE: Reserve = Reserve::new();
            let r = &RESERVE;
            for (size, align) in [(1, 1), (64, 64), (100, 8), (5_000, 4_096), (SIZE / 2, 16)] {
                let pieces: Vec<_> = std::iter::from_fn(|| {
                    Some(r.alloc(layout(size, align))).filter(|p| !p.is_null())
                })
                .collect();
                let aligned = size.next_multiple_of(align.max(BLOCK));
                assert_eq!(pieces.len(), SIZE / aligned, "{size} {align}");
                for (i, p) in pieces.iter().enumerate() {
                    assert!(r.owns(*p) && r.owns(p.wrapping_add(size - 1)));
                    assert_eq!(*p as usize, r.base() as usize + i * aligned);
                }
                pieces.iter().for_each(|p| r.free(*p, size));
                assert_eq!(r.lent_bytes(), 0);
            }
            assert!(r.alloc(layout(SIZE + 1, 1)).is_null());
            assert!(r.alloc(layout(1, 8_192)).is_null());
            assert!(!r.owns(r.base().wrapping_sub(1)) && !r.owns(r.base().wrapping_add(SIZE)));
            let whole = r.alloc(layout(SIZE, 4_096));
            assert_eq!(whole, r.base());
            r.free(whole, SIZE);
        }

        #[test]
        fn threads_never_share_a_block() {
            static RESERVE: Reserve = Reserve::new();
            std::thread::scope(|s| {
                for seed in 1..5_u8 {
                    s.spawn(move || {
                        for i in 0..2_000 {
                            let size = 1 + i * usize::from(seed) % 9_000;
                            let p = RESERVE.alloc(layout(size, 8));
                            assert!(!p.is_null());
                            // SAFETY: lent to this thread with that size.
                            unsafe {
                                p.write_bytes(seed, size);
                                let bytes = std::slice::from_raw_parts(p, size);
                                assert!(bytes.iter().all(|b| *b == seed));
                            }
                            RESERVE.free(p, size);
                        }
                    });
                }
            });
            assert_eq!(RESERVE.lent_bytes(), 0);
        }

        /// With no address space left, collections still work and the failure is counted.
        #[cfg(feature = "capi")]
        #[test]
        fn out_of_memory_is_counted_and_survived() {
            let status = super::super::super::fork::tests::in_child(|| {
                let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: a valid rlimit.
                let limited = unsafe { libc::setrlimit(libc::RLIMIT_AS, &none) } == 0;
                // What the C library has mapped for this thread already.
                // SAFETY: leaked, in a process about to exit.
                while !black_box(unsafe { libc::malloc(PROBE / 2) }).is_null() {}
                let before = failures();
                let first = vec![7_u8; 400 * 1_024];
                let rescued = GLOBAL.0.owns(first.as_ptr().cast_mut()) && failures() > before;
                let still = room();
                let second = vec![7_u8; 400 * 1_024];
                let full = !room() && Vec::<u8>::new().try_reserve_exact(400 * 1_024).is_err();
                drop((first, second));
                i32::from(!(limited && rescued && still && full && room()))
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn moves_between_reserve_and_system() {
            static ALLOC: EmergencyAlloc = EmergencyAlloc(Reserve::new());
            let before = failures();
            let small = layout(200, 8);
            let p = ALLOC.rescue(small);
            assert!(ALLOC.0.owns(p));
            assert_eq!(failures(), before + 1);
            // SAFETY: layouts as they were asked for.
            unsafe {
                p.write_bytes(7, 200);
                assert_eq!(ALLOC.realloc(p, small, 256), p);
                let moved = ALLOC.realloc(p, layout(256, 8), 5_000);
                assert!(!ALLOC.0.owns(moved));
                assert_eq!(std::slice::from_raw_parts(moved, 200), [7; 200]);
                ALLOC.dealloc(moved, layout(5_000, 8));
                // More than any system has: null, and no panic.
                let huge = layout(isize::MAX as usize - 4_095, 4_096);
                assert!(ALLOC.alloc(huge).is_null());
                assert!(ALLOC.alloc_zeroed(huge).is_null());
            }
            assert_eq!(ALLOC.0.lent_bytes(), 0);
        }
    }
}
