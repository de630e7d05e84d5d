//! Forms with files: `multipart/form-data` (RFC 7578), read as they arrive.
//!
//! There are three ways down. [`Form::read`] takes the whole form: fields in memory, files in memory or, above a size,
//! in temporary files that are gone when their [`Upload`] is dropped. [`Multipart`] hands out one [`Part`] after the
//! other, whose data is read in pieces while it arrives: an upload of any size runs in constant memory, and the client
//! sends as fast as the handler reads. [`Parser`] does no input or output at all.
//!
//! A form is hostile until it is proven to be none. Everything has a limit ([`Limits`]): parts, files, heads, names, the
//! size of each field, each file, the whole. A form that breaks the rules or can be read in two ways is refused, and one
//! that breaks off is an error, never a short success. File names are labels: no path is ever made of one.
//!
//! A [`MultipartError`] makes the right response, 400 or 413 for the most part: let a worker's handler return
//! `upload(&mut request).await.unwrap_or_else(Response::from)`, since an error that a handler returns is a 500.
//!
//! # Why the parser is our own
//! `multer` reads whatever its source has ready into one buffer, looks at a growing head from its beginning each time,
//! finds `name=` within a quoted file name, has no limit on the number of parts or the size of heads, and no
//! `filename*`. Here memory is bounded by one head, time is linear, and the parser can be fuzzed without a runtime.
//!
//! # Examples
//! ```
//! use workerman_http::multipart::{Form, Limits, MultipartError};
//! use workerman_protocol::http::{Request, Response};
//!
//! async fn upload(request: &mut Request) -> Result<Response, MultipartError> {
//!     let mut form = Form::read(request, Limits::new().max_file(10 << 20)).await?;
//!     let title = form.text("title").unwrap_or("untitled").to_owned();
//!     if let Some(photo) = form.take_file("photo") {
//!         photo.persist(format!("/srv/photos/{}.jpg", 42)).await?; // never a name that the client chose
//!     }
//!     Ok(Response::text(title))
//! }
//! # let _ = |mut request: Request| async move { upload(&mut request).await };
//! ```

mod boundary;
mod error;
mod form;
mod head;
mod limits;
mod params;
mod parser;
mod spool;
mod upload;

use std::future::poll_fn;
use std::ops::Deref;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use workerman_protocol::http::{Body, Request};

pub use self::boundary::Boundary;
pub use self::error::MultipartError;
pub use self::form::Form;
pub use self::head::PartHead;
pub use self::limits::Limits;
pub use self::parser::{Event, Parser};
pub use self::upload::Upload;

/// A form that is read part by part, while it arrives or from memory.
///
/// # Examples
/// ```
/// use workerman_http::multipart::{Limits, Multipart};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n--b--\r\n";
/// let mut form = Multipart::new("multipart/form-data; boundary=b", body, Limits::new())?;
/// while let Some(mut part) = form.next_part().await? {
///     let mut size = 0;
///     while let Some(data) = part.data().await {
///         size += data?.len();
///     }
///     println!("{} has {size} bytes", part.name());
/// #   assert_eq!((part.name(), size), ("a", 5));
/// }
/// # Ok::<_, workerman_http::multipart::MultipartError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Multipart {
    parser: Parser,
    body: Body,
    /// What has come of the body and was not parsed yet.
    piece: Bytes,
    /// The data of the present part is not over.
    in_part: bool,
    limits: Limits,
}

impl Multipart {
    /// A form of a body, whose content type names its boundary.
    ///
    /// # Errors
    /// It is not the content type of a form, or the body says that it is larger than the limits allow.
    pub fn new(content_type: &str, body: impl Into<Body>, limits: Limits) -> Result<Self, MultipartError> {
        Self::begin(&Boundary::of(content_type)?, body.into(), limits)
    }

    fn begin(boundary: &Boundary, body: Body, limits: Limits) -> Result<Self, MultipartError> {
        if body.len().is_some_and(|length| length > limits.total) {
            return Err(MultipartError::TooLarge { what: "bytes", limit: limits.total });
        }
        let parser = Parser::new(boundary, limits.clone());
        Ok(Self { parser, body, piece: Bytes::new(), in_part: false, limits })
    }

