//! A message that was encoded once for many connections.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// A message encoded once for many connections: its plain bytes, and other forms that some of them take instead.
///
/// Made by [`Protocol::encode_shared`](crate::Protocol::encode_shared), appended by
/// [`append_shared`](crate::Protocol::append_shared); clones share all forms.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use workerman_protocol::Shared;
/// let shared = Shared::from(Bytes::from_static(b"hello hello hello"));
/// let short = shared.memo(1, || Some(Bytes::from_static(b"3 x hello")));
/// assert_eq!(short.unwrap(), "3 x hello");
/// // Made once, for everybody.
/// assert_eq!(shared.clone().memo(1, || None).unwrap(), "3 x hello");
/// assert_eq!(shared.bytes(), "hello hello hello");
/// ```
#[derive(Clone, Debug)]
pub struct Shared {
    bytes: Bytes,
    note: u8,
    forms: Arc<OnceLock<Form>>,
}

/// A list: each is made once, and stays.
#[derive(Debug)]
struct Form {
    key: u8,
    bytes: Option<Bytes>,
    next: OnceLock<Box<Form>>,
}

impl Shared {
    /// Adds a note of the protocol to itself; 0 if nothing is said.
    #[must_use]
    pub fn with_note(mut self, note: u8) -> Self {
        self.note = note;
        self
    }

    /// The plain bytes.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the protocol has noted.
    #[inline]
    pub fn note(&self) -> u8 {
        self.note
    }

    /// The form of this key, made by `make` at the first call for any connection; later ones find it. `None` if it was found
    /// that there is none (a compressed form that would be longer, say).
    ///
    /// It must depend on nothing but the bytes and the key. There may be 255, and they are kept as long as the message; so
    /// keys are for what few connections differ in.
    pub fn memo(&self, key: u8, make: impl FnOnce() -> Option<Bytes>) -> Option<&Bytes> {
        let mut make = Some(make);
        let mut form = || Form { key, bytes: make.take().and_then(|make| make()), next: OnceLock::new() };
        let mut found = self.forms.get_or_init(&mut form);
        while found.key != key {
            found = found.next.get_or_init(|| Box::new(form()));
        }
        found.bytes.as_ref()
    }

    /// Number of plain bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl From<Bytes> for Shared {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, note: 0, forms: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_form_is_made_once_even_if_there_is_none() {
        for form in [None, Some(Bytes::from_static(b"short"))] {
            let shared = Shared::from(Bytes::from_static(b"long"));
            let mut made = 0;
            for _ in 0..3 {
                let found = shared
                    .clone()
                    .memo(0, || {
                        made += 1;
                        form.clone()
                    })
                    .cloned();
                assert_eq!(found, form);
            }
            assert_eq!((made, shared.len(), shared.is_empty()), (1, 4, false));
        }
    }

    #[test]
    fn each_key_has_its_form_in_all_threads() {
        let shared = Shared::from(Bytes::from_static(b"long")).with_note(7);
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let (shared, made) = (shared.clone(), &made);
                scope.spawn(move || {
                    for turn in 0..20 {
                        let key = (thread + turn) % 5;
                        let form = shared.memo(key, || {
                            made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            Some(vec![key].into())
                        });
                        assert_eq!(form.unwrap(), &[key][..]);
                    }
                });
            }
        });
        assert_eq!((made.into_inner(), shared.note()), (5, 7));
    }
}
