//! Which content types get smaller by compression.

use super::super::form::{ends_with, media_type};

/// Types outside of `text` and the structured syntaxes that are not compressed already.
const COMPRESSIBLE: &[&str] = &[
    "application/ecmascript",
    "application/geo+json-seq",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/jsonl",
    "application/ld+json",
    "application/manifest+json",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-www-form-urlencoded",
    "application/xml",
    "application/yaml",
    "font/collection",
    "font/otf",
    "font/sfnt",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// Ends of types that are written in a syntax of text (RFC 6838 section 4.2.8).
const SUFFIXES: &[&str] = &["+json", "+xml", "+yaml", "+json-seq"];

/// Whether content of a type gets smaller by compression: texts, programs and the like do, while images, sound, films,
/// archives and web fonts are compressed already.
///
/// # Examples
/// ```
/// use workerman_protocol::http::coding::compressible;
/// assert!(compressible("text/html; charset=utf-8") && compressible("image/svg+xml"));
/// assert!(!compressible("image/png") && !compressible("application/octet-stream"));
/// ```
pub fn compressible(content_type: &str) -> bool {
    let kind = media_type(content_type);
    kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        || COMPRESSIBLE.iter().any(|known| kind.eq_ignore_ascii_case(known))
        || (kind.contains('/') && SUFFIXES.iter().any(|suffix| ends_with(kind, suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_already_is_left_alone() {
        for kind in [
            "text/plain",
            "TEXT/HTML ; charset=utf-8",
            "application/json",
            "application/problem+JSON",
            "application/atom+xml;a=b",
            "application/javascript",
            "application/wasm",
            "image/svg+xml",
            "font/ttf",
        ] {
            assert!(compressible(kind), "{kind}");
        }
        for kind in [
            "",
            "text",
            "+json",
            "image/png",
            "image/jpeg",
            "image/webp",
            "video/mp4",
            "audio/mpeg",
            "font/woff",
            "font/woff2",
            "application/zip",
            "application/gzip",
            "application/zstd",
            "application/pdf",
            "application/octet-stream",
            "multipart/form-data",
        ] {
            assert!(!compressible(kind), "{kind}");
        }
    }
}
