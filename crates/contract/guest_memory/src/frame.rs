//! One page of guest RAM as an engine that executes guest code in software sees it: loads, stores and atomic
//! operations with the ordering that a guest of a strongly ordered machine expects.
//!
//! Loads acquire and stores release, so that on every host a guest sees x86's memory model (SDM vol. 3, 9.2)
//! as far as loads and stores of one vCPU are ordered among themselves; on x86-64 hosts both are plain moves.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::{PAGE_SIZE, Slots};

const PAGE: usize = PAGE_SIZE as usize;

/// A 4 KiB page of guest memory, mapped for as long as `'m`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Frame<'m> {
    pub(crate) start: NonNull<u8>,
    pub(crate) _slots: PhantomData<&'m Slots>,
}

/// An integer that a guest loads and stores.
pub trait Word: Copy + Eq + sealed::Atomic {}

impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

impl Frame<'_> {
    /// A pointer to `size` bytes at `offset`. Panics when they are not inside the page.
    fn at(self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset <= PAGE - size, "an access leaves its page");
        // SAFETY: the page is one live mapping of 4096 bytes (`Slots::page`), and offset + size is within.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Loads an integer. Aligned loads are atomic. Panics when it is not inside the page.
    #[inline]
    pub fn load<T: Word>(self, offset: usize) -> T {
        let at = self.at(offset, size_of::<T>());
        // SAFETY: `at` leads to `size_of::<T>()` mapped bytes; every bit pattern is an integer.
        unsafe { T::load(at) }
    }

    /// Stores an integer. Aligned stores are atomic. Panics when it is not inside the page.
    #[inline]
    pub fn store<T: Word>(self, offset: usize, value: T) {
        let at = self.at(offset, size_of::<T>());
        // SAFETY: as in `load`; guest RAM is shared with guest and devices by nature, no Rust reference to it exists.
        unsafe { T::store(at, value) }
    }

    /// Replaces `current` by `new` if it is still there; the error is what is there instead. Atomic where the integer is
    /// aligned, and on x86-64 also where it is not but lies in one cache line. Who wants more keeps the others away, as one
    /// that crosses a line there is a split lock, which the host may forbid. Panics when the integer is not inside the
    /// page.
    #[inline]
    pub fn compare_exchange<T: Word>(self, offset: usize, current: T, new: T) -> Result<T, T> {
        let at = self.at(offset, size_of::<T>());
        // SAFETY: as in `load`.
        unsafe { T::compare_exchange(at, current, new) }
    }

    /// [`compare_exchange`](Frame::compare_exchange) of 16 bytes, low half first; atomic if the host
    /// [has the instruction](has_exchange_16). Panics when `offset` is not a multiple of 16 or not inside the page.
    pub fn compare_exchange_16(
        self,
        offset: usize,
        current: [u64; 2],
        new: [u64; 2],
    ) -> Result<[u64; 2], [u64; 2]> {
        assert!(offset.is_multiple_of(16), "a 16-byte exchange is aligned");
        let at = self.at(offset, 16);
        let wide = |pair: [u64; 2]| u128::from(pair[0]) | u128::from(pair[1]) << 64;
        // SAFETY: `at` is aligned to 16 bytes and leads to 16 mapped bytes.
        let found = unsafe { exchange_16(at.cast(), wide(current), wide(new)) };
        let found = [found as u64, (found >> 64) as u64];
        if found == current { Ok(found) } else { Err(found) }
    }

    /// Copies bytes out of the page. Panics when they are not inside it.
    pub fn read(self, offset: usize, out: &mut [u8]) {
        let at = self.at(offset, out.len());
        // SAFETY: `at` leads to `out.len()` mapped bytes, which do not overlap `out`: nobody holds a reference
        // into guest RAM. A byte that a guest changes meanwhile is read as before or after.
        unsafe { std::ptr::copy_nonoverlapping(at, out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes into the page. Panics when they are not inside it.
    pub fn write(self, offset: usize, bytes: &[u8]) {
        let at = self.at(offset, bytes.len());
        // SAFETY: as in `read`, in the other direction.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) }
    }

    /// Sets `len` bytes to `value`. Panics when they are not inside the page.
    pub fn fill(self, offset: usize, len: usize, value: u8) {
        let at = self.at(offset, len);
        // SAFETY: as in `write`.
        unsafe { std::ptr::write_bytes(at, value, len) }
    }

    /// Copies `len` bytes from another page or another place in this one, where they do not overlap. Panics when
    /// either is not inside its page.
    pub fn copy_from(self, offset: usize, source: Frame<'_>, source_offset: usize, len: usize) {
        let (to, from) = (self.at(offset, len), source.at(source_offset, len));
        // SAFETY: both lead to `len` mapped bytes; `copy` allows overlap.
        unsafe { std::ptr::copy(from, to, len) }
    }
}

/// Whether the host replaces 16 bytes at once.
pub fn has_exchange_16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("cmpxchg16b");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// # Safety
/// `at` is aligned to 16 bytes and leads to 16 mapped bytes.
#[cfg(target_arch = "x86_64")]
unsafe fn exchange_16(at: *mut u128, current: u128, new: u128) -> u128 {
    if !has_exchange_16() {
        // SAFETY: the caller's promise.
        return unsafe { exchange_16_in_steps(at, current, new) };
    }
    let (mut low, mut high) = (current as u64, (current >> 64) as u64);
    // SAFETY: the instruction exists (asked above), and its operand is mapped and aligned by the caller's promise.
    // RBX, which Rust does not give away, is exchanged before and after.
    unsafe {
        std::arch::asm!(
            "xchg rsi, rbx",
            "lock cmpxchg16b [rdi]",
            "mov rbx, rsi",
            in("rdi") at,
            inout("rsi") new as u64 => _,
            in("rcx") (new >> 64) as u64,
            inout("rax") low,
            inout("rdx") high,
            options(nostack),
        );
    }
    u128::from(low) | u128::from(high) << 64
}

/// # Safety
/// `at` is aligned to 16 bytes and leads to 16 mapped bytes.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn exchange_16(at: *mut u128, current: u128, new: u128) -> u128 {
    // SAFETY: the caller's promise.
    unsafe { exchange_16_in_steps(at, current, new) }
}

/// # Safety
/// `at` is aligned and leads to 16 mapped bytes.
unsafe fn exchange_16_in_steps(at: *mut u128, current: u128, new: u128) -> u128 {
    // SAFETY: the caller's promise.
    unsafe {
        let found = at.read_volatile();
        if found == current {
            at.write_volatile(new);
        }
        found
    }
}

mod sealed {
    use super::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

    /// How a word is moved.
    pub trait Atomic: Sized {
        /// # Safety
        /// `at` leads to the word's bytes, mapped.
        unsafe fn load(at: *mut u8) -> Self;
        /// # Safety
        /// As for `load`.
        unsafe fn store(at: *mut u8, value: Self);
        /// # Safety
        /// As for `load`.
        unsafe fn compare_exchange(at: *mut u8, current: Self, new: Self) -> Result<Self, Self>;
    }

    macro_rules! atomic {
        ($word:ty, $atomic:ty) => {
            impl Atomic for $word {
                #[inline]
                unsafe fn load(at: *mut u8) -> $word {
                    if at.addr().is_multiple_of(size_of::<$word>()) {
                        // SAFETY: mapped by the caller's promise and aligned.
                        unsafe { <$atomic>::from_ptr(at.cast()) }.load(Ordering::Acquire)
                    } else {
                        // SAFETY: mapped by the caller's promise.
                        unsafe { at.cast::<$word>().read_unaligned() }
                    }
                }

                #[inline]
                unsafe fn store(at: *mut u8, value: $word) {
                    if at.addr().is_multiple_of(size_of::<$word>()) {
                        // SAFETY: mapped by the caller's promise and aligned.
                        unsafe { <$atomic>::from_ptr(at.cast()) }.store(value, Ordering::Release);
                    } else {
                        // SAFETY: mapped by the caller's promise.
                        unsafe { at.cast::<$word>().write_unaligned(value) }
                    }
                }

                #[inline]
                unsafe fn compare_exchange(at: *mut u8, current: $word, new: $word) -> Result<$word, $word> {
                    if !at.addr().is_multiple_of(size_of::<$word>()) {
                        // SAFETY: mapped by the caller's promise.
                        let found = unsafe { Self::exchange_misaligned(at.cast(), current, new) };
                        return if found == current { Ok(found) } else { Err(found) };
                    }
                    // SAFETY: mapped by the caller's promise and aligned.
                    unsafe { <$atomic>::from_ptr(at.cast()) }.compare_exchange(
                        current,
                        new,
                        Ordering::SeqCst,
                        Ordering::SeqCst,
                    )
                }
            }
        };
    }

    atomic!(u8, AtomicU8);
    atomic!(u16, AtomicU16);
    atomic!(u32, AtomicU32);
    atomic!(u64, AtomicU64);

    /// What Rust's atomics do not do.
    trait Misaligned: Sized {
        /// Replaces `current` by `new`; answers what was there.
        ///
        /// # Safety
        /// `at` leads to the word's bytes, mapped.
        unsafe fn exchange_misaligned(at: *mut Self, current: Self, new: Self) -> Self;
    }

    /// By the host's instruction, with the accumulator and another register as the word's size names them.
    #[cfg(target_arch = "x86_64")]
    macro_rules! misaligned {
        ($word:ty, $size:literal, $accumulator:tt, $class:ident, $modifier:literal) => {
            impl Misaligned for $word {
                unsafe fn exchange_misaligned(at: *mut $word, current: $word, new: $word) -> $word {
                    let found;
                    // SAFETY: the operand is mapped by the caller's promise, and the instruction changes nothing else
                    // but the accumulator and flags.
                    unsafe {
                        std::arch::asm!(
                            concat!("lock cmpxchg ", $size, " ptr [{at}], {new", $modifier, "}"),
                            at = in(reg) at,
                            new = in($class) new,
                            inout($accumulator) current => found,
                            options(nostack),
                        );
                    }
                    found
                }
            }
        };
    }

    #[cfg(target_arch = "x86_64")]
    misaligned!(u16, "word", "ax", reg, ":x");
    #[cfg(target_arch = "x86_64")]
    misaligned!(u32, "dword", "eax", reg, ":e");
    #[cfg(target_arch = "x86_64")]
    misaligned!(u64, "qword", "rax", reg, ":r");

    /// In steps: where processors order accesses less strictly, one vCPU executes at a time.
    macro_rules! in_steps {
        ($word:ty) => {
            impl Misaligned for $word {
                unsafe fn exchange_misaligned(at: *mut $word, current: $word, new: $word) -> $word {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let found = at.read_unaligned();
                        if found == current {
                            at.write_unaligned(new);
                        }
                        found
                    }
                }
            }
        };
    }

    // A byte is always aligned.
    in_steps!(u8);
    #[cfg(not(target_arch = "x86_64"))]
    in_steps!(u16);
    #[cfg(not(target_arch = "x86_64"))]
    in_steps!(u32);
    #[cfg(not(target_arch = "x86_64"))]
    in_steps!(u64);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{GpaRange, GuestAddress, GuestMemory, Policy};

    fn memory() -> Arc<Slots> {
        let ranges = [
            GpaRange { start: GuestAddress(0), size_bytes: 0x2000 },
            GpaRange { start: GuestAddress(0x10_0000), size_bytes: 0x1000 },
        ];
        GuestMemory::allocate(&ranges, Policy { huge_pages: false, ..Policy::default() }).unwrap().snapshot()
    }

    #[test]
    fn there_are_frames_where_there_is_ram() {
        let memory = memory();
        assert!(memory.frame(0x1fff).is_some() && memory.frame(0x10_0fff).is_some());
        assert!(memory.frame(0x2000).is_none() && memory.frame(0x10_1000).is_none());
        assert!(memory.frame(u64::MAX).is_none());
    }

    #[test]
    fn words_go_through_memory_aligned_or_not() {
        let memory = memory();
        let frame = memory.frame(0x1000).unwrap();
        for offset in [0, 1, 3, 8, PAGE - 8] {
            frame.store(offset, 0x0123_4567_89ab_cdef_u64);
            assert_eq!(frame.load::<u64>(offset), 0x0123_4567_89ab_cdef);
            assert_eq!(frame.load::<u16>(offset), 0xcdef);
            assert_eq!(frame.compare_exchange(offset, 1u32, 2), Err(0x89ab_cdef));
            assert_eq!(frame.compare_exchange(offset, 0x89ab_cdef_u32, 2), Ok(0x89ab_cdef));
            assert_eq!(frame.load::<u64>(offset), 0x0123_4567_0000_0002);
        }
        frame.write(16, &[1; 16]);
        let ones = 0x0101_0101_0101_0101;
        assert_eq!(frame.compare_exchange_16(16, [0, 0], [5, 6]), Err([ones, ones]));
        assert_eq!(frame.compare_exchange_16(16, [ones, ones], [5, 6]), Ok([ones, ones]));
        assert_eq!((frame.load::<u64>(16), frame.load::<u64>(24)), (5, 6));
        frame.copy_from(100, frame, 16, 16);
        assert_eq!(frame.load::<u64>(108), 6);
    }

    #[test]
    #[should_panic(expected = "leaves its page")]
    fn an_access_across_the_end_is_refused() {
        memory().frame(0).unwrap().load::<u32>(PAGE - 3);
    }
}
