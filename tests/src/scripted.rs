//! Servers of HTTP that do as their script says, right or wrong.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::serving::PATIENCE;

/// The server's end of a connection.
#[derive(Debug)]
pub struct Wire<S = TcpStream> {
    /// The connection.
    pub stream: S,
    /// What has been read from it and not taken.
    pub ahead: Vec<u8>,
    /// Which connection it is, from 1.
    pub number: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A new connection.
    pub fn new(stream: S, number: usize) -> Self {
        Self { stream, ahead: Vec::new(), number }
    }

    /// Reads more; `false` at the end.
    pub async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.ahead).await.is_ok_and(|read| read > 0)
    }

    /// The next head; `None` at the end.
    ///
    /// # Panics
    /// If it is not text.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.ahead.split_off(at + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Some(String::from_utf8(head).expect("a head in text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// So many bytes; `None` if there are fewer.
    pub async fn bytes(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < n {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.ahead.split_off(n);
        Some(std::mem::replace(&mut self.ahead, rest))
    }

    /// Says something. The client may have left, which is the matter of the test's own assertions.
    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(text.as_ref()).await;
    }

    /// Says a whole response.
    pub async fn answer(&mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        self.say(body).await;
    }

    /// Waits until the client has ended the connection; what it says until then.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.ahead)
    }
}

/// Serves each connection by the script, until the runtime ends; counts them.
///
/// # Panics
/// If nothing can be bound.
pub async fn server<F>(script: impl Fn(Wire) -> F + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::spawn(script(Wire::new(stream, number)));
        }
    });
    (address, count)
}

/// A server that answers each request of each connection with the same bytes.
pub async fn constant(
    answer: impl AsRef<[u8]> + Clone + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    server(move |mut wire| {
        let answer = answer.clone();
        async move {
            while wire.head().await.is_some() {
                wire.say(&answer).await;
            }
        }
    })
    .await
}

/// Runs a test in a runtime of its own.
///
/// # Panics
/// If it does not end in time.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let test = async { tokio::time::timeout(PATIENCE, test).await.expect("an end in time") };
    runtime.expect("a runtime").block_on(test)
}
