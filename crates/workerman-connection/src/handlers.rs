//! The callbacks of a service: typed closures, erased once.

use std::sync::Arc;

use workerman_protocol::Protocol;

use crate::outcome::{Outcome, Settled, settle_async};
use crate::{CloseReason, Connection, Error};

/// Takes the events of one kind, and gives back all others.
#[cfg(feature = "websocket")]
type OnKind<P> = Box<
    dyn Fn(&Connection<P>, <P as Protocol>::Event) -> Result<Settled<P>, <P as Protocol>::Event>
        + Send
        + Sync,
>;
type Plain<P> = Box<dyn Fn(&Connection<P>) + Send + Sync>;
type OnConnect<P> = Box<dyn Fn(&Connection<P>) -> Settled<P> + Send + Sync>;
type OnMessage<P, T> = Box<dyn Fn(&Connection<P>, T) -> Settled<P> + Send + Sync>;
type OnClose<P> = Box<dyn Fn(&Connection<P>, CloseReason) -> Settled<P> + Send + Sync>;
type OnError<P> = Box<dyn Fn(&Connection<P>, &Error) + Send + Sync>;

/// The callbacks of a service; none is required.
///
/// All run on the connection's own loop thread, never nested, one at a time per connection, in the order of what
/// happened. A panic in one ends its connection and nothing else; after one in that of a message the protocol may have
/// something to say, or go on ([`Protocol::failed`]). An async one is polled in place: later messages of
/// the same connection wait for it, others do not.
pub struct Handlers<P: Protocol> {
    pub(crate) on_connect: Option<OnConnect<P>>,
    pub(crate) on_message: Option<OnMessage<P, P::Incoming>>,
    pub(crate) on_event: Option<OnMessage<P, P::Event>>,
    /// In front of `on_event`; the last one first.
    #[cfg(feature = "websocket")]
    on_kinds: Vec<OnKind<P>>,
    pub(crate) on_close: Option<OnClose<P>>,
    pub(crate) on_error: Option<OnError<P>>,
    pub(crate) on_buffer_full: Option<Plain<P>>,
    pub(crate) on_buffer_drain: Option<Plain<P>>,
}

impl<P: Protocol> Default for Handlers<P> {
    fn default() -> Self {
        Self {
            on_connect: None,
            on_message: None,
            on_event: None,
            #[cfg(feature = "websocket")]
            on_kinds: Vec::new(),
            on_close: None,
            on_error: None,
            on_buffer_full: None,
            on_buffer_drain: None,
        }
    }
}

impl<P: Protocol> Handlers<P> {
    /// No callbacks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Called when the connection is up, before its first message.
    #[doc(alias = "onConnect")]
    pub fn on_connect<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Box::new(move |conn| f(conn).settle(conn)));
        self
    }

    /// Like [`on_connect`](Self::on_connect), with an async closure; messages wait for it.
    pub fn on_connect_async<M, R: Outcome<P, M>>(
        mut self,
        f: impl AsyncFn(&Connection<P>) -> R + Send + Sync + 'static,
    ) -> Self {
        let f = Arc::new(f);
        self.on_connect = Some(Box::new(move |conn| {
            let (f, own) = (Arc::clone(&f), conn.clone());
            settle_async(async move { f(&own).await }, conn.clone())
        }));
        self
    }

    /// Called with each message.
    #[doc(alias = "onMessage")]
    pub fn on_message<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, P::Incoming) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_message = Some(Box::new(move |conn, message| f(conn, message).settle(conn)));
        self
    }

    /// Like [`on_message`](Self::on_message), with an async closure, which can borrow the connection across awaits.
    pub fn on_message_async<M, R: Outcome<P, M>>(
        mut self,
        f: impl AsyncFn(&Connection<P>, P::Incoming) -> R + Send + Sync + 'static,
    ) -> Self {
        let f = Arc::new(f);
        self.on_message = Some(Box::new(move |conn, message| {
            let (f, own) = (Arc::clone(&f), conn.clone());
            settle_async(async move { f(&own, message).await }, conn.clone())
        }));
        self
    }

    /// Called with each event of the protocol (a ping, a request head).
    pub fn on_event<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, P::Event) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_event = Some(Box::new(move |conn, event| f(conn, event).settle(conn)));
        self
    }

    /// Handles the events that `f` takes, in front of `on_event` and of what was set before.
    #[cfg(feature = "websocket")]
    pub(crate) fn on_kind(
        mut self,
        f: impl Fn(&Connection<P>, P::Event) -> Result<Settled<P>, P::Event> + Send + Sync + 'static,
    ) -> Self {
        self.on_kinds.push(Box::new(f));
        self
    }

    /// Handles an event.
    pub(crate) fn event(&self, conn: &Connection<P>, event: P::Event) -> Settled<P> {
        #[cfg(feature = "websocket")]
        let event = {
            let mut event = event;
            for on_kind in self.on_kinds.iter().rev() {
                match on_kind(conn, event) {
                    Ok(settled) => return settled,
                    Err(other) => event = other,
                }
            }
            event
        };
        self.on_event.as_ref().map_or(Settled::Done, |on_event| on_event(conn, event))
    }

    /// Called exactly once when the connection ends, with the reason; `send` takes nothing any more.
    ///
    /// A future is run on as a task of its own.
    #[doc(alias = "onClose")]
    pub fn on_close<M, R: Outcome<P, M>>(
        mut self,
        f: impl Fn(&Connection<P>, CloseReason) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_close = Some(Box::new(move |conn, reason| f(conn, reason).settle(conn)));
        self
    }

    /// Called with what went wrong, before `on_close`.
    #[doc(alias = "onError")]
    pub fn on_error(mut self, f: impl Fn(&Connection<P>, &Error) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(f));
        self
    }

    /// Called once when the queue reaches its high-water mark.
    #[doc(alias = "onBufferFull")]
    pub fn on_buffer_full(mut self, f: impl Fn(&Connection<P>) + Send + Sync + 'static) -> Self {
        self.on_buffer_full = Some(Box::new(f));
        self
    }

    /// Called once when a queue that was full is at or under its low-water mark again.
    #[doc(alias = "onBufferDrain")]
    pub fn on_buffer_drain(mut self, f: impl Fn(&Connection<P>) + Send + Sync + 'static) -> Self {
        self.on_buffer_drain = Some(Box::new(f));
        self
    }
}

impl<P: Protocol> std::fmt::Debug for Handlers<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}
