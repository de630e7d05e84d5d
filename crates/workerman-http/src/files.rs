//! Files as responses: a handler for the files below a folder, and single files.
//!
//! [`Files`] answers requests with the files below a root, and with nothing else; [`serve_file`] and
//! [`Response::file`](ResponseFile::file) send a file that the program names. Both know preconditions (`If-Match`,
//! `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, `If-Range`), ranges (one, several, from the end) and
//! HEAD, as RFC 9110 has them in sections 13 and 14.
//!
//! # How a body is read
//! On tokio's threads for blocking work, never on the thread of a loop: a piece of at most [`Files::piece`] bytes at a
//! time, and the next one while the one before is being sent. A response holds two pieces at most, however long the
//! file is and however slow its reader. A file of one piece is read in the same go in which it is opened.
//!
//! The length is what the file has when it is opened. One that grows later is sent up to that length; one that shrinks
//! breaks the connection off, so that the client notices.
//!
//! # Validators
//! The `ETag` is made of size, time of change and number of the file. It is weak as long as the file changed less than
//! two seconds ago, since it might change again without its time telling; so a range with `If-Range` is answered only
//! of a file that has settled. `Last-Modified` is never in the future.
//!
//! The wall clock is read for this, on the thread that opens the file: the times of files come from the same clock,
//! not from that of a loop, which may be simulated.
mod answer;
mod coding;
mod conditions;
mod kind;
mod open;
mod parts;
mod path;
mod question;
mod ranges;
mod reading;
mod serving;
mod single;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use workerman_protocol::http::header::{ALLOW, LOCATION};
use workerman_protocol::http::{HeaderValue, Method, Request, Response, StatusCode};

use self::answer::{Found, Manner, plain, refuse};
use self::coding::{Coding, welcome};
use self::open::{Entry, open};
use self::path::{Names, names};
use self::question::Question;
pub use self::serving::Serving;
pub use self::single::{ResponseFile, ServeFile, serve_file};

/// Least that is read at once.
const MIN_PIECE: usize = 4096;

/// A handler for the files below a folder. Cheap to clone.
///
/// It answers GET and HEAD, and OPTIONS with what it allows; any other method gets a 405. What is not there, or not for
/// the peer to know, is a 404; a file that may not be read is a 403. The path of a request is split at its slashes, each
/// part is decoded once, and what could lead anywhere else is refused: `..` in any spelling, encoded slashes,
/// backslashes, drives, NUL, empty names, names that begin with a dot (see [`hidden`](Self::hidden)).
///
/// # Examples
/// ```
/// use workerman_http::files::Files;
/// use workerman_protocol::http::{Request, Response};
///
/// let files = Files::new("public").index("index.html").precompressed(true);
/// let handler = async move |request: Request| -> Response { files.respond(&request).await };
/// # let _ = handler;
/// ```
#[derive(Clone)]
pub struct Files {
    config: Arc<Config>,
}

#[derive(Clone, Debug)]
struct Config {
    root: PathBuf,
    /// What the path of a request begins with, without a slash at the end.
    prefix: String,
    index: Option<OsString>,
    hidden: bool,
    links: bool,
    manner: Manner,
}

impl Files {
    /// The files below `root`, which is looked up at each request: it may be a link that is replaced.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let config = Config {
            root: root.into(),
            prefix: String::new(),
            index: None,
            hidden: false,
            links: true,
            manner: Manner::default(),
        };
        Self { config: Arc::new(config) }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// What the path of a request begins with before it comes to the root, as in `/static`; empty by default.
    ///
    /// A path that begins otherwise is a 404.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        self.with(|config| prefix.trim_end_matches('/').clone_into(&mut config.prefix))
    }

    /// Answers requests for a folder with this file in it; by default there is no such file, and folders are a 404.
    ///
    /// Asked for without the slash at its end, a folder that has the file is a redirect (301) to the path with it, so
    /// that links in the file are right. Contents of folders are never listed.
    ///
    /// # Panics
    /// The name is a path of several parts, or leads elsewhere (`..`).
    #[must_use]
    pub fn index(self, name: impl Into<OsString>) -> Self {
        let name = name.into();
        let components: Vec<Component<'_>> = Path::new(&name).components().collect();
        assert!(
            matches!(*components, [Component::Normal(only)] if only == name),
            "the index is one plain name"
        );
        self.with(|config| config.index = Some(name))
    }

    /// Whether a file with `.br` or `.gz` behind its name is sent in place of the one without, to those who take it;
    /// off by default.
    ///
    /// One that is older than the plain file is not used: it has been forgotten. A request for a range gets it of the
    /// plain file, unless its `If-Range` names an encoded one. `Vary` is always sent.
    #[must_use]
    pub fn precompressed(self, precompressed: bool) -> Self {
        self.with(|config| config.manner.varies = precompressed)
    }

    /// Whether names that begin with a dot are served; by default they are not, but for `/.well-known/` (RFC 8615).
    #[must_use]
    pub fn hidden(self, hidden: bool) -> Self {
        self.with(|config| config.hidden = hidden)
    }

    /// Whether links are followed that stay below the root; by default they are. Those that leave it never are.
    #[must_use]
    pub fn links(self, links: bool) -> Self {
        self.with(|config| config.links = links)
    }

    /// Sends this `Cache-Control` field with each file; by default there is none.
    #[must_use]
    pub fn cache_control(self, value: HeaderValue) -> Self {
        self.with(|config| config.manner.cache_control = Some(value))
    }

    /// Whether a browser is to save what is of an unknown kind (`application/octet-stream`), under its own name, rather
    /// than guess what it is; by default it is.
    #[must_use]
    pub fn save_unknown(self, save: bool) -> Self {
        self.with(|config| config.manner.save_unknown = save)
    }

    /// Most ranges of one request; one that asks for more gets the whole file. 16 by default.
    ///
    /// Ranges that overlap, or that are less than 80 bytes apart, are sent as one, so that no request gets more than
    /// the file and the heads of the parts.
    #[must_use]
    pub fn max_ranges(self, most: usize) -> Self {
        self.with(|config| config.manner.most_ranges = most)
    }

    /// Most bytes that are read at once: 128 KiB by default, at least 4 KiB. A response holds two such pieces at most.
    #[must_use]
    pub fn piece(self, bytes: usize) -> Self {
        self.with(|config| config.manner.piece = bytes.max(MIN_PIECE))
    }

    /// The response to a request. The future borrows nothing, the file is opened on another thread.
    pub fn respond(&self, request: &Request) -> Serving {
        let get = match *request.method() {
            Method::GET => true,
            Method::HEAD => false,
            Method::OPTIONS => {
                return Serving::ready(Response::new(StatusCode::NO_CONTENT).header(ALLOW, ALLOWED));
            }
            _ => {
                return Serving::ready(plain(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, ALLOWED));
            }
        };
        let Some(names) = self.config.names(request.path()) else {
            return Serving::ready(plain(StatusCode::NOT_FOUND));
        };
        let question = Question::read(get, request.fields());
        // Only folders need it, and only those that are asked for without a slash.
        let slashed =
            (self.config.index.is_some() && !names.folder).then(|| slashed(request.path(), request.query()));
        let config = Arc::clone(&self.config);
        Serving::search(move || config.search(&names, &question, slashed))
    }
}

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

