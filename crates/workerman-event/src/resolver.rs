//! Name resolution that never blocks the loop.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::ResolveId;

/// Look-ups that run at the same time; each occupies a thread of the runtime's pool.
const RUNNING: usize = 64;
/// Look-ups that wait for one of these; further ones fail.
const WAITING: usize = 65_536;

type Answer = io::Result<Vec<SocketAddr>>;

/// The running look-ups of a loop, polled by the loop's own task.
pub(crate) struct Resolver {
    next: u64,
    running: Vec<Lookup>,
    waiting: VecDeque<(ResolveId, String, u16)>,
    /// What needed no look-up; it is told in the next poll all the same.
    answered: VecDeque<(ResolveId, Answer)>,
}

struct Lookup {
    id: ResolveId,
    host: String,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { next: 0, running: Vec::new(), waiting: VecDeque::new(), answered: VecDeque::new() }
    }

    /// Starts a look-up. [`Resolver::poll`] has to be called, to start and to end it.
    pub(crate) fn start(&mut self, host: &str, port: u16) -> ResolveId {
        let id = ResolveId(self.next);
        self.next += 1;
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.answered.push_back((id, Ok(vec![SocketAddr::new(ip, port)])));
        } else if self.waiting.len() < WAITING {
            self.waiting.push_back((id, host.to_owned(), port));
        } else {
            let why = format!("cannot look up {host:?}: too many look-ups are waiting");
            self.answered.push_back((id, Err(io::Error::new(io::ErrorKind::WouldBlock, why))));
        }
        id
    }

    /// Forgets a look-up; its thread may go on for a while, but nobody hears of it.
    pub(crate) fn cancel(&mut self, id: ResolveId) {
        self.running.retain(|lookup| lookup.id != id);
        self.waiting.retain(|(waiting, ..)| *waiting != id);
        self.answered.retain(|(answered, _)| *answered != id);
    }

    /// Nothing to poll for.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.answered.is_empty()
    }

    /// The next look-up that ended; call it until `Pending`, which means that the task of `cx` is woken for the rest.
    /// Without any look-up it stays pending until one is started.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(ResolveId, Answer)> {
        loop {
            if let Some(answered) = self.answered.pop_front() {
                return Poll::Ready(answered);
            }
            for index in 0..self.running.len() {
                if let Poll::Ready(answer) = self.running[index].answer.as_mut().poll(cx) {
                    let Lookup { id, host, .. } = self.running.swap_remove(index);
                    return Poll::Ready((id, checked(&host, answer)));
                }
            }
            if self.running.len() >= RUNNING {
                return Poll::Pending;
            }
            let Some((id, host, port)) = self.waiting.pop_front() else { return Poll::Pending };
            let name = host.clone();
            let answer = Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) });
            self.running.push(Lookup { id, host, answer });
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("running", &self.running.len())
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

/// An empty answer is an error too, and each error names the host.
fn checked(host: &str, answer: Answer) -> Answer {
    match answer {
        Ok(addresses) if addresses.is_empty() => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("cannot look up {host:?}: the name has no address"),
        )),
        Ok(addresses) => Ok(addresses),
        Err(why) => Err(io::Error::new(why.kind(), format!("cannot look up {host:?}: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run<T>(body: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
    }

    #[test]
    fn literals_are_answered_without_asking() {
        let mut resolver = Resolver::new();
        let (four, six) = (resolver.start("127.0.0.1", 80), resolver.start("::1", 81));
        assert_ne!(four, six);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready((id, Ok(found))) = resolver.poll(&mut cx) else {
            panic!("a literal needs no look-up")
        };
        assert_eq!((id, found), (four, vec!["127.0.0.1:80".parse().unwrap()]));
        let Poll::Ready((id, Ok(found))) = resolver.poll(&mut cx) else {
            panic!("a literal needs no look-up")
        };
        assert_eq!((id, found), (six, vec!["[::1]:81".parse().unwrap()]));
        assert!(resolver.is_idle());
    }

    #[test]
    fn a_name_is_looked_up_and_an_error_names_it() {
        run(async {
            let mut resolver = Resolver::new();
            let good = resolver.start("localhost", 7);
            let bad = resolver.start("no such host", 7);
            for _ in 0..2 {
                let (id, answer) = poll_fn(|cx| resolver.poll(cx)).await;
                if id == good {
                    assert!(
                        answer
                            .unwrap()
                            .iter()
                            .all(|address| address.port() == 7 && address.ip().is_loopback())
                    );
                } else {
                    assert_eq!(id, bad);
                    assert!(answer.unwrap_err().to_string().contains("\"no such host\""));
                }
            }
            assert!(resolver.is_idle());
        });
    }

    #[test]
    fn a_cancelled_look_up_is_never_told() {
        run(async {
            let mut resolver = Resolver::new();
            let ids = [resolver.start("127.0.0.1", 1), resolver.start("localhost", 1)];
            let running = resolver.start("localhost", 2);
            let last = resolver.start("localhost", 3);
            for id in ids {
                resolver.cancel(id);
            }
            poll_fn(|cx| {
                // All are started by the first poll; one of them is then cancelled while it runs.
                let first = resolver.poll(cx);
                resolver.cancel(running);
                if let Poll::Ready((id, _)) = first {
                    assert!(id == last || id == running);
                    return if id == last {
                        Poll::Ready(())
                    } else {
                        resolver.poll(cx).map(|(id, _)| assert_eq!(id, last))
                    };
                }
                Poll::Pending
            })
            .await;
            assert!(resolver.is_idle());
        });
    }

    #[test]
    fn an_empty_answer_is_not_found() {
        let why = checked("example", Ok(Vec::new())).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::NotFound);
        assert!(why.to_string().contains("example"));
    }
}
