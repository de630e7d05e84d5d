//! Parameters of a path, as numbers and the like.

use std::str::FromStr;

use workerman_protocol::http::{Request, Response};

/// A parameter of a path is not what the handler wants.
///
/// Converted into a [`Response`] it is a 400: `?` does that in a handler that returns `Result<_, Response>`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// The client's text cannot be read as the type.
    #[error("the part {name} of the path is not valid")]
    Invalid {
        /// The name of the parameter.
        name: String,
    },
    /// The route has no parameter of this name: a mistake of the application.
    #[error("the route has no parameter {name}")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
}

impl From<ParamError> for Response {
    fn from(error: ParamError) -> Self {
        match error {
            ParamError::Invalid { .. } => Self::text(format!("{error}\n")).with_status(400),
            ParamError::Unknown { .. } => {
                tracing::error!(%error);
                Self::of(500)
            }
        }
    }
}

/// Adds `param_as` to [`Request`].
pub trait Params {
    /// A parameter of the path, read as another type.
    ///
    /// # Errors
    /// It cannot be read as `T`, or the route has no such parameter.
    ///
    /// # Examples
    /// ```
    /// use workerman_http::routes::Params;
    /// use workerman_protocol::http::{Request, Response};
    ///
    /// fn show(request: &Request) -> Result<Response, Response> {
    ///     let id: u64 = request.param_as("id")?;
    ///     Ok(Response::text(format!("number {id}")))
    /// }
    /// let request = Request::builder("GET", "/items/x").param("id", "x").build()?;
    /// assert_eq!(show(&request).unwrap_err().status(), 400);
    /// # Ok::<(), workerman_protocol::http::Error>(())
    /// ```
    fn param_as<T: FromStr>(&self, name: &str) -> Result<T, ParamError>;
}

impl Params for Request {
    fn param_as<T: FromStr>(&self, name: &str) -> Result<T, ParamError> {
        let value = self.param(name).ok_or_else(|| ParamError::Unknown { name: name.to_owned() })?;
        value.parse().map_err(|_| ParamError::Invalid { name: name.to_owned() })
    }
}
