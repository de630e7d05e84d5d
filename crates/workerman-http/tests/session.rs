//! Sessions over their stores, as requests see them.
#![forbid(unsafe_code)]
#![cfg(feature = "session")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
#[cfg(unix)]
use workerman_http::session::FileStore;
use workerman_http::session::{MemoryStore, SessionError, SessionId, Sessions, StoreError};
use workerman_protocol::http::{Request, Response, SameSite};

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn attach(&self, sessions: Sessions) -> Sessions {
        let seconds = Arc::clone(&self.0);
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        sessions.clock(move || begin + Duration::from_secs(seconds.load(Ordering::Relaxed)))
    }
}

/// A browser: it keeps cookies and sends them.
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
    /// The fields that the last response had.
    set: Vec<String>,
}

impl Browser {
    fn with_cookie(value: &str) -> Self {
        Self { cookies: vec![("sid".into(), value.into())], set: Vec::new() }
    }

    fn request(&self) -> Request {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder("GET", "/");
        if pairs.is_empty() { request } else { request.header("cookie", pairs.join("; ")) }.build().unwrap()
    }

    fn receive(&mut self, response: &Response) {
        assert!(response.error().is_none(), "{:?}", response.error());
        let fields = response.headers().get_all("set-cookie");
        self.set = fields.map(|field| field.to_str().unwrap().to_owned()).collect();
        for field in &self.set {
            let (name, value) = field.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(own, _)| own != name);
            if !field.contains("Max-Age=0") {
                self.cookies.push((name.into(), value.into()));
            }
        }
    }

    fn id(&self) -> Option<&str> {
        self.cookies.iter().find(|(name, _)| name == "sid").map(|(_, value)| value.as_str())
    }

    /// One visit to a page that counts visits.
    async fn visit(&mut self, sessions: &Sessions) -> u64 {
        let mut session = sessions.open(&self.request()).await.unwrap();
        let visits = session.get("visits").unwrap_or(0) + 1;
        // Others have their turn, as when a handler waits for a database.
        tokio::task::yield_now().await;
        session.set("visits", visits);
        self.receive(&session.save(Response::text("")).await.unwrap());
        visits
    }
}

/// Sessions of every store, empty, with a clock.
fn every_store(test: impl AsyncFn(Sessions, Clock)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clock = Clock::default();
    runtime.block_on(test(clock.attach(Sessions::new(MemoryStore::new())), clock));
    #[cfg(unix)]
    {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let store = FileStore::new(folder.path()).unwrap();
        runtime.block_on(test(clock.attach(Sessions::new(store)), clock));
    }
}

#[test]
fn values_last_from_one_request_to_the_next() {
    every_store(async |sessions, _| {
        let mut browser = Browser::default();
        let mut session = sessions.open(&browser.request()).await.unwrap();
        assert!(session.is_new() && session.all().is_empty());
        session.set("text", "t");
        session.set("number", 1.5);
        session.set("null", Value::Null);
        session.set_as("pair", ("a", 1)).unwrap();
        session.put([("x", 1), ("y", 2), ("z", 3)]);
        assert!(session.set_as("bad", std::collections::BTreeMap::from([((1, 2), 3)])).is_err());
        let id = session.id().to_owned();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(browser.id(), Some(&*id));

        let mut session = sessions.open(&browser.request()).await.unwrap();
        assert!(!session.is_new());
        assert_eq!(session.id(), id);
        assert_eq!(session.get::<String>("text").as_deref(), Some("t"));
        assert_eq!(session.get::<u8>("text"), None);
        assert_eq!(session.get("pair"), Some(("a".to_owned(), 1)));
        assert_eq!(session.value("number"), Some(&json!(1.5)));
        assert_eq!((session.has("null"), session.exists("null")), (false, true));
        assert_eq!((session.has("none"), session.exists("none")), (false, false));
        session.forget(["x", "y", "none"]);
        assert!(session.delete("null") && !session.delete("null"));
        let expected = json!({"text": "t", "number": 1.5, "pair": ["a", 1], "z": 3});
        assert_eq!(Value::Object(session.all().clone()), expected);
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(Value::Object(sessions.peek(&browser.request()).await.unwrap()), expected);
    });
}

#[test]
fn a_pulled_value_is_there_once() {
    every_store(async |sessions, _| {
        let mut browser = Browser::default();
        let mut session = sessions.open(&browser.request()).await.unwrap();
        session.put([("flash", "saved!"), ("name", "ann")]);
        browser.receive(&session.save(Response::text("")).await.unwrap());
        for expected in [Some("saved!"), None] {
            let mut session = sessions.open(&browser.request()).await.unwrap();
            assert_eq!(session.pull::<String>("flash").as_deref(), expected);
            assert_eq!(session.get::<String>("name").as_deref(), Some("ann"));
            browser.receive(&session.save(Response::text("")).await.unwrap());
        }
    });
}

