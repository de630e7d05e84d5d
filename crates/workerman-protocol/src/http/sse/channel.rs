//! Events from anywhere: a bounded queue between senders and the stream of a response.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{Event, EventError};

struct Channel {
    queue: VecDeque<Event>,
    capacity: usize,
    senders: usize,
    /// The stream is gone.
    gone: bool,
    reader: Option<Waker>,
    /// Who waits for room or the end, each under its own number.
    waiting: Vec<(u64, Waker)>,
    next: u64,
}

fn lock(channel: &Mutex<Channel>) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a stream of events with a sender; at most `capacity` events wait in it, at least one.
pub fn channel(capacity: usize) -> (EventSender, Events) {
    let channel = Arc::new(Mutex::new(Channel {
        queue: VecDeque::new(),
        capacity: capacity.max(1),
        senders: 1,
        gone: false,
        reader: None,
        waiting: Vec::new(),
        next: 0,
    }));
    (EventSender(Arc::clone(&channel)), Events(channel))
}

/// Sends events to one client; clones send to the same one. When the last is dropped, the response ends behind what was
/// sent.
pub struct EventSender(Arc<Mutex<Channel>>);

impl EventSender {
    /// Sends an event, waiting for room while as many as there may be wait for the client.
    ///
    /// # Errors
    /// The event cannot be sent, or the client has left.
    pub async fn send(&self, event: impl Into<Event>) -> Result<(), EventError> {
        let event = event.into();
        event.check()?;
        let mut event = Some(event);
        let mut place = Place { channel: &self.0, number: None };
        poll_fn(|cx| match self.push(&mut event, Some((&mut place, cx))) {
            Err(EventError::Full) => Poll::Pending,
            other => Poll::Ready(other),
        })
        .await
    }

    /// Sends an event if there is room.
    ///
    /// # Errors
    /// The event cannot be sent, there is no room ([`EventError::Full`]), or the client has left.
    pub fn try_send(&self, event: impl Into<Event>) -> Result<(), EventError> {
        let event = event.into();
        event.check()?;
        self.push(&mut Some(event), None)
    }

    /// Without room the event stays where it is, and `wait` takes a place among those who wait.
    fn push(
        &self,
        event: &mut Option<Event>,
        wait: Option<(&mut Place<'_>, &mut Context<'_>)>,
    ) -> Result<(), EventError> {
        let reader = {
            let mut channel = lock(&self.0);
            if channel.gone {
                return Err(EventError::Gone);
            }
            if channel.queue.len() >= channel.capacity {
                if let Some((place, cx)) = wait {
                    place.take(&mut channel, cx.waker());
                }
                return Err(EventError::Full);
            }
            channel.queue.extend(event.take());
            channel.reader.take()
        };
        // Outside of the lock: a waker may do anything.
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Whether the client has left, as far as is known.
    pub fn is_gone(&self) -> bool {
        lock(&self.0).gone
    }

    /// Waits until the client has left.
    pub async fn gone(&self) {
        let mut place = Place { channel: &self.0, number: None };
        poll_fn(|cx| {
            let mut channel = lock(&self.0);
            if channel.gone {
                return Poll::Ready(());
            }
            place.take(&mut channel, cx.waker());
            Poll::Pending
        })
        .await;
    }
}

impl Clone for EventSender {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let reader = {
            let mut channel = lock(&self.0);
            channel.senders -= 1;
            if channel.senders > 0 { None } else { channel.reader.take() }
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").field("gone", &self.is_gone()).finish_non_exhaustive()
    }
}

/// A place among those who wait; given up when it is dropped.
struct Place<'a> {
    channel: &'a Mutex<Channel>,
    number: Option<u64>,
}

impl Place<'_> {
    fn take(&mut self, channel: &mut Channel, waker: &Waker) {
        let own =
            self.number.and_then(|number| channel.waiting.iter_mut().find(|(other, _)| *other == number));
        if let Some((_, known)) = own {
            known.clone_from(waker);
            return;
        }
        let number = channel.next;
        channel.next += 1;
        channel.waiting.push((number, waker.clone()));
        self.number = Some(number);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(self.channel).waiting.retain(|(other, _)| *other != number);
        }
    }
}

/// The events of a [`channel`], as a stream for [`Response::events`](super::super::Response::events).
pub struct Events(Arc<Mutex<Channel>>);

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let (event, waiting) = {
            let mut channel = lock(&self.0);
            let Some(event) = channel.queue.pop_front() else {
                if channel.senders == 0 {
                    return Poll::Ready(None);
                }
                channel.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            // All of them: one that was dropped meanwhile must not keep the others asleep.
            (event, std::mem::take(&mut channel.waiting))
        };
        wake(waiting);
        Poll::Ready(Some(event))
    }
}

fn wake(waiting: Vec<(u64, Waker)>) {
    for (_, waker) in waiting {
        waker.wake();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let (queue, waiting) = {
            let mut channel = lock(&self.0);
            channel.gone = true;
            channel.reader = None;
            (std::mem::take(&mut channel.queue), std::mem::take(&mut channel.waiting))
        };
        drop(queue);
        wake(waiting);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &lock(&self.0).queue.len()).finish_non_exhaustive()
    }
}
