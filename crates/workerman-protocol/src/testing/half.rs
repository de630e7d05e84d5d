//! The sending half of a connection that is driven by hand: held, in the harness, or free.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use crate::{Outbox, Protocol, SendingHalf};

/// The sending half, and whose it is.
pub(super) struct Half<P: Protocol> {
    state: RefCell<P::Sending>,
    /// What it is made of for each send, once the protocol has set it free.
    bits: Cell<Option<u8>>,
    /// What has been sent is kept here until the protocol releases it.
    holds: Cell<bool>,
    held: RefCell<Outbox>,
    /// Nothing is taken any more.
    pub(super) is_shut: Cell<bool>,
    pub(super) peer: Option<SocketAddr>,
}

impl<P: Protocol> Half<P> {
    pub(super) fn new() -> Self {
        Self {
            state: RefCell::default(),
            bits: Cell::new(None),
            holds: Cell::new(P::HOLDS && !P::ANSWERS),
            held: RefCell::default(),
            is_shut: Cell::new(false),
            peer: None,
        }
    }

    /// Encodes into `out`, or to what is held, or nowhere once it is shut; on an error what was appended is taken back.
    pub(super) fn encode<E>(
        &self,
        out: &mut Outbox,
        encode: impl FnOnce(&mut P::Sending, &mut Outbox) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_shut.get() {
            return Ok(());
        }
        let mut held = self.held.borrow_mut();
        let out = if self.holds.get() { &mut *held } else { out };
        let before = out.len();
        let encoded = match self.bits.get() {
            Some(bits) => encode(&mut P::free(bits), out),
            None => encode(&mut self.state.borrow_mut(), out),
        };
        encoded.inspect_err(|_| out.truncate(before))
    }
}

impl<P: Protocol> SendingHalf<P::Sending> for Half<P> {
    fn with(&self, with: &mut dyn FnMut(&mut P::Sending)) {
        match self.bits.get() {
            Some(bits) => with(&mut P::free(bits)),
            None => self.state.with(with),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn release(&self, reply: &mut Outbox) {
        self.holds.set(false);
        reply.append(&mut self.held.borrow_mut());
    }

    fn shut(&self, _: &mut Outbox) {
        self.is_shut.set(true);
    }

    fn free(&self, bits: u8, _: &mut Outbox) {
        self.bits.set(Some(bits));
        self.state.take();
    }
}
