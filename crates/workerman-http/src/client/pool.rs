//! The connections of an agent, by origin: taken, made, awaited, put back.
//!
//! A place in the pool is a [`Slot`]; there are so many for each origin. It belongs to a connection (a [`Line`]) from
//! before it is made until it is over, and is free when it is dropped, whoever drops it. Whoever cannot have one waits
//! for a [`Grant`]: a slot, or a connection that another request is through with.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use workerman_connection::{Client, Settings};

use super::line::Line;
use super::origin::Origin;
use super::{AgentBuilder, Error};

/// An idle connection with less time left than this is not used any more: its end could be on its way.
const MARGIN: Duration = Duration::from_millis(100);

pub(super) struct Pool {
    pub(super) settings: AgentBuilder,
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    map: HashMap<Origin, Host>,
    /// Idle connections of all origins.
    idle: usize,
}

/// What is known of one origin; forgotten when nothing is left of it.
#[derive(Default)]
struct Host {
    /// The one that became idle last comes last.
    idle: Vec<Arc<Line>>,
    /// Slots that are taken.
    open: usize,
    waiting: VecDeque<oneshot::Sender<Grant>>,
}

/// What a request that waited may have.
enum Grant {
    Line(Lease),
    Slot(Slot),
}

/// A connection in nobody's hands but the holder's. Dropped unused, it goes back.
pub(super) struct Lease {
    line: Option<Arc<Line>>,
    pool: Weak<Pool>,
    /// It has carried an exchange before.
    pub(super) reused: bool,
}

impl Lease {
    pub(super) fn line(&self) -> Option<&Arc<Line>> {
        self.line.as_ref()
    }

    /// It is in use: it comes back by itself.
    pub(super) fn used(mut self) {
        self.line = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(line), Some(pool)) = (self.line.take(), self.pool.upgrade()) {
            pool.release(line);
        }
    }
}

/// A place in the pool. Dropped, it is free.
pub(super) struct Slot {
    pool: Weak<Pool>,
    origin: Origin,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.vacate(&self.origin);
        }
    }
}

