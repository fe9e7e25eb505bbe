//! Physical controls: the least that any queue on this machine must do.
//!
//! They keep no promise but to move the bytes: C1 has room for one item and no check for it, C2 sums lines where they
//! lie.

#![allow(unsafe_code)]

use crate::contender::{Contender, Event, Receiver, Sender};
use crossbeam_utils::CachePadded;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// C1: the sequence and 56 bytes in one line.
#[derive(Debug)]
pub struct OneLine;

/// C1: the sequence in one line, 64 bytes in another.
#[derive(Debug)]
pub struct TwoLines;

#[repr(C, align(64))]
struct Line {
    seq: AtomicU64,
    body: UnsafeCell<[u64; 7]>,
}

/// The line of [`OneLine`]; beside it nothing, up to the pair of lines that the prefetcher may fetch.
pub struct OneLineEnd {
    line: Arc<CachePadded<Line>>,
    seq: u64,
}

// SAFETY: in a ping-pong the body is written only after the other side has answered the item before (it has read the
// body by then, ordered by the Release of its answer), and read only after its sequence was seen with Acquire.
unsafe impl Sync for Line {}

impl Contender<Event> for OneLine {
    type Tx = OneLineEnd;
    type Rx = OneLineEnd;

    /// For ping-pong only: an item must be received before the next is sent.
    fn channel(_capacity: usize) -> (OneLineEnd, OneLineEnd) {
        let line = Arc::new(CachePadded::new(Line { seq: AtomicU64::new(0), body: UnsafeCell::new([0; 7]) }));
        (OneLineEnd { line: Arc::clone(&line), seq: 0 }, OneLineEnd { line, seq: 0 })
    }
}

impl Sender<Event> for OneLineEnd {
    #[inline(always)]
    fn send(&mut self, item: &Event) -> bool {
        // SAFETY: the other side has received the item before, as `channel` demands; see `Line`.
        unsafe { *self.line.body.get() = *item.0.continuation_words() };
        self.seq += 1;
        self.line.seq.store(self.seq, Ordering::Release);
        true
    }
}

impl Receiver<Event> for OneLineEnd {
    #[inline(always)]
    fn receive(&mut self, out: &mut Event) -> bool {
        if self.line.seq.load(Ordering::Acquire) != self.seq + 1 {
            return false;
        }
        self.seq += 1;
        // SAFETY: the sequence was seen; the sender waits for the answer; see `Line`.
        let body = unsafe { *self.line.body.get() };
        let words: &mut [u64; 8] = bytemuck::cast_mut(&mut out.0);
        words[1..].copy_from_slice(&body);
        true
    }
}

/// What [`TwoLines`] shares.
struct Pair {
    seq: CachePadded<AtomicU64>,
    body: CachePadded<UnsafeCell<Event>>,
}

// SAFETY: as for `Line`.
unsafe impl Sync for Pair {}
// SAFETY: as for `Line`; all of it is plain data.
unsafe impl Send for Pair {}

/// An end of [`TwoLines`].
pub struct TwoLinesEnd {
    pair: Arc<Pair>,
    seq: u64,
}

impl Contender<Event> for TwoLines {
    type Tx = TwoLinesEnd;
    type Rx = TwoLinesEnd;

    /// For ping-pong only: an item must be received before the next is sent.
    fn channel(_capacity: usize) -> (TwoLinesEnd, TwoLinesEnd) {
        let pair = Arc::new(Pair {
            seq: CachePadded::new(AtomicU64::new(0)),
            body: CachePadded::new(UnsafeCell::new(Event::default())),
        });
        (TwoLinesEnd { pair: Arc::clone(&pair), seq: 0 }, TwoLinesEnd { pair, seq: 0 })
    }
}

impl Sender<Event> for TwoLinesEnd {
    #[inline(always)]
    fn send(&mut self, item: &Event) -> bool {
        // SAFETY: as in `OneLineEnd::send`.
        unsafe { *self.pair.body.get() = *item };
        self.seq += 1;
        self.pair.seq.store(self.seq, Ordering::Release);
        true
    }
}

