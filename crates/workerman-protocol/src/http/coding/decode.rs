//! Decoding piece by piece, never more than a limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Frame;

use super::super::{Body, BodyError};
use super::Coding;

/// What each coding can do.
pub(super) trait Decode: Send {
    /// Decodes from the front of `input` into `out`. Neither reads nor writes where there is nothing more to do.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Step>;
    /// Whether the end of the coding has been read, and nothing behind it.
    fn is_complete(&self) -> bool;
}

/// How far a step came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
}

/// So much is decoded at a time, at most.
const PIECE: usize = 32 * 1024;

/// So many codings may lie over each other, at most.
const MOST_CODINGS: usize = 3;

/// Decodes a body piece by piece, up to a limit.
pub struct Decoder {
    inner: Box<dyn Decode>,
    limit: u64,
    /// Decoded so far.
    total: u64,
    /// There was a byte: what is empty needs no end.
    begun: bool,
}

impl Decoder {
    /// A decoder that gives out `limit` bytes, at most. `None` for what is not [available](Coding::is_available), and for
    /// bytes as they are.
    pub fn new(coding: Coding, limit: u64) -> Option<Self> {
        let inner: Option<Box<dyn Decode>> = match coding {
            #[cfg(feature = "gzip")]
            Coding::Gzip => Some(Box::new(super::gzip::GzipDecoder::new())),
            #[cfg(feature = "brotli")]
            Coding::Brotli => Some(Box::new(super::brotli::BrotliDecoder::new())),
            #[cfg(feature = "zstd")]
            Coding::Zstd => Some(Box::new(super::zstd::ZstdDecoder::new().ok()?)),
            _ => None,
        };
        Some(Self { inner: inner?, limit, total: 0, begun: false })
    }

    /// Decodes from the front of `input`, and takes off what has been read. Appends at most 32 KiB to `out`; `true` if
    /// there may be more to come of what has been read.
    ///
    /// # Errors
    /// The bytes are not of the coding, something is behind their end, or they stand for more than the limit.
    pub fn decode(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, BodyError> {
        self.begun |= !input.is_empty();
        let begin = out.len();
        out.resize(begin + PIECE, 0);
        let decoded = self.fill(input, &mut out[begin..]);
        out.truncate(begin + decoded.as_ref().map_or(0, |(written, _)| *written));
        decoded.map(|(_, more)| more)
    }

    fn fill(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<(usize, bool), BodyError> {
        let mut written = 0;
        loop {
            let step = self
                .inner
                .step(input, &mut out[written..])
                .map_err(|_| BodyError::Malformed("its content coding is broken"))?;
            *input = &input[step.read..];
            written += step.written;
            self.total += step.written as u64;
            if self.total > self.limit {
                return Err(BodyError::TooLarge { limit: self.limit });
            }
            if written == out.len() {
                return Ok((written, true));
            }
            if input.is_empty() {
                return Ok((written, false));
            }
            if step.read == 0 && step.written == 0 {
                return Err(BodyError::Malformed("something is behind the end of its content coding"));
            }
        }
    }

    /// Whether what was read is complete: call it at the end of the input.
    ///
    /// # Errors
    /// The input broke off.
    pub fn finish(&self) -> Result<(), BodyError> {
        if self.begun && !self.inner.is_complete() {
            return Err(BodyError::Malformed("its content coding breaks off"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("limit", &self.limit)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// The codings of a body, in the order in which they are to be undone; `None` if one is unknown or not built in, or if
/// they are more than three.
///
/// `fields` are the values of `Content-Encoding` (RFC 9110 section 8.4), in their order.
pub(in super::super) fn codings<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Vec<Coding>> {
    let mut codings = Vec::new();
    for name in fields.into_iter().flat_map(|field| field.split(',')) {
        let name = name.trim_matches([' ', '\t']);
        if name.is_empty() {
            continue;
        }
        let coding = Coding::from_name(name).filter(|coding| coding.is_available())?;
        if coding == Coding::Identity {
            continue;
        }
        if codings.len() == MOST_CODINGS {
            return None;
        }
        codings.push(coding);
    }
    // The last that was applied is the first to be undone.
    codings.reverse();
    Some(codings)
}

/// Decodes bytes that are all there. `codings` are undone one after the other.
///
/// # Errors
/// The bytes are not complete in these codings, one of them is not built in, or they stand for more than `limit` bytes.
pub fn decode_bytes(bytes: &[u8], codings: &[Coding], limit: usize) -> Result<Bytes, BodyError> {
    let mut whole = Bytes::copy_from_slice(bytes);
    for coding in codings.iter().filter(|coding| **coding != Coding::Identity) {
        let mut decoder = decoder(*coding, limit as u64)?;
        let mut input = &whole[..];
        let mut out = Vec::new();
        while decoder.decode(&mut input, &mut out)? || !input.is_empty() {}
        decoder.finish()?;
        whole = out.into();
    }
    Ok(whole)
}

fn decoder(coding: Coding, limit: u64) -> Result<Decoder, BodyError> {
    Decoder::new(coding, limit).ok_or(BodyError::Malformed("its content coding is unknown"))
}

/// Decodes a body while it is read. `codings` are undone one after the other; none of them gives out more than `limit`
/// bytes. Trailers come along.
///
/// # Errors
/// A coding is not built in. Bytes that are not of the coding, or stand for too many, are an error of the body.
pub fn decode_body(body: Body, codings: &[Coding], limit: u64) -> Result<Body, BodyError> {
    let mut body = body;
    for coding in codings.iter().filter(|coding| **coding != Coding::Identity) {
        let decoder = decoder(*coding, limit)?;
        body = Body::new(Decoded { body, decoder: Some(decoder), rest: Bytes::new(), more: false });
    }
    Ok(body)
}

struct Decoded {
    body: Body,
    /// `None` behind the end.
    decoder: Option<Decoder>,
    /// What has arrived and not been decoded.
    rest: Bytes,
    /// The decoder has more to say about what it has read.
    more: bool,
}

impl Decoded {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while let Some(decoder) = &mut self.decoder {
            if self.more || !self.rest.is_empty() {
                let mut input = &self.rest[..];
                let mut out = Vec::new();
                self.more = decoder.decode(&mut input, &mut out)?;
                self.rest.advance(self.rest.len() - input.len());
                if !out.is_empty() {
                    // It was made for the largest piece.
                    out.shrink_to_fit();
                    return Poll::Ready(Some(Ok(out.into())));
                }
                continue;
            }
            match ready!(self.body.poll_data(cx)) {
                Some(data) => self.rest = data?,
                None => {
                    decoder.finish()?;
                    self.decoder = None;
                }
            }
        }
        Poll::Ready(None)
    }
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(self.next(cx)) {
            Some(Ok(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Err(error)) => {
                // Nothing comes behind it.
                self.decoder = None;
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
