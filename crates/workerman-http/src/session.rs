//! Sessions: values that are kept for a client from one request to the next.
//!
//! [`Sessions::open`] finds the session of a request by its cookie, or begins a new one; a [`Session`] is a map from
//! names to JSON values; [`Session::save`] stores what has changed and gives the response its cookie. What is not saved
//! has not happened: a handler that fails changes nothing.
//!
//! # One request at a time
//! From `open` to `save` (or until it is dropped) a session belongs to one request; others with the same cookie wait, in
//! their order, for [`Sessions::wait`] at most. Two requests that count one up make two. So do not keep a session while
//! you wait for something slow: open it, save it, and go on; do not open it twice in one handler; [`Sessions::peek`]
//! only looks and never waits. The alternative, to compare versions when saving and to repeat the loser, would repeat
//! handlers, with all that they did besides.
//!
//! # Nobody chooses an id
//! An id that a client sends counts only if the store knows it; for any other the client gets a new one, of 160 random
//! bits. So a stranger cannot plant an id and wait for its victim to log in with it. Call
//! [`Session::regenerate`] when somebody logs in, so that an id that leaked before is worth nothing afterwards.
//!
//! # Stores
//! [`MemoryStore`] is for one process, [`FileStore`] (Unix) for all processes of a machine, and [`Store`] for your own.
//! A session expires a [lifetime](Sessions::lifetime) after it was last saved or touched. Expired ones are removed little
//! by little while others are saved.
//!
//! # Examples
//! ```
//! use workerman_http::session::{MemoryStore, SessionError, Sessions};
//! use workerman_protocol::http::{Request, Response};
//!
//! async fn count(sessions: &Sessions, request: &Request) -> Result<Response, SessionError> {
//!     let mut session = sessions.open(request).await?;
//!     let visits = session.get("visits").unwrap_or(0) + 1;
//!     session.set("visits", visits);
//!     session.save(Response::text(format!("visit {visits}"))).await
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! # let sessions = Sessions::new(MemoryStore::new());
//! # let request = Request::builder("GET", "/").build().unwrap();
//! # let response = count(&sessions, &request).await.unwrap();
//! # let cookie = response.headers().get_str("set-cookie").unwrap().split_once(';').unwrap().0;
//! # let request = Request::builder("GET", "/").header("cookie", cookie).build().unwrap();
//! # let mut response = count(&sessions, &request).await.unwrap();
//! # assert_eq!(response.body_mut().bytes(99).await.unwrap(), "visit 2");
//! # });
//! ```

mod error;
#[cfg(unix)]
mod file;
mod id;
mod locks;
mod memory;
mod store;
mod values;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use workerman_protocol::http::{Cookie, RequestHead, Response, SameSite};

pub use self::error::{SessionError, StoreError};
#[cfg(unix)]
pub use self::file::FileStore;
pub use self::id::SessionId;
pub use self::memory::MemoryStore;
pub use self::store::{Record, Store, StoreFuture};
pub use self::values::Session;

/// How many cookies of the right name are tried: a stale one of a longer path must not hide the one that is good.
const MAX_COOKIES: usize = 4;

/// What can be added to the present without leaving the calendars of file systems.
const MAX_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The sessions of a worker: a store, and how cookies carry their ids.
///
/// A clone is another handle to the same sessions with the same settings.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    settings: Arc<Settings>,
    /// How many sessions were saved since expired ones were removed.
    saved: Arc<AtomicU32>,
}

#[derive(Clone, Debug)]
struct Settings {
    cookie_name: String,
    cookie_lifetime: Option<Duration>,
    cookie_path: String,
    cookie_domain: String,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    lifetime: Duration,
    touch: bool,
    wait: Duration,
    max_size: usize,
    collect_every: u32,
    collect_most: usize,
}

