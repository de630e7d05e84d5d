//! Making a connection: resolve, try every address, give up or try again later.
//!
//! ```text
//!   Resolving ──► Trying ──► up: an endpoint, which keeps the dialer and gives it back when it is lost
//!       │            │
//!       └─ failed ───┴──► Waiting ──► Resolving …   or gone: no policy, attempts used up, cancelled
//! ```

mod steps;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use workerman_event::{Address, Token};
use workerman_protocol::{Protocol, Random, Role};

use crate::client::{LastError, Reconnect};
use crate::drive::Drive;
use crate::endpoint::{Endpoint, abandon, connection};
use crate::outcome::Settled;
use crate::panics::{dispose, dispose_all, guard};
use crate::remote::Remote;
use crate::shared::{CLOSED, CROSSED, DIALING, FINISHED, MARKED, SHUT, Shared, WISHED, WOKEN};
use crate::{CloseReason, Connection, Error, Service, Target};

/// The pause between attempts at the addresses of one name: RFC 8305, section 5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 64;

/// What a dial may do to the backend.
pub(crate) trait Sockets {
    fn connect(&mut self, address: &Address) -> io::Result<Token>;
    fn resolve(&mut self, host: &str, port: u16);
    fn cancel_resolve(&mut self);
    fn close(&mut self, id: Token);
    fn local_address(&self, id: Token) -> Option<Address>;
}

pub(crate) enum DialEvent {
    /// A new dial.
    Start,
    /// The connection was lost.
    Lost {
        /// The handle has asked to end.
        cancelled: bool,
        /// It had come up: its layer too.
        came_up: bool,
    },
    Resolved(io::Result<Vec<SocketAddr>>),
    Connected(Token, Address),
    Failed(Token, io::Error),
    /// A deadline that was told may have passed.
    Time,
    /// The handle has a wish.
    Stirred,
    Cancel(CloseReason),
}

/// What becomes of a dial after an event.
pub(crate) enum Dialed {
    /// It goes on; time changes something at the instant.
    On(Box<dyn Dial>, Instant),
    /// The connection is up.
    Up(Token, Box<dyn Drive>),
    /// It is over.
    Gone,
}

/// One client that is not connected, its protocol erased.
pub(crate) trait Dial: Send {
    fn id(&self) -> u64;
    fn will_retry(&self, reason: &CloseReason) -> bool;
    fn step(
        self: Box<Self>,
        event: DialEvent,
        sockets: &mut dyn Sockets,
        now: Instant,
        random: &mut Random,
    ) -> Dialed;
}

/// A dialer in the hands of its endpoint.
pub(crate) struct Redial {
    dial: Box<dyn Dial>,
    /// The handle has asked to end.
    cancelled: bool,
    /// The connection came up: its layer too.
    pub(crate) came_up: bool,
}

impl Redial {
    pub(crate) fn will_retry(&self, reason: &CloseReason) -> bool {
        !self.cancelled && self.dial.will_retry(reason)
    }

    /// There will be no other connection.
    pub(crate) fn cancel(&mut self) {
        self.cancelled = true;
    }
}

pub(crate) struct Dialer<P: Protocol> {
    id: u64,
    conn: Connection<P>,
    target: Target,
    timeout: Duration,
    policy: Option<Reconnect>,
    /// Failed attempts in a row.
    failures: u32,
    /// 1 once a connection has been lost that had come up: it lengthens the pauses like a failure, but is none.
    lost: u32,
    phase: Phase,
    /// Why the client gave up, for `run`.
    last: LastError,
}

enum Phase {
    Waiting { until: Instant },
    Resolving { until: Instant },
    Trying(Trying),
}

struct Trying {
    until: Instant,
    next: Instant,
    left: VecDeque<Address>,
    running: Vec<(Token, Address)>,
    failed: Option<(Address, io::Error)>,
}

static NEXT_DIAL: AtomicU64 = AtomicU64::new(1);

