//! Streams for bodies: counted, slow, broken, and watched for being dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio::time::Sleep;

/// What is known of a stream from outside.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    given: Arc<AtomicUsize>,
    dropped: Arc<AtomicBool>,
}

impl Watch {
    /// How many pieces it has given away.
    pub fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    /// Whether it has been dropped.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// What a stream does behind its last piece.
#[derive(Clone, Copy, Debug)]
enum Then {
    End,
    Fail,
    Panic,
    Hang,
}

/// A stream of equal pieces.
#[derive(Debug)]
pub struct Pieces {
    piece: Bytes,
    left: usize,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    then: Then,
    watch: Watch,
}

impl Pieces {
    /// So many pieces of so many bytes, as fast as they are wanted.
    pub fn new(count: usize, size: usize) -> Self {
        let piece = vec![b'.'; size].into();
        Self { piece, left: count, pause: None, then: Then::End, watch: Watch::default() }
    }

    /// A pause before each piece.
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.pause = Some((pause, Box::pin(tokio::time::sleep(pause))));
        self
    }

    /// An error behind the last piece.
    #[must_use]
    pub fn then_fail(mut self) -> Self {
        self.then = Then::Fail;
        self
    }

    /// A panic behind the last piece.
    #[must_use]
    pub fn then_panic(mut self) -> Self {
        self.then = Then::Panic;
        self
    }

    /// Nothing behind the last piece, not even the end.
    #[must_use]
    pub fn then_hang(mut self) -> Self {
        self.then = Then::Hang;
        self
    }

    /// Watches it.
    #[must_use]
    pub fn watched(mut self, watch: &Watch) -> Self {
        self.watch = watch.clone();
        self
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, &'static str>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return match self.then {
                Then::End => Poll::Ready(None),
                Then::Fail => Poll::Ready(Some(Err("the source is gone"))),
                Then::Panic => panic!("expected by the test"),
                Then::Hang => Poll::Pending,
            };
        }
        if let Some((pause, sleep)) = &mut self.pause {
            std::task::ready!(sleep.as_mut().poll(cx));
            let next = tokio::time::Instant::now() + *pause;
            sleep.as_mut().reset(next);
        }
        self.left -= 1;
        self.watch.given.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(self.piece.clone())))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.watch.dropped.store(true, Ordering::SeqCst);
    }
}
