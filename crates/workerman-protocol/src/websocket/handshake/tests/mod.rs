mod client;
mod hello;
mod server;
mod token;
