//! What the WebSocket peers share: their command line, their runtime, and the two things they do, for all whose sockets
//! are a stream and a sink of messages.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

/// Most messages that are answered together.
const TOGETHER: usize = 32;

/// What a peer is to do with messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Send each back.
    Echo,
    /// Send each back, compressed if that has been agreed on.
    Deflate,
    /// Send each to all others.
    Broadcast,
}

/// Serves for ever, on one thread: `PEER echo|deflate|broadcast ADDRESS`; each connection is a task of its own.
///
/// # Errors
/// The command line is wrong, the address cannot be bound, or it is about compression and the peer knows none.
pub fn serve<S, F>(compresses: bool, mut connection: S) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: FnMut(TcpStream, Mode) -> F,
    F: Future<Output = ()> + 'static,
{
    let mut arguments = std::env::args().skip(1);
    let mode = match arguments.next().as_deref() {
        Some("echo") => Mode::Echo,
        Some("deflate") if compresses => Mode::Deflate,
        Some("deflate") => {
            println!("cannot compress");
            return Ok(());
        }
        Some("broadcast") => Mode::Broadcast,
        _ => return Err("expected echo, deflate or broadcast".into()),
    };
    let listener = peer_support::listen_at(arguments)?;
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            spawn_local(connection(stream, mode));
        }
    })
}

/// Answers each message by itself, in a write of its own, until the connection ends.
pub async fn echo_singly<S, M, E>(mut socket: S, is_data: impl Fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        if is_data(&message) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Answers the messages that have arrived together by one write, until the connection ends.
pub async fn echo_together<S, M, E>(mut socket: S, is_data: impl Fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        let (mut last, mut taken) = (message, 1);
        loop {
            if is_data(&last) && socket.feed(last).await.is_err() {
                return;
            }
            if taken == TOGETHER {
                break;
            }
            match socket.next().now_or_never() {
                Some(Some(Ok(message))) => last = message,
                Some(_) => return,
                None => break,
            }
            taken += 1;
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// The same for a socket that flushes when it is asked for the next message: all are taken first.
pub async fn echo_when_all_are_taken<S, M, E>(mut socket: S, is_data: impl Fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        let (mut last, mut before) = (message, Vec::new());
        while before.len() < TOGETHER {
            match socket.next().now_or_never() {
                Some(Some(Ok(message))) => before.push(std::mem::replace(&mut last, message)),
                Some(_) => return,
                None => break,
            }
        }
        for message in before.into_iter().chain([last]).filter(&is_data) {
            if socket.feed(message).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Who is connected, each with a queue of what it is to be sent.
#[derive(Debug)]
pub struct Hub<M> {
    queues: RefCell<BTreeMap<u64, UnboundedSender<M>>>,
    next: Cell<u64>,
}

impl<M> Default for Hub<M> {
    fn default() -> Self {
        Self { queues: RefCell::default(), next: Cell::new(0) }
    }
}

impl<M: Clone> Hub<M> {
    /// Joins, until the member is dropped.
    pub fn join(self: &Rc<Self>) -> (Member<M>, UnboundedReceiver<M>) {
        let number = self.next.get();
        self.next.set(number + 1);
        let (queue, queued) = unbounded_channel();
        self.queues.borrow_mut().insert(number, queue);
        (Member { hub: Rc::clone(self), number }, queued)
    }
}

/// One who is connected.
#[derive(Debug)]
pub struct Member<M> {
    hub: Rc<Hub<M>>,
    number: u64,
}

impl<M: Clone> Member<M> {
    /// Queues `message` for all others.
    pub fn tell_others(&self, message: &M) {
        for (number, queue) in self.hub.queues.borrow().iter() {
            if *number != self.number {
                // One that has ended leaves the hub soon.
                let _ = queue.send(message.clone());
            }
        }
    }
}

impl<M> Drop for Member<M> {
    fn drop(&mut self) {
        self.hub.queues.borrow_mut().remove(&self.number);
    }
}

/// Sends each message to all others, and what others send in one write where it has come together.
pub async fn broadcast<S, M, E>(mut socket: S, hub: Rc<Hub<M>>, is_data: impl Fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
    M: Clone,
{
    let (member, mut queued) = hub.join();
    loop {
        tokio::select! {
            biased;
            message = queued.recv() => {
                let mut next = message;
                while let Some(message) = next {
                    if socket.feed(message).await.is_err() {
                        return;
                    }
                    next = queued.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(message)) if is_data(&message) => member.tell_others(&message),
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}