#[test]
fn an_id_that_the_store_does_not_know_is_replaced() {
    every_store(async |sessions, clock| {
        let planted = SessionId::random().unwrap();
        let planted = planted.as_str();
        for cookie in [planted, "short", "../../../etc/passwd", "0123456789abcdef_", &"a".repeat(256)] {
            let mut victim = Browser::with_cookie(cookie);
            assert_eq!(victim.visit(&sessions).await, 1);
            assert_ne!(victim.id(), Some(cookie));
            assert_eq!(victim.visit(&sessions).await, 2);
            assert!(sessions.open_id(cookie).await.unwrap().is_none());
        }
        // Nor does one come back that has expired, or was removed.
        let mut browser = Browser::default();
        browser.visit(&sessions).await;
        let id = browser.id().unwrap().to_owned();
        clock.advance(1440);
        assert_eq!(browser.visit(&sessions).await, 1);
        assert_ne!(browser.id(), Some(&*id));
    });
}

#[test]
fn a_stale_cookie_does_not_hide_the_good_one() {
    every_store(async |sessions, _| {
        let mut browser = Browser::default();
        browser.visit(&sessions).await;
        let good = browser.cookies[0].1.clone();
        browser.cookies.insert(0, ("sid".into(), "stale-stale-stale".into()));
        browser.cookies.insert(0, ("sid".into(), "x".into()));
        let session = sessions.open(&browser.request()).await.unwrap();
        assert_eq!((session.id(), session.get("visits")), (&*good, Some(1)));
        drop(session);
        // In quotes, as some clients send it.
        let quoted = Browser::with_cookie(&format!("\"{good}\""));
        assert_eq!(sessions.open(&quoted.request()).await.unwrap().id(), good);
        // No more than a few are tried.
        let mut many = Browser::with_cookie("stale-stale-stale");
        many.cookies.extend(vec![many.cookies[0].clone(); 100]);
        many.cookies.push(("sid".into(), good));
        assert!(sessions.open(&many.request()).await.unwrap().is_new());
    });
}

#[test]
fn the_cookie_has_the_attributes_that_were_chosen() {
    every_store(async |sessions, _| {
        let set = async |sessions: &Sessions| {
            let mut browser = Browser::default();
            let mut session = sessions.open(&browser.request()).await.unwrap();
            let id = session.id().to_owned();
            session.set("a", 1);
            let response = session.save(Response::text("").append("set-cookie", "other=1")).await.unwrap();
            browser.receive(&response);
            assert_eq!(browser.set[0], "other=1");
            assert_eq!(browser.set.len(), 2);
            browser.set[1].replace(&id, "ID")
        };
        assert_eq!(set(&sessions).await, "sid=ID; Max-Age=1440; Path=/; HttpOnly; SameSite=Lax");
        let chosen = sessions
            .clone()
            .cookie_name("other-name")
            .cookie_lifetime(Duration::from_secs(60))
            .cookie_path("/app")
            .cookie_domain("example.com")
            .secure(true)
            .same_site(SameSite::None);
        assert_eq!(
            set(&chosen).await,
            "other-name=ID; Domain=example.com; Max-Age=60; Path=/app; Secure; HttpOnly; SameSite=None"
        );
        let least = sessions.clone().cookie_lifetime(None).cookie_path("").http_only(false).same_site(None);
        assert_eq!(set(&least).await, "sid=ID");

        // What no browser would take is an error, and not dropped in silence.
        let mut session =
            sessions.same_site(SameSite::None).open(&Browser::default().request()).await.unwrap();
        session.set("a", 1);
        assert!(session.save(Response::text("")).await.unwrap().error().is_some());
    });
}

#[test]
fn the_cookie_is_sent_only_when_there_is_news() {
    every_store(async |sessions, _| {
        let mut browser = Browser::default();
        // A session that stayed empty never was.
        let session = sessions.open(&browser.request()).await.unwrap();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(browser.set, [""; 0]);

        browser.visit(&sessions).await;
        assert_eq!(browser.set.len(), 1);
        // Nothing changed.
        let session = sessions.open(&browser.request()).await.unwrap();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(browser.set, [""; 0]);
        // Prolonged: so is the cookie, with the same id.
        let id = browser.id().unwrap().to_owned();
        browser.visit(&sessions).await;
        assert_eq!((browser.set.len(), browser.id()), (1, Some(&*id)));
        // Unless it ends with the browser anyway.
        browser.visit(&sessions.clone().cookie_lifetime(None)).await;
        assert_eq!(browser.set, [""; 0]);

        // Emptied: both are gone.
        let mut session = sessions.open(&browser.request()).await.unwrap();
        session.flush();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(browser.cookies, []);
        assert!(browser.set[0].starts_with("sid=; Max-Age=0; Path=/;"), "{:?}", browser.set);
        assert!(sessions.open_id(&id).await.unwrap().is_none());
    });
}

