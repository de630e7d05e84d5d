//! A message that was encoded once for many connections.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// A message encoded once for many connections: its plain bytes, and one other form that some of them take instead.
///
/// Made by [`Protocol::encode_shared`](crate::Protocol::encode_shared), appended by
/// [`append_shared`](crate::Protocol::append_shared); clones share both forms.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use workerman_protocol::Shared;
/// let shared = Shared::from(Bytes::from_static(b"hello hello hello"));
/// let short = shared.memo(|| Some(Bytes::from_static(b"3 x hello")));
/// assert_eq!(short.unwrap(), "3 x hello");
/// // Made once, for everybody.
/// assert_eq!(shared.clone().memo(|| None).unwrap(), "3 x hello");
/// assert_eq!(shared.bytes(), "hello hello hello");
/// ```
#[derive(Clone, Debug)]
pub struct Shared {
    bytes: Bytes,
    memo: Arc<OnceLock<Option<Bytes>>>,
}

impl Shared {
    /// The plain bytes.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The other form, made by `make` at the first call for any connection; later ones find it. `None` if it was found
    /// that there is none (a compressed form that would be longer, say).
    ///
    /// There is only one: it must not depend on the connection that asks first.
    pub fn memo(&self, make: impl FnOnce() -> Option<Bytes>) -> Option<&Bytes> {
        self.memo.get_or_init(make).as_ref()
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
        Self { bytes, memo: Arc::default() }
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
                    .memo(|| {
                        made += 1;
                        form.clone()
                    })
                    .cloned();
                assert_eq!(found, form);
            }
            assert_eq!((made, shared.len(), shared.is_empty()), (1, 4, false));
        }
    }
}
