//! Piping one connection into another, with backpressure.

use std::time::Duration;

use workerman_protocol::{Outbox, Protocol};

use crate::later::Later;
use crate::outcome::Settled;
use crate::push;
use crate::shared::End;
use crate::{Connection, Error, SendError, Sent};

/// How long a pipe waits when there is room for some message but not for this one, or when all queues of the other's
/// loop together are full: nothing wakes it when that changes.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the messages of a connection go in place of its `on_message`.
pub(crate) trait Forward<P: Protocol>: Send {
    fn message(&self, conn: &Connection<P>, message: P::Incoming) -> Settled<P>;
    /// The stream has ended: so does the other's sending direction. What is left to do is to end with the other.
    fn ended(&self, conn: &Connection<P>) -> Settled<P>;
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
    fn message(&self, conn: &Connection<P>, message: P::Incoming) -> Settled<P> {
        let mut parcel = Parcel::Message(message.into());
        match parcel.offer(&self.0) {
            Ok(Sent::Accepted) => Settled::Done,
            Ok(Sent::OverHighWater) | Err(SendError::Full { .. } | SendError::LoopFull { .. }) => {
                // This connection is not read until the other has drained: exactly what a suspended handler does.
                let (to, own) = (self.0.clone(), conn.clone());
                Settled::Later(Box::pin(async move { parcel.deliver(&to, &own).await.map(|()| None) }))
            }
            Err(SendError::Closed | SendError::Upgraded) => {
                conn.close();
                Settled::Done
            }
            Err(error) => Settled::Fail(Error::Reply(error.into())),
        }
    }

    fn ended(&self, conn: &Connection<P>) -> Settled<P> {
        self.0.0.shut_down();
        self.0.0.wish(|wishes| wishes.half_close = true);
        // Without a pipe back nobody else would ever end this connection: its peer has nothing more to say.
        let (closed, own) = (self.0.closed(), conn.clone());
        Settled::Later(Box::pin(async move {
            closed.await;
            own.close();
            Ok(None)
        }))
    }

    fn closed(&self) {
        self.0.0.shut_down();
        self.0.0.wish_end(End::Close);
    }
}

/// A message on its way.
enum Parcel<Q: Protocol> {
    Message(Q::Outgoing),
    /// Encoded, and found too large for the room that there was.
    Encoded(Outbox),
    Delivered,
}

/// One that is taken out where it is when it is encoded.
struct Offer<'a, Q: Protocol>(&'a mut Parcel<Q>);

impl<Q: Protocol> push::Parcel<Q> for Offer<'_, Q> {
    fn encode(self, sending: &mut Q::Sending, out: &mut Outbox) -> Result<(), Q::Error> {
        match std::mem::replace(self.0, Parcel::Delivered) {
            Parcel::Message(message) => Q::encode(sending, message, out),
            Parcel::Encoded(mut bytes) => {
                out.append(&mut bytes);
                Ok(())
            }
            Parcel::Delivered => Ok(()),
        }
    }

    /// It waits where it is.
    fn later(self) -> Option<Later<Q>> {
        None
    }
}

impl<Q: Protocol> Parcel<Q> {
    /// Sends it; what does not fit stays here.
    fn offer(&mut self, to: &Connection<Q>) -> Result<Sent, SendError<Q::Error>> {
        let mut rest = Outbox::new();
        // A pipe waits for room, whatever the size.
        let sent = to.0.push_or_keep(0, Offer(self), &mut rest);
        if !rest.is_empty() {
            *self = Self::Encoded(rest);
        }
        sent
    }

    /// Waits until it is taken and there is room again.
    async fn deliver(mut self, to: &Connection<Q>, own: &Connection<impl Protocol>) -> Result<(), Error> {
        let limit = to.service().settings().hard_limit;
        loop {
            if let Self::Encoded(bytes) = &self {
                if bytes.len() > limit {
                    let error = SendError::<Q::Error>::Full { queued: to.buffered() };
                    return Err(Error::Reply(error.into()));
                }
                tokio::time::sleep(PAUSE).await;
            }
            if to.ready().await.is_err() {
                // What was on its way cannot arrive any more.
                if !matches!(self, Self::Delivered) {
                    own.close();
                }
                return Ok(());
            }
            match self {
                Self::Delivered => return Ok(()),
                _ => match self.offer(to) {
                    Ok(_) | Err(SendError::Full { .. }) => {}
                    Err(SendError::LoopFull { .. }) => tokio::time::sleep(PAUSE).await,
                    Err(SendError::Closed | SendError::Upgraded) => {}
                    Err(error) => return Err(Error::Reply(error.into())),
                },
            }
        }
    }
}
