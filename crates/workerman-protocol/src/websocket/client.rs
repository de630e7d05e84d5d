//! The client's side of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, settings};

/// WebSocket, the client's side of one connection.
#[derive(Clone)]
pub struct WebsocketClient {
    config: Arc<Config>,
}

impl WebsocketClient {
    /// A client with the default settings.
    pub fn new() -> Self {
        Self { config: Arc::default() }
    }
}

settings!(WebsocketClient);

impl Default for WebsocketClient {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WebsocketClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebsocketClient").field("config", &self.config).finish_non_exhaustive()
    }
}
