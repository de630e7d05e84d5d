//! Multipart forms: cuts make no difference, limits hold, and the parts are those that a plain split finds.
#![no_main]
#![forbid(unsafe_code)]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use workerman_http::multipart::{Boundary, Event, Limits, MultipartError, Parser};

const MAX_HEAD: usize = 200;
const MAX_PARTS: usize = 8;
const MAX_FIELD: usize = 100;

/// Data of the parts, if the form has an end.
fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, MultipartError> {
    let limits = Limits::new().max_head(MAX_HEAD).max_parts(MAX_PARTS).max_field(MAX_FIELD as u64);
    let mut parser = Parser::new(&Boundary::of("multipart/form-data; boundary=b").unwrap(), limits);
    let mut parts = Vec::new();
    let (mut open, mut ended) = (false, false);
    for piece in pieces {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(event) = parser.parse(&mut piece)? {
            assert!(!ended);
            match event {
                Event::Part(head) => {
                    assert!(!open && head.name().len() <= MAX_HEAD);
                    if let Some(name) = head.safe_file_name() {
                        assert!(
                            !name.is_empty()
                                && name.len() <= 255
                                && name != ".."
                                && !name.contains(['/', '\\', '\0'])
                        );
                    }
                    open = true;
                    parts.push(Vec::new());
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().extend_from_slice(&data);
                }
                Event::PartEnd => {
                    assert!(open);
                    open = false;
                }
                Event::End => ended = true,
                other => panic!("{other:?} is new"),
            }
        }
        assert!(piece.is_empty());
    }
    parser.finish()?;
    assert!(ended && !open && parts.len() <= MAX_PARTS);
    Ok(parts)
}

/// The parts of a form that is known to be one.
fn split(form: &[u8]) -> Vec<Vec<u8>> {
    let text: String = "\r\n".chars().chain(form.iter().map(|byte| char::from(*byte))).collect();
    let bytes = |text: &str| text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    text.split("\r\n--b")
        .skip(1)
        .take_while(|part| !part.starts_with("--"))
        .map(|part| part.split_once("\r\n\r\n").map_or(Vec::new(), |(_, data)| bytes(data)))
        .collect()
}

/// What forms are made of: low bytes stand for these, the others for themselves.
const SCRAPS: [&str; 9] = [
    "\r\n--b",
    "\r\n",
    "--",
    "Content-Disposition: form-data; name=\"a\"",
    "; filename=\"../x\"",
    "; filename*=utf-8''%41",
    "Content-Type: a/b",
    "\r\n--b\r\nContent-Disposition: form-data; name=b\r\n\r\n",
    "\r\n--b--",
];

fn expand(short: &[u8]) -> Vec<u8> {
    let scrap = |byte: &u8| SCRAPS.get(usize::from(*byte)).map(|scrap| scrap.as_bytes());
    short.iter().flat_map(|byte| scrap(byte).unwrap_or(std::slice::from_ref(byte))).copied().collect()
}

fuzz_target!(|input: (u64, Vec<u8>)| {
    let (sizes, form) = input;
    let form = expand(&form);
    let whole = parse(std::iter::once(&form[..]));

    // Pieces of 1 to 16 bytes, of each size in its turn.
    let mut rest = &form[..];
    let mut turn = 0;
    let cut = parse(std::iter::from_fn(|| {
        let size = 1 + (sizes >> (turn % 16 * 4) & 15) as usize;
        turn += 1;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    }));
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(whole, cut);
            assert_eq!(whole, split(&form));
        }
        (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("{whole:?} became {cut:?}"),
    }
});
