//! A connection: two ends and, towards each of them, a pipe of bytes in flight and bytes received.
//!
//! ```text
//!   end 0 (connecting side)                          end 1 (accepting side)
//!     send ──► pipes[1]: data  [in flight ......][received] ──► read
//!     read ◄── pipes[0]: [received][...... in flight]  data ◄── send
//! ```
//! The handshake, FIN and RST travel in the same pipes as the bytes, so latency, order and partitions hold for them
//! without a rule of their own.

use std::collections::VecDeque;
use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};

use super::options::HostAddr;
use super::state::{Event, Ready, State, now};
use crate::{Address, Token};

/// A pipe that has run empty keeps at most this much memory.
const KEEP: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrival {
    Data(usize),
    Fin,
    Reset,
    /// Asks for a connection.
    Syn,
    /// The connection stands.
    SynAck,
    /// There is none, for this reason.
    Refused(io::ErrorKind),
}

/// Who holds an end.
#[derive(Debug)]
pub(super) enum Owner {
    /// The accepting side, before the handshake.
    Absent,
    /// In the queue of a listener.
    Queued,
    Loop {
        backend: usize,
        token: Token,
        read_on: bool,
        /// In the loop's mailbox already.
        posted: bool,
    },
    Task {
        read: Option<Waker>,
        write: Option<Waker>,
    },
    Gone,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: HostAddr,
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) owner: Owner,
    pub(super) established: bool,
    /// The connect succeeded and the loop has not heard of it.
    connected_due: bool,
    pub(super) write_wanted: bool,
    fin_sent: bool,
    eof_seen: bool,
    /// The error was returned by a send, or a connect: it is not reported again.
    error_taken: bool,
    /// A loop has no descriptor for an end in a queue.
    descriptor: bool,
}

