//! What every backend has to do, written once: bodies that are generic over a [`World`].
//!
//! A test binary per backend instantiates them with [`conformance!`](macro@crate::conformance). The peers are foreign to the
//! backend under test: tokio's sockets for the real ones, the simulator's own streams for the simulated one.

pub mod datagrams;
pub mod edges;
pub mod fairness;
pub mod listening;
pub mod names;
#[cfg(unix)]
pub mod only_real;
#[cfg(unix)]
pub mod real;
mod rig;
pub mod sim;
pub mod streams;
pub mod timing;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};
use workerman_event::{Address, Backend, Datagram, Listener, Signal};

pub use rig::{Event, Log, Pieces, Rig, holds, patiently, pattern};

/// A backend, and the outside of it.
pub trait World: Sized + 'static {
    /// The backend under test.
    type Backend: Backend;
    /// A foreign end of a connection; dropping it closes it.
    type Peer: AsyncRead + AsyncWrite + Unpin + 'static;
    /// A foreign listener.
    type Acceptor: 'static;
    /// A foreign datagram socket.
    type Post: 'static;
    /// Whether time is virtual.
    const VIRTUAL: bool;

    /// Runs a test in a new world, on a runtime of its own.
    fn run(body: impl AsyncFnOnce(Self));

    /// A backend of this world.
    fn backend(&self) -> Self::Backend;

    /// A listener for a backend, and where peers reach it.
    fn listener(&self) -> (Listener, Address);

    /// A listener on a unix socket, if this world has any.
    fn unix_listener(&self) -> Option<(Listener, Address)>;

    /// Connects a peer.
    fn connect(&self, to: &Address) -> impl Future<Output = io::Result<Self::Peer>> + 'static;

    /// Resets a peer's connection.
    fn reset(peer: Self::Peer);

    /// The address of a peer's own end.
    fn local_address(peer: &Self::Peer) -> Address;

    /// A foreign listener, and where it is.
    fn acceptor(&self) -> (Self::Acceptor, Address);

    /// Accepts from it.
    fn accept(acceptor: &Self::Acceptor) -> impl Future<Output = Self::Peer>;

    /// An address where nobody listens.
    fn refusing(&self) -> Address;

    /// A name with one address of this world.
    fn name(&self) -> (String, IpAddr);

    /// A name without an address.
    fn unknown_name(&self) -> String;

    /// Raises a signal.
    fn raise(&self, signal: Signal);

    /// A datagram socket for a backend, and where peers reach it.
    fn datagram(&self) -> (Datagram, SocketAddr);

    /// A foreign datagram socket, and where it is.
    fn post(&self) -> (Self::Post, SocketAddr);

    /// Sends from a foreign datagram socket.
    fn post_to(post: &Self::Post, to: SocketAddr, payload: &[u8]) -> impl Future<Output = ()>;

    /// Receives at a foreign datagram socket.
    fn receive(post: &Self::Post) -> impl Future<Output = (Vec<u8>, SocketAddr)>;
}

/// Instantiates every body for one world.
#[macro_export]
macro_rules! conformance {
    ($world:ty) => {
        $crate::conformance! { @each $world;
            streams: bytes_go_both_ways, megabytes_stay_in_order, a_short_write_is_followed_by_writable,
                many_pieces_leave_in_order, the_peer_closes_its_half, we_close_our_half, a_reset_is_told_once,
                an_abort_resets_the_peer, a_close_ends_the_peer, a_connect_succeeds, a_connect_is_refused,
                a_connect_can_be_given_up, a_token_that_is_gone_is_ignored, a_lent_buffer_is_filled_and_returned,
                a_lent_buffer_is_reclaimed;
            edges: data_and_fin_before_the_first_poll, a_thousand_ready_at_once, a_budget_leaves_data_behind,
                pause_then_data_then_resume, pause_then_fin_then_resume, room_before_anybody_waits_for_it,
                a_reset_after_fin, a_slot_reused_in_the_same_turn, closing_another_with_data_in_the_same_turn,
                closing_oneself_and_pausing_inside_a_turn, a_stale_token_does_not_reach_its_successor,
                a_call_after_the_turn_wakes_the_loop;
            listening: several_are_accepted_in_one_wake_up, a_pause_loses_no_connection, a_pause_inside_a_turn_holds,
                unlisten_refuses_from_then_on, unix_sockets_work_as_tcp_does;
            fairness: a_flood_starves_nobody, a_turn_reads_each_connection_once;
            names: a_literal_needs_no_resolver, a_name_is_resolved, an_unknown_name_is_an_error,
                a_cancelled_look_up_is_silent, a_signal_is_told;
            datagrams: datagrams_keep_their_bounds, datagrams_are_read_fairly, a_closed_datagram_socket_is_silent;
            timing: timers_ring_in_order_and_never_early, a_timer_of_no_time_starves_nothing,
                a_user_task_goes_on_beside_the_loop;
        }
    };
    (@each $world:ty; $($theme:ident: $($body:ident),* ;)*) => {
        $(mod $theme {
            $(#[test]
            fn $body() {
                <$world as $crate::conformance::World>::run($crate::conformance::$theme::$body);
            })*
        })*
    };
}

/// Instantiates the bodies that only the real world has.
#[macro_export]
macro_rules! real_conformance {
    ($world:ty) => {
        $crate::conformance! { @each $world;
            only_real: another_thread_wakes_the_loop, a_blocking_peer_on_a_thread, open_sockets_are_adopted,
                an_unreachable_datagram_peer_is_told;
        }
    };
}