impl Sessions {
    /// Sessions that are kept in a store.
    pub fn new(store: impl Store) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::new(SystemTime::now),
            settings: Arc::new(Settings {
                cookie_name: "sid".into(),
                cookie_lifetime: Some(Duration::from_secs(1440)),
                cookie_path: "/".into(),
                cookie_domain: String::new(),
                secure: false,
                http_only: true,
                same_site: Some(SameSite::Lax),
                lifetime: Duration::from_secs(1440),
                touch: false,
                wait: Duration::from_secs(30),
                max_size: 64 << 10,
                collect_every: 1000,
                collect_most: 1000,
            }),
            saved: Arc::default(),
        }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// The name of the cookie. Default `sid`; `__Host-sid` with [`secure`](Self::secure) is safe from other hosts of the
    /// domain.
    ///
    /// Attributes that no browser takes (a name that is no token, `SameSite=None` without `Secure`) turn each response
    /// that would set the cookie into an error.
    #[must_use]
    pub fn cookie_name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.cookie_name = name.into())
    }

    /// How long browsers keep the cookie since it was sent last. Default 1440 s; `None`: until they are closed.
    ///
    /// It is sent with a new id, and again whenever the session is prolonged.
    #[must_use]
    pub fn cookie_lifetime(self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.set(|settings| settings.cookie_lifetime = lifetime.into())
    }

    /// Below which path the cookie is sent. Default `/`.
    #[must_use]
    pub fn cookie_path(self, path: impl Into<String>) -> Self {
        self.set(|settings| settings.cookie_path = path.into())
    }

    /// To which hosts the cookie is sent: this one and those below it. Default: to the host alone that set it.
    #[must_use]
    pub fn cookie_domain(self, domain: impl Into<String>) -> Self {
        self.set(|settings| settings.cookie_domain = domain.into())
    }

    /// Whether the cookie is sent over TLS only. Default no; switch it on wherever clients come by TLS.
    #[must_use]
    pub fn secure(self, secure: bool) -> Self {
        self.set(|settings| settings.secure = secure)
    }

    /// Whether the cookie is hidden from scripts. Default yes.
    #[must_use]
    pub fn http_only(self, http_only: bool) -> Self {
        self.set(|settings| settings.http_only = http_only)
    }

    /// Whether the cookie is sent when other sites cause a request. Default [`SameSite::Lax`]: when the user follows a
    /// link. `None` leaves it to the browser.
    #[must_use]
    pub fn same_site(self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.set(|settings| settings.same_site = same_site.into())
    }

    /// How long a session lives since it was saved or touched last. Default 1440 s, at most 100 years.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.set(|settings| settings.lifetime = lifetime.min(MAX_LIFETIME))
    }

    /// Whether saving a session prolongs it even if nothing has changed. Default no.
    #[must_use]
    pub fn touch(self, touch: bool) -> Self {
        self.set(|settings| settings.touch = touch)
    }

    /// How long a request waits for others with the same session. Default 30 s, then [`SessionError::Busy`].
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        self.set(|settings| settings.wait = wait)
    }

    /// Most bytes of the values of one session, as JSON. Default 64 KiB.
    #[must_use]
    pub fn max_size(self, bytes: usize) -> Self {
        self.set(|settings| settings.max_size = bytes)
    }

    /// How often expired sessions are looked for: whenever so many were saved, and then at most at so many sessions.
    /// Default 1000 and 1000; an interval of 0 leaves it to your calls of [`collect`](Self::collect).
    #[must_use]
    pub fn collect_every(self, saves: u32, most: usize) -> Self {
        self.set(|settings| (settings.collect_every, settings.collect_most) = (saves, most))
    }

    /// Where the time comes from. Default [`SystemTime::now`]; tests have their own.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// The session of a request, or a new one if it has none that is known. Others wait until it is saved or dropped.
    ///
    /// # Errors
    /// Others did not give the session back in time, or the store failed.
    pub async fn open(&self, request: &RequestHead) -> Result<Session, SessionError> {
        for id in self.ids(request) {
            if let Some(record) = self.record(&id).await? {
                return Ok(Session::existing(self.clone(), id, record));
            }
        }
        let id = SessionId::random()?;
        let record = self.store.create(&id);
        Ok(Session::new(self.clone(), id, record))
    }

    /// The session of an id, if the store knows it: to change a session that is not that of a request.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_id(&self, id: &str) -> Result<Option<Session>, SessionError> {
        let Some(id) = SessionId::parse(id) else { return Ok(None) };
        let record = self.record(&id).await?;
        Ok(record.map(|record| Session::existing(self.clone(), id, record)))
    }

    /// The values of a request's session as they were saved last; none if it has no session. It never waits for others.
    ///
    /// # Errors
    /// The store failed.
    pub async fn peek(&self, request: &RequestHead) -> Result<Map<String, Value>, SessionError> {
        for id in self.ids(request) {
            if let Some(data) = self.store.load(&id, self.now()).await? {
                return Ok(values::decode(&data));
            }
        }
        Ok(Map::new())
    }

    /// Opens the session of a request, lets a closure work with it, and saves it.
    ///
    /// # Examples
    /// ```
    /// # use workerman_http::session::{SessionError, Sessions};
    /// # use workerman_protocol::http::{Request, Response};
    /// # async fn log_in(sessions: &Sessions, request: &Request) -> Result<Response, SessionError> {
    /// sessions.with(request, async |session| {
    ///     session.regenerate(true)?;
    ///     session.set("user", "ann");
    ///     Ok::<_, SessionError>(Response::redirect("/"))
    /// }).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`Session::save`], and those of the closure, after which nothing is saved.
    pub async fn with<R, E>(
        &self,
        request: &RequestHead,
        work: impl AsyncFnOnce(&mut Session) -> Result<R, E>,
    ) -> Result<Response, E>
    where
        R: Into<Response>,
        E: From<SessionError>,
    {
        let mut session = self.open(request).await?;
        let response = work(&mut session).await?.into();
        Ok(session.save(response).await?)
    }

    /// Removes sessions that have expired, looking at no more than `most`; returns how many it removed.
    ///
    /// # Errors
    /// The store failed.
    pub async fn collect(&self, most: usize) -> Result<usize, SessionError> {
        Ok(self.store.collect(self.now(), most).await?)
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// What the request sends that could be the id of a session.
    fn ids(&self, request: &RequestHead) -> Vec<SessionId> {
        request
            .cookies()
            .filter(|(name, _)| *name == self.settings.cookie_name)
            .take(MAX_COOKIES)
            // Some clients put quotes around a value.
            .filter_map(|(_, value)| SessionId::parse(value.trim_matches('"')))
            .collect()
    }

    async fn record(&self, id: &SessionId) -> Result<Option<Box<dyn Record>>, SessionError> {
        let waited = self.settings.wait;
        match tokio::time::timeout(waited, self.store.open(id, self.now())).await {
            Ok(record) => Ok(record?),
            Err(_) => Err(SessionError::Busy { waited }),
        }
    }

    /// The cookie that carries an id; without one, the cookie that removes it.
    fn cookie(&self, id: Option<&SessionId>) -> Cookie {
        let settings = &self.settings;
        let name = settings.cookie_name.clone();
        let mut cookie = match id {
            Some(id) => Cookie::raw(name, id.as_str()),
            None => Cookie::removal(name),
        };
        cookie = cookie.path(&settings.cookie_path).domain(&settings.cookie_domain);
        if let (Some(lifetime), Some(_)) = (settings.cookie_lifetime, id) {
            cookie = cookie.max_age(lifetime);
        }
        if settings.secure {
            cookie = cookie.secure();
        }
        if settings.http_only {
            cookie = cookie.http_only();
        }
        match settings.same_site {
            Some(same_site) => cookie.same_site(same_site),
            None => cookie,
        }
    }

    /// Removes expired sessions when enough others have been saved.
    async fn tidy(&self) {
        let every = self.settings.collect_every;
        if every == 0 || (self.saved.fetch_add(1, Ordering::Relaxed) + 1) % every != 0 {
            return;
        }
        // The response must not suffer from what it has nothing to do with.
        if let Err(error) = self.collect(self.settings.collect_most).await {
            tracing::warn!(%error, "expired sessions were not removed");
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("settings", &self.settings).finish_non_exhaustive()
    }
}