impl Config {
    fn names(&self, path: &str) -> Option<Names> {
        let rest = path.strip_prefix(&*self.prefix)?;
        // The prefix ends where a name ends. `/static` alone is the root, asked for without its slash.
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let mut names = names(rest, self.hidden)?;
        if rest.is_empty() && !self.prefix.is_empty() {
            names.folder = false;
        }
        Some(names)
    }

    /// Looks for the file and answers; blocks.
    fn search(&self, names: &Names, question: &Question, slashed: Option<String>) -> Response {
        self.find(names, question, slashed).unwrap_or_else(|error| {
            let mut path = self.root.clone();
            path.extend(&names.names);
            refuse(&error, &path)
        })
    }

    fn find(&self, names: &Names, question: &Question, slashed: Option<String>) -> io::Result<Response> {
        let now = SystemTime::now();
        let (path, entry) = match open(&self.root, &names.names, self.links)? {
            Entry::File(..) if names.folder => return Err(io::ErrorKind::NotFound.into()),
            Entry::Folder => {
                let index = self.index.clone().ok_or(io::ErrorKind::NotFound)?;
                let path = [&names.names[..], &[index]].concat();
                let entry = open(&self.root, &path, self.links)?;
                if let (Entry::File(..), Some(location)) = (&entry, slashed) {
                    return Ok(Response::new(StatusCode::MOVED_PERMANENTLY).header(LOCATION, location));
                }
                (path, entry)
            }
            file @ Entry::File(..) => (names.names.clone(), file),
        };
        let Entry::File(file, metadata) = entry else { return Err(io::ErrorKind::NotFound.into()) };
        let name = PathBuf::from(path.last().cloned().unwrap_or_default());
        let encoded = if self.manner.varies {
            self.encoded(&path, metadata.modified().ok(), question, now)
        } else {
            None
        };
        let found = encoded.unwrap_or_else(|| Found::new(file, &metadata, None, now));
        found.answer(question, &self.manner, &name)
    }

    /// The encoding of a file that suits the request best, if there is one beside it.
    fn encoded(
        &self,
        path: &[OsString],
        modified: Option<SystemTime>,
        question: &Question,
        now: SystemTime,
    ) -> Option<Found> {
        let beside = |coding: Coding| {
            let mut path = path.to_vec();
            path.last_mut()?.push(coding.ending());
            let Ok(Entry::File(file, metadata)) = open(&self.root, &path, self.links) else { return None };
            let forgotten = metadata.modified().ok() < modified;
            (!forgotten).then(|| Found::new(file, &metadata, Some(coding), now))
        };
        let mut found = welcome(question.accept_encoding.as_deref()).into_iter().filter_map(beside);
        if question.range.is_some() {
            // A client that asks for a part has the rest of something: of the plain file, unless it says otherwise.
            return found.find(|found| found.continues(question));
        }
        found.next()
    }
}

/// The path with a slash at its end, and the query.
///
/// It begins with one slash and then a name, or it would have been refused: two would name another host.
fn slashed(path: &str, query: Option<&str>) -> String {
    let (mark, query) = query.map_or(("", ""), |query| ("?", query));
    let text = format!("{path}/{mark}{query}");
    percent_encoding::utf8_percent_encode(&text, percent_encoding::CONTROLS).to_string()
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { root, prefix, index, .. } = &*self.config;
        f.debug_struct("Files")
            .field("root", &Path::display(root))
            .field("prefix", prefix)
            .field("index", index)
            .finish_non_exhaustive()
    }
}
