//! The server's side of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, settings};

/// WebSocket, the server's side of one connection.
#[derive(Clone)]
pub struct Websocket {
    config: Arc<Config>,
}

impl Websocket {
    /// A server with the default settings.
    pub fn new() -> Self {
        Self { config: Arc::default() }
    }
}

settings!(Websocket);

impl Default for Websocket {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Websocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Websocket").field("config", &self.config).finish_non_exhaustive()
    }
}
