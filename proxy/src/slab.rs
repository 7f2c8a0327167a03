//! Slabs: the memory that bytes are read into, masked in and written from.
//!
//! One pool per core, classes of 512 B to 1 MiB, last in first out so that the next read lands in warm cache. A slab has
//! [`SLACK_BYTES`] of its own before and after the usable part, so wide loads and stores at its ends stay inside it.
//! A slab larger than the largest class serves one outsized frame and is freed after it. At the pool's cap no slab is
//! handed out, which means that no read is issued: backpressure is not reading.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

/// Bytes that belong to the slab on both sides of its usable part.
pub const SLACK_BYTES: usize = 64;

/// Usable bytes of each class. The smallest is what a session holds while it waits for its peer to say something.
pub const CLASS_BYTES: [usize; 5] = [512, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Index of a class in [`CLASS_BYTES`]; one past the end is an outsized slab.
pub type Class = usize;

struct Raw {
    base: NonNull<u8>,
    bytes: usize,
}

impl Raw {
    fn layout(bytes: usize) -> Layout {
        // Sizes come from CLASS_BYTES or a bounded frame size, so the sum and the alignment are always valid.
        Layout::from_size_align(bytes + 2 * SLACK_BYTES, 64).unwrap_or(Layout::new::<u64>())
    }

    fn new(bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        // SAFETY: the layout is never empty: it holds two slacks.
        let base = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: `base` is `layout.size()` writable bytes. Written once, then reused initialised for ever; outsized slabs
        // are rare, so that they pay it each time.
        unsafe { base.as_ptr().write_bytes(0, layout.size()) };
        Self { base, bytes }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and dropped once.
        unsafe { dealloc(self.base.as_ptr(), Self::layout(self.bytes)) };
    }
}

/// A core's slabs.
pub struct Pool {
    free: RefCell<[Vec<Raw>; CLASS_BYTES.len()]>,
    bytes_out: Cell<usize>,
    bytes_max: usize,
    me: Weak<Pool>,
}

impl Pool {
    /// A pool that hands out at most `bytes_max` at a time.
    pub fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            free: RefCell::default(),
            bytes_out: Cell::new(0),
            bytes_max,
            me: me.clone(),
        })
    }

    /// Bytes in use now.
    #[cfg(test)]
    pub fn bytes_out(&self) -> usize {
        self.bytes_out.get()
    }

    /// A slab of at least `bytes`, `None` at the cap. The smallest class is always granted: sessions are bounded
    /// elsewhere, and one that holds nothing could never end.
    pub fn take(&self, bytes: usize) -> Option<Slab> {
        let class = CLASS_BYTES
            .iter()
            .position(|size| *size >= bytes)
            .unwrap_or(CLASS_BYTES.len());
        let size = CLASS_BYTES.get(class).copied().unwrap_or(bytes);
        if class > 1 && self.bytes_out.get() + size > self.bytes_max {
            return None;
        }
        let recycled = self.free.borrow_mut().get_mut(class).and_then(Vec::pop);
        let raw = recycled.unwrap_or_else(|| Raw::new(size));
        self.bytes_out.set(self.bytes_out.get() + raw.bytes);
        Some(Slab {
            raw: Some(raw),
            class,
            pool: self.me.clone(),
        })
    }

    fn give_back(&self, raw: Raw, class: Class) {
        self.bytes_out.set(self.bytes_out.get() - raw.bytes);
        if let Some(free) = self.free.borrow_mut().get_mut(class) {
            // Keep at most 8 MiB per class warm; the rest goes back to the allocator.
            if free.len() < (8 << 20) / raw.bytes {
                free.push(raw);
            }
        }
    }
}

/// Exclusive use of one slab.
pub struct Slab {
    raw: Option<Raw>,
    class: Class,
    pool: Weak<Pool>,
}

impl Slab {
    fn raw(&self) -> &Raw {
        match &self.raw {
            Some(raw) => raw,
            None => unreachable!("a slab's memory is only taken away in drop"),
        }
    }

    /// Usable bytes.
    pub fn bytes(&self) -> usize {
        self.raw().bytes
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes(), "an offset points into its slab");
        // SAFETY: the usable part starts SLACK_BYTES in and `offset` is within it.
        unsafe { self.raw().base.as_ptr().add(SLACK_BYTES + offset) }
    }

    /// The bytes in `range`.
    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        assert!(
            range.start <= range.end && range.end <= self.bytes(),
            "a range lies in its slab"
        );
        // SAFETY: in range by the assertion; all bytes were initialised when the slab was made.
        unsafe { std::slice::from_raw_parts(self.at(range.start), range.len()) }
    }

    /// The bytes in `range`, to change.
    pub fn slice_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(
            range.start <= range.end && range.end <= self.bytes(),
            "a range lies in its slab"
        );
        // SAFETY: as in `slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.at(range.start), range.len()) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if let (Some(raw), Some(pool)) = (self.raw.take(), self.pool.upgrade()) {
            pool.give_back(raw, self.class);
        }
    }
}

/// A slab that is being filled: data in `start..end`, room behind it.
pub struct Ingress {
    slab: Slab,
    start: usize,
    end: usize,
    full_reads: u8,
    small_reads: u8,
}

