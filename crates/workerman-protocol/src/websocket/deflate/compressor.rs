//! Compressing each message for itself: parameters, and what a thread keeps for it.

use std::cell::RefCell;
use std::sync::OnceLock;

use bytes::Bytes;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::{EMPTY, TAIL};

/// The windows that the library has, in bits. Its matches reach back 262 bytes less than the window, so that one of 9 bits
/// (512 bytes, 250 of which are used) does for 8.
const SMALLEST: u8 = 9;
const LARGEST: u8 = 15;

/// The size of the compressor's buffers as zlib counts it, from 1 to 9.
const MEMORY: i32 = 5;

/// Compressors that a thread keeps.
const KEPT: usize = 2;

/// The output buffer that a thread keeps, in bytes.
const SCRATCH: usize = 64 * 1024;

/// What a flush needs besides the data, at least.
const ROOM: usize = 64;

/// Compresses each message for itself, with the compressor of the thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compressor {
    level: u8,
    window_bits: u8,
    min_size: u32,
}

/// Those that were given a number; see [`Compressor::to_bits`].
static NUMBERED: [OnceLock<Compressor>; 127] = [const { OnceLock::new() }; 127];

impl Compressor {
    pub(super) fn new(level: u8, window_bits: u8, min_size: usize) -> Self {
        Self { level, window_bits, min_size: u32::try_from(min_size).unwrap_or(u32::MAX) }
    }

    /// The least length of a message that is compressed if nothing else is said of it, in bytes.
    #[inline]
    pub fn min_size(self) -> usize {
        self.min_size as usize
    }

    /// The window of the compressor, in bits.
    pub fn window_bits(self) -> u8 {
        self.window_bits
    }

    /// A number from 1 to 127 that stands for it in this process, or 0 for none.
    ///
    /// There are as many as there are combinations of settings and windows. Should they run out, a similar one takes its
    /// place: a compressor may always use a smaller window, or not compress.
    pub fn to_bits(self) -> u8 {
        let mut similar = 0;
        for (number, slot) in (1..).zip(&NUMBERED) {
            let own = slot.get_or_init(|| self);
            if *own == self {
                return number;
            }
            if own.window_bits <= self.window_bits {
                similar = number;
            }
        }
        similar
    }

    /// What the number stands for, if it was given to anything.
    #[inline]
    pub fn from_bits(number: u8) -> Option<Self> {
        NUMBERED.get(usize::from(number).checked_sub(1)?)?.get().copied()
    }

    /// The payload of a compressed message, or `None` if it would get no smaller.
    pub fn compress(self, message: &[u8]) -> Option<Bytes> {
        if message.len() <= EMPTY.len() {
            return None;
        }
        // A thread that ends compresses nothing any more.
        THREAD.try_with(|thread| thread.borrow_mut().compress(self, message)).ok()?
    }

    /// A compressor as the library has it.
    pub(super) fn make(self) -> Deflate {
        make(self.level, self.window_bits.max(SMALLEST))
    }
}

fn make(level: u8, window_bits: u8) -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        level: i32::from(level),
        // Negative: without the header of zlib.
        window_bits: -i32::from(window_bits),
        mem_level: MEMORY,
        ..DeflateConfig::default()
    })
}

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread { kept: Vec::new(), scratch: Vec::new() }) };
}

/// What a thread keeps.
struct Thread {
    /// The one used last is the last.
    kept: Vec<Kept>,
    scratch: Vec<u8>,
}

struct Kept {
    level: u8,
    window_bits: u8,
    deflate: Deflate,
}

impl Thread {
    fn compress(&mut self, with: Compressor, message: &[u8]) -> Option<Bytes> {
        // No match reaches back further than the message is long.
        let fits = message.len() <= 1 << with.window_bits;
        let window_bits = if fits { LARGEST } else { with.window_bits.max(SMALLEST) };
        let at = self.compressor(with.level, window_bits);
        let deflate = &mut self.kept[at].deflate;

        // A byte takes 9 bits at most. So there is room for all of it, even where it grows: a compressor that is reset with
        // output of its own left loses the room for that (zlib-rs 0.6.8), and panics sooner or later.
        let needed = message.len() + message.len() / 8 + ROOM;
        let mut large = Vec::new();
        let out = if needed > SCRATCH {
            large.resize(needed, 0);
            &mut large
        } else {
            if self.scratch.len() < needed {
                self.scratch.resize(needed.next_power_of_two(), 0);
            }
            &mut self.scratch
        };
        let flushed = deflate.compress(message, &mut out[..needed], DeflateFlush::SyncFlush);
        let (read, written) = (deflate.total_in(), deflate.total_out());
        if flushed.is_err() || read != message.len() as u64 || written >= needed as u64 {
            self.kept.remove(at);
            return None;
        }
        deflate.reset();
        let payload = out[..usize::try_from(written).ok()?].strip_suffix(&TAIL)?;
        (payload.len() < message.len()).then(|| Bytes::copy_from_slice(payload))
    }

    /// Where the compressor is.
    fn compressor(&mut self, level: u8, window_bits: u8) -> usize {
        let is_it = |kept: &Kept| (kept.level, kept.window_bits) == (level, window_bits);
        match self.kept.iter().position(is_it) {
            Some(at) => self.kept[at..].rotate_left(1),
            None => {
                if self.kept.len() == KEPT {
                    self.kept.remove(0);
                }
                self.kept.push(Kept { level, window_bits, deflate: make(level, window_bits) });
            }
        }
        self.kept.len() - 1
    }
}
