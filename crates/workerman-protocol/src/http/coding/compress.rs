//! Compressing responses.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY};
use http::{HeaderValue, StatusCode};
use http_body::Frame;

use super::super::form::media_type;
use super::super::{Body, BodyError, Headers, RequestHead, Response};
use super::{Accept, Coding, Encoder, compressible};

/// A body in memory that is larger is compressed while it is sent: compressing it at once would keep others waiting.
const AT_ONCE: usize = 128 * 1024;

/// What goes into the compressor at a time.
const PIECE: usize = 32 * 1024;

/// What has come out of the compressor leaves as soon as it is so much.
const ENOUGH: usize = 16 * 1024;

/// So much is compressed before others have a turn.
const TURN: usize = 128 * 1024;

/// Compressed bodies that are being sent, in this process.
static STREAMS: AtomicUsize = AtomicUsize::new(0);

/// What is compressed, and how.
///
/// # Examples
/// ```
/// use workerman_protocol::http::coding::{Coding, Compression};
/// let compression = Compression::default().min_size(4096).level(Coding::Gzip, 9).offer(&[Coding::Gzip]);
/// # let _ = compression;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Compression {
    offered: Vec<Coding>,
    min_size: u64,
    gzip: Option<u32>,
    brotli: Option<u32>,
    zstd: Option<u32>,
    max_streams: usize,
    events: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            offered: Coding::AVAILABLE.to_vec(),
            min_size: 1024,
            gzip: None,
            brotli: None,
            zstd: None,
            max_streams: 256,
            events: false,
        }
    }
}

impl Compression {
    /// Which codings are offered, the preferred first; all that are [available](Coding::AVAILABLE) if nothing is said.
    pub fn offer(mut self, codings: &[Coding]) -> Self {
        self.offered = codings.iter().copied().filter(|coding| *coding != Coding::Identity).collect();
        self
    }

    /// The least length of a body that is compressed, in bytes; 1024 if nothing is said. One whose length is not known
    /// is compressed.
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.min_size = bytes;
        self
    }

    /// How hard a coding tries, on its own [scale](Encoder::new).
    pub fn level(mut self, coding: Coding, level: u32) -> Self {
        match coding {
            Coding::Identity => {}
            Coding::Gzip => self.gzip = Some(level),
            Coding::Brotli => self.brotli = Some(level),
            Coding::Zstd => self.zstd = Some(level),
        }
        self
    }

    /// Most bodies that are compressed while they are sent, at the same time in this process; 256 if nothing is said. Each
    /// takes about a megabyte, of gzip less than half of it. Above it responses leave as they are.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Whether server-sent events are compressed as well; they are not if nothing is said, since each stream occupies a
    /// compressor for as long as the client stays.
    pub fn events(mut self, compressed: bool) -> Self {
        self.events = compressed;
        self
    }

    /// The coding for the answer to a request.
    pub fn choose(&self, head: &RequestHead) -> Coding {
        Accept::of(head).choose(&self.offered)
    }

    fn encoder(&self, coding: Coding) -> Option<Encoder> {
        let level = match coding {
            Coding::Identity => None,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        };
        Encoder::new(coding, level)
    }
}

/// Compresses a response, if that is right: in the coding that was [chosen](Compression::choose) for its request.
///
/// It leaves as it is if it has a `Content-Encoding` already, is a part of something (206, `Content-Range`), has no content
/// (1xx, 204, 304), a type that is [not compressible](compressible), a digest of its content, or too little of it, or if it
/// says `Cache-Control: no-transform`. A strong `ETag` becomes a weak one, since other bytes stand for it now. `Vary` says
/// that the answer depends on `Accept-Encoding`, where it does, even if it was not compressed this time.
///
/// `head`: the request was HEAD. Its answer gets the fields of the answer to GET, as far as they can be known.
pub fn compress(response: Response, chosen: Coding, head: bool, settings: &Compression) -> Response {
    let Some(length) = eligible(&response, head, settings) else { return response };
    let mut response = response;
    vary(response.fields_mut());
    if chosen == Coding::Identity {
        return response;
    }
    let Some(encoder) = settings.encoder(chosen) else { return response };
    let body = std::mem::take(response.body_mut());
    match squeeze(body, length, encoder, settings) {
        Ok(body) => {
            *response.body_mut() = body;
            let fields = response.fields_mut();
            fields.insert(CONTENT_ENCODING, HeaderValue::from_static(chosen.name()));
            fields.remove(CONTENT_LENGTH);
            weaken(fields);
        }
        Err(body) => *response.body_mut() = body,
    }
    response
}

/// What is known about the length of a body that is worth compressing.
#[derive(Clone, Copy)]
enum Length {
    InMemory(usize),
    /// Only told to a client that asked with HEAD.
    Told,
    /// As it comes.
    Streamed,
}