impl Pool {
    pub(super) fn new(settings: AgentBuilder) -> Arc<Self> {
        Arc::new(Self { settings, hosts: Mutex::default() })
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to `origin`; `fresh`: a new one.
    pub(super) async fn acquire(self: &Arc<Self>, origin: &Origin, fresh: bool) -> Result<Lease, Error> {
        loop {
            if !fresh {
                if let Some(line) = self.idle_line(origin) {
                    return Ok(self.lease(line, true));
                }
            }
            let slot = match self.enter(origin, fresh)? {
                Entered::Slot(slot) => Some(slot),
                Entered::Line(grant) => match grant.await {
                    Ok(Grant::Line(lease)) if !fresh => return Ok(lease),
                    Ok(Grant::Line(mut lease)) => lease.line.take().and_then(evict),
                    Ok(Grant::Slot(slot)) => Some(slot),
                    // Senders are only dropped with the pool, which is held here.
                    Err(_) => return Err(Error::Closed),
                },
                Entered::Evicted(line) => evict(line),
            };
            // An evicted connection that was over already had its slot taken by somebody else.
            if let Some(slot) = slot {
                let line = self.connect(origin, slot)?;
                return Ok(self.lease(line, false));
            }
        }
    }

    fn lease(self: &Arc<Self>, line: Arc<Line>, reused: bool) -> Lease {
        Lease { line: Some(line), pool: Arc::downgrade(self), reused }
    }

    /// An idle connection that can be used.
    fn idle_line(&self, origin: &Origin) -> Option<Arc<Line>> {
        let timeout = self.settings.idle_timeout;
        let since = Instant::now().checked_sub(timeout - MARGIN.min(timeout / 4));
        loop {
            let line = {
                let mut hosts = self.hosts();
                let line = hosts.map.get_mut(origin)?.idle.pop()?;
                hosts.idle -= 1;
                line
            };
            if line.is_fresh(since) {
                return Some(line);
            }
            line.close();
        }
    }

    /// A slot, or a place in the line for one.
    fn enter(self: &Arc<Self>, origin: &Origin, fresh: bool) -> Result<Entered, Error> {
        let mut hosts = self.hosts();
        let host = hosts.map.entry(origin.clone()).or_default();
        if host.open < self.settings.max_connections {
            host.open += 1;
            return Ok(Entered::Slot(self.slot(origin)));
        }
        // The oldest idle one gives its slot up: it is stale as well, perhaps.
        if fresh && !host.idle.is_empty() {
            let line = host.idle.remove(0);
            hosts.idle -= 1;
            return Ok(Entered::Evicted(line));
        }
        let limit = self.settings.max_waiting;
        if host.waiting.len() >= limit {
            host.waiting.retain(|waiting| !waiting.is_closed());
        }
        if host.waiting.len() >= limit {
            return Err(Error::Busy { origin: origin.to_string(), limit });
        }
        let (grant, granted) = oneshot::channel();
        host.waiting.push_back(grant);
        Ok(Entered::Line(granted))
    }

    fn slot(self: &Arc<Self>, origin: &Origin) -> Slot {
        Slot { pool: Arc::downgrade(self), origin: origin.clone() }
    }

    /// Makes a connection. (Whoever adds TLS puts its layer between the client and its protocol, for a secure origin.)
    fn connect(self: &Arc<Self>, origin: &Origin, slot: Slot) -> Result<Arc<Line>, Error> {
        if origin.secure {
            let reason = "https needs TLS, which this client does not have";
            return Err(Error::Url { url: format!("https://{origin}"), reason });
        }
        let settings = &self.settings;
        let line = Line::new(self, origin, slot);
        let [message, event, error, close] = std::array::from_fn(|_| Arc::clone(&line));
        let conn = Client::with(settings.codec.clone(), origin.to_string())
            .name("http")
            .connect_timeout(settings.connect_timeout)
            .settings(Settings {
                idle_timeout: Some(settings.idle_timeout),
                head_timeout: settings.read_timeout,
                body_timeout: settings.read_timeout,
                ..Settings::default()
            })
            .on_message(move |_, response| message.on_message(response))
            .on_event(move |_, got| event.on_event(&got))
            .on_error(move |_, why| error.on_error(why))
            .on_close(move |conn, reason| close.on_close(conn, reason))
            .connect()
            .map_err(|error| Error::of_connection(&error))?;
        line.dialed(conn);
        Ok(line)
    }

    /// A connection is free again: the request that has waited longest gets it, or it rests.
    pub(super) fn release(self: &Arc<Self>, line: Arc<Line>) {
        if !line.is_fresh(None) {
            return;
        }
        let mut lease = self.lease(line, true);
        loop {
            let mut hosts = self.hosts();
            let (idle, Some(line)) = (hosts.idle, lease.line.take()) else { return };
            let host = hosts.map.entry(line.origin().clone()).or_default();
            let Some(waiting) = host.waiting.pop_front() else {
                if idle < self.settings.max_idle {
                    line.rests(Instant::now());
                    host.idle.push(Arc::clone(&line));
                    hosts.idle += 1;
                    drop(hosts);
                    if line.is_over() {
                        // It ended in between, and was not found here.
                        self.forget(&line);
                    }
                    return;
                }
                drop(hosts);
                line.close();
                return;
            };
            drop(hosts);
            lease.line = Some(line);
            match waiting.send(Grant::Line(lease)) {
                Err(Grant::Line(back)) => lease = back,
                _ => return,
            }
        }
    }

    /// A slot is free again: the request that has waited longest gets it.
    fn vacate(self: &Arc<Self>, origin: &Origin) {
        loop {
            let mut hosts = self.hosts();
            let Some(host) = hosts.map.get_mut(origin) else { return };
            let Some(waiting) = host.waiting.pop_front() else {
                host.open -= 1;
                let forgotten = if host.open == 0 { hosts.map.remove(origin) } else { None };
                drop(hosts);
                drop(forgotten);
                return;
            };
            drop(hosts);
            match waiting.send(Grant::Slot(self.slot(origin))) {
                // Whoever waited has left. The slot is still to be given away, here.
                Err(Grant::Slot(mut slot)) => slot.pool = Weak::new(),
                _ => return,
            }
        }
    }

    /// An idle connection is over.
    pub(super) fn forget(&self, line: &Arc<Line>) {
        let mut hosts = self.hosts();
        let Some(host) = hosts.map.get_mut(line.origin()) else { return };
        if let Some(at) = host.idle.iter().position(|idle| Arc::ptr_eq(idle, line)) {
            let line = host.idle.remove(at);
            hosts.idle -= 1;
            drop(hosts);
            drop(line);
        }
    }
}

/// What a request finds that cannot have an idle connection.
enum Entered {
    Slot(Slot),
    /// It is to wait.
    Line(oneshot::Receiver<Grant>),
    /// An idle connection whose slot it may have.
    Evicted(Arc<Line>),
}

/// Closes a connection for the sake of its slot.
#[allow(clippy::needless_pass_by_value)] // the pool has let go of it
fn evict(line: Arc<Line>) -> Option<Slot> {
    let slot = line.take_slot();
    line.close();
    slot
}

impl Drop for Pool {
    fn drop(&mut self) {
        let hosts = std::mem::take(self.hosts.get_mut().unwrap_or_else(PoisonError::into_inner));
        for line in hosts.map.into_values().flat_map(|host| host.idle) {
            line.close();
        }
    }
}
