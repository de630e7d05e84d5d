//! HTTP/1.1 (RFC 9110, 9112), server and client, without input or output.
//!
//! [`Http`] is the server's side of a connection: requests in, responses out. It is strict: what two implementations
//! could read in two ways is refused. Answers are written by the decoding half, in the order of their requests; a body
//! that streams is polled there too, as fast as the peer takes it.

mod body;
mod chunked;
mod client;
pub mod coding;
mod convert;
mod cookie;
mod date;
mod error;
mod form;
mod head;
mod headers;
mod link;
mod parse;
mod request;
mod response;
mod server;
pub mod sse;
#[cfg(feature = "websocket")]
pub(crate) mod switch;

pub use body::Body;
pub use client::{ClientEvent, ClientQueue, ClientRequest, HttpClient};
pub use cookie::{Cookie, CookieError, Cookies, SameSite};
pub use error::{BodyError, BoxError, Error};
pub use form::{FormValue, MAX_DEPTH, MAX_VARIABLES, Pairs};
pub use head::{Fields, RequestHead, Version};
pub use headers::Headers;
pub use link::{Answers, Reply, ReplyError};
#[cfg(feature = "websocket")]
pub(crate) use parse::{is_host, is_token, is_token_byte};
pub use request::{BadRequest, Request, RequestBuilder};
pub use response::{ReadError, Response};
pub use server::{Access, Admission, Http, RequestId};

pub use ::http::{HeaderName, HeaderValue, Method, StatusCode, header};
