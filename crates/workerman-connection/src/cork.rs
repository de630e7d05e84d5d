//! The cork: the thread's outbox for the connection whose callbacks run on it.
//!
//! A batch begins with [`cork`] and ends with [`uncork`]; in between the sends of that one connection on this thread
//! are appended here, without a lock, and leave in one write.

use std::cell::RefCell;

use workerman_protocol::Outbox;

/// The outbox of the connection whose callbacks run on this thread.
pub(crate) struct Cork {
    /// `Shared::id` of that connection, 0 for none.
    pub(crate) id: u64,
    /// Bytes queued before the batch.
    pub(crate) base: usize,
    pub(crate) messages: u64,
    pub(crate) refused: u64,
    /// Where a message begins whose encoder has not returned.
    encoding: Option<usize>,
    pub(crate) out: Outbox,
}

impl Cork {
    /// A message begins; returns where.
    #[inline]
    pub(crate) fn begin_message(&mut self) -> usize {
        self.forget_partial();
        let before = self.out.len();
        self.encoding = Some(before);
        before
    }

    /// Takes back what an encoder left that panicked in the middle of a message, under a handler that caught it or not.
    #[inline]
    pub(crate) fn forget_partial(&mut self) {
        if let Some(len) = self.encoding.take() {
            self.out.truncate(len);
        }
    }

    /// Its encoder has returned.
    #[inline]
    pub(crate) fn end_message(&mut self) {
        self.encoding = None;
    }
}

thread_local! {
    pub(crate) static CORK: RefCell<Cork> = const {
        RefCell::new(Cork { id: 0, base: 0, messages: 0, refused: 0, encoding: None, out: Outbox::new() })
    };
}

/// What a batch left in the cork.
pub(crate) struct Uncorked {
    pub(crate) messages: u64,
    pub(crate) refused: u64,
}

/// Most bytes of buffer that the cork keeps between batches.
const CORK_KEEPS: usize = 64 * 1024;

/// Begins a batch: sends of connection `id` on this thread go to the cork.
pub(crate) fn cork(id: u64, base: usize) {
    CORK.with_borrow_mut(|cork| {
        cork.id = id;
        cork.base = base;
    });
}

/// Ends a batch: what was sent in it is swapped into `out`, which must be empty.
pub(crate) fn uncork(out: &mut Outbox) -> Uncorked {
    CORK.with_borrow_mut(|cork| {
        cork.id = 0;
        cork.forget_partial();
        std::mem::swap(out, &mut cork.out);
        Uncorked { messages: std::mem::take(&mut cork.messages), refused: std::mem::take(&mut cork.refused) }
    })
}

/// Gives the emptied outbox back, so that its buffer is used again.
pub(crate) fn recycle(out: &mut Outbox) {
    out.clear(CORK_KEEPS);
    CORK.with_borrow_mut(|cork| {
        if cork.out.is_empty() {
            std::mem::swap(out, &mut cork.out);
        }
    });
}

/// Appends the protocol's own reply in a batch.
pub(crate) fn cork_reply(reply: &mut Outbox) {
    CORK.with_borrow_mut(|cork| {
        cork.forget_partial();
        cork.out.append(reply);
    });
}

/// Counts an answer that was appended, or could not be.
pub(crate) fn count_answer(taken: bool) {
    CORK.with_borrow_mut(|cork| {
        cork.messages += u64::from(taken);
        cork.refused += u64::from(!taken);
    });
}

/// Whether a batch of connection `id` runs on this thread, which will look at its queue and wishes by itself.
pub(crate) fn is_corked(id: u64) -> bool {
    CORK.with(|cork| cork.try_borrow().is_ok_and(|cork| cork.id == id))
}

/// Bytes in the cork, if it is the connection's.
pub(crate) fn corked(id: u64) -> usize {
    CORK.with(|cork| cork.try_borrow().map_or(0, |cork| if cork.id == id { cork.out.len() } else { 0 }))
}
