use super::*;

/// What came of a form: names and data of its parts, and whether it ended.
#[derive(PartialEq, Eq, Debug, Default)]
struct Parts {
    whole: Vec<(String, Vec<u8>)>,
    ended: bool,
}

fn boundary() -> Boundary {
    Boundary::of("multipart/form-data; boundary=bnd").unwrap()
}

/// Parses an input in pieces of the given size.
fn parse_by(size: usize, input: &[u8], limits: &Limits) -> Result<Parts, MultipartError> {
    let mut parser = Parser::new(&boundary(), limits.clone());
    let mut parts = Parts::default();
    let mut open = None::<(String, Vec<u8>)>;
    for piece in input.chunks(size.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(event) = parser.parse(&mut piece)? {
            assert!(!parts.ended, "{event:?} behind the end");
            match event {
                Event::Part(head) => {
                    assert!(open.replace((head.name().to_owned(), Vec::new())).is_none());
                }
                Event::Data(data) => {
                    assert!(!data.is_empty());
                    open.as_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::PartEnd => parts.whole.push(open.take().unwrap()),
                Event::End => parts.ended = true,
            }
        }
        assert!(piece.is_empty());
    }
    assert!(parser.head.len() <= limits.head);
    parser.finish()?;
    Ok(parts)
}

/// Parses an input whole and in pieces of every size; all must agree.
fn parse(input: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, MultipartError> {
    let whole = parse_by(input.len(), input, limits);
    for size in 1..input.len() {
        let cut = parse_by(size, input, limits);
        match (&whole, &cut) {
            (Ok(whole), Ok(cut)) => assert_eq!(whole, cut, "in pieces of {size}"),
            (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string(), "in pieces of {size}"),
            _ => panic!("in pieces of {size}: {cut:?} instead of {whole:?}"),
        }
    }
    whole.map(|parts| {
        assert!(parts.ended);
        parts.whole
    })
}

/// An input in which `@x` stands for the head of a part with the name x, `|` for CR LF and `^` for the boundary.
fn expand(short: &str) -> Vec<u8> {
    let mut long = String::new();
    let mut rest = short.chars();
    while let Some(c) = rest.next() {
        match c {
            '@' => {
                long.push_str("Content-Disposition: form-data; name=");
                long.push(rest.next().unwrap());
                long.push_str("\r\n\r\n");
            }
            '|' => long.push_str("\r\n"),
            '^' => long.push_str("--bnd"),
            other => long.push(other),
        }
    }
    long.into_bytes()
}

fn parse_short(short: &str) -> Result<Vec<(String, Vec<u8>)>, MultipartError> {
    parse(&expand(short), &Limits::new())
}

#[test]
fn parts_are_what_stands_between_boundaries() {
    for (short, expected) in [
        ("^|@a1|^--", &[("a", "1")][..]),
        ("^|@a1|^--|", &[("a", "1")]),
        ("^|@a1|^|@b2|^--|epilogue|^|@cignored", &[("a", "1"), ("b", "2")]),
        ("^--", &[]),
        ("preamble|^|@a1|^--", &[("a", "1")]),
        ("|^|@a1|^--", &[("a", "1")]),
        ("not ^ yet|^|@a1|^--", &[("a", "1")]),
        // White space that a relay has added.
        ("^ \t |@a1|^\t|@b|^--  ", &[("a", "1"), ("b", "")]),
        // No data, with and without a line break of its own.
        ("^|@a|^--", &[("a", "")]),
        ("^|@a^|@b^--", &[("a", ""), ("b", "")]),
        // What looks like a delimiter, but is none.
        ("^|@a|--bn|^--", &[("a", "\r\n--bn")]),
        ("^|@a--bn|--b\r|^--", &[("a", "--bn\r\n--b\r")]),
        ("^|@a||\r|--\r||^--", &[("a", "\r\n\r\n\r\r\n--\r\r\n")]),
        ("^|@ax^|^--", &[("a", "x--bnd")]),
        ("^|@a\n^|^--", &[("a", "\n--bnd")]),
        ("^|@a\r^|^--", &[("a", "\r--bnd")]),
        ("^|@a|-^|^--", &[("a", "\r\n---bnd")]),
        ("^|@a|--bnD|^--", &[("a", "\r\n--bnD")]),
    ] {
        let parts = parse_short(short).unwrap_or_else(|error| panic!("{short:?}: {error}"));
        let parts: Vec<_> = parts.iter().map(|(name, data)| (name.as_str(), &data[..])).collect();
        let expected: Vec<_> = expected.iter().map(|(name, data)| (*name, data.as_bytes())).collect();
        assert_eq!(parts, expected, "{short:?}");
    }
}

#[test]
fn what_breaks_the_rules_is_malformed() {
    for short in [
        "",
        "text",
        "^",
        "^-",
        "^|",
        "^|@a",
        "^|@a1",
        "^|@a1|",
        "^|@a1|^",
        "^|@a1|^-",
        "^|@a1|^|",
        // Not a line break behind a boundary.
        "^x|@a1|^--",
        "^|@a1|^x|^--",
        "^|@a1|^-x",
        "^|@a1|^ --",
        "^\n@a1|^--",
        "^\r\r\n@a1|^--",
        // Heads.
        "^||1|^--",
        "^|X: y||1|^--",
        "^|X: y\n@a1|^--",
        "^|X: y\r@a1|^--",
        "^|^--",
        // Names of fields that are boundaries.
        "^|^: y|@a1|^--",
        "^|X: y|^: y|@a1|^--",
    ] {
        let error = parse_short(short).expect_err(short);
        assert!(matches!(error, MultipartError::Malformed(_)), "{short:?}: {error}");
    }
}

#[test]
fn limits_are_kept_to_the_byte() {
    let head = expand("@a").len();
    let total = expand("^|@a12|^--").len() as u64;
    type Set = fn(Limits, u64) -> Limits;
    let cases: [(&str, Set, u64); 8] = [
        ("^|@a1|^|@b2|^--", |limits, n| limits.max_parts(n as usize), 2),
        ("^|@a12|^--", |limits, n| limits.max_head(n as usize), head as u64),
        ("^|@a12|^--", |limits, n| limits.max_field(n), 2),
        ("^|@a12|^--", |limits, n| limits.max_total(n), total),
        ("12|^|@a12|^--", |limits, n| limits.max_outside(n), 2),
        ("^ \t|@a12|^--", |limits, n| limits.max_outside(n), 2),
        ("^|@a12|^--12", |limits, n| limits.max_outside(n), 2),
        ("^|@a^|@b12|^--", |limits, n| limits.max_name(n as usize), 1),
    ];
    for (short, set, limit) in cases {
        let input = expand(short);
        parse(&input, &set(Limits::new(), limit)).unwrap_or_else(|error| panic!("{short:?}: {error}"));
        match parse(&input, &set(Limits::new(), limit - 1)) {
            Err(MultipartError::TooLarge { limit: told, .. }) => assert_eq!(told, limit - 1, "{short:?}"),
            other => panic!("{short:?}: {other:?}"),
        }
    }
}

#[test]
fn files_have_limits_of_their_own() {
    let file = |data: &str| {
        let mut input = b"--bnd\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\n".to_vec();
        input.extend(expand(&format!("{data}|^|@a1234|^--")));
        input
    };
    let limits = Limits::new().max_files(1).max_file(3).max_field(4);
    assert_eq!(parse(&file("123"), &limits).unwrap().len(), 2);
    let too_large = parse(&file("1234"), &limits);
    assert!(matches!(too_large, Err(MultipartError::TooLarge { what: "bytes of a file", limit: 3 })));
    let none = parse(&file("123"), &limits.max_files(0));
    assert!(matches!(none, Err(MultipartError::TooLarge { what: "files", limit: 0 })));
}

#[test]
fn data_is_a_slice_of_the_input() {
    let mut parser = Parser::new(&boundary(), Limits::new());
    let input = Bytes::from(expand("^|@a0123456789|^--"));
    let mut rest = input.clone();
    assert!(matches!(parser.parse(&mut rest), Ok(Some(Event::Part(_)))));
    let Ok(Some(Event::Data(data))) = parser.parse(&mut rest) else { panic!("no data") };
    assert!(input.as_ptr_range().contains(&data.as_ptr()), "it was copied");
}

#[test]
fn an_error_ends_the_form() {
    let mut parser = Parser::new(&boundary(), Limits::new());
    let mut input = Bytes::from(expand("^x|@a1|^--"));
    assert!(matches!(parser.parse(&mut input), Err(MultipartError::Malformed(_))));
    assert!(matches!(parser.parse(&mut input), Err(MultipartError::Ended)));
    assert!(matches!(parser.finish(), Err(MultipartError::Ended)));
}

#[test]
fn a_head_without_end_costs_no_memory_and_no_time() {
    // One line after another, byte by byte: what is kept stays below the limit, and each byte is looked at once.
    let limits = Limits::new().max_head(1000);
    let mut parser = Parser::new(&boundary(), limits);
    parser.parse(&mut Bytes::from(expand("^|"))).unwrap();
    for sent in 0.. {
        let result = parser.parse(&mut Bytes::from_static(if sent % 4 == 3 { b"x:y\r\n" } else { b"a" }));
        assert!(parser.head.len() <= 1000 && sent <= 1000);
        if let Err(error) = result {
            assert_eq!(error.status(), 413);
            break;
        }
    }
}
