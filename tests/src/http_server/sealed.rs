//! A connection of a client through the layer of the tests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use workerman::sim::Wire;
use workerman_connection::{Layer, Received};
use workerman_protocol::{Outbox, Role};

use crate::xor::Xor;

/// Most plain bytes that are sealed at a time.
const AT_A_TIME: usize = 2000;

/// Plain bytes on this side, [`Xor`]'s on the other.
pub(super) struct Sealed {
    wire: Wire,
    layer: Xor,
    /// Sealed and not sent.
    out: Outbox,
    plain: BytesMut,
    ended: bool,
    closed: bool,
}

impl Sealed {
    pub(super) fn new(wire: Wire) -> Self {
        let (mut layer, mut out) = (Xor::new(Role::Client, 0x5a), Outbox::new());
        layer.open(Instant::now(), &mut out).expect("it cannot fail");
        Self { wire, layer, out, plain: BytesMut::new(), ended: false, closed: false }
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.has_remaining() {
            let sent = ready!(Pin::new(&mut self.wire).poll_write(cx, self.out.chunk()))?;
            self.out.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Sealed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = &mut *self;
        // The handshake may have found no room.
        let _ = own.send(cx);
        while own.plain.is_empty() && !own.ended {
            let mut room = [0; 4096];
            let mut sealed = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut own.wire).poll_read(cx, &mut sealed))?;
            if sealed.filled().is_empty() {
                // An end without its notice is none: somebody may have cut it.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut input = BytesMut::from(sealed.filled());
            let received = own.layer.receive(Instant::now(), &mut input, &mut own.plain, &mut own.out);
            own.ended = received.map_err(io::Error::other)? == Received::End;
        }
        let count = own.plain.len().min(buf.remaining());
        buf.put_slice(&own.plain.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = &mut *self;
        ready!(own.send(cx))?;
        let count = bytes.len().min(AT_A_TIME);
        let mut plain = Outbox::new();
        plain.put_slice(&bytes[..count]);
        own.layer.send(&mut plain, &mut own.out).map_err(io::Error::other)?;
        match own.send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = &mut *self;
        if !std::mem::replace(&mut own.closed, true) {
            own.layer.close(&mut own.out);
        }
        ready!(own.send(cx))?;
        Pin::new(&mut own.wire).poll_shutdown(cx)
    }
}

impl Drop for Sealed {
    /// A client that leaves says so, as far as there is room.
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.layer.close(&mut self.out);
            let _ = self.send(&mut Context::from_waker(std::task::Waker::noop()));
        }
    }
}
