//! The response for a file that is open: preconditions, then ranges, then the fields and the body.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use workerman_protocol::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, VARY,
};
use workerman_protocol::http::{Body, HeaderValue, Response, StatusCode};

use super::coding::Coding;
use super::conditions::{Validators, Verdict, evaluate};
use super::kind::{OCTETS, attachment, content_type};
use super::open::inode;
use super::parts::{Piece, boundary, multipart};
use super::question::Question;
use super::ranges::{Selection, Span, select};
use super::reading::{Reading, read};

/// How files are shown, whichever they are.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) cache_control: Option<HeaderValue>,
    /// Instead of what the name says.
    pub(crate) content_type: Option<HeaderValue>,
    /// To be saved under this name.
    pub(crate) attachment: Option<OsString>,
    /// Files of a kind that nobody knows are to be saved, under their own name.
    pub(crate) save_unknown: bool,
    pub(crate) most_ranges: usize,
    /// Most bytes of one read.
    pub(crate) piece: usize,
    /// Encodings lie beside each other.
    pub(crate) varies: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            cache_control: None,
            content_type: None,
            attachment: None,
            save_unknown: true,
            most_ranges: 16,
            piece: 128 * 1024,
            varies: false,
        }
    }
}

/// A file that was found, in one of its encodings.
#[derive(Debug)]
pub(crate) struct Found {
    file: File,
    length: u64,
    coding: Option<Coding>,
    validators: Validators,
}

impl Found {
    /// What `metadata` says now is what counts until the last byte is sent.
    pub(crate) fn new(file: File, metadata: &Metadata, coding: Option<Coding>, now: SystemTime) -> Self {
        let length = metadata.len();
        let name = coding.map(Coding::name);
        let validators = Validators::new(length, metadata.modified().ok(), inode(metadata), name, now);
        Self { file, length, coding, validators }
    }

    /// Whether a part that the request has is of this state of this encoding.
    pub(crate) fn continues(&self, question: &Question) -> bool {
        question.if_range.as_deref().is_some_and(|field| self.validators.allow_range(field))
    }

    /// The response; reads what is short enough to be sent at once, so it blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn answer(self, question: &Question, manner: &Manner, name: &Path) -> io::Result<Response> {
        match evaluate(question, &self.validators) {
            Verdict::Perform => {}
            Verdict::NotModified => {
                // RFC 9110 section 15.4.5: what tells the cache which of its responses is meant, and nothing more.
                return Ok(self.common(Response::new(StatusCode::NOT_MODIFIED), manner));
            }
            Verdict::Failed => return Ok(plain(StatusCode::PRECONDITION_FAILED)),
        }
        let length = self.length;
        let (status, spans) = match self.selection(question, manner) {
            Selection::Whole if length == 0 => (StatusCode::OK, vec![]),
            Selection::Whole => (StatusCode::OK, vec![Span { first: 0, length }]),
            Selection::One(span) => (StatusCode::PARTIAL_CONTENT, vec![span]),
            Selection::Several(spans) => (StatusCode::PARTIAL_CONTENT, spans),
            Selection::Unsatisfiable => {
                // Section 15.5.17: the length tells the client what it could ask for.
                return Ok(plain(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(CONTENT_RANGE, format!("bytes */{length}"))
                    .header(ACCEPT_RANGES, BYTES));
            }
        };
        // Section 15.3.7 would spare a client that sent If-Range the fields that it has already; they are sent, since
        // a player that keeps bytes only would lose the type of its film.
        let mut response = self.describe(Response::new(status), manner, name);
        let body = match *spans {
            [] => Body::empty(),
            [span] => {
                if status == StatusCode::PARTIAL_CONTENT {
                    response = response.header(CONTENT_RANGE, span.content_range(length));
                }
                return Ok(response.body(self.single(span, question.get, manner)?));
            }
            _ => {
                let boundary = boundary();
                let kind = response.headers().get(CONTENT_TYPE).cloned().unwrap_or(OCTETS);
                let (pieces, length) = multipart(&spans, length, kind.as_bytes(), &boundary);
                response =
                    response.header(CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
                Body::sized(length, Reading::new(self.file, pieces, manner.piece))
            }
        };
        Ok(response.body(body))
    }

    fn selection(&self, question: &Question, manner: &Manner) -> Selection {
        let Some(range) = question.range.as_deref() else { return Selection::Whole };
        if question.if_range.is_some() && !self.continues(question) {
            return Selection::Whole;
        }
        match select(range, self.length, manner.most_ranges) {
            // The field would say that the parts' envelope is encoded, which it is not.
            Selection::Several(_) if self.coding.is_some() => Selection::Whole,
            selection => selection,
        }
    }

    /// The body of one span: in memory if it is one piece, so that a small file is read in the same turn.
    fn single(self, span: Span, get: bool, manner: &Manner) -> io::Result<Body> {
        if get && span.length <= manner.piece as u64 {
            match read(&self.file, span) {
                Ok(bytes) => return Ok(bytes.into()),
                // It shrinks at this moment: the length is announced and then not kept, like that of a longer one.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
        }
        let pieces = [Piece::Span(span)].into();
        Ok(Body::sized(span.length, Reading::new(self.file, pieces, manner.piece)))
    }

    /// What a 304 has, too.
    fn common(&self, mut response: Response, manner: &Manner) -> Response {
        response = response.header(ETAG, self.validators.tag.to_string());
        if let Some(value) = &manner.cache_control {
            response = response.header(CACHE_CONTROL, value.clone());
        }
        if manner.varies {
            response = response.header(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }

    fn describe(&self, response: Response, manner: &Manner, name: &Path) -> Response {
        let known = manner.content_type.clone().or_else(|| content_type(name));
        let save = manner.attachment.as_deref().or_else(|| {
            (known.is_none() && manner.save_unknown).then(|| name.file_name().unwrap_or_default())
        });
        let mut response = response.header(CONTENT_TYPE, known.unwrap_or(OCTETS));
        if let Some(coding) = self.coding {
            response = response.header(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        if let Some(name) = save {
            response = response.header(CONTENT_DISPOSITION, attachment(name));
        }
        response = self.common(response, manner);
        if let Some(date) = self.validators.last_modified() {
            response = response.header(LAST_MODIFIED, date);
        }
        response.header(ACCEPT_RANGES, BYTES)
    }
}

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// A response that says its status in words.
pub(crate) fn plain(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    Response::text(format!("{} {reason}\n", status.as_u16())).with_status(status)
}

/// What a failed call of the system comes to.
pub(crate) fn refuse(error: &io::Error, path: &Path) -> Response {
    let status = if is_absent(error) {
        StatusCode::NOT_FOUND
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        StatusCode::FORBIDDEN
    } else {
        tracing::warn!(path = %path.display(), %error, "a file cannot be served");
        if is_short_of_descriptors(error) {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    plain(status)
}

#[cfg(unix)]
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::NotFound
        // The last two: names that this file system cannot have.
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ)
        )
}

#[cfg(not(unix))]
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidInput)
}

#[cfg(unix)]
fn is_short_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_short_of_descriptors(_: &io::Error) -> bool {
    false
}
