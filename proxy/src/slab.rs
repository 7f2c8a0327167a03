//! Slabs: the memory that bytes are read into, masked in and written from.
//!
//! One pool per core, classes of 448 B to 1 MiB, last in first out so that the next read lands in warm cache. A slab has
//! [`SLACK_BYTES`] of its own before and after the usable part, so wide loads and stores at its ends stay inside it; what
//! is known of it stands in front of that, so that whoever has a slab holds and moves one word.
//! A slab larger than the largest class serves one outsized frame and is freed after it. At the pool's cap no slab is
//! handed out, which means that no read is issued: backpressure is not reading.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

/// Bytes that belong to the slab on both sides of its usable part.
pub const SLACK_BYTES: usize = 64;
/// Room for what is known of a slab.
const HEADER_BYTES: usize = 64;

/// Usable bytes of each class. The smallest is what a session holds while it waits for a peer that says something often;
/// with all around it, it is a size that the allocator has.
pub const CLASS_BYTES: [usize; 5] = [448, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// What is known of a slab and of the data in it.
struct Header {
    pool: Weak<Pool>,
    /// Usable bytes.
    bytes: u32,
    /// Data.
    start: u32,
    end: u32,
    /// Index in [`CLASS_BYTES`]; one past the end is an outsized slab.
    class: u8,
    /// Reads in a row that filled it, and that left most of it empty.
    full_reads: u8,
    small_reads: u8,
}

const _: () = assert!(size_of::<Header>() <= HEADER_BYTES && align_of::<Header>() <= 64);

/// Exclusive use of one slab's memory.
struct Raw(NonNull<Header>);

impl Raw {
    fn layout(bytes: u32) -> Layout {
        // Sizes come from CLASS_BYTES or a bounded frame size, so the sum and the alignment are always valid.
        let all = HEADER_BYTES + 2 * SLACK_BYTES + bytes as usize;
        Layout::from_size_align(all, 64).unwrap_or(Layout::new::<u64>())
    }

    fn new(bytes: u32, class: u8, pool: Weak<Pool>) -> Self {
        let layout = Self::layout(bytes);
        // Zeroed once, then reused initialised for ever; outsized slabs are rare, so that they pay it each time.
        // SAFETY: the layout is never empty: it holds a header and two slacks.
        let base =
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let header = base.cast::<Header>();
        let known = Header {
            pool,
            bytes,
            start: 0,
            end: 0,
            class,
            full_reads: 0,
            small_reads: 0,
        };
        // SAFETY: the memory begins with room for a header, aligned to 64.
        unsafe { header.write(known) };
        Self(header)
    }

    fn header(&self) -> &Header {
        // SAFETY: written in `new`, and nobody else has this memory.
        unsafe { self.0.as_ref() }
    }

    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { self.0.as_mut() }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes(), "an offset points into its slab");
        // SAFETY: the usable part starts behind header and slack, and `offset` is within it.
        unsafe {
            self.0
                .as_ptr()
                .cast::<u8>()
                .add(HEADER_BYTES + SLACK_BYTES + offset)
        }
    }

    fn bytes(&self) -> usize {
        self.header().bytes as usize
    }

    fn data(&self) -> Range<usize> {
        let header = self.header();
        header.start as usize..header.end as usize
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let layout = Self::layout(self.header().bytes);
        // SAFETY: allocated in `new` with the same layout, and dropped once; the header was written there.
        unsafe {
            self.0.drop_in_place();
            dealloc(self.0.as_ptr().cast(), layout);
        }
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

    /// An empty slab of at least `bytes`, `None` at the cap. The smallest class is always granted: sessions are bounded
    /// elsewhere, and one that gets none could never end.
    pub fn take(&self, bytes: usize) -> Option<Ingress> {
        let class = CLASS_BYTES
            .iter()
            .position(|size| *size >= bytes)
            .unwrap_or(CLASS_BYTES.len());
        let size = CLASS_BYTES.get(class).copied().unwrap_or(bytes);
        if class > 1 && self.bytes_out.get() + size > self.bytes_max {
            return None;
        }
        let recycled = self.free.borrow_mut().get_mut(class).and_then(Vec::pop);
        let raw = match recycled {
            Some(mut raw) => {
                let header = raw.header_mut();
                (header.start, header.end) = (0, 0);
                (header.full_reads, header.small_reads) = (0, 0);
                raw
            }
            None => Raw::new(u32::try_from(size).ok()?, class as u8, self.me.clone()),
        };
        self.bytes_out.set(self.bytes_out.get() + size);
        Some(Ingress(Some(raw)))
    }

    fn give_back(&self, raw: Raw) {
        self.bytes_out.set(self.bytes_out.get() - raw.bytes());
        let class = usize::from(raw.header().class);
        if let Some(free) = self.free.borrow_mut().get_mut(class) {
            // Keep at most 8 MiB per class warm; the rest goes back to the allocator.
            if free.len() < (8 << 20) / raw.bytes() {
                free.push(raw);
            }
        }
    }
}

/// A slab that is being filled: data, and room behind it. Without a slab it is empty and has no room.
#[derive(Default)]
pub struct Ingress(Option<Raw>);

impl Ingress {
    /// What has arrived and was not consumed.
    pub fn data(&self) -> &[u8] {
        let Some(raw) = &self.0 else { return &[] };
        let data = raw.data();
        // SAFETY: data lies in the slab; all its bytes were initialised when it was made.
        unsafe { std::slice::from_raw_parts(raw.at(data.start), data.len()) }
    }