impl End {
    pub(super) fn new(host: HostAddr, local: Address, remote: Address, owner: Owner) -> Self {
        let descriptor = !matches!(owner, Owner::Absent | Owner::Queued);
        Self {
            host,
            local,
            remote,
            owner,
            established: false,
            connected_due: false,
            write_wanted: false,
            fin_sent: false,
            eof_seen: false,
            error_taken: false,
            descriptor,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Received bytes, then bytes in flight.
    data: BytesMut,
    received: usize,
    arrivals: VecDeque<(Instant, Arrival)>,
    /// An event for the front of `arrivals` is scheduled.
    armed: bool,
    last_due: Option<Instant>,
    /// When a slow link has put the last byte on the wire.
    wire_free: Option<Instant>,
    fin: bool,
    broken: Option<io::ErrorKind>,
    reset_sent: bool,
    /// How many more bytes pass before the connection breaks.
    pub(super) until_reset: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
}

impl Conn {
    fn readable(&self, side: usize) -> bool {
        let (end, pipe) = (&self.ends[side], &self.pipes[side]);
        let read_on = !matches!(end.owner, Owner::Loop { read_on: false, .. });
        (read_on && (pipe.received > 0 || (pipe.fin && !end.eof_seen)))
            || (pipe.broken.is_some() && !end.error_taken && (read_on || pipe.received == 0))
    }
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Got {
    Data,
    Eof,
    Failed(io::ErrorKind),
    Nothing,
}

impl State {
    // ---- travelling ------------------------------------------------------------------------------------------------

    /// Sends something other than bytes towards an end.
    pub(super) fn transmit(&mut self, id: u64, to: usize, arrival: Arrival) {
        let Some(conn) = self.conns.get(&id) else { return };
        let link = self.link(conn.ends[1 - to].host, conn.ends[to].host);
        let latency = link.draw_latency(&mut self.rng);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let pipe = &mut conn.pipes[to];
        if pipe.reset_sent {
            return;
        }
        pipe.reset_sent = arrival == Arrival::Reset;
        let earliest = now().max(pipe.wire_free.unwrap_or_else(now)) + latency;
        let due = pipe.last_due.map_or(earliest, |last| last.max(earliest));
        pipe.last_due = Some(due);
        pipe.arrivals.push_back((due, arrival));
        self.arm(id, to);
    }

    /// Schedules the front of a pipe, unless that has been done.
    fn arm(&mut self, id: u64, to: usize) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let pipe = &mut conn.pipes[to];
        if let (false, Some(&(due, _))) = (pipe.armed, pipe.arrivals.front()) {
            pipe.armed = true;
            self.schedule(due, Event::Arrive { conn: id, to });
        }
    }

    /// Delivers what has arrived in a pipe, in order.
    pub(super) fn deliver(&mut self, id: u64, to: usize) {
        let now = now();
        loop {
            let Some(conn) = self.conns.get_mut(&id) else { return };
            let pipe = &mut conn.pipes[to];
            pipe.armed = false;
            if self.cuts.contains(&(conn.ends[1 - to].host, conn.ends[to].host)) {
                return; // healing arms it again
            }
            match pipe.arrivals.front() {
                Some((due, _)) if *due <= now => {}
                _ => return self.arm(id, to),
            }
            let Some((_, arrival)) = pipe.arrivals.pop_front() else { return };
            match arrival {
                Arrival::Data(count) if matches!(conn.ends[to].owner, Owner::Gone) => {
                    pipe.data.advance(count);
                    self.transmit(id, 1 - to, Arrival::Reset); // data for nobody
                }
                _ if pipe.broken.is_some() => {}
                Arrival::Data(count) => {
                    pipe.received += count;
                    self.notify(id, to);
                }
                Arrival::Fin => {
                    pipe.fin = true;
                    self.notify(id, to);
                }
                Arrival::Reset => self.break_end(id, to, io::ErrorKind::ConnectionReset),
                Arrival::Refused(why) => self.break_end(id, to, why),
                Arrival::Syn => self.syn_arrived(id),
                Arrival::SynAck => {
                    conn.ends[to].established = true;
                    conn.ends[to].connected_due = matches!(conn.ends[to].owner, Owner::Loop { .. });
                    self.notify(id, to);
                }
            }
        }
    }

    /// Arms what a partition has held back between two hosts, in the order of the connections.
    pub(super) fn rearm_between(&mut self, a: HostAddr, b: HostAddr) {
        for id in self.between(a, b) {
            self.arm(id, 0);
            self.arm(id, 1);
        }
    }

    /// The connections between two hosts, oldest first.
    pub(super) fn between(&self, a: HostAddr, b: HostAddr) -> Vec<u64> {
        let meant = |conn: &Conn| {
            let hosts = (conn.ends[0].host, conn.ends[1].host);
            hosts == (a, b) || hosts == (b, a)
        };
        self.conns.iter().filter(|(_, conn)| meant(conn)).map(|(id, _)| *id).collect()
    }

    /// An end learns that its connection is over.
    ///
    /// Bytes that it has not read are discarded or stay readable before the error: kernels differ, the seed chooses.
    pub(super) fn break_end(&mut self, id: u64, side: usize, why: io::ErrorKind) {
        let discard = self.rng.bool();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (end, pipe) = (&mut conn.ends[side], &mut conn.pipes[side]);
        if pipe.broken.is_some() {
            return;
        }
        pipe.broken = Some(why);
        if discard {
            pipe.data.advance(pipe.received);
            pipe.received = 0;
            end.eof_seen = true;
        }
        self.notify(id, side);
    }

    /// Breaks a connection in the middle: both ends get a reset.
    pub(super) fn sever(&mut self, id: u64) {
        self.transmit(id, 0, Arrival::Reset);
        self.transmit(id, 1, Arrival::Reset);
    }

    // ---- telling the owners ----------------------------------------------------------------------------------------

    /// Tells the owner of an end that there may be something to do.
    pub(super) fn notify(&mut self, id: u64, side: usize) {
        let due = self.stream_due(id, side);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match &mut conn.ends[side].owner {
            Owner::Loop { backend, token, posted, .. } => {
                if due && !*posted {
                    *posted = true;
                    let (backend, token) = (*backend, *token);
                    self.post(backend, Ready::Stream(token));
                }
            }
            Owner::Task { read, write } => {
                self.wakes.extend(read.take());
                self.wakes.extend(write.take());
            }
            Owner::Absent | Owner::Queued | Owner::Gone => {}
        }
    }

    /// Whether the loop of an end has an event to hand out.
    fn stream_due(&self, id: u64, side: usize) -> bool {
        let Some(conn) = self.conns.get(&id) else { return false };
        conn.ends[side].connected_due || conn.readable(side) || self.writable_due(id, side)
    }

    fn room(&self, conn: &Conn, side: usize) -> (usize, usize) {
        let link = self.link(conn.ends[side].host, conn.ends[1 - side].host);
        (link.capacity().saturating_sub(conn.pipes[1 - side].data.len()), link.low_water())
    }

    pub(super) fn writable_due(&self, id: u64, side: usize) -> bool {
        let Some(conn) = self.conns.get(&id) else { return false };
        let end = &conn.ends[side];
        // Behind a reset nothing fits any more; the sender's own news of it is on the way.
        let over = conn.pipes[side].broken.is_some() || conn.pipes[1 - side].reset_sent;
        if !end.write_wanted || !end.established || over {
            return false;
        }
        let (room, low_water) = self.room(conn, side);
        room >= low_water
    }

    // ---- what a loop does in its turn ------------------------------------------------------------------------------

    /// The loop has taken the entry of this end out of its mailbox.
    pub(super) fn unpost(&mut self, id: u64, side: usize) {
        if let Some(Owner::Loop { posted, .. }) = self.owner_mut(id, side) {
            *posted = false;
        }
    }

    pub(super) fn owner_mut(&mut self, id: u64, side: usize) -> Option<&mut Owner> {
        Some(&mut self.conns.get_mut(&id)?.ends[side].owner)
    }

    pub(super) fn take_connected(&mut self, id: u64, side: usize) -> Option<Address> {
        let end = &mut self.conns.get_mut(&id)?.ends[side];
        std::mem::take(&mut end.connected_due).then(|| end.remote.clone())
    }

    pub(super) fn take_writable(&mut self, id: u64, side: usize) -> bool {
        let due = self.writable_due(id, side);
        if let (true, Some(conn)) = (due, self.conns.get_mut(&id)) {
            conn.ends[side].write_wanted = false;
        }
        due
    }

    // ---- reading and writing ---------------------------------------------------------------------------------------

    /// One read of at most `limit` bytes, which `put` copies.
    pub(super) fn read(&mut self, id: u64, side: usize, limit: usize, put: impl FnOnce(&[u8])) -> Got {
        let Some(conn) = self.conns.get(&id) else { return Got::Nothing };
        if !conn.readable(side) {
            return Got::Nothing;
        }
        let link = self.link(conn.ends[1 - side].host, conn.ends[side].host);
        let Some(conn) = self.conns.get_mut(&id) else { return Got::Nothing };
        let (end, pipe) = (&mut conn.ends[side], &mut conn.pipes[side]);
        let read_on = !matches!(end.owner, Owner::Loop { read_on: false, .. });
        if read_on && pipe.received > 0 {
            let count = link.draw_segment(&mut self.rng).min(limit).min(pipe.received);
            put(&pipe.data[..count]);
            pipe.data.advance(count);
            pipe.received -= count;
            if pipe.data.is_empty() && pipe.data.capacity() > KEEP {
                pipe.data = BytesMut::new(); // an idle connection owns no buffer
            }
            if self.writable_due(id, 1 - side) {
                self.notify(id, 1 - side);
            }
            return Got::Data;
        }
        if read_on && pipe.fin && !end.eof_seen {
            end.eof_seen = true;
            return Got::Eof;
        }
        match pipe.broken {
            Some(why) => {
                end.error_taken = true;
                Got::Failed(why)
            }
            None => Got::Nothing,
        }
    }

    /// Whether an end has read everything there will ever be.
    pub(super) fn at_eof(&self, id: u64, side: usize) -> bool {
        self.conns.get(&id).is_none_or(|conn| {
            let broken = conn.pipes[side].broken.is_some() && conn.ends[side].error_taken;
            conn.ends[side].eof_seen || broken
        })
    }

    /// Takes what fits from the front of `out`.
    pub(super) fn send(&mut self, id: u64, side: usize, out: &mut impl Buf) -> io::Result<usize> {
        let Some(conn) = self.conns.get(&id) else { return Err(io::ErrorKind::NotConnected.into()) };
        let (room, _) = self.room(conn, side);
        let link = self.link(conn.ends[side].host, conn.ends[1 - side].host);
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(0) };
        let end = &mut conn.ends[side];
        if let Some(why) = conn.pipes[side].broken {
            let first = !std::mem::replace(&mut end.error_taken, true);
            return Err(if first { why } else { io::ErrorKind::BrokenPipe }.into());
        }
        if end.fin_sent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let pipe = &mut conn.pipes[1 - side];
        let mut count = if end.established { room.min(out.remaining()) } else { 0 };
        let severed = pipe.until_reset.is_some_and(|left| end.established && count as u64 >= left);
        if let Some(left) = &mut pipe.until_reset {
            count = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= count as u64;
        }
        pipe.data.put(out.take(count));
        end.write_wanted = out.has_remaining();
        let now = now();
        let mut left = count;
        while left > 0 && !pipe.reset_sent {
            let mut size = left;
            let mut earliest = now;
            if !link.arrives_together() {
                size = size.min(link.draw_segment(&mut self.rng));
            }
            if let Some(rate) = link.bytes_per_second {
                // In slices of a hundredth of a second, so that a slow link trickles.
                let rate = rate.max(1);
                size = size.min(usize::try_from(rate / 100).unwrap_or(usize::MAX).max(1));
                let takes = Duration::from_nanos((size as u64).saturating_mul(1_000_000_000) / rate);
                earliest = pipe.wire_free.map_or(now, |free| free.max(now)) + takes;
                pipe.wire_free = Some(earliest);
            }
            left -= size;
            earliest += link.draw_latency(&mut self.rng);
            let due = pipe.last_due.map_or(earliest, |last| last.max(earliest));
            pipe.last_due = Some(due);
            match pipe.arrivals.back_mut() {
                Some((at, Arrival::Data(before))) if *at == due => *before += size,
                _ => pipe.arrivals.push_back((due, Arrival::Data(size))),
            }
        }
        self.arm(id, 1 - side);
        if severed {
            self.sever(id);
        }
        Ok(count)
    }

    // ---- ending ----------------------------------------------------------------------------------------------------

    pub(super) fn shutdown_write(&mut self, id: u64, side: usize) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let end = &mut conn.ends[side];
        if !end.established || std::mem::replace(&mut end.fin_sent, true) {
            return;
        }
        end.write_wanted = false;
        self.transmit(id, 1 - side, Arrival::Fin);
    }

