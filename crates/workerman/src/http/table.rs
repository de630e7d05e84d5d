//! A table of routes as the handler of a worker.

use workerman_connection::outcome::{Outcome, Settled};
use workerman_http::routes::{Routed, Routes};
use workerman_protocol::http::Http;

use crate::{Connection, Worker};

impl Worker<Http> {
    /// Answers requests by a table of [`Routes`], in place of [`on_message`](Self::on_message).
    ///
    /// # Examples
    /// ```no_run
    /// use workerman::http::routes::Routes;
    /// use workerman::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let routes = Routes::builder()
    ///     .get("/", |_| "hello")
    ///     .get("/users/{id}", |request: Request| request.param("id").map(str::to_owned))
    ///     .build()?;
    /// Worker::http("0.0.0.0:2345").routes(routes).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn routes(self, routes: Routes) -> Self {
        self.on_message(move |_, request| ByRoute(routes.call(request)))
    }
}

/// What a route came to, as the outcome of a handler: a sync one is answered without a future.
struct ByRoute(Routed);

/// The case of [`ByRoute`].
struct Case;

impl Outcome<Http, Case> for ByRoute {
    fn settle(self, conn: &Connection<Http>) -> Settled<Http> {
        match self.0 {
            Routed::Ready(answered) => answered.settle(conn),
            Routed::Later(later) => later.settle(conn),
        }
    }
}