impl Receiver<Event> for TwoLinesEnd {
    #[inline(always)]
    fn receive(&mut self, out: &mut Event) -> bool {
        if self.pair.seq.load(Ordering::Acquire) != self.seq + 1 {
            return false;
        }
        self.seq += 1;
        // SAFETY: as in `OneLineEnd::receive`.
        *out = unsafe { *self.pair.body.get() };
        true
    }
}

/// Lines of C2's ring: 64 KiB.
pub const STREAM_LINES: u64 = 1024;

/// A cache line of words.
#[repr(C, align(64))]
struct Words(UnsafeCell<[u64; 8]>);

/// C2: the producer fills consecutive lines of a ring, one Release per batch, and the consumer sums them in place.
pub struct LineStream {
    lines: Box<[Words]>,
    tail: CachePadded<AtomicU64>,
    head: CachePadded<AtomicU64>,
}

// SAFETY: a line is written only through the one `LineWriter` while its position is below `head` + the ring's length,
// and read only through the one `LineReader` while it is below `tail`; both bounds are loaded with Acquire, and stored
// with Release after the last access.
unsafe impl Sync for LineStream {}
// SAFETY: as above; all of it is plain data.
unsafe impl Send for LineStream {}

/// Fills lines.
pub struct LineWriter {
    stream: Arc<LineStream>,
    tail: u64,
    limit: u64,
}

/// Sums lines.
pub struct LineReader {
    stream: Arc<LineStream>,
    head: u64,
}

/// A new line stream.
#[must_use]
pub fn line_stream() -> (LineWriter, LineReader) {
    let stream = Arc::new(LineStream {
        lines: (0..STREAM_LINES).map(|_| Words(UnsafeCell::new([0; 8]))).collect(),
        tail: CachePadded::new(AtomicU64::new(0)),
        head: CachePadded::new(AtomicU64::new(0)),
    });
    (LineWriter { stream: Arc::clone(&stream), tail: 0, limit: STREAM_LINES }, LineReader { stream, head: 0 })
}

impl LineWriter {
    /// Fills the next `lines` lines with what follows from `seq`; `false` when there is no room for all of them.
    #[inline]
    pub fn fill(&mut self, seq: u64, lines: u64) -> bool {
        if self.limit - self.tail < lines {
            self.limit = self.stream.head.load(Ordering::Acquire) + STREAM_LINES;
            if self.limit - self.tail < lines {
                return false;
            }
        }
        for offset in 0..lines {
            let index = ((self.tail + offset) % STREAM_LINES) as usize;
            let (first, last) = (seq + offset, !(seq + offset));
            // SAFETY: the position is below `limit`; see `LineStream`.
            unsafe { *self.stream.lines[index].0.get() = [first, 1, 2, 3, 4, 5, 6, last] };
        }
        self.tail += lines;
        self.stream.tail.store(self.tail, Ordering::Release);
        true
    }
}

impl LineReader {
    /// The first word of the next line, and the sum of all of them; `None` when there is none.
    #[inline]
    pub fn take(&mut self) -> Option<(u64, u64)> {
        if self.stream.tail.load(Ordering::Acquire) == self.head {
            return None;
        }
        let index = (self.head % STREAM_LINES) as usize;
        // SAFETY: the position is below `tail`; see `LineStream`.
        let words = unsafe { &*self.stream.lines[index].0.get() };
        let (first, sum) = (words[0], words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word)));
        self.head += 1;
        self.stream.head.store(self.head, Ordering::Release);
        Some((first, sum))
    }

    /// Sums the lines that are there, at most `lines_max`: how many, and the wrapping sum of all their words.
    #[inline]
    pub fn sum(&mut self, lines_max: u64) -> (u64, u64) {
        let lines = (self.stream.tail.load(Ordering::Acquire) - self.head).min(lines_max);
        let mut sum = 0u64;
        for offset in 0..lines {
            let index = ((self.head + offset) % STREAM_LINES) as usize;
            // SAFETY: the position is below `tail`; see `LineStream`.
            let words = unsafe { &*self.stream.lines[index].0.get() };
            sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
        }
        if lines > 0 {
            self.head += lines;
            self.stream.head.store(self.head, Ordering::Release);
        }
        (lines, sum)
    }
}
