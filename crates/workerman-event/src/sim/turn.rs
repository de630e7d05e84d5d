//! What a loop does with the entries of its mailbox: the calls of the sink.

use std::io;

use super::backend::Sim;
use super::datagram::DatagramEvent;
use super::link::Got;
use super::listen::Accepted;
use super::state::{Ready, State};
use crate::chunk::{CHUNK, Chunk};
use crate::{DatagramId, ListenerId, Sink, Token};

/// How many connections a listener hands out in one turn, and datagrams a socket, so that neither starves others.
const BATCH: usize = 16;

impl Sim {
    /// Hands out what one entry stands for, at most `budget` events, and says how many.
    pub(super) fn handle<S: Sink<Self>>(&mut self, ready: Ready, budget: usize, sink: &mut S) -> usize {
        match ready {
            Ready::Stream(token) => self.handle_stream(token, budget, sink),
            Ready::Listener(id) => self.handle_listener(id, budget, sink),
            Ready::Datagram(id) => self.handle_datagram(id, budget, sink),
            Ready::ListenerDead(id) => {
                if !self.listeners.remove(&id) {
                    return 0;
                }
                sink.accept_failed(self, id, 0, &State::dead_listener());
                1
            }
            Ready::Resolved(id) => match self.network.with(|state| state.answer(id)) {
                Some(result) => {
                    sink.resolved(self, id, result);
                    1
                }
                None => 0,
            },
            Ready::Signal(signal) => {
                sink.signal(self, signal);
                1
            }
        }
    }

    fn handle_stream<S: Sink<Self>>(&mut self, token: Token, budget: usize, sink: &mut S) -> usize {
        let Some((conn, side)) = self.stream(token) else { return 0 };
        let write_first = self.network.with(|state| {
            state.unpost(conn, side);
            state.rng.bool()
        });
        let mut used = 0;
        if let Some(peer) = self.network.with(|state| state.take_connected(conn, side)) {
            used += 1;
            sink.connected(self, token, peer);
        }
        for writing in [write_first, !write_first] {
            if used < budget && self.stream(token).is_some() {
                used +=
                    if writing { self.handle_writable(token, sink) } else { self.handle_read(token, sink) };
            }
        }
        // What is left (the budget, a longer backlog, a reset behind the bytes) waits for the next turn.
        if self.stream(token).is_some() {
            self.network.with(|state| state.notify(conn, side));
        }
        used
    }

    fn handle_writable<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) -> usize {
        let Some((conn, side)) = self.stream(token) else { return 0 };
        if !self.network.with(|state| state.take_writable(conn, side)) {
            return 0;
        }
        sink.writable(self, token);
        1
    }

    fn handle_read<S: Sink<Self>>(&mut self, token: Token, sink: &mut S) -> usize {
        let Some(slot) = self.slot(token) else { return 0 };
        let lent = slot.lent.take();
        let Some((conn, side)) = slot.stream else { return 0 };
        let lending = lent.is_some();
        let mut buffer = lent.unwrap_or_else(|| self.chunk.take());
        let limit = (buffer.capacity() - buffer.len()).min(CHUNK);
        let got =
            self.network.with(|state| state.read(conn, side, limit, |bytes| buffer.extend_from_slice(bytes)));
        match got {
            Got::Data if lending => {
                sink.filled(self, token, buffer);
                return 1;
            }
            Got::Data => {
                let mut data = Chunk::lend(buffer);
                sink.data(self, token, &mut data);
                self.chunk.give_back(data);
                return 1;
            }
            _ => {}
        }
        // Nothing was read: the buffer goes back to where it was.
        if lending {
            if let Some(slot) = self.slot(token) {
                slot.lent = Some(buffer);
            }
        } else {
            self.chunk.put(buffer);
        }
        match got {
            Got::Eof => sink.eof(self, token),
            Got::Failed(why) => {
                self.end(token, true);
                sink.failed(self, token, why.into());
            }
            Got::Data | Got::Nothing => return 0,
        }
        1
    }

    fn handle_listener<S: Sink<Self>>(&mut self, id: ListenerId, budget: usize, sink: &mut S) -> usize {
        self.network.with(|state| state.unpost_listener(id));
        let mut used = 0;
        while used < budget.min(BATCH) && self.listeners.contains(&id) {
            match self.network.with(|state| state.accept_for_loop(id)) {
                Accepted::Stream(conn, peer) => {
                    let token = self.reserve();
                    self.slots[token.slot()].stream = Some((conn, 1));
                    let owner = self.owner(token);
                    self.network.with(|state| state.own(conn, 1, owner));
                    sink.accepted(self, id, token, peer);
                }
                Accepted::Exhausted(shed, why) => sink.accept_failed(self, id, shed, &why),
                Accepted::Nothing => break,
            }
            used += 1;
        }
        self.network.with(|state| state.notify_listener(id));
        used
    }

    fn handle_datagram<S: Sink<Self>>(&mut self, id: DatagramId, budget: usize, sink: &mut S) -> usize {
        self.network.with(|state| state.unpost_datagram(id));
        let mut used = 0;
        while used < budget.min(BATCH) && self.datagrams.contains(&id) {
            match self.network.with(|state| state.take_datagram(id)) {
                Some(DatagramEvent::Received(from, payload)) => {
                    let mut buffer = self.chunk.take();
                    buffer.extend_from_slice(&payload);
                    let mut data = Chunk::lend(buffer);
                    sink.datagram(self, id, from, &mut data);
                    self.chunk.give_back(data);
                }
                Some(DatagramEvent::Writable) => sink.datagram_writable(self, id),
                Some(DatagramEvent::Refused) => {
                    sink.datagram_failed(self, id, io::ErrorKind::ConnectionRefused.into());
                }
                None => break,
            }
            used += 1;
        }
        self.network.with(|state| state.notify_datagram(id));
        used
    }
}
