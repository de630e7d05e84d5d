//! What a turn hands to the slots: the backend's events ([`Sink`]) and the commands of handles ([`Control`]).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use workerman_event::{Address, Backend, DatagramId, Listener, ListenerId, ResolveId, Signal, Sink, Token};

use crate::accept::Accept;
use crate::client::{Dial, DialEvent, Sockets};
use crate::event_loop::{Control, Drained};
use crate::slots::{Listening, Slots};
use crate::timer::later;

impl<B: Backend> Sink<B> for Slots {
    fn accepted(&mut self, io: &mut B, listener: ListenerId, id: Token, peer: Address) {
        let Some(listening) = self.listeners.get_mut(&listener) else {
            io.close(id);
            return;
        };
        if listening.early.is_some() {
            self.local.remote.counters.refused.add(1);
            io.close(id);
            return;
        }
        if !listening.accept.reserve() {
            // Another loop took the last place since this one was asked to pause: nobody else is accepted before this
            // connection has its own.
            io.set_read(id, false);
            listening.early = Some((id, peer));
            self.look_at_cap(io, listener);
            return;
        }
        self.welcome(io, listener, id, peer);
        self.look_at_cap(io, listener);
    }

    fn accept_failed(&mut self, _: &mut B, listener: ListenerId, shed: usize, why: &io::Error) {
        self.local.remote.counters.refused.add(shed as u64);
        let worker = self.listeners.get(&listener).map_or("", |listening| listening.accept.name());
        tracing::error!(worker, shed, error = %why, "cannot accept connections; trying again after a pause");
    }

    fn connected(&mut self, io: &mut B, id: Token, peer: Address) {
        match self.dial_at(id) {
            Some(dial) => self.step_dial(io, dial, DialEvent::Connected(id, peer)),
            None => io.close(id),
        }
    }

    #[inline]
    fn data(&mut self, io: &mut B, id: Token, data: &mut BytesMut) {
        let now = io.now();
        self.drive(io, id, now, |endpoint, io, env| endpoint.data(data, io, env));
    }

    fn filled(&mut self, io: &mut B, id: Token, buffer: Vec<u8>) {
        let now = io.now();
        self.drive(io, id, now, |endpoint, io, env| endpoint.filled(buffer, io, env));
    }

    fn writable(&mut self, io: &mut B, id: Token) {
        let now = io.now();
        self.drive(io, id, now, |endpoint, io, env| endpoint.writable(io, env));
    }

    fn eof(&mut self, io: &mut B, id: Token) {
        let now = io.now();
        self.drive(io, id, now, |endpoint, io, env| endpoint.eof(io, env));
    }

    fn failed(&mut self, io: &mut B, id: Token, why: io::Error) {
        match self.dial_at(id) {
            Some(dial) => {
                self.vacate(id);
                self.step_dial(io, dial, DialEvent::Failed(id, why));
            }
            None => {
                for listening in self.listeners.values_mut() {
                    if listening.early.as_ref().is_some_and(|(early, _)| *early == id) {
                        listening.early = None;
                    }
                }
                self.broke(io, id, why);
            }
        }
    }

    fn resolved(&mut self, io: &mut B, id: ResolveId, result: io::Result<Vec<SocketAddr>>) {
        if let Some(dial) = self.resolves.remove(&id) {
            self.step_dial(io, dial, DialEvent::Resolved(result));
        }
    }

    // Datagram sockets are opened by nobody in this layer yet.
    fn datagram(&mut self, _: &mut B, _: DatagramId, _: SocketAddr, _: &mut BytesMut) {}
    fn datagram_writable(&mut self, _: &mut B, _: DatagramId) {}
    fn datagram_failed(&mut self, _: &mut B, _: DatagramId, _: io::Error) {}

    fn signal(&mut self, _: &mut B, signal: Signal) {
        let mut signals = std::mem::take(&mut self.signals);
        for (at, call) in &mut signals {
            if *at == signal {
                self.caught(&mut **call);
            }
        }
        signals.append(&mut self.signals);
        self.signals = signals;
    }
}

/// The loop between two events: what a command may touch.
pub(super) struct InTurn<'a, B: Backend> {
    pub(super) slots: &'a mut Slots,
    pub(super) io: &'a mut B,
}

impl<B: Backend> Control for InTurn<'_, B> {
    fn listen(&mut self, key: u64, listener: Listener, accept: Box<dyn Accept>) -> io::Result<()> {
        let id = self.io.listen(listener)?;
        let listening = Listening { key, accept, paused: false, capped: false, early: None };
        self.slots.listeners.insert(id, listening);
        self.slots.look_at_cap(self.io, id);
        Ok(())
    }

    fn unlisten(&mut self, key: u64) {
        let Some(id) = self.find(key) else { return };
        self.slots.unlisten(self.io, id);
    }

    fn accepting(&mut self, key: u64, on: bool) {
        let Some(id) = self.find(key) else { return };
        let Some(listening) = self.slots.listeners.get_mut(&id) else { return };
        listening.paused = !on;
        if !on {
            self.io.pause_accept(id);
        } else if !listening.capped {
            self.io.resume_accept(id);
        }
    }

    fn dial(&mut self, dial: Box<dyn Dial>) {
        self.slots.begin_dial(self.io, dial);
    }

    fn watch_signal(&mut self, signal: Signal, call: Box<dyn FnMut()>) -> io::Result<()> {
        self.io.watch_signal(signal)?;
        self.slots.signals.push((signal, call));
        Ok(())
    }

    fn drain(&mut self, limit: Duration, done: Box<dyn FnOnce(Drained)>) {
        let until = later(self.io.refresh(), limit);
        self.slots.begin_drain(self.io, until, done);
    }

    fn stop(&mut self) {
        self.slots.stopping = true;
    }
}

impl<B: Backend> InTurn<'_, B> {
    fn find(&self, key: u64) -> Option<ListenerId> {
        self.slots.listeners.iter().find(|(_, listening)| listening.key == key).map(|(id, _)| *id)
    }
}

/// What a dial may do to the backend, with the slots told.
pub(super) struct DialPort<'a, B: Backend> {
    pub(super) slots: &'a mut Slots,
    pub(super) io: &'a mut B,
    pub(super) dial: u64,
}

impl<B: Backend> Sockets for DialPort<'_, B> {
    fn connect(&mut self, address: &Address) -> io::Result<Token> {
        let id = self.io.connect(address)?;
        self.slots.occupy_dial(id, self.dial);
        Ok(id)
    }

    fn resolve(&mut self, host: &str, port: u16) {
        let id = self.io.resolve(host, port);
        self.slots.resolves.insert(id, self.dial);
    }

    fn cancel_resolve(&mut self) {
        let (io, dial) = (&mut *self.io, self.dial);
        self.slots.resolves.retain(|id, at| {
            if *at == dial {
                io.cancel_resolve(*id);
            }
            *at != dial
        });
    }

    fn close(&mut self, id: Token) {
        self.slots.vacate(id);
        self.io.close(id);
    }

    fn local_address(&self, id: Token) -> Option<Address> {
        self.io.local_address(id).ok()
    }
}
