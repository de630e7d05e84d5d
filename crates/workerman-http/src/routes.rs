//! A small table of routes: a method and a pattern of paths lead to a handler, and nothing more.
//!
//! A pattern is a path whose parts may be parameters: `/users/{id}/files/{*path}`. `{name}` is one part, at least one
//! byte long; `{*name}` is all that follows, even nothing. Everything else is taken literally: `/users` and `/users/`
//! are two paths. Where several patterns fit, a literal beats a parameter beats the tail, from left to right; the most
//! exact one that has the method is called. Two routes with the same method for the same paths are an error when the
//! table is built.
//!
//! Paths are split at their slashes and then decoded, so that `%2F` is a slash in a parameter and never splits it. A
//! part that is not UTF-8 fits no parameter.
//!
//! Answered without a handler: 404 for a path that no pattern fits; 405 with `Allow` for a method that the path does not
//! have; OPTIONS, with `Allow`; and HEAD, by the handler of GET.
//!
//! # Examples
//! ```
//! use workerman_http::routes::{Params, Routes};
//! use workerman_protocol::http::{Request, Response};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let routes = Routes::builder()
//!     .get("/", |_| "hello")
//!     .get("/double/{n}", |request: Request| -> Result<Response, Response> {
//!         let n: u32 = request.param_as("n")?;
//!         Ok(Response::text((u64::from(n) * 2).to_string()))
//!     })
//!     .post_async("/echo", async |mut request: Request| request.body_mut().bytes(1 << 20).await)
//!     .build()?;
//!
//! let request = Request::builder("GET", "/double/21").build()?;
//! let response = routes.respond(request).await?.unwrap();
//! assert_eq!(response.body_ref().as_bytes().unwrap(), "42");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! # }).unwrap();
//! ```
mod answer;
mod param;
mod pattern;
mod tree;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use workerman_protocol::http::header::ALLOW;
use workerman_protocol::http::{BoxError, Method, Request, Response, StatusCode};

pub use self::answer::{Answer, Answered, Async, Fallible, Optional, Reply, Routed, Unit};
pub use self::param::{ParamError, Params};
use self::tree::{Methods, Node};
use crate::cors::{Cors, Grant};

type Handler = Box<dyn Fn(Request) -> Routed + Send + Sync>;
type Rescue = Box<dyn Fn(BoxError) -> Response + Send + Sync>;

/// A table of routes; see the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Routes {
    table: Arc<Table>,
}

struct Table {
    root: Node,
    routes: Vec<Route>,
    cors: Option<Cors>,
    rescue: Option<Rescue>,
}

struct Route {
    method: Option<Method>,
    pattern: String,
    /// The names of the parameters, in their order.
    names: Vec<Box<str>>,
    handler: Handler,
}

/// Why a table of routes cannot be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A pattern is none.
    #[error("the pattern {pattern} is not valid: {reason}")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two routes are for the same requests.
    #[error("{method} {pattern} has a route already: {other}")]
    Conflict {
        /// The method; `*` for any.
        method: String,
        /// The pattern of the second route.
        pattern: String,
        /// The pattern of the first.
        other: String,
    },
}

impl Routes {
    /// Begins a table.
    pub fn builder() -> RoutesBuilder {
        RoutesBuilder { routes: Vec::new(), cors: None, rescue: None }
    }

    /// Calls the handler of a request: a sync one has answered when this returns.
    pub fn call(&self, request: Request) -> Routed {
        let table = &*self.table;
        let (cors, rescue) = (table.cors.as_ref(), table.rescue.as_ref());
        if cors.is_none() && rescue.is_none() {
            return table.dispatch(request);
        }
        let grant = match cors {
            Some(cors) if Cors::is_preflight(request.head()) => {
                let allowed = || table.allowed(request.path()).map(|methods| join(&methods));
                return Routed::Ready(Ok(Some(cors.answer_preflight(request.head(), allowed))));
            }
            Some(cors) => Some(cors.grant(request.head())),
            None => None,
        };
        match table.dispatch(request) {
            Routed::Ready(answered) => Routed::Ready(table.complete(answered, grant)),
            Routed::Later(later) => {
                let table = Arc::clone(&self.table);
                Routed::Later(Box::pin(async move { table.complete(later.await, grant) }))
            }
        }
    }

