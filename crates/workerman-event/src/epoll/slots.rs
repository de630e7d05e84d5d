//! The slab of stream sockets, and the keys by which events find their way back.

use std::os::fd::OwnedFd;

use crate::Token;

/// What is known about a socket, as bits of [`Slot::state`].
pub(super) mod state {
    /// The connect has not ended.
    pub(crate) const CONNECTING: u16 = 1;
    /// The sink wants data.
    pub(crate) const READ_ON: u16 = 1 << 1;
    /// There may be data in the kernel.
    pub(crate) const READABLE: u16 = 1 << 2;
    /// A short read does not prove that nothing is left: the peer has ended, or sent urgent data.
    pub(crate) const INSIST: u16 = 1 << 3;
    /// The socket has an error to tell.
    pub(crate) const BROKEN: u16 = 1 << 4;
    /// The end of the stream was delivered.
    pub(crate) const EOF: u16 = 1 << 5;
    /// In the list of those that are served without a new event.
    pub(crate) const QUEUED: u16 = 1 << 6;
    /// A send was short, and the sink waits for room.
    pub(crate) const WANT_WRITE: u16 = 1 << 7;
    /// There may be room, or the connect may have ended.
    pub(crate) const WRITE_READY: u16 = 1 << 8;
    /// A unix socket.
    pub(crate) const UNIX: u16 = 1 << 9;
    /// Its description may have other owners, so that closing the descriptor does not end its registration.
    pub(crate) const SHARED: u16 = 1 << 10;
}

/// One stream socket. There are as many as connections, most of them idle: keep it small.
#[derive(Debug)]
pub(super) struct Slot {
    /// A lent buffer, boxed since few slots have one.
    #[allow(clippy::box_collection)]
    pub(super) lent: Option<Box<Vec<u8>>>,
    generation: u32,
    socket: Option<OwnedFd>,
    pub(super) state: u16,
}

impl Slot {
    pub(super) fn has(&self, bits: u16) -> bool {
        self.state & bits == bits
    }
}

/// Generations have 30 bits, so that a token and a tag fit into the 64 bits that epoll hands back.
const GENERATIONS: u32 = (1 << 30) - 1;

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// Stores a socket; `None` if no slot number is left.
    pub(super) fn insert(&mut self, socket: OwnedFd, state: u16) -> Option<Token> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.socket = Some(socket);
            slot.state = state;
            return Some(Token::new(index, slot.generation));
        }
        let index = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot { lent: None, generation: 0, socket: Some(socket), state });
        Some(Token::new(index, 0))
    }

    /// The slot and its socket, if the token is its owner's.
    #[inline]
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Slot> {
        self.slots
            .get_mut(token.slot())
            .filter(|slot| slot.generation == token.generation() && slot.socket.is_some())
    }

    #[inline]
    pub(super) fn socket(&self, token: Token) -> Option<&OwnedFd> {
        let slot = self.slots.get(token.slot()).filter(|slot| slot.generation == token.generation())?;
        slot.socket.as_ref()
    }

    /// Empties the slot and returns what it held.
    pub(super) fn remove(&mut self, token: Token) -> Option<(OwnedFd, u16)> {
        let slot = self.get_mut(token)?;
        let socket = slot.socket.take()?;
        slot.generation = (slot.generation + 1) & GENERATIONS;
        slot.lent = None;
        let state = std::mem::take(&mut slot.state);
        self.free.push(token.slot() as u32);
        Some((socket, state))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// What an event belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Stream(Token),
    Listener(u64),
    Datagram(u64),
}

const STREAM: u64 = 0;
const LISTENER: u64 = 1;
const DATAGRAM: u64 = 2;
const TAG: u32 = 62;

impl Target {
    /// The form in which epoll carries it.
    #[inline]
    pub(super) fn key(self) -> u64 {
        match self {
            Self::Stream(token) => {
                (STREAM << TAG) | (u64::from(token.generation()) << 32) | token.slot() as u64
            }
            Self::Listener(id) => (LISTENER << TAG) | id,
            Self::Datagram(id) => (DATAGRAM << TAG) | id,
        }
    }

    #[inline]
    pub(super) fn from_key(key: u64) -> Self {
        let id = key & ((1 << TAG) - 1);
        match key >> TAG {
            LISTENER => Self::Listener(id),
            DATAGRAM => Self::Datagram(id),
            _ => Self::Stream(Token::new(id as u32, (id >> 32) as u32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> OwnedFd {
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn an_idle_connection_costs_a_small_slot() {
        assert!(size_of::<Slot>() <= 24, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_slot_is_reused_under_another_token() {
        let mut slots = Slots::default();
        let first = slots.insert(descriptor(), state::READ_ON).unwrap();
        let other = slots.insert(descriptor(), 0).unwrap();
        assert_eq!(slots.remove(first).unwrap().1, state::READ_ON);
        assert!(
            slots.remove(first).is_none() && slots.get_mut(first).is_none() && slots.socket(first).is_none()
        );
        let second = slots.insert(descriptor(), 0).unwrap();
        assert_eq!(first.slot(), second.slot());
        assert_ne!(first, second);
        assert!(slots.get_mut(first).is_none() && slots.get_mut(second).is_some());
        assert!(slots.socket(other).is_some());
        assert_eq!(slots.len(), 2);
    }

    #[test]
    fn keys_go_both_ways() {
        for target in [
            Target::Stream(Token::new(0, 0)),
            Target::Stream(Token::new(u32::MAX, GENERATIONS)),
            Target::Listener(7),
            Target::Datagram((1 << TAG) - 1),
        ] {
            assert_eq!(Target::from_key(target.key()), target);
        }
    }

    #[test]
    fn generations_wrap_inside_the_key() {
        let mut slots = Slots::default();
        let token = slots.insert(descriptor(), 0).unwrap();
        slots.slots[0].generation = GENERATIONS;
        assert!(slots.remove(token).is_none());
        let last = Token::new(0, GENERATIONS);
        slots.remove(last).unwrap();
        assert_eq!(slots.insert(descriptor(), 0), Some(token));
    }
}