impl<P: Protocol> Dialer<P> {
    pub(crate) fn new(
        service: Arc<Service<P>>,
        remote: &Arc<Remote>,
        target: Target,
        timeout: Duration,
        policy: Option<Reconnect>,
        last: LastError,
    ) -> Self {
        let id = NEXT_DIAL.fetch_add(1, Ordering::Relaxed);
        let peer = match &target {
            Target::Unix(path) => Address::from(path.clone()),
            // Not known before it is connected.
            Target::Host { port, .. } => Address::from(SocketAddr::from(([0, 0, 0, 0], *port))),
        };
        let conn = connection(service, Arc::clone(remote), DIALING | id, peer, None);
        let now = tokio::time::Instant::now().into_std();
        Self {
            id,
            conn,
            target,
            timeout,
            policy,
            failures: 0,
            lost: 0,
            phase: Phase::Waiting { until: now },
            last,
        }
    }

    pub(crate) fn connection(&self) -> Connection<P> {
        self.conn.clone()
    }

    fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Waiting { until } | Phase::Resolving { until } => *until,
            Phase::Trying(trying) if trying.left.is_empty() => trying.until,
            Phase::Trying(trying) => trying.until.min(trying.next),
        }
    }

    /// Begins an attempt.
    fn begin(&mut self, sockets: &mut dyn Sockets, now: Instant, random: &mut Random) -> bool {
        let until = now + self.timeout;
        match &self.target {
            Target::Host { host, port } => {
                sockets.resolve(host, *port);
                self.phase = Phase::Resolving { until };
                true
            }
            Target::Unix(path) => {
                let left = VecDeque::from([Address::from(path.clone())]);
                self.phase =
                    Phase::Trying(Trying { until, next: now, left, running: Vec::new(), failed: None });
                self.try_next(sockets, now, random)
            }
        }
    }

    /// Tries the next address; `false`: the attempt has failed and the client gives up.
    fn try_next(&mut self, sockets: &mut dyn Sockets, now: Instant, random: &mut Random) -> bool {
        let Phase::Trying(trying) = &mut self.phase else { return true };
        while let Some(address) = trying.left.pop_front() {
            match sockets.connect(&address) {
                Ok(id) => {
                    trying.running.push((id, address));
                    trying.next = now + ATTEMPT_DELAY;
                    return true;
                }
                Err(error) => trying.failed = Some((address, error)),
            }
        }
        if !trying.running.is_empty() {
            return true;
        }
        let (address, source) = trying
            .failed
            .take()
            .map_or((None, io::ErrorKind::AddrNotAvailable.into()), |(at, error)| (Some(at), error));
        self.failed(address, source, sockets, now, random)
    }

    /// The attempt has failed: tell, then wait or give up (`false`).
    fn failed(
        &mut self,
        address: Option<Address>,
        source: io::Error,
        sockets: &mut dyn Sockets,
        now: Instant,
        random: &mut Random,
    ) -> bool {
        self.clear(sockets);
        self.failures = self.failures.saturating_add(1);
        let target = self.target.to_string();
        let address = match address.map(|address| address.to_string()) {
            Some(address) if address != target => format!("{target} ({address})"),
            _ => target,
        };
        let error = Error::Connect { address, source };
        let shared = &self.conn.0;
        shared.remote.counters.errors.add(1);
        tracing::debug!(id = shared.id, %error, "connect failed");
        if let Some(on_error) = &shared.service.handlers.on_error {
            if let Err(panic) = guard(|| on_error(&self.conn, &error)) {
                shared.remote.counters.panics.add(1);
                tracing::error!(%panic, "on_error panicked");
            }
        }
        if let Some(policy) = self.policy_after_failures() {
            let pause = pause(policy, self.failures.saturating_add(self.lost), random);
            self.phase = Phase::Waiting { until: now + pause };
            return true;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.give_up(CloseReason::ConnectFailed);
        false
    }

    /// The policy, if it allows another attempt.
    fn policy_after_failures(&self) -> Option<&Reconnect> {
        self.policy.as_ref().filter(|policy| policy.max_attempts.is_none_or(|max| self.failures < max))
    }

    /// Nothing more will come of it.
    fn give_up(&self, reason: CloseReason) {
        let shared = &self.conn.0;
        shared.set(SHUT | CLOSED);
        shared.remote.counters.closed[reason.index()].add(1);
        let settled = guard(|| match &shared.service.handlers.on_close {
            Some(on_close) => on_close(&self.conn, reason),
            None => Settled::Done,
        });
        match settled {
            Ok(Settled::Later(task)) => {
                drop(workerman_event::spawn(async move {
                    let _ = task.await;
                }));
            }
            Ok(settled) => dispose(settled),
            Err(panic) => {
                shared.remote.counters.panics.add(1);
                tracing::error!(%panic, "on_close panicked");
            }
        }
        let (wishes, extensions, counted) = {
            let mut core = shared.lock();
            core.out.clear(0);
            (core.wishes.take(), core.take_extensions(), std::mem::take(&mut core.counted))
        };
        shared.remote.queued.fetch_sub(counted, Ordering::Relaxed);
        shared.drop_held();
        if let Some(forward) = wishes.as_ref().and_then(|wishes| wishes.forward.as_ref()) {
            // A pipe to what never came up: its source must not wait for it.
            if let Err(panic) = guard(|| forward.closed()) {
                tracing::error!(%panic, "a pipe panicked");
            }
        }
        dispose(wishes);
        dispose_all(extensions.into_values());
        shared.release();
    }

    /// Ends whatever runs.
    fn clear(&mut self, sockets: &mut dyn Sockets) {
        match &mut self.phase {
            Phase::Waiting { .. } => {}
            Phase::Resolving { .. } => sockets.cancel_resolve(),
            Phase::Trying(trying) => {
                trying.left.clear();
                for (id, _) in trying.running.drain(..) {
                    sockets.close(id);
                }
            }
        }
    }

    /// Whether the handle has asked to end.
    fn cancelled(&self) -> bool {
        let shared = &self.conn.0;
        shared.clear(MARKED);
        if shared.flags() & WISHED == 0 {
            return false;
        }
        shared.clear(WISHED);
        // Other wishes (pause, pipe) wait for the connection.
        let ends = shared.lock().wishes.as_ref().is_some_and(|wishes| wishes.end.is_some());
        if !ends {
            shared.set(WISHED);
        }
        ends
    }

    fn time(&mut self, sockets: &mut dyn Sockets, now: Instant, random: &mut Random) -> bool {
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "no answer within the connect timeout");
        match &mut self.phase {
            Phase::Waiting { until } if now >= *until => self.begin(sockets, now, random),
            Phase::Resolving { until } if now >= *until => {
                self.failed(None, timed_out(), sockets, now, random)
            }
            Phase::Trying(trying) if now >= trying.until => {
                let address = trying.running.first().map(|(_, address)| address.clone());
                self.failed(address, timed_out(), sockets, now, random)
            }
            Phase::Trying(trying) if now >= trying.next && !trying.left.is_empty() => {
                self.try_next(sockets, now, random)
            }
            _ => true,
        }
    }

    /// Whether it goes on after `event`.
    fn handle(
        &mut self,
        event: DialEvent,
        sockets: &mut dyn Sockets,
        now: Instant,
        random: &mut Random,
    ) -> bool {
        match event {
            DialEvent::Start => !self.stop_if_cancelled(sockets) && self.begin(sockets, now, random),
            DialEvent::Lost { cancelled, came_up } => {
                let shared = &self.conn.0;
                shared.place.store(DIALING | self.id, Ordering::SeqCst);
                shared.begin_anew();
                shared.clear(CROSSED | WOKEN | FINISHED);
                if self.cancelled() || cancelled {
                    self.give_up(CloseReason::Local);
                    return false;
                }
                if came_up {
                    (self.failures, self.lost) = (0, 1);
                } else {
                    self.failures = self.failures.saturating_add(1);
                }
                let Some(policy) = self.policy_after_failures() else {
                    self.give_up(CloseReason::ConnectFailed);
                    return false;
                };
                shared.clear(SHUT);
                let pause = pause(policy, self.failures.saturating_add(self.lost), random);
                self.phase = Phase::Waiting { until: now + pause };
                true
            }
            DialEvent::Resolved(Ok(addresses)) => {
                let Phase::Resolving { until } = self.phase else { return true };
                let left = interleave(addresses);
                self.phase =
                    Phase::Trying(Trying { until, next: now, left, running: Vec::new(), failed: None });
                self.try_next(sockets, now, random)
            }
            DialEvent::Resolved(Err(error)) => self.failed(None, error, sockets, now, random),
            DialEvent::Failed(id, error) => {
                let Phase::Trying(trying) = &mut self.phase else { return true };
                if let Some(index) = trying.running.iter().position(|(at, _)| *at == id) {
                    let (_, address) = trying.running.swap_remove(index);
                    trying.failed = Some((address, error));
                }
                self.try_next(sockets, now, random)
            }
            DialEvent::Connected(..) => true,
            DialEvent::Time => self.time(sockets, now, random),
            DialEvent::Stirred => !self.stop_if_cancelled(sockets),
            DialEvent::Cancel(reason) => {
                self.clear(sockets);
                self.give_up(reason);
                false
            }
        }
    }

    fn stop_if_cancelled(&mut self, sockets: &mut dyn Sockets) -> bool {
        let cancelled = self.cancelled();
        if cancelled {
            self.clear(sockets);
            self.give_up(CloseReason::Local);
        }
        cancelled
    }
}

