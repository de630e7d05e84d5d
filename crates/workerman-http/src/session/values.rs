//! A session that is open: its values, and how they are saved.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use workerman_protocol::http::{Cookie, Response, header};

use super::{Record, SessionError, SessionId, Sessions, StoreError};

/// A session that is open: a map from names to JSON values, which nobody else has meanwhile.
///
/// Dropped without [`save`](Self::save), it is as if nothing had happened.
pub struct Session {
    sessions: Sessions,
    id: SessionId,
    record: Box<dyn Record>,
    values: Map<String, Value>,
    /// The store knows the id.
    stored: bool,
    /// The client sent an id that the store knew.
    came: bool,
    changed: bool,
    touched: bool,
    /// Records of ids that it had before, and whether they are removed.
    before: Vec<(Box<dyn Record>, bool)>,
}

impl Session {
    pub(super) fn new(sessions: Sessions, id: SessionId, record: Box<dyn Record>) -> Self {
        Self {
            sessions,
            id,
            record,
            values: Map::new(),
            stored: false,
            came: false,
            changed: false,
            touched: false,
            before: Vec::new(),
        }
    }

    pub(super) fn existing(sessions: Sessions, id: SessionId, record: Box<dyn Record>) -> Self {
        let values = decode(record.data());
        let mut session = Self::new(sessions, id, record);
        (session.values, session.stored, session.came) = (values, true, true);
        session
    }

    /// The id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Whether the client has no session yet, or none that is known.
    pub fn is_new(&self) -> bool {
        !self.came
    }

    /// A value as the type that it shall be; `None` if there is none, or it is of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.values.get(name)?).ok()
    }

    /// A value as it is.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Sets a value: a text, a number, a bool, a list of those, or JSON.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.changed = true;
        self.values.insert(name.into(), value.into());
    }

    /// Sets a value of any type that serde knows.
    ///
    /// # Errors
    /// The value has no form in JSON: a map whose keys are no texts, for one.
    pub fn set_as(&mut self, name: impl Into<String>, value: impl Serialize) -> Result<(), SessionError> {
        let value = serde_json::to_value(value).map_err(SessionError::Value)?;
        self.set(name, value);
        Ok(())
    }

    /// Sets several values.
    pub fn put<N: Into<String>, V: Into<Value>>(&mut self, values: impl IntoIterator<Item = (N, V)>) {
        for (name, value) in values {
            self.set(name, value);
        }
    }

    /// Removes a value; tells whether it was there.
    pub fn delete(&mut self, name: &str) -> bool {
        let there = self.values.remove(name).is_some();
        self.changed |= there;
        there
    }

    /// Removes several values.
    pub fn forget<N: AsRef<str>>(&mut self, names: impl IntoIterator<Item = N>) {
        for name in names {
            self.delete(name.as_ref());
        }
    }

    /// Removes a value and returns it; `None` if it was not there, or was of another type.
    pub fn pull<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.get(name);
        self.delete(name);
        value
    }

    /// All values.
    pub fn all(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Removes all values; saving the session then removes it, and its cookie.
    pub fn flush(&mut self) {
        self.changed |= !self.values.is_empty();
        self.values.clear();
    }

    /// Whether a value is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !value.is_null())
    }

    /// Whether a value is there, be it null.
    pub fn exists(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Prolongs the session when it is saved, even if nothing changes.
    pub fn refresh(&mut self) {
        self.touched = true;
    }

    /// Gives the session a new id, which its cookie tells the client; the values stay.
    ///
    /// Do it when somebody logs in or gets more rights. With `delete_old` the old id ends when the session is saved;
    /// without, what was saved under it last stays until it expires, for requests that are on their way.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn regenerate(&mut self, delete_old: bool) -> Result<(), SessionError> {
        let id = SessionId::random()?;
        let record = self.sessions.store.create(&id);
        let old = std::mem::replace(&mut self.record, record);
        if self.stored {
            self.before.push((old, delete_old));
        }
        self.id = id;
        self.stored = false;
        self.changed = true;
        Ok(())
    }

    /// Saves the session and adds its cookie to the response, where there is news for the client.
    ///
    /// What has changed is stored, and prolongs the session. An empty session is removed, with its cookie; a new one
    /// that stayed empty never was. Others get the session as soon as it is saved.
    ///
    /// A response with the cookie that does not say how it may be cached is marked `Cache-Control: private`: a shared
    /// cache would hand one client's session to others.
    ///
    /// # Errors
    /// The values are too large, or the store failed.
    pub async fn save(self, response: Response) -> Result<Response, SessionError> {
        Ok(match self.commit().await? {
            Some(cookie) if response.headers().contains(header::CACHE_CONTROL) => response.cookie(cookie),
            Some(cookie) => response.cookie(cookie).header(header::CACHE_CONTROL, "private"),
            None => response,
        })
    }

    /// Saves the session and returns the cookie, where there is news for the client: for a response that is made
    /// elsewhere. See [`save`](Self::save).
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn commit(mut self) -> Result<Option<Cookie>, SessionError> {
        let regenerated = !self.before.is_empty();
        let expires = self.sessions.now() + self.sessions.settings.lifetime;
        let mut prolonged = false;
        if self.changed && !self.values.is_empty() {
            self.store(expires).await?;
            (self.stored, prolonged) = (true, true);
        } else if self.changed && self.stored {
            self.record.delete().await?;
            self.stored = false;
        } else if self.stored && (self.touched || self.sessions.settings.touch) {
            self.record.touch(expires).await?;
            prolonged = true;
        }
        // Behind the new one: a crash between them leaves both, and never none.
        for (mut record, delete) in std::mem::take(&mut self.before) {
            if delete {
                record.delete().await?;
            }
        }
        self.changed = false;
        let renewed = prolonged && self.sessions.settings.cookie_lifetime.is_some();
        let cookie = if self.stored && (!self.came || regenerated || renewed) {
            Some(self.sessions.cookie(Some(&self.id)))
        } else if !self.stored && self.came {
            Some(self.sessions.cookie(None))
        } else {
            None
        };
        let sessions = self.sessions.clone();
        // Others have it before the rest is tidied up.
        drop(self);
        if prolonged {
            sessions.tidy().await;
        }
        Ok(cookie)
    }

    async fn store(&mut self, expires: std::time::SystemTime) -> Result<(), SessionError> {
        let data = serde_json::to_vec(&self.values).map_err(SessionError::Value)?;
        let (size, limit) = (data.len(), self.sessions.settings.max_size);
        if size > limit {
            return Err(SessionError::TooLarge { size, limit });
        }
        let data = bytes::Bytes::from(data);
        match self.record.save(data.clone(), expires).await {
            // Expired ones may be in the way.
            Err(StoreError::Full { .. })
                if self.sessions.collect(self.sessions.settings.collect_most).await? > 0 =>
            {
                Ok(self.record.save(data, expires).await?)
            }
            result => Ok(result?),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.changed {
            tracing::debug!("a session was dropped with changes that were not saved");
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// What a store returned as values. What is no map of values is none: the next save replaces it.
pub(super) fn decode(data: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(data).unwrap_or_else(|error| {
        tracing::warn!(%error, "a stored session is not what was saved");
        Map::new()
    })
}
