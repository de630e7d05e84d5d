//! Piping one connection into another, with backpressure.

use std::time::Duration;

use workerman_protocol::Protocol;

use crate::outcome::Settled;
use crate::shared::End;
use crate::{Connection, Error, SendError, Sent};

/// How long a pipe waits when all queues of the other's loop together are full.
const LOOP_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Where the messages of a connection go in place of its `on_message`.
pub(crate) trait Forward<P: Protocol>: Send {
    fn message(&self, conn: &Connection<P>, message: P::Incoming) -> Settled;
    /// The stream has ended: so does the other's sending direction.
    fn ended(&self);
    /// The connection has ended: so does the other.
    fn closed(&self);
}

pub(crate) fn forward<P: Protocol, Q: Protocol>(to: Connection<Q>) -> Box<dyn Forward<P>>
where
    P::Incoming: Into<Q::Outgoing>,
{
    Box::new(To(to))
}

struct To<Q: Protocol>(Connection<Q>);

impl<P: Protocol, Q: Protocol> Forward<P> for To<Q>
where
    P::Incoming: Into<Q::Outgoing>,
{
    fn message(&self, conn: &Connection<P>, message: P::Incoming) -> Settled {
        let mut message = Some(message.into());
        match offer(&self.0, &mut message) {
            Ok(Sent::Accepted) => Settled::Done,
            Ok(Sent::OverHighWater) | Err(SendError::Full { .. } | SendError::LoopFull { .. }) => {
                // This connection is not read until the other has drained: exactly what a suspended handler does.
                let to = self.0.clone();
                Settled::Later(Box::pin(async move {
                    while to.ready().await.is_ok() && message.is_some() {
                        match offer(&to, &mut message) {
                            Err(SendError::Full { .. }) if message.is_some() => {}
                            // This connection has room and its loop has none: nothing wakes us when it has.
                            Err(SendError::LoopFull { .. }) if message.is_some() => {
                                tokio::time::sleep(LOOP_FULL_PAUSE).await;
                            }
                            Ok(_) | Err(SendError::Closed | SendError::Upgraded) => return Ok(()),
                            Err(error) => return Err(Error::Reply(error.into())),
                        }
                    }
                    Ok(())
                }))
            }
            Err(SendError::Closed | SendError::Upgraded) => {
                conn.close();
                Settled::Done
            }
            Err(error) => Settled::Fail(Error::Reply(error.into())),
        }
    }

    fn ended(&self) {
        self.0.0.shut_down();
        self.0.0.wish(|wishes| wishes.half_close = true);
    }

    fn closed(&self) {
        self.0.0.shut_down();
        self.0.0.wish_end(End::Close);
    }
}

/// Sends a message; a full queue leaves it in place.
fn offer<Q: Protocol>(
    to: &Connection<Q>,
    message: &mut Option<Q::Outgoing>,
) -> Result<Sent, SendError<Q::Error>> {
    to.0.push(|sending, out| match message.take() {
        Some(message) => Q::encode(sending, message, out),
        None => Ok(()),
    })
}
