//! One file that the program names itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use workerman_protocol::http::{HeaderValue, Method, Request, Response};

use super::answer::{Found, Manner, refuse};
use super::open::open_named;
use super::question::Question;
use super::serving::Serving;

/// One file as a response, named by the program: made by [`ResponseFile::file`].
///
/// The path is opened as it is, links are followed: never build it of what a peer sent, that is what
/// [`Files`](super::Files) is for. Preconditions, ranges and bodies are as there.
///
/// # Examples
/// ```
/// use workerman_http::files::ResponseFile;
/// use workerman_protocol::http::{Request, Response};
///
/// async fn report(request: Request) -> Response {
///     Response::file("reports/2024.pdf").attachment("report.pdf").respond(&request).await
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a file does nothing until it responds"]
pub struct ServeFile {
    path: PathBuf,
    manner: Manner,
}

impl ServeFile {
    fn new(path: PathBuf) -> Self {
        Self { path, manner: Manner::default() }
    }

    /// Sets the content type; by default it follows the ending of the path.
    pub fn content_type(mut self, value: HeaderValue) -> Self {
        self.manner.content_type = Some(value);
        self
    }

    /// Has the browser save the file, under this name (`Content-Disposition`, RFC 6266).
    pub fn attachment(mut self, name: impl Into<OsString>) -> Self {
        self.manner.attachment = Some(name.into());
        self
    }

    /// Whether a file of an unknown kind is to be saved, under its own name; by default it is.
    pub fn save_unknown(mut self, save: bool) -> Self {
        self.manner.save_unknown = save;
        self
    }

    /// Sends this `Cache-Control` field; by default there is none.
    pub fn cache_control(mut self, value: HeaderValue) -> Self {
        self.manner.cache_control = Some(value);
        self
    }

    /// Most ranges of one request; one that asks for more gets the whole file. 16 by default.
    pub fn max_ranges(mut self, most: usize) -> Self {
        self.manner.most_ranges = most;
        self
    }

    /// Most bytes that are read at once: 128 KiB by default, at least 4 KiB. A response holds two such pieces at most.
    pub fn piece(mut self, bytes: usize) -> Self {
        self.manner.piece = bytes.max(super::MIN_PIECE);
        self
    }

    /// The response: 404 without such a file, 403 without the right to read it.
    ///
    /// A request that is neither GET nor HEAD gets the whole file, its preconditions are not the file's.
    pub fn respond(self, request: &Request) -> Serving {
        let question = match *request.method() {
            Method::GET => Question::read(true, request.fields()),
            Method::HEAD => Question::read(false, request.fields()),
            _ => Question { get: true, ..Question::default() },
        };
        Serving::search(move || self.search(&question))
    }

    fn search(&self, question: &Question) -> Response {
        let now = SystemTime::now();
        open_named(&self.path)
            .map(|(file, metadata)| Found::new(file, &metadata, None, now))
            .and_then(|found| found.answer(question, &self.manner, &self.path))
            .unwrap_or_else(|error| refuse(&error, &self.path))
    }
}

/// A file as the response to a request; short for [`ResponseFile::file`] with nothing set.
///
/// The path is the program's: see [`ServeFile`].
pub fn serve_file(path: impl Into<PathBuf>, request: &Request) -> Serving {
    ServeFile::new(path.into()).respond(request)
}

/// Adds `Response::file`.
pub trait ResponseFile {
    /// A file as a response, to be configured.
    fn file(path: impl Into<PathBuf>) -> ServeFile;
}

impl ResponseFile for Response {
    fn file(path: impl Into<PathBuf>) -> ServeFile {
        ServeFile::new(path.into())
    }
}

#[cfg(test)]
mod tests;
