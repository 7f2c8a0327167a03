//! The allocator, which counts what the calling thread asks of it: after start-up the relay path should ask for nothing,
//! and each core shows its count beside its rows. Counting is one addition in thread-local memory.
//!
//! Every block of mimalloc's is aligned to a word. Asking it for that alignment all the same makes it take more than is needed
//! for most sizes above 1 KiB, and look for the block's beginning when it is freed; so it is asked for what is beyond a word only.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use libmimalloc_sys::{mi_malloc, mi_realloc, mi_zalloc};
use mimalloc::MiMalloc;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// mimalloc with a count.
pub struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread asked for memory since it started, growing included.
pub fn of_this_thread() -> u64 {
    ALLOCATIONS.get()
}

/// What every block is aligned to, given that it is as large.
const WORD_BYTES: usize = size_of::<usize>();

const fn is_natural(align: usize, bytes: usize) -> bool {
    align <= WORD_BYTES && align <= bytes
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is handed to mimalloc, which aligns every block to a word and takes back or resizes every block in the
// same way, however it was asked for; the thread-local is a plain number without destructor, so that
// counting neither allocates nor fails while a thread starts or ends.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        if is_natural(layout.align(), layout.size()) {
            // SAFETY: any size may be asked for.
            return unsafe { mi_malloc(layout.size()) }.cast();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        if is_natural(layout.align(), layout.size()) {
            // SAFETY: any size may be asked for.
            return unsafe { mi_zalloc(layout.size()) }.cast();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        if is_natural(layout.align(), bytes) {
            // SAFETY: `memory` is a block of mimalloc's, as the caller promises.
            return unsafe { mi_realloc(memory.cast(), bytes) }.cast();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { MiMalloc.realloc(memory, layout, bytes) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn blocks_are_aligned_as_asked_whatever_becomes_of_them() {
        use super::*;
        for align in [1, 2, 4, 8, 16, 64] {
            for bytes in (1..200).chain([1000, 1025, 3000, 5000, 70_000, 1 << 20]) {
                let layout = Layout::from_size_align(bytes, align).expect("small");
                // SAFETY: sizes are not zero, and each block goes back with the layout that it has.
                unsafe {
                    let memory = ALLOCATOR.alloc(layout);
                    assert!(
                        !memory.is_null() && memory.addr().is_multiple_of(align),
                        "{bytes} {align}"
                    );
                    memory.write_bytes(7, bytes);
                    let larger = ALLOCATOR.realloc(memory, layout, bytes * 2);
                    assert!(
                        !larger.is_null() && larger.addr().is_multiple_of(align),
                        "{bytes} {align}"
                    );
                    assert_eq!(larger.add(bytes - 1).read(), 7);
                    let doubled = Layout::from_size_align(bytes * 2, align).expect("small");
                    ALLOCATOR.dealloc(larger, doubled);
                    let zeroed = ALLOCATOR.alloc_zeroed(layout);
                    assert!(zeroed.addr().is_multiple_of(align) && zeroed.add(bytes - 1).read() == 0);
                    ALLOCATOR.dealloc(zeroed, layout);
                }
            }
        }
    }
}
