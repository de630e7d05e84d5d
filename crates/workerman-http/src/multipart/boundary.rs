//! The boundary: what stands between the parts of a form.

use super::{MultipartError, params};

/// The boundary of a form, as its content type names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boundary(Vec<u8>);

impl Boundary {
    /// The boundary that a content type names: `multipart/form-data; boundary=…`.
    ///
    /// # Errors
    /// It is another type, or has no boundary of 1 to 70 printable characters (RFC 2046 section 5.1.1), or two.
    pub fn of(content_type: &str) -> Result<Self, MultipartError> {
        let (kind, mut params) = params::split(content_type.as_bytes());
        if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
            return Err(MultipartError::ContentType("the type is another"));
        }
        let mut boundary = None;
        while let Some((name, value)) =
            params.next().map_err(|_| MultipartError::ContentType("a parameter is broken"))?
        {
            if name.eq_ignore_ascii_case(b"boundary") && boundary.replace(value).is_some() {
                return Err(MultipartError::ContentType("there are two boundaries"));
            }
        }
        let boundary = boundary.ok_or(MultipartError::ContentType("there is no boundary"))?;
        // Without CR, above all: the parser relies on it. A space at the end would be taken for padding.
        let printable = boundary.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if !(1..=70).contains(&boundary.len()) || !printable || boundary.ends_with(b" ") {
            return Err(MultipartError::ContentType("the boundary is no boundary"));
        }
        Ok(Self(boundary.into_owned()))
    }

    /// The boundary, without the two dashes before it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_and_checked() {
        let longest = "x".repeat(70);
        for (content_type, expected) in [
            ("multipart/form-data; boundary=a", Some("a")),
            ("Multipart/Form-Data;charset=utf-8;BOUNDARY=----=_Part/1:2?", Some("----=_Part/1:2?")),
            ("multipart/form-data; boundary=\"a b\"", Some("a b")),
            (&format!("multipart/form-data; boundary={longest}"), Some(&*longest)),
            (&format!("multipart/form-data; boundary={longest}x"), None),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=\"a \"", None),
            ("multipart/form-data; boundary=\"a\tb\"", None),
            ("multipart/form-data; boundary=é", None),
            ("multipart/form-data; boundary=a; boundary=b", None),
            ("multipart/form-data; boundary=a, b", None),
            ("multipart/mixed; boundary=a", None),
            ("text/plain; boundary=a", None),
            ("", None),
        ] {
            let found = Boundary::of(content_type);
            assert_eq!(
                found.as_ref().ok().map(Boundary::as_bytes),
                expected.map(str::as_bytes),
                "{content_type}"
            );
            assert!(found.is_ok() || found.is_err_and(|error| error.status() == 415));
        }
    }
}
