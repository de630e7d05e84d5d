//! Requests and responses whose bodies arrived compressed.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use super::super::{BadRequest, Body, Request, Response};
use super::decode::codings;
use super::{decode_body, decode_bytes};

impl Request {
    /// Decodes the body, if the client compressed it: at once if it is in memory, else while it is read.
    ///
    /// `limit` is the most bytes that it may stand for. The head stays as it is, with its `Content-Encoding`; a second
    /// call does nothing.
    ///
    /// # Errors
    /// The coding is unknown or not built in, or what is in memory is broken or stands for too much. Converted into a
    /// response that is a 415, a 400 or a 413.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "gzip")] {
    /// use workerman_protocol::http::{Request, coding::{Coding, Encoder}};
    /// let mut packed = Vec::new();
    /// let mut encoder = Encoder::new(Coding::Gzip, None).unwrap();
    /// encoder.write(b"hello", &mut packed)?;
    /// encoder.finish(&mut packed)?;
    ///
    /// let mut request = Request::builder("POST", "/").header("content-encoding", "gzip").body(packed).build()?;
    /// request.decompress(1024)?;
    /// assert_eq!(request.text()?, "hello");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decompress(&mut self, limit: usize) -> Result<(), BadRequest> {
        if self.is_decompressed() || self.header("content-encoding").is_none() {
            return Ok(());
        }
        let codings = codings(self.header_all("content-encoding")).ok_or(BadRequest::Coding)?;
        let body = self.body_mut();
        if let Some(bytes) = body.as_bytes() {
            let whole = Body::from(decode_bytes(bytes, &codings, limit).map_err(BadRequest::Body)?);
            *body = match body.take_trailers() {
                Some(trailers) => whole.with_trailers(trailers),
                None => whole,
            };
        } else {
            let packed = std::mem::take(body);
            *body = decode_body(packed, &codings, limit as u64).map_err(BadRequest::Body)?;
        }
        self.set_decompressed();
        Ok(())
    }
}

impl Response {
    /// Decodes the body of a response that a client got, while it is read; `limit` is the most bytes that it may stand
    /// for. `Content-Encoding` and `Content-Length` are removed.
    ///
    /// One whose coding is unknown or not built in stays as it is, as does one without a body (the answer to HEAD).
    #[must_use]
    pub fn decompress(mut self, limit: u64) -> Self {
        if self.body_ref().len() == Some(0) || !self.headers().contains(CONTENT_ENCODING) {
            return self;
        }
        let fields = self.headers().get_all(CONTENT_ENCODING);
        let Some(codings) = codings(fields.map(|value| value.to_str().unwrap_or("?"))) else { return self };
        let body = std::mem::take(self.body_mut());
        // Every one of them is available.
        let Ok(body) = decode_body(body, &codings, limit) else { return self };
        *self.body_mut() = body;
        let fields = self.fields_mut();
        fields.remove(CONTENT_ENCODING);
        fields.remove(CONTENT_LENGTH);
        self
    }
}