    /// The answer to a request: what its handler returned, or the table's own. `None` if the handler answers by the
    /// request's token.
    ///
    /// # Errors
    /// The handler failed, and there is no [`on_error`](RoutesBuilder::on_error).
    pub async fn respond(&self, request: Request) -> Answered {
        self.call(request).finish().await
    }
}

impl Table {
    fn dispatch(&self, mut request: Request) -> Routed {
        let mut chosen = None;
        {
            let method = request.method();
            self.visit(request.path(), |methods, captured| {
                chosen = methods.route(method).map(|route| {
                    (route, captured.iter().map(|value| value.clone().into_owned()).collect::<Vec<_>>())
                });
                chosen.is_some()
            });
        }
        let Some((route, values)) = chosen else { return Routed::Ready(Ok(Some(self.refuse(&request)))) };
        let route = &self.routes[route];
        for (name, value) in route.names.iter().zip(values) {
            request.set_param(name.clone(), value);
        }
        (route.handler)(request)
    }

    fn visit<'p>(&self, path: &'p str, mut visit: impl FnMut(&Methods, &[Cow<'p, str>]) -> bool) -> bool {
        // An absolute target without a path is one for the root (RFC 9110 section 4.2.3).
        let rest = if path.is_empty() { Some(path) } else { path.strip_prefix('/') };
        rest.is_some_and(|rest| self.root.visit(Some(rest), &mut Vec::new(), &mut visit))
    }

    /// The answer without a handler.
    #[cold]
    fn refuse(&self, request: &Request) -> Response {
        let options = *request.method() == Method::OPTIONS;
        let Some(methods) = self.allowed(request.path()) else {
            return plain(StatusCode::NOT_FOUND);
        };
        if options {
            Response::new(StatusCode::NO_CONTENT).header(ALLOW, join(&methods))
        } else {
            // RFC 9110 section 15.5.6: Allow is a must.
            plain(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, join(&methods))
        }
    }

    /// The methods that a path has, in the order of its patterns; `None` without a pattern that fits.
    fn allowed(&self, path: &str) -> Option<Vec<Method>> {
        let mut methods: Vec<Method> = Vec::new();
        let mut add = |method: &Method| {
            if !methods.contains(method) {
                methods.push(method.clone());
            }
        };
        let mut add_all = |found: &mut dyn Iterator<Item = &Method>| {
            for method in found {
                add(method);
                if *method == Method::GET {
                    add(&Method::HEAD);
                }
            }
        };
        let mut found = false;
        if path == "*" {
            // The server as a whole (RFC 9110 section 9.3.7).
            found = true;
            add_all(&mut self.routes.iter().filter_map(|route| route.method.as_ref()));
        }
        self.visit(path, |here, _| {
            found = true;
            add_all(&mut here.named());
            false
        });
        add(&Method::OPTIONS);
        found.then_some(methods)
    }

    fn complete(&self, answered: Answered, grant: Option<Grant>) -> Answered {
        let answered = match (answered, &self.rescue) {
            (Err(error), Some(rescue)) => Ok(Some(rescue(error))),
            (answered, _) => answered,
        };
        match (answered, grant) {
            (Ok(Some(response)), Some(grant)) => Ok(Some(grant.apply(response))),
            (answered, _) => answered,
        }
    }
}

fn join(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

fn plain(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    Response::text(format!("{} {reason}\n", status.as_u16())).with_status(status)
}

/// Collects routes; made by [`Routes::builder`].
///
/// The methods with `_async` take async closures (`async |request| ..`), the others plain ones, which may return a
/// future as well; see [`Answer`] for what either may return.
#[must_use = "`build` makes the table"]
pub struct RoutesBuilder {
    routes: Vec<Route>,
    cors: Option<Cors>,
    rescue: Option<Rescue>,
}

macro_rules! methods {
    ($($method:ident, $sync:ident, $async:ident;)*) => {$(
        #[doc = concat!("Adds a route for ", stringify!($method), ".")]
        pub fn $sync<M, R: Answer<M>>(
            self,
            pattern: &str,
            handler: impl Fn(Request) -> R + Send + Sync + 'static,
        ) -> Self {
            self.route(Method::$method, pattern, handler)
        }

        #[doc = concat!("Adds a route for ", stringify!($method), " with an async closure.")]
        pub fn $async<M, R: Answer<M>>(
            self,
            pattern: &str,
            handler: impl AsyncFn(Request) -> R + Send + Sync + 'static,
        ) -> Self {
            self.route_async(Method::$method, pattern, handler)
        }
    )*};
}

impl RoutesBuilder {
    methods! {
        GET, get, get_async;
        POST, post, post_async;
        PUT, put, put_async;
        PATCH, patch, patch_async;
        DELETE, delete, delete_async;
    }

    /// Adds a route for a method of any name.
    pub fn route<M, R: Answer<M>>(
        self,
        method: Method,
        pattern: &str,
        handler: impl Fn(Request) -> R + Send + Sync + 'static,
    ) -> Self {
        self.push(Some(method), pattern, sync(handler))
    }

    /// Adds a route for a method of any name, with an async closure.
    pub fn route_async<M, R: Answer<M>>(
        self,
        method: Method,
        pattern: &str,
        handler: impl AsyncFn(Request) -> R + Send + Sync + 'static,
    ) -> Self {
        self.push(Some(method), pattern, suspended(handler))
    }

    /// Adds a route for every method that the pattern has no other route for.
    pub fn any<M, R: Answer<M>>(
        self,
        pattern: &str,
        handler: impl Fn(Request) -> R + Send + Sync + 'static,
    ) -> Self {
        self.push(None, pattern, sync(handler))
    }

    /// Adds a route for every method that the pattern has no other route for, with an async closure.
    pub fn any_async<M, R: Answer<M>>(
        self,
        pattern: &str,
        handler: impl AsyncFn(Request) -> R + Send + Sync + 'static,
    ) -> Self {
        self.push(None, pattern, suspended(handler))
    }

    fn push(mut self, method: Option<Method>, pattern: &str, handler: Handler) -> Self {
        self.routes.push(Route { method, pattern: pattern.to_owned(), names: Vec::new(), handler });
        self
    }

    /// Lets pages of other origins use the routes: answers their preflights, and adds the fields to every response of
    /// the table, 404 and 405 included.
    ///
    /// Without [`CorsBuilder::methods`](crate::cors::CorsBuilder::methods) a path allows the methods that it has. A
    /// response by the request's token has no such fields, nor has the 500 of a failed handler: see
    /// [`on_error`](Self::on_error).
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = Some(cors);
        self
    }

    /// Makes a response of the failure of a handler.
    ///
    /// Without this, a failure is handed on: the worker's `on_error` is told, and the client gets an empty 500.
    pub fn on_error<R: Into<Response>>(
        mut self,
        rescue: impl Fn(BoxError) -> R + Send + Sync + 'static,
    ) -> Self {
        self.rescue = Some(Box::new(move |error| rescue(error).into()));
        self
    }

    /// Builds the table.
    ///
    /// # Errors
    /// A pattern is not valid, or two routes are for the same method and paths.
    pub fn build(mut self) -> Result<Routes, RouteError> {
        let mut root = Node::default();
        for at in 0..self.routes.len() {
            let route = &mut self.routes[at];
            let (parts, names) = pattern::parse(&route.pattern)?;
            route.names = names;
            if let Err(other) = root.insert(&parts, route.method.clone(), at) {
                let route = &self.routes[at];
                return Err(RouteError::Conflict {
                    method: route.method.as_ref().map_or("*", Method::as_str).to_owned(),
                    pattern: route.pattern.clone(),
                    other: self.routes[other].pattern.clone(),
                });
            }
        }
        let Self { routes, cors, rescue } = self;
        Ok(Routes { table: Arc::new(Table { root, routes, cors, rescue }) })
    }
}

fn sync<M, R: Answer<M>>(handler: impl Fn(Request) -> R + Send + Sync + 'static) -> Handler {
    Box::new(move |request| handler(request).routed())
}

fn suspended<M, R: Answer<M>>(handler: impl AsyncFn(Request) -> R + Send + Sync + 'static) -> Handler {
    let handler = Arc::new(handler);
    Box::new(move |request| {
        // The future of an async closure borrows the closure.
        let handler = Arc::clone(&handler);
        Routed::Later(Box::pin(async move { handler(request).await.routed().finish().await }))
    })
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.table.routes)
    }
}

impl fmt::Debug for RoutesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.routes)
    }
}

fn list(f: &mut fmt::Formatter<'_>, routes: &[Route]) -> fmt::Result {
    let method = |route: &Route| route.method.clone().map_or("*".to_owned(), |method| method.to_string());
    f.debug_list().entries(routes.iter().map(|route| format!("{} {}", method(route), route.pattern))).finish()
}

#[cfg(test)]
mod tests;