    /// Lets go of an end: FIN, or RST if it is `hard`, not established, or leaves received bytes unread (as TCP does).
    pub(super) fn close(&mut self, id: u64, side: usize, hard: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let end = &mut conn.ends[side];
        if matches!(end.owner, Owner::Gone) {
            return;
        }
        end.owner = Owner::Gone;
        let (host, local, established) = (end.host, end.local.clone(), end.established);
        let descriptor = std::mem::take(&mut end.descriptor);
        let fin = !std::mem::replace(&mut end.fin_sent, true);
        let over = conn.pipes[side].broken.is_some();
        let unread = std::mem::take(&mut conn.pipes[side].received);
        conn.pipes[side].data.advance(unread);
        let alone = matches!(conn.ends[1 - side].owner, Owner::Gone | Owner::Absent);
        if descriptor {
            self.close_descriptor(host);
        }
        if side == 0 {
            self.free_client_port(host, &local);
        }
        if alone {
            self.conns.remove(&id);
        } else if over {
            // The peer has ended it; nobody waits for a FIN.
        } else if hard || !established || unread > 0 {
            self.transmit(id, 1 - side, Arrival::Reset);
        } else if fin {
            self.transmit(id, 1 - side, Arrival::Fin);
        }
    }

    /// An accepted end gets its owner and a descriptor that was counted before.
    pub(super) fn own(&mut self, id: u64, side: usize, owner: Owner) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.ends[side].owner = owner;
            conn.ends[side].descriptor = true;
        }
        self.notify(id, side);
    }
}
