//! A request on its way: timeouts around redirects around attempts.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use workerman_protocol::http::{
    Body, BodyError, ClientRequest, Error as HttpError, Headers, Response as Answer,
};

use super::error::Timeout;
use super::line::{Failed, Refused};
use super::origin::{Origin, credentials};
use super::pool::Pool;
use super::redirect::Redirect;
use super::{Error, Response};

/// Most bytes of a redirect's body that are read so that its connection can be used again.
const REDIRECT_BODY: usize = 64 * 1024;

/// A request that can be sent, more than once if its body allows.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: Headers,
    pub(super) body: Payload,
    /// Content codings were offered, and are undone.
    pub(super) offered: bool,
}

/// A body to be sent.
pub(super) enum Payload {
    Bytes(Bytes),
    /// A stream can be sent once; until it is polled for the first time it has not been.
    Stream(Shared),
}

type Shared = Arc<Mutex<Option<Body>>>;

impl Payload {
    pub(super) fn new(mut body: Body) -> Self {
        if body.trailers().is_none() {
            if let Some(bytes) = body.take_bytes() {
                return Self::Bytes(bytes);
            }
        }
        Self::Stream(Arc::new(Mutex::new(Some(body))))
    }

    fn is_replayable(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::Stream(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
        }
    }

    fn body(&self) -> Body {
        match self {
            Self::Bytes(bytes) => bytes.clone().into(),
            Self::Stream(shared) => Body::new(Once { shared: Arc::clone(shared), body: None }),
        }
    }
}

/// A body that is taken when it is first polled.
struct Once {
    shared: Shared,
    body: Option<Body>,
}

impl http_body::Body for Once {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.body.is_none() {
            this.body = this.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        match &mut this.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            // Sent before, and not to be sent shorter.
            None => Poll::Ready(Some(Err(BodyError::Aborted))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, &*self.shared.lock().unwrap_or_else(PoisonError::into_inner)) {
            (Some(body), _) | (None, Some(body)) => http_body::Body::size_hint(body),
            (None, None) => SizeHint::new(),
        }
    }
}

/// Sends a request until there is a response, redirects followed.
pub(super) async fn send(
    pool: &Arc<Pool>,
    request: Outgoing,
    deadline: Option<Instant>,
) -> Result<Response, Error> {
    let following = follow(pool, request, deadline);
    match deadline {
        Some(deadline) => {
            timeout_at(deadline, following).await.unwrap_or(Err(Error::Timeout(Timeout::Request)))
        }
        None => following.await,
    }
}

async fn follow(
    pool: &Arc<Pool>,
    mut request: Outgoing,
    deadline: Option<Instant>,
) -> Result<Response, Error> {
    let limit = pool.settings.max_redirects;
    let mut redirects = 0;
    loop {
        let mut answer = exchange(pool, &request).await?;
        let redirect = if limit == 0 {
            None
        } else {
            Redirect::of(answer.status(), answer.headers(), &request.method, &request.uri)?
        };
        // A body that is gone cannot go along: the caller may know what to do.
        let redirect = redirect.filter(|to| !to.keeps_body || request.body.is_replayable());
        let Some(redirect) = redirect else {
            return Ok(Response::new(answer, request.uri, &pool.settings, deadline, request.offered));
        };
        if redirects == limit {
            return Err(Error::TooManyRedirects { limit });
        }
        redirects += 1;
        // So that its connection can be the next one, too. A longer one, or a broken one, takes its connection along.
        let _ = answer.body_mut().bytes(REDIRECT_BODY).await;
        redirect.strip(&mut request.headers, &request.uri);
        if !redirect.keeps_body {
            request.body = Payload::Bytes(Bytes::new());
        }
        (request.uri, request.method) = (redirect.uri, redirect.method);
    }
}

/// One response, of whatever kind; a second attempt where the first went to a connection that was about to end.
async fn exchange(pool: &Arc<Pool>, request: &Outgoing) -> Result<Answer, Error> {
    let bad = |reason| Error::Url { url: request.uri.to_string(), reason };
    let origin = Origin::of(&request.uri).map_err(bad)?;
    let mut fresh = false;
    loop {
        let lease = pool.acquire(&origin, fresh).await?;
        let Some(line) = lease.line() else { return Err(Error::Closed) };
        let ticket = match line.begin(request.message()) {
            Ok(ticket) => ticket,
            // Nothing was sent: whatever it is, it may be sent elsewhere.
            Err(Refused::Gone) if !fresh => {
                fresh = true;
                continue;
            }
            Err(Refused::Gone) => return Err(Error::Closed),
            Err(Refused::Error(error)) => return Err(error),
        };
        let reused = lease.reused;
        lease.used();
        let retries = reused && !fresh && request.body.is_replayable();
        let repeats = retries && request.method.is_idempotent();
        match ticket.response().await {
            // RFC 9110 section 15.5.9: the server did not wait for it any longer, and it may be asked again. (What is left of
            // this answer takes its connection along.)
            Ok(answer) if repeats && answer.status() == StatusCode::REQUEST_TIMEOUT => {}
            Ok(answer) => return Ok(answer),
            // Nothing was sent: the server has ended the connection with a word.
            Err(Failed { error: Error::Response(HttpError::Unasked), .. }) if retries => {}
            // A server that was slow has got the request: it was not stale. RFC 9112 section 9.3.1.
            Err(Failed { error, untouched }) if !(repeats && untouched) || error.is_timeout() => {
                return Err(error);
            }
            Err(_) => {}
        }
        fresh = true;
    }
}

impl Outgoing {
    /// The request for one connection.
    fn message(&self) -> ClientRequest {
        ClientRequest::new(self.method.clone(), self.uri.clone())
            .with_headers(self.headers.clone())
            .body(self.body.body())
    }

    /// Makes basic authentication of the user information in the URL, unless there is other authorization.
    pub(super) fn authorize(&mut self) {
        if let Some(value) = credentials(&self.uri) {
            if !self.headers.contains(http::header::AUTHORIZATION) {
                self.headers.append(http::header::AUTHORIZATION, value);
            }
        }
    }
}
