//! Sockets of a simulated network for the tasks of a test: the foreign peers of the loops.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{Got, Owner};
use super::listen::Holder;
use super::network::Network;
use super::state::State;
use crate::{Address, Listener, ListenerId, Stream};

/// A listener of a simulated network. Dropping it closes it: queued connections are reset.
///
/// A test accepts from it, or gives it to a loop: `backend.listen(listener.into())`.
pub struct SimListener {
    network: Network,
    id: Option<ListenerId>,
    address: Address,
}

impl SimListener {
    pub(super) fn new(network: Network, id: ListenerId, address: Address) -> Self {
        Self { network, id: Some(id), address }
    }

    /// The address it is bound to, with the port that was chosen.
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Gives the listener up without closing it.
    pub(super) fn into_id(mut self) -> Option<ListenerId> {
        self.id.take()
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Out of descriptors (the connection stays queued); `NotConnected` when the host was restarted.
    pub async fn accept(&self) -> io::Result<SimStream> {
        poll_fn(|cx| {
            let Some(id) = self.id else { return Poll::Ready(Err(State::dead_listener())) };
            self.network.with(|state| match state.accept(id) {
                Ok(Some((conn, _))) => {
                    state.own(conn, 1, Owner::Task { read: None, write: None });
                    Poll::Ready(Ok(SimStream::new(self.network.clone(), conn, 1)))
                }
                Ok(None) => {
                    let holder = state.listeners.get_mut(&id).map(|one| &mut one.holder);
                    if let Some(Holder::Tasks(waiting)) = holder {
                        if !waiting.iter().any(|one| one.will_wake(cx.waker())) {
                            waiting.push(cx.waker().clone());
                        }
                    }
                    Poll::Pending
                }
                Err(_) if !state.listeners.contains_key(&id) => Poll::Ready(Err(State::dead_listener())),
                Err(why) => Poll::Ready(Err(why)),
            })
        })
        .await
    }
}

impl From<SimListener> for Listener {
    fn from(listener: SimListener) -> Self {
        Self::simulated(listener)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.network.with(|state| state.close_listener(id));
        }
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// One end of a simulated connection, for a task: an [`AsyncRead`] and [`AsyncWrite`].
///
/// Dropping it closes it as TCP does: a FIN after what was written, or a reset if received bytes were left unread.
/// A loop can take it over: `backend.adopt(stream.into())`.
pub struct SimStream {
    network: Network,
    conn: u64,
    side: usize,
    open: bool,
}

impl SimStream {
    pub(super) fn new(network: Network, conn: u64, side: usize) -> Self {
        Self { network, conn, side, open: true }
    }

    /// Waits until the connect has succeeded or failed.
    pub(super) async fn connected(self) -> io::Result<Self> {
        poll_fn(|cx| {
            self.network.with(|state| {
                if state.conns.get(&self.conn).is_some_and(|conn| conn.ends[self.side].established) {
                    return Poll::Ready(io::Result::Ok(()));
                }
                if let Got::Failed(why) = state.read(self.conn, self.side, 0, |_| {}) {
                    return Poll::Ready(Err(why.into()));
                }
                self.wait(state, cx, true);
                Poll::Pending
            })
        })
        .await?;
        Ok(self)
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Gives the connection up without closing it.
    pub(super) fn into_parts(mut self) -> (u64, usize) {
        self.open = false;
        (self.conn, self.side)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// `NotConnected` if the connection is gone.
    pub fn local_address(&self) -> io::Result<Address> {
        self.network.with(|state| match state.conns.get(&self.conn) {
            Some(conn) => Ok(conn.ends[self.side].local.clone()),
            None => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// `NotConnected` if the connection is gone.
    pub fn peer_address(&self) -> io::Result<Address> {
        self.network.with(|state| match state.conns.get(&self.conn) {
            Some(conn) => Ok(conn.ends[self.side].remote.clone()),
            None => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Closes this end with a reset.
    pub fn reset(mut self) {
        self.open = false;
        self.network.with(|state| state.close(self.conn, self.side, true));
    }

    /// Breaks the connection in the middle: both ends get a reset.
    pub fn sever(&self) {
        self.network.with(|state| state.sever(self.conn));
    }

    fn wait(&self, state: &mut State, cx: &Context<'_>, reading: bool) {
        if let Some(Owner::Task { read, write }) = state.owner_mut(self.conn, self.side) {
            let slot = if reading { read } else { write };
            *slot = Some(cx.waker().clone());
        }
    }
}

impl From<SimStream> for Stream {
    fn from(stream: SimStream) -> Self {
        Self::simulated(stream)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = buffer.remaining();
        if limit == 0 {
            return Poll::Ready(Ok(()));
        }
        self.network.with(|state| {
            match state.read(self.conn, self.side, limit, |bytes| buffer.put_slice(bytes)) {
                Got::Data | Got::Eof => Poll::Ready(Ok(())),
                Got::Failed(why) => Poll::Ready(Err(why.into())),
                Got::Nothing if state.at_eof(self.conn, self.side) => Poll::Ready(Ok(())),
                Got::Nothing => {
                    self.wait(state, cx, true);
                    Poll::Pending
                }
            }
        })
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, mut bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.network.with(|state| match state.send(self.conn, self.side, &mut bytes) {
            Ok(0) => {
                self.wait(state, cx, false);
                Poll::Pending
            }
            result => Poll::Ready(result),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.with(|state| state.shutdown_write(self.conn, self.side));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if self.open {
            self.network.with(|state| state.close(self.conn, self.side, false));
        }
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").field("side", &self.side).finish_non_exhaustive()
    }
}