#[test]
fn shared_caches_keep_no_cookie() {
    every_store(async |sessions, _| {
        let browser = Browser::default();
        for (response, expected) in [
            (Response::text(""), Some("private")),
            (Response::text("").header("cache-control", "no-store"), Some("no-store")),
        ] {
            let mut session = sessions.open(&browser.request()).await.unwrap();
            session.set("a", 1);
            let response = session.save(response).await.unwrap();
            assert_eq!(response.headers().get_str("cache-control"), expected);
        }
        let untouched =
            sessions.open(&browser.request()).await.unwrap().save(Response::text("")).await.unwrap();
        assert!(!untouched.headers().contains("cache-control"));
    });
}

#[test]
fn a_session_that_is_dropped_changes_nothing() {
    every_store(async |sessions, _| {
        let mut browser = Browser::default();
        browser.visit(&sessions).await;
        let mut session = sessions.open(&browser.request()).await.unwrap();
        session.flush();
        session.set("visits", 100);
        session.regenerate(true).unwrap();
        drop(session);
        assert_eq!(browser.visit(&sessions).await, 2);
        // Nor does a closure that fails.
        let failed: Result<Response, SessionError> = sessions
            .with(&browser.request(), async |session| {
                session.set("visits", 100);
                Err::<Response, _>(SessionError::Random)
            })
            .await;
        assert!(matches!(failed, Err(SessionError::Random)));
        let response = sessions
            .with(&browser.request(), async |session| {
                session.set("visits", session.get::<u64>("visits").unwrap_or(0) + 10);
                Ok::<_, SessionError>("done")
            })
            .await;
        assert_eq!(response.unwrap().body_ref().as_bytes().unwrap(), "done");
        assert_eq!(browser.visit(&sessions).await, 13);
    });
}

#[test]
fn a_regenerated_session_keeps_its_values_under_a_new_id() {
    every_store(async |sessions, _| {
        for delete_old in [false, true] {
            let mut browser = Browser::default();
            browser.visit(&sessions).await;
            let old = browser.id().unwrap().to_owned();
            let mut session = sessions.open(&browser.request()).await.unwrap();
            session.regenerate(delete_old).unwrap();
            session.set("user", "ann");
            let new = session.id().to_owned();
            assert!(SessionId::parse(&new).is_some() && new != old);
            browser.receive(&session.save(Response::text("")).await.unwrap());
            assert_eq!((browser.id(), browser.set.len()), (Some(&*new), 1));

            let session = sessions.open(&browser.request()).await.unwrap();
            assert_eq!(session.get::<String>("user").as_deref(), Some("ann"));
            assert_eq!(session.get("visits"), Some(1));
            drop(session);
            // The old one is as it was, or gone.
            let left = sessions.open_id(&old).await.unwrap();
            assert_eq!(left.as_ref().map(|old| old.get("visits")), (!delete_old).then_some(Some(1)));
            assert!(left.is_none_or(|old| !old.exists("user")));
        }
        // A new one has nothing to leave behind; twice is as good as once.
        let mut browser = Browser::default();
        let mut session = sessions.open(&browser.request()).await.unwrap();
        session.set("a", 1);
        session.regenerate(true).unwrap();
        session.regenerate(false).unwrap();
        let id = session.id().to_owned();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(browser.id(), Some(&*id));
    });
}

#[test]
fn a_session_expires_after_its_last_change() {
    every_store(async |sessions, clock| {
        let mut browser = Browser::default();
        browser.visit(&sessions).await;
        clock.advance(1439);
        assert_eq!(browser.visit(&sessions).await, 2);
        clock.advance(1439);
        // Looking at it does not prolong it.
        let session = sessions.open(&browser.request()).await.unwrap();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(sessions.peek(&browser.request()).await.unwrap()["visits"], 2);
        // To ask for it does, and so does the setting.
        let mut session = sessions.open(&browser.request()).await.unwrap();
        session.refresh();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        assert_eq!(browser.set.len(), 1);
        clock.advance(1439);
        let session = sessions.clone().touch(true).open(&browser.request()).await.unwrap();
        browser.receive(&session.save(Response::text("")).await.unwrap());
        clock.advance(1439);
        assert!(!sessions.open(&browser.request()).await.unwrap().is_new());
        clock.advance(1);
        assert!(sessions.peek(&browser.request()).await.unwrap().is_empty());
        assert!(sessions.open(&browser.request()).await.unwrap().is_new());
    });
}