fn eligible(response: &Response, head: bool, settings: &Compression) -> Option<Length> {
    let status = response.status();
    if response.error().is_some()
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT)
    {
        return None;
    }
    let kind = response.content_type()?;
    let is_events = media_type(kind).eq_ignore_ascii_case("text/event-stream");
    if !compressible(kind) || (is_events && !settings.events) {
        return None;
    }
    let fields = response.headers();
    // RFC 9110 section 7.7 for no-transform; RFC 9530 for digests of the bytes that are sent.
    const OTHERS: [&str; 5] =
        ["content-encoding", "content-range", "content-digest", "repr-digest", "content-md5"];
    if !fields.is_empty() && (OTHERS.iter().any(|name| fields.contains(name)) || has_no_transform(fields)) {
        return None;
    }
    let body = response.body_ref();
    let told = || fields.get_str(CONTENT_LENGTH)?.parse::<u64>().ok();
    let (length, known) = match (body.as_bytes(), body.len()) {
        (Some(bytes), _) if bytes.is_empty() && head => (Length::Told, told()?),
        (Some(bytes), _) => (Length::InMemory(bytes.len()), bytes.len() as u64),
        (None, Some(length)) => (Length::Streamed, length),
        (None, None) => return Some(Length::Streamed),
    };
    (known >= settings.min_size).then_some(length)
}

fn has_no_transform(fields: &Headers) -> bool {
    fields
        .get_all("cache-control")
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-transform")))
}

/// Says that the answer depends on what the client accepts (RFC 9110 section 12.5.5).
fn vary(fields: &mut Headers) {
    let said = fields.get_all(VARY).filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .map(str::trim)
            .any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"))
    });
    if !said {
        fields.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// RFC 9110 section 8.8.1: a strong validator stands for one sequence of bytes.
fn weaken(fields: &mut Headers) {
    let Some(strong) = fields.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat()) {
        fields.insert(ETAG, weak);
    }
}

/// The compressed body; the body as it was if it would get no smaller, or there is no place for another stream.
fn squeeze(
    mut body: Body,
    length: Length,
    mut encoder: Encoder,
    settings: &Compression,
) -> Result<Body, Body> {
    match length {
        Length::Told => Ok(Body::stream(Nothing)),
        Length::InMemory(length) if length <= AT_ONCE => {
            let Some(bytes) = body.take_bytes() else { return Err(body) };
            let mut out = Vec::with_capacity(length / 2);
            let done = encoder.write(&bytes, &mut out).and_then(|()| encoder.finish(&mut out));
            let smaller = done.is_ok() && out.len() < length;
            if smaller {
                out.shrink_to_fit();
            }
            let new = Body::from(if smaller { out.into() } else { bytes });
            let new = match body.take_trailers() {
                Some(trailers) => new.with_trailers(trailers),
                None => new,
            };
            if smaller { Ok(new) } else { Err(new) }
        }
        Length::InMemory(_) | Length::Streamed => match Place::take(settings.max_streams) {
            Some(place) => Ok(Body::new(Compressed {
                body,
                encoder: Some(encoder),
                rest: Bytes::new(),
                held: false,
                _place: place,
            })),
            None => Err(body),
        },
    }
}

/// A body that nobody will read, of a length that is not known.
struct Nothing;

impl Stream for Nothing {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

/// One of the streams that may be.
struct Place;

impl Place {
    fn take(most: usize) -> Option<Self> {
        let more = |streams| (streams < most).then_some(streams + 1);
        STREAMS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that is compressed while it is read.
struct Compressed {
    body: Body,
    /// `None` behind the end.
    encoder: Option<Encoder>,
    /// What has been read and not been compressed.
    rest: Bytes,
    /// The compressor holds something back.
    held: bool,
    _place: Place,
}

impl Compressed {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let failed = |error: std::io::Error| BodyError::Source(error.into());
        let mut out = Vec::new();
        let mut fed = 0;
        while let Some(encoder) = &mut self.encoder {
            if !self.rest.is_empty() {
                let piece = self.rest.len().min(PIECE);
                encoder.write(&self.rest[..piece], &mut out).map_err(failed)?;
                self.rest.advance(piece);
                self.held = true;
                fed += piece;
                if out.len() >= ENOUGH {
                    break;
                }
                if fed >= TURN {
                    if out.is_empty() {
                        // Others have a turn first.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    break;
                }
                continue;
            }
            match self.body.poll_data(cx) {
                Poll::Ready(Some(data)) => self.rest = data?,
                Poll::Ready(None) => {
                    if let Some(encoder) = self.encoder.take() {
                        encoder.finish(&mut out).map_err(failed)?;
                    }
                }
                Poll::Pending => {
                    if std::mem::take(&mut self.held) {
                        // What is there must not wait for what is not.
                        encoder.flush(&mut out).map_err(failed)?;
                    }
                    if out.is_empty() {
                        return Poll::Pending;
                    }
                    break;
                }
            }
        }
        Poll::Ready((!out.is_empty()).then(|| Ok(out.into())))
    }
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match std::task::ready!(self.next(cx)) {
            Some(Ok(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Err(error)) => {
                // Nothing comes behind it.
                self.encoder = None;
                self.body = Body::empty();
                Poll::Ready(Some(Err(error)))
            }
            None => {
                let trailers = self.body.take_trailers();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers.into()))))
            }
        }
    }
}
