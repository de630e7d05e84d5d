//! What a protocol reaches of its connection: the sending half, the senders that it holds, and a waker.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Wake;

use workerman_protocol::{Handle, Outbox, Protocol, SendingHalf, SendingHandle};

use crate::cork::is_corked;
use crate::shared::{CLOSED, FREE, QUEUED, SHUT, Shared, UPGRADED, WOKEN, bits_of};

/// The connection is the waker of its own suspended handler: no task, no queue, and the same code in a simulation.
impl<P: Protocol> Wake for Shared<P> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.set(WOKEN) & WOKEN == 0 {
            self.mark();
        }
    }
}

/// The sending half for the decoding half: under the lock, or a passing one.
impl<P: Protocol> SendingHalf<P::Sending> for Shared<P> {
    fn with(&self, with: &mut dyn FnMut(&mut P::Sending)) {
        if Self::STATELESS {
            return with(&mut P::free(0));
        }
        let mut core = self.lock();
        let flags = self.flags();
        if flags & FREE == 0 {
            with(&mut core.sending);
        } else {
            with(&mut P::free(bits_of(flags)));
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.lock().peer.tcp()
    }
}

/// What the protocol is given: the same, and a handle that it may keep.
pub(crate) struct Half<'a, P: Protocol>(pub(crate) &'a Arc<Shared<P>>);

impl<P: Protocol> SendingHalf<P::Sending> for Half<'_, P> {
    fn with(&self, with: &mut dyn FnMut(&mut P::Sending)) {
        self.0.with(with);
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.0.peer()
    }

    fn handle(&self) -> Option<Handle<P::Sending>> {
        Some(Arc::clone(self.0) as Handle<P::Sending>)
    }

    fn release(&self, reply: &mut Outbox) {
        self.0.release_held(reply);
    }

    fn free(&self, bits: u8, reply: &mut Outbox) {
        self.0.set_free(bits, reply);
    }

    fn shut(&self, reply: &mut Outbox) {
        self.0.shut_behind(reply);
    }
}

impl<P: Protocol> SendingHandle<P::Sending> for Shared<P> {
    fn wake(&self) {
        // As a send does.
        if self.set(QUEUED) & QUEUED == 0 && !is_corked(self.id) {
            self.mark();
        }
    }

    fn is_closed(&self) -> bool {
        // Before another protocol takes over, what is owed is still answered.
        let flags = self.flags();
        flags & CLOSED != 0 || flags & (SHUT | UPGRADED) == SHUT
    }

    fn into_any(self: Arc<Self>) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self)
    }
}