/// As many tasks as there are handles count one session up, all at the same time.
async fn count_up(handles: Vec<Sessions>) {
    let mut browser = Browser::default();
    browser.visit(&handles[0]).await;
    let tasks = handles.len() as u64;
    let running: Vec<_> = handles
        .into_iter()
        .map(|sessions| {
            let mut browser = Browser { cookies: browser.cookies.clone(), set: Vec::new() };
            tokio::spawn(async move {
                for _ in 0..5 {
                    browser.visit(&sessions).await;
                }
                sessions
            })
        })
        .collect();
    let mut last = None;
    for task in running {
        last = Some(task.await.unwrap());
    }
    assert_eq!(browser.visit(&last.unwrap()).await, 1 + tasks * 5 + 1);
}

#[test]
fn no_update_of_concurrent_requests_is_lost() {
    every_store(async |sessions, _| count_up(vec![sessions; 20]).await);
}

#[cfg(unix)]
#[test]
fn no_update_of_several_processes_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // Each with locks of its own, as processes have them; only the files are shared.
    let handles = (0..6).map(|_| Sessions::new(FileStore::new(folder.path()).unwrap())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(count_up(handles));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_session_has_an_end() {
    let sessions = Sessions::new(MemoryStore::new()).wait(Duration::from_secs(5));
    let mut browser = Browser::default();
    browser.visit(&sessions).await;
    let session = sessions.open(&browser.request()).await.unwrap();
    let begin = tokio::time::Instant::now();
    let error = sessions.open(&browser.request()).await.unwrap_err();
    assert!(matches!(error, SessionError::Busy { waited } if waited == Duration::from_secs(5)));
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(Response::from(error).status(), 503);
    // Looking needs no waiting, and other sessions are not concerned.
    assert_eq!(sessions.peek(&browser.request()).await.unwrap()["visits"], 1);
    assert_eq!(Browser::default().visit(&sessions).await, 1);
    drop(session);
    assert_eq!(browser.visit(&sessions).await, 2);
}

#[test]
fn a_session_that_is_too_large_is_not_saved() {
    every_store(async |sessions, _| {
        let sessions = sessions.max_size(20);
        let mut browser = Browser::default();
        browser.visit(&sessions).await;
        let mut session = sessions.open(&browser.request()).await.unwrap();
        session.set("text", "0123456789");
        let error = session.save(Response::text("")).await.unwrap_err();
        assert!(matches!(error, SessionError::TooLarge { size: 32, limit: 20 }), "{error}");
        assert_eq!(Response::from(error).status(), 500);
        assert_eq!(browser.visit(&sessions).await, 2);
    });
}

#[tokio::test]
async fn memory_takes_so_many_sessions_and_no_more() {
    let store = MemoryStore::new().max_sessions(2);
    let clock = Clock::default();
    let sessions = clock.attach(Sessions::new(store.clone()));
    let mut old = Browser::default();
    old.visit(&sessions).await;
    clock.advance(1000);
    Browser::default().visit(&sessions).await;
    let mut session = sessions.open(&Browser::default().request()).await.unwrap();
    session.set("a", 1);
    let error = session.save(Response::text("")).await.unwrap_err();
    assert!(matches!(error, SessionError::Store(StoreError::Full { limit: 2 })), "{error}");
    assert_eq!(error.status(), 503);
    // Those that are there go on; those that have expired make room.
    assert_eq!(old.visit(&sessions).await, 2);
    clock.advance(1440);
    assert_eq!(Browser::default().visit(&sessions).await, 1);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn expired_sessions_are_removed_on_the_way() {
    let store = MemoryStore::new();
    let clock = Clock::default();
    let sessions = clock.attach(Sessions::new(store.clone())).collect_every(10, 3);
    for _ in 0..9 {
        Browser::default().visit(&sessions).await;
    }
    clock.advance(1440);
    Browser::default().visit(&sessions).await;
    assert_eq!(store.len(), 10 - 3);
    assert_eq!(sessions.collect(4).await.unwrap(), 4);
    assert_eq!(sessions.collect(4).await.unwrap(), 2);
    assert_eq!((store.len(), store.is_empty()), (1, false));
}

#[cfg(unix)]
#[tokio::test]
async fn a_broken_file_is_an_empty_session() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = Sessions::new(FileStore::new(folder.path()).unwrap());
    for broken in ["", "[1, 2]", "{\"visits\":"] {
        let mut browser = Browser::default();
        browser.visit(&sessions).await;
        let path = folder.path().join(format!("session_{}", browser.id().unwrap()));
        let expires = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, broken).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(expires).unwrap();
        assert_eq!(browser.visit(&sessions).await, 1);
        assert_eq!(browser.visit(&sessions).await, 2);
    }
}
