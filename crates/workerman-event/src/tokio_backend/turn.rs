//! A turn of the tokio backend: serve what was woken, each socket once, up to the bound.

use std::io;
use std::task::{Context, Poll};

use super::stream::Read;
use super::wake::Key;
use super::{Tokio, clock};
use crate::chunk::Chunk;
use crate::{DatagramId, ListenerId, Sink, Token};

/// How many connections of one listener, or datagrams of one socket, are served in one turn.
const BATCH: usize = 32;

impl Tokio {
    pub(super) fn turn<S: Sink<Self>>(&mut self, cx: &mut Context<'_>, max: usize, sink: &mut S) -> Poll<()> {
        self.now = clock();
        self.ready.begin_turn(cx.waker(), &mut self.woken);
        self.queue.extend(self.woken.drain(..));
        let mut left = max.max(1);
        self.wake_listeners(cx);
        // First what is rare and has no queue of its own, lest it starves.
        self.turn_signals(cx, &mut left, sink);
        self.turn_resolver(cx, &mut left, sink);
        // What is woken again while it is served comes in a later turn.
        for _ in 0..self.queue.len() {
            if left == 0 {
                break;
            }
            match self.queue.pop_front() {
                Some(Key::Stream(token)) => self.turn_stream(token, &mut left, sink),
                Some(Key::Listener(id)) => self.turn_listener(id, &mut left, sink),
                Some(Key::Datagram(id)) => self.turn_datagram(id, &mut left, sink),
                None => break,
            }
        }
        // A pause that began in this turn has to wake the task, too.
        self.set_alarm(cx);
        if self.queue.is_empty() && left > 0 { Poll::Pending } else { Poll::Ready(()) }
    }

    fn turn_signals<S: Sink<Self>>(&mut self, cx: &mut Context<'_>, left: &mut usize, sink: &mut S) {
        while *left > 0 && !self.signals.is_idle() {
            let Poll::Ready(signal) = self.signals.poll(cx) else { return };
            *left -= 1;
            sink.signal(self, signal);
        }
    }

    fn turn_resolver<S: Sink<Self>>(&mut self, cx: &mut Context<'_>, left: &mut usize, sink: &mut S) {
        while *left > 0 && !self.resolver.is_idle() {
            let Poll::Ready((id, result)) = self.resolver.poll(cx) else { return };
            *left -= 1;
            sink.resolved(self, id, result);
        }
    }

    fn turn_stream<S: Sink<Self>>(&mut self, token: Token, left: &mut usize, sink: &mut S) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        conn.wakeup.begin();
        match conn.poll_connect() {
            Poll::Pending => return,
            Poll::Ready(Err(why)) => return self.fail(token, why, left, sink),
            Poll::Ready(Ok(())) => {}
        }
        if let Some(peer) = conn.take_connected() {
            *left -= 1;
            sink.connected(self, token, peer);
            if let Some(conn) = self.conns.get_mut(token) {
                conn.await_room();
                conn.await_data();
            }
            return;
        }
        if conn.take_room() {
            *left -= 1;
            sink.writable(self, token);
            let Some(conn) = self.conns.get_mut(token) else { return };
            if *left == 0 {
                return conn.wakeup.enqueue();
            }
        }
        self.read(token, left, sink);
        self.await_data(token);
    }

    fn read<S: Sink<Self>>(&mut self, token: Token, left: &mut usize, sink: &mut S) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        match conn.read(&mut self.chunk) {
            Read::Nothing => {}
            Read::Chunk(buffer) => {
                *left -= 1;
                let mut data = Chunk::lend(buffer);
                sink.data(self, token, &mut data);
                self.chunk.give_back(data);
            }
            Read::Lent(buffer) => {
                *left -= 1;
                sink.filled(self, token, buffer);
            }
            Read::Eof => {
                *left -= 1;
                sink.eof(self, token);
            }
            Read::Failed(why) => self.fail(token, why, left, sink),
        }
    }

    fn fail<S: Sink<Self>>(&mut self, token: Token, why: io::Error, left: &mut usize, sink: &mut S) {
        *left -= 1;
        self.conns.remove(token);
        sink.failed(self, token, why);
    }

    /// Asks for a turn of a connection as soon as there is something to read.
    pub(super) fn await_data(&mut self, token: Token) {
        if let Some(conn) = self.conns.get(token) {
            conn.await_data();
        }
    }

    fn turn_listener<S: Sink<Self>>(&mut self, id: ListenerId, left: &mut usize, sink: &mut S) {
        if let Some(listener) = self.listeners.get(&id) {
            listener.wakeup.begin();
        }
        for _ in 0..BATCH.min(*left) {
            // Looked up each time: the sink may have paused or closed it.
            let Some(listener) = self.listeners.get_mut(&id) else { return };
            if listener.paused || listener.retry.is_some() {
                return;
            }
            match listener.poll_accept() {
                Poll::Pending => return,
                Poll::Ready(Ok((io, peer))) => {
                    let token = self.insert(io);
                    *left -= 1;
                    sink.accepted(self, id, token, peer);
                    self.await_data(token);
                }
                Poll::Ready(Err(why)) => {
                    let shed = self.reserve.lend(&why, || listener.shed());
                    listener.back_off(clock());
                    *left -= 1;
                    return sink.accept_failed(self, id, shed, &why);
                }
            }
        }
        if let Some(listener) = self.listeners.get(&id) {
            listener.wakeup.enqueue();
        }
    }

    /// Lets listeners go on whose pause is over.
    fn wake_listeners(&mut self, cx: &mut Context<'_>) {
        if self.alarm.at().is_none() || self.alarm.poll(cx).is_pending() {
            return;
        }
        self.reserve.fill();
        for listener in self.listeners.values_mut() {
            if listener.retry.is_some_and(|at| at <= self.now) {
                listener.retry = None;
                listener.wakeup.enqueue();
            }
        }
    }

    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let next = self.listeners.values().filter_map(|listener| listener.retry).min();
        if next != self.alarm.at() {
            self.alarm.set(next);
            if self.alarm.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn turn_datagram<S: Sink<Self>>(&mut self, id: DatagramId, left: &mut usize, sink: &mut S) {
        let Some(udp) = self.datagrams.get_mut(&id) else { return };
        udp.wakeup.begin();
        if udp.take_room() {
            *left -= 1;
            sink.datagram_writable(self, id);
        }
        let Some(udp) = self.datagrams.get_mut(&id) else { return };
        if *left == 0 {
            return udp.wakeup.enqueue();
        }
        if let Some(why) = udp.take_error() {
            *left -= 1;
            sink.datagram_failed(self, id, why);
        }
        for _ in 0..BATCH.min(*left) {
            let Some(udp) = self.datagrams.get(&id) else { return };
            let mut buffer = self.chunk.take();
            match udp.receive(&mut buffer) {
                None => return self.chunk.put(buffer),
                Some(Ok(from)) => {
                    *left -= 1;
                    let mut payload = Chunk::lend(buffer);
                    sink.datagram(self, id, from, &mut payload);
                    self.chunk.give_back(payload);
                }
                Some(Err(why)) => {
                    *left -= 1;
                    self.chunk.put(buffer);
                    sink.datagram_failed(self, id, why);
                }
            }
        }
        if let Some(udp) = self.datagrams.get(&id) {
            udp.wakeup.enqueue();
        }
    }
}
