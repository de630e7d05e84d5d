//! Whose fault it is that a handler has failed: the client's, if its request could not be read as the handler wanted.

use std::error::Error;

use super::super::{BadRequest, BodyError, Response, StatusCode};

/// Most causes of an error that are looked at.
const DEEPEST: usize = 16;

/// The answer of a handler that has failed; `streams`: it got its request before the body of that.
///
/// An error of the request's own methods is the client's, also as the cause of an application's error. An error of a body
/// says not of which: as the error itself it is taken for one of the request's, if there is a body that may have failed;
/// as a cause it is not.
pub(super) fn answer(error: &(dyn Error + 'static), streams: bool) -> Response {
    let mut cause = Some(error);
    for _ in 0..DEEPEST {
        let Some(error) = cause else { break };
        if let Some(bad) = error.downcast_ref::<BadRequest>() {
            return bad.bare();
        }
        cause = error.source();
    }
    let status = match error.downcast_ref::<BodyError>().filter(|_| streams) {
        Some(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(BodyError::Timeout) => StatusCode::REQUEST_TIMEOUT,
        Some(BodyError::Aborted | BodyError::Malformed(_)) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Response::new(status)
}