impl<P: Protocol> Dial for Dialer<P> {
    fn id(&self) -> u64 {
        self.id
    }

    fn will_retry(&self, reason: &CloseReason) -> bool {
        let fatal = matches!(reason, CloseReason::Local | CloseReason::Shutdown);
        // An attempt costs one of the policy's; with none allowed after a loss there is no retry.
        !fatal && self.policy.as_ref().is_some_and(|policy| policy.max_attempts != Some(0))
    }

    fn step(
        mut self: Box<Self>,
        event: DialEvent,
        sockets: &mut dyn Sockets,
        now: Instant,
        random: &mut Random,
    ) -> Dialed {
        if let DialEvent::Connected(id, peer) = event {
            if let Phase::Trying(trying) = &mut self.phase {
                trying.running.retain(|(at, _)| *at != id);
            }
            self.clear(sockets);
            {
                let mut core = self.conn.0.lock();
                core.peer = peer;
                core.local = sockets.local_address(id).map(Arc::new);
            }
            let conn = self.conn.clone();
            return match guard(|| Endpoint::new(conn, Role::Client, id, now)) {
                Ok(endpoint) if self.policy.is_some() => {
                    let redial = Redial { dial: self, cancelled: false, came_up: false };
                    Dialed::Up(id, Box::new(endpoint.with_redial(redial)))
                }
                Ok(endpoint) => Dialed::Up(id, Box::new(endpoint)),
                Err(panic) => {
                    self.conn.0.remote.counters.panics.add(1);
                    tracing::error!(%panic, "a protocol panicked when it was made");
                    sockets.close(id);
                    self.give_up(CloseReason::Panic);
                    Dialed::Gone
                }
            };
        }
        if !self.handle(event, sockets, now, random) {
            return Dialed::Gone;
        }
        let deadline = self.deadline();
        Dialed::On(self, deadline)
    }
}

/// The pause after so many failures in a row, jittered.
fn pause(policy: &Reconnect, failures: u32, random: &mut Random) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let full = policy.first.saturating_mul(1 << doublings).min(policy.cap);
    let nanos = u64::try_from(full.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos - random.below(nanos / 2 + 1))
}

/// IPv6 and IPv4 in turn, beginning with the family that the resolver prefers: RFC 8305, section 4.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<Address> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut a, mut b): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().take(MOST_ADDRESSES).partition(|address| address.is_ipv6() == first_is_v6);
    let mut all = VecDeque::with_capacity(a.len() + b.len());
    while !a.is_empty() || !b.is_empty() {
        all.extend(a.pop_front().map(Address::from));
        all.extend(b.pop_front().map(Address::from));
    }
    all
}

impl<P: Protocol> Drop for Dialer<P> {
    fn drop(&mut self) {
        // A loop that is gone before the dial began, or a panic: nobody waits for ever.
        let shared: &Shared<P> = &self.conn.0;
        if shared.place.load(Ordering::SeqCst) & DIALING != 0 {
            abandon(shared);
        }
    }
}
