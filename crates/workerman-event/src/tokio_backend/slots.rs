//! The slab of connections: slots that are reused under a new generation.

use crate::Token;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values named by tokens.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts a value, made from its token, into a free slot.
    pub(super) fn insert(&mut self, value: impl FnOnce(Token) -> T) -> Token {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, value: None });
                // More sockets than a process can have descriptors do not exist.
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        let token = Token::new(index, slot.generation);
        slot.value = Some(value(token));
        token
    }

    pub(super) fn get(&self, token: Token) -> Option<&T> {
        let slot = self.slots.get(token.slot()).filter(|slot| slot.generation == token.generation())?;
        slot.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let slot = self.slots.get_mut(token.slot()).filter(|slot| slot.generation == token.generation())?;
        slot.value.as_mut()
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        let slot = self.slots.get_mut(token.slot()).filter(|slot| slot.generation == token.generation())?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.slot() as u32);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_has_a_new_token() {
        let mut slots = Slots::new();
        let a = slots.insert(|_| "a");
        let b = slots.insert(|_| "b");
        assert_eq!(slots.remove(a), Some("a"));
        assert_eq!(slots.remove(a), None);
        let c = slots.insert(|_| "c");
        assert_eq!((c.slot(), c == a, slots.len()), (a.slot(), false, 2));
        assert_eq!((slots.get(a), slots.get(b), slots.get(c)), (None, Some(&"b"), Some(&"c")));
        assert_eq!(slots.get_mut(a), None);
    }
}