    /// The same, to mask in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let Some(raw) = &mut self.0 else { return &mut [] };
        let data = raw.data();
        // SAFETY: as in `data`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(raw.at(data.start), data.len()) }
    }

    /// Takes `bytes` off the front.
    pub fn consume(&mut self, bytes: usize) {
        assert!(
            bytes <= self.data().len(),
            "only what has arrived can be consumed"
        );
        let Some(raw) = &mut self.0 else { return };
        let header = raw.header_mut();
        header.start += bytes as u32;
        if header.start == header.end {
            (header.start, header.end) = (0, 0);
        }
    }

    /// Usable bytes of its slab.
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, Raw::bytes)
    }

    /// Room behind the data.
    pub fn room(&self) -> usize {
        self.0.as_ref().map_or(0, |raw| raw.bytes() - raw.data().end)
    }

    /// Appends as much of `bytes` as there is room for.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let Some(raw) = &mut self.0 else { return 0 };
        let end = raw.data().end;
        // SAFETY: `count` bytes of room lie behind the data, in a slab that is this one's alone.
        unsafe { raw.at(end).copy_from_nonoverlapping(bytes.as_ptr(), count) };
        raw.header_mut().end += count as u32;
        count
    }

    /// Makes room before a read: at least `needed` bytes of data must fit in all, and the class follows how full the
    /// last reads were. Data moves to the front. Returns false at the pool's cap: do not read now.
    pub fn prepare(&mut self, pool: &Pool, needed: usize) -> bool {
        let held = self.data().len();
        let wanted = self.wanted_bytes(held).max(needed);
        let fits = wanted <= self.bytes() && !(held == 0 && wanted < self.bytes());
        if fits {
            self.move_to_front(needed);
            return self.room() > 0;
        }
        match pool.take(wanted) {
            Some(mut next) => {
                next.append(self.data());
                *self = next;
                true
            }
            None => self.room() > 0 && self.bytes() >= needed,
        }
    }

    /// Where the room behind the data is little, or too little.
    fn move_to_front(&mut self, needed: usize) {
        let Some(raw) = &mut self.0 else { return };
        let (bytes, data) = (raw.bytes(), raw.data());
        let is_scarce = bytes - data.end < bytes / 4 || bytes - data.start < needed;
        if data.start > 0 && is_scarce {
            // SAFETY: both ranges lie in the slab, which is this one's alone; they may overlap.
            unsafe { raw.at(0).copy_from(raw.at(data.start), data.len()) };
            let header = raw.header_mut();
            (header.start, header.end) = (0, data.len() as u32);
        }
    }

    fn wanted_bytes(&self, held: usize) -> usize {
        let Some(raw) = &self.0 else { return 1 };
        let header = raw.header();
        let class = usize::from(header.class).min(CLASS_BYTES.len() - 1);
        let class = match (header.full_reads, header.small_reads) {
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
        let Some(raw) = &mut self.0 else { return };
        let header = raw.header_mut();
        header.end += bytes as u32;
        if bytes == room {
            header.full_reads = header.full_reads.saturating_add(1);
            header.small_reads = 0;
        } else {
            header.full_reads = 0;
            header.small_reads = if bytes < header.bytes as usize / 8 {
                header.small_reads.saturating_add(1)
            } else {
                0
            };
        }
    }

    /// Where a read may write: pointer and length of the room. Used by the runtime's buffer trait only.
    pub(crate) fn tail(&mut self) -> (*mut u8, usize) {
        match &self.0 {
            Some(raw) => (raw.at(raw.data().end), self.room()),
            None => (NonNull::dangling().as_ptr(), 0),
        }
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        if let Some(raw) = self.0.take()
            && let Some(pool) = raw.header().pool.upgrade()
        {
            pool.give_back(raw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_come_back_and_are_reused_last_in_first_out() {
        let pool = Pool::new(1 << 20);
        let first = pool.take(16 << 10).map(|slab| slab.data().as_ptr());
        let second = pool.take(16 << 10).map(|slab| slab.data().as_ptr());
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
        let mut ingress = pool.take(1).unwrap();
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
        assert_eq!(ingress.bytes(), 1 << 20);
    }

    #[test]
    fn an_outsized_frame_gets_its_own_slab() {
        let pool = Pool::new(64 << 20);
        let mut ingress = pool.take(1).unwrap();
        ingress.append(b"abc");
        assert!(ingress.prepare(&pool, 5 << 20));
        assert_eq!(ingress.data(), b"abc");
        assert!(ingress.room() >= (5 << 20) - 3);
    }

    #[test]
    fn without_a_slab_there_is_nothing_and_no_room() {
        let pool = Pool::new(1 << 20);
        let mut ingress = Ingress::default();
        assert!(ingress.data().is_empty() && ingress.data_mut().is_empty());
        assert_eq!(
            (ingress.room(), ingress.append(b"abc"), ingress.tail().1),
            (0, 0, 0)
        );
        ingress.consume(0);
        ingress.filled(0);
        assert!(ingress.prepare(&pool, 1));
        assert_eq!(ingress.append(b"abc"), 3);
        drop(ingress);
        assert_eq!(pool.bytes_out(), 0);
    }

    #[test]
    fn what_is_held_is_one_word() {
        assert_eq!(size_of::<Ingress>(), size_of::<usize>());
    }

    #[test]
    fn a_slab_that_is_used_again_is_empty() {
        let pool = Pool::new(1 << 20);
        let mut first = pool.take(16 << 10).unwrap();
        first.append(b"abc");
        let room = first.room();
        first.filled(room);
        drop(first);
        let second = pool.take(16 << 10).unwrap();
        assert!(second.data().is_empty());
        assert_eq!(second.wanted_bytes(0), 16 << 10);
    }
}