impl Ingress {
    /// Around an empty slab.
    pub fn new(slab: Slab) -> Self {
        Self {
            slab,
            start: 0,
            end: 0,
            full_reads: 0,
            small_reads: 0,
        }
    }

    /// What has arrived and was not consumed.
    pub fn data(&self) -> &[u8] {
        self.slab.slice(self.start..self.end)
    }

    /// The same, to mask in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.slab.slice_mut(self.start..self.end)
    }

    /// Takes `bytes` off the front.
    pub fn consume(&mut self, bytes: usize) {
        assert!(
            bytes <= self.end - self.start,
            "only what has arrived can be consumed"
        );
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room behind the data.
    pub fn room(&self) -> usize {
        self.slab.bytes() - self.end
    }

    /// Appends as much of `bytes` as there is room for.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let end = self.end;
        self.slab
            .slice_mut(end..end + count)
            .copy_from_slice(&bytes[..count]);
        self.end += count;
        count
    }

    /// Makes room before a read: at least `needed` bytes of data must fit in all, and the class follows how full the
    /// last reads were. Data moves to the front. Returns false at the pool's cap: do not read now.
    pub fn prepare(&mut self, pool: &Pool, needed: usize) -> bool {
        let held = self.end - self.start;
        let wanted = self.wanted_bytes(held).max(needed);
        let fits = wanted <= self.slab.bytes() && !(held == 0 && wanted < self.slab.bytes());
        if fits {
            if self.start > 0
                && (self.room() < self.slab.bytes() / 4 || self.slab.bytes() - self.start < needed)
            {
                let (from, to) = (self.start, self.end);
                self.slab.slice_mut(0..to).copy_within(from..to, 0);
                (self.start, self.end) = (0, held);
            }
            return self.room() > 0;
        }
        match pool.take(wanted) {
            Some(slab) => {
                let mut next = Self::new(slab);
                next.append(self.data());
                *self = next;
                true
            }
            None => self.room() > 0 && self.slab.bytes() >= needed,
        }
    }

    fn wanted_bytes(&self, held: usize) -> usize {
        let class = self.slab.class().min(CLASS_BYTES.len() - 1);
        let class = match (self.full_reads, self.small_reads) {
            (2.., _) if class + 1 < CLASS_BYTES.len() => class + 1,
            (1, _) if class == 0 => 1,
            (_, 3..) if class > 0 && held == 0 => 0,
            _ => class,
        };
        CLASS_BYTES[class]
    }

    /// Says how many bytes a read into the tail delivered.
    pub fn filled(&mut self, bytes: usize) {
        let room = self.room();
        assert!(
            bytes <= room,
            "a read cannot deliver more than the room it was given"
        );
        self.end += bytes;
        if bytes == room {
            self.full_reads = self.full_reads.saturating_add(1);
            self.small_reads = 0;
        } else {
            self.full_reads = 0;
            self.small_reads = if bytes < self.slab.bytes() / 8 {
                self.small_reads.saturating_add(1)
            } else {
                0
            };
        }
    }

    /// Where a read may write: pointer and length of the room. Used by the runtime's buffer trait only.
    pub(crate) fn tail(&mut self) -> (*mut u8, usize) {
        (self.slab.at(self.end), self.room())
    }

    /// Pointer to `range` of the data. Used by the runtime's buffer trait only.
    pub(crate) fn span(&self, range: &Range<usize>) -> *const u8 {
        self.data()[range.clone()].as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_come_back_and_are_reused_last_in_first_out() {
        let pool = Pool::new(1 << 20);
        let first = pool.take(16 << 10).map(|slab| slab.slice(0..0).as_ptr());
        let second = pool.take(16 << 10).map(|slab| slab.slice(0..0).as_ptr());
        assert!(first.is_some() && first == second);
        assert_eq!(pool.bytes_out(), 0);
    }

    #[test]
    fn the_cap_stops_large_slabs_and_spares_the_smallest() {
        let pool = Pool::new(300 << 10);
        let held = pool.take(256 << 10);
        assert!(held.is_some());
        assert!(pool.take(64 << 10).is_none());
        assert!(pool.take(1).is_some());
    }

    #[test]
    fn an_ingress_grows_with_full_reads_and_keeps_its_data() {
        let pool = Pool::new(64 << 20);
        let mut ingress = Ingress::new(pool.take(1).unwrap());
        for round in 0..12 {
            assert!(ingress.prepare(&pool, 1));
            let room = ingress.room();
            let fill = vec![round; room];
            let (tail, bytes) = ingress.tail();
            // SAFETY: `tail` is `bytes` writable bytes.
            unsafe { tail.copy_from(fill.as_ptr(), bytes) };
            ingress.filled(room);
            let keep = 3.min(room);
            let len = ingress.data().len();
            ingress.consume(len - keep);
            assert_eq!(ingress.data(), &vec![round; keep][..]);
        }
        assert_eq!(ingress.slab.bytes(), 1 << 20);
    }

    #[test]
    fn an_outsized_frame_gets_its_own_slab() {
        let pool = Pool::new(64 << 20);
        let mut ingress = Ingress::new(pool.take(1).unwrap());
        ingress.append(b"abc");
        assert!(ingress.prepare(&pool, 5 << 20));
        assert_eq!(ingress.data(), b"abc");
        assert!(ingress.room() >= (5 << 20) - 3);
    }
}