    /// The form of a request, whose body is taken out if it is one.
    ///
    /// # Errors
    /// As [`new`](Self::new); a request with two content types is refused too.
    pub fn of(request: &mut Request, limits: Limits) -> Result<Self, MultipartError> {
        let mut types = request.header_all("content-type");
        let (Some(content_type), None) = (types.next(), types.next()) else {
            return Err(MultipartError::ContentType("there is not one content type"));
        };
        let boundary = Boundary::of(content_type)?;
        drop(types);
        Self::begin(&boundary, std::mem::take(request.body_mut()), limits)
    }

    /// The next part; `None` when the form and its body are over. What is left of the part before is skipped.
    ///
    /// # Errors
    /// The form is malformed, exceeds a limit, or broke off.
    pub async fn next_part(&mut self) -> Result<Option<Part<'_>>, MultipartError> {
        let head = poll_fn(|cx| self.poll_head(cx)).await?;
        Ok(head.map(|head| Part { head, form: self }))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<PartHead>, MultipartError>> {
        loop {
            match ready!(self.poll_event(cx))? {
                Some(Event::Part(head)) => {
                    self.in_part = true;
                    return Poll::Ready(Ok(Some(head)));
                }
                Some(_) => {}
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, MultipartError>> {
        if !self.in_part {
            return Poll::Ready(Ok(None));
        }
        let data = match ready!(self.poll_event(cx))? {
            Some(Event::Data(data)) => Some(data),
            _ => None,
        };
        self.in_part = data.is_some();
        Poll::Ready(Ok(data))
    }

    /// The next event; `None` at the end of the body, which is behind the end of the form.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, MultipartError>> {
        loop {
            if let Some(event) = self.parser.parse(&mut self.piece)? {
                return Poll::Ready(Ok(Some(event)));
            }
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    self.parser.fail();
                    return Poll::Ready(Err(error.into()));
                }
                None => return Poll::Ready(self.parser.finish().map(|()| None)),
            }
        }
    }
}

/// A part of a form, which is read before the next one; its [`PartHead`] is there from the beginning.
#[derive(Debug)]
pub struct Part<'a> {
    head: PartHead,
    form: &'a mut Multipart,
}

impl Part<'_> {
    /// The head.
    pub fn head(&self) -> &PartHead {
        &self.head
    }

    /// The next piece of data, never empty; `None` at the end of the part.
    ///
    /// # Errors
    /// The form is malformed, exceeds a limit, or broke off.
    pub async fn data(&mut self) -> Option<Result<Bytes, MultipartError>> {
        poll_fn(|cx| self.form.poll_data(cx)).await.transpose()
    }

    /// Reads the rest of the part into memory.
    ///
    /// # Errors
    /// As [`data`](Self::data), or it is longer than `limit` bytes.
    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, MultipartError> {
        let mut whole = BytesMut::new();
        while let Some(data) = self.data().await.transpose()? {
            if data.len() > limit - whole.len() {
                return Err(MultipartError::TooLarge { what: "bytes of a part", limit: limit as u64 });
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// Reads the rest of the part as text in UTF-8.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), or it is not UTF-8.
    pub async fn text(&mut self, limit: usize) -> Result<String, MultipartError> {
        let bytes = self.bytes(limit).await?;
        String::from_utf8(bytes.into()).map_err(|_| MultipartError::Malformed("a field is not UTF-8"))
    }

    /// Reads the rest of the part into memory or, above [`Limits::spool_above`], into a temporary file.
    ///
    /// # Errors
    /// As [`data`](Self::data), or the file could not be written.
    pub async fn upload(&mut self) -> Result<Upload, MultipartError> {
        let threshold = self.form.limits.spool_above;
        self.upload_above(threshold).await
    }

    async fn upload_above(&mut self, threshold: usize) -> Result<Upload, MultipartError> {
        let folder = self.form.limits.folder().map(Into::into);
        let (contents, size) = spool::receive(self, threshold, folder).await?;
        Ok(Upload::new(self.head.clone(), contents, size))
    }
}

impl Deref for Part<'_> {
    type Target = PartHead;

    fn deref(&self) -> &PartHead {
        &self.head
    }
}
