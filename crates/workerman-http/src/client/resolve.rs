//! References relative to a URL (RFC 3986 section 5.2): where a redirect leads.

use std::fmt::Write;

use http::Uri;

/// The five parts of a reference (appendix B), the fragment left out.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

fn split(reference: &str) -> Parts<'_> {
    let rest = reference.split('#').next().unwrap_or_default();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let is_scheme = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, rest),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(authority), path)
        }
        None => (None, rest),
    };
    Parts { scheme, authority, path, query }
}

/// Where `reference` leads from `base`; `None` if that is no URI.
///
/// What servers write that is no URI character (spaces, raw UTF-8) is encoded, as browsers do. User information is left
/// out: a server does not choose the credentials that are sent.
pub(super) fn resolve(base: &Uri, reference: &[u8]) -> Option<Uri> {
    let reference = encode(reference.trim_ascii());
    let parts = split(&reference);
    let scheme = parts.scheme.or(base.scheme_str())?;
    let authority = match (parts.scheme, parts.authority) {
        (_, Some(authority)) => authority,
        // `http:path` is obsolete and dangerous (section 5.2.2, strict).
        (Some(_), None) => return None,
        (None, None) => base.authority()?.as_str(),
    };
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let own = parts.scheme.is_some() || parts.authority.is_some();
    let (path, query) = if own || parts.path.starts_with('/') {
        (remove_dots(parts.path), parts.query)
    } else if parts.path.is_empty() {
        (base.path().to_owned(), parts.query.or(base.query()))
    } else {
        // Section 5.2.3.
        let until = base.path().rfind('/').map_or(0, |at| at + 1);
        (remove_dots(&format!("{}{}", &base.path()[..until], parts.path)), parts.query)
    };
    let mut url = format!("{scheme}://{authority}");
    if !path.starts_with('/') {
        url.push('/');
    }
    url.push_str(&path);
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url.parse().ok()
}

/// Section 5.2.4.
fn remove_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let mut ends_with_slash = false;
    for segment in segments {
        // `%2e` is a dot to those who decode too early: it is one here too.
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        ends_with_slash = matches!(plain.as_str(), "." | "..");
        match plain.as_str() {
            "." => {}
            ".." => {
                out.pop();
            }
            _ => out.push(segment),
        }
    }
    let mut path = String::new();
    for segment in out {
        path.push('/');
        path.push_str(segment);
    }
    if ends_with_slash || path.is_empty() {
        path.push('/');
    }
    path
}

fn encode(reference: &[u8]) -> String {
    let mut out = String::with_capacity(reference.len());
    for byte in reference {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(base: &str, reference: &str) -> String {
        resolve(&base.parse().unwrap(), reference.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn the_examples_of_the_rfc_resolve() {
        // RFC 3986 sections 5.4.1 and 5.4.2, with a scheme that has a host; fragments are never sent.
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            assert_eq!(resolved("http://a/b/c/d;p?q", reference), expected, "{reference}");
        }
    }

    #[test]
    fn servers_are_forgiven_characters_and_not_believed_in_credentials() {
        for (reference, expected) in [
            ("/a b", "http://h/a%20b"),
            (" /x ", "http://h/x"),
            ("/\u{fc}?\u{fc}", "http://h/%C3%BC?%C3%BC"),
            ("https://u:p@other:8443/x", "https://other:8443/x"),
            ("HTTP://other", "http://other/"),
            ("/%2e%2E/x", "http://h/x"),
            ("?", "http://h/y?"),
        ] {
            assert_eq!(resolved("http://me:secret@h/y", reference), expected, "{reference}");
        }
        for reference in ["http:g", "http:", "ftp:x", "http://a b/", "http://[/", "//"] {
            assert!(resolve(&"http://h/".parse().unwrap(), reference.as_bytes()).is_none(), "{reference}");
        }
    }
}
