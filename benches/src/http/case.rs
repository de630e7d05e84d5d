//! What is asked of the servers, and what they must answer.

use std::str::FromStr;

/// Fields as the TechEmpower tests send them; the host is a fixed name, so that all requests of a case have one length.
const FIELDS: &str = "Host: localhost\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\r\n\
    Accept: text/plain,text/html;q=0.9,application/xhtml+xml;q=0.9,application/xml;q=0.8,*/*;q=0.7\r\n";
/// Digits of the number that makes a request differ from those before it.
const DIGITS: usize = 8;
/// More requests in a row than are the same again.
const NUMBERS: u64 = 10_u64.pow(DIGITS as u32);
/// The bodies of `/plaintext`, `/256` and `/100k`.
const PLAINTEXT: &[u8] = b"Hello, World!";
const SMALL: &[u8] = &[b'x'; 256];
const LARGE: &[u8] = &[b'x'; 102_400];

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    /// `GET` of a path with this body.
    Get(&'static str, &'static [u8]),
    /// `POST /echo` with so many bytes.
    Post(usize),
}

/// How long a connection lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// As long as the load.
    Kept,
    /// For one request; the client ends it behind the answer.
    ClientEnds,
    /// For one request that asks for it; the server ends it behind the answer.
    ServerEnds,
}

/// One kind of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// The name on command lines and in tables.
    pub name: &'static str,
    /// Requests in flight on a connection.
    pub outstanding: usize,
    /// Of a connection.
    pub life: Life,
    ask: Ask,
}

impl Case {
    /// All that are compared.
    pub const ALL: [Self; 7] = [
        Self::kept("plaintext", 1, Ask::Get("/plaintext", PLAINTEXT)),
        Self::kept("plaintext-x16", 16, Ask::Get("/plaintext", PLAINTEXT)),
        Self::kept("body-256", 1, Ask::Get("/256", SMALL)),
        Self::kept("body-100k", 1, Ask::Get("/100k", LARGE)),
        Self::kept("post-1k", 1, Ask::Post(1024)),
        Self {
            name: "new-connection",
            outstanding: 1,
            life: Life::ClientEnds,
            ask: Ask::Get("/plaintext", PLAINTEXT),
        },
        Self {
            name: "connection-close",
            outstanding: 1,
            life: Life::ServerEnds,
            ask: Ask::Get("/plaintext", PLAINTEXT),
        },
    ];

    const fn kept(name: &'static str, outstanding: usize, ask: Ask) -> Self {
        Self { name, outstanding, life: Life::Kept, ask }
    }

    /// Whether an answer carries the body of its request.
    pub fn echoes(&self) -> bool {
        matches!(self.ask, Ask::Post(_))
    }

    /// What is answered, unless it is the body of the request.
    pub fn body(&self) -> Option<&'static [u8]> {
        match self.ask {
            Ask::Get(_, body) => Some(body),
            Ask::Post(_) => None,
        }
    }

    /// The length of each body that is answered.
    pub fn body_length(&self) -> usize {
        match self.ask {
            Ask::Get(_, body) => body.len(),
            Ask::Post(size) => size,
        }
    }

    /// As many requests as are in flight on a connection.
    pub fn requests(&self) -> Requests {
        let connection = if self.life == Life::ServerEnds { "close" } else { "keep-alive" };
        let (method, path) = match self.ask {
            Ask::Get(path, _) => ("GET", path),
            Ask::Post(_) => ("POST", "/echo"),
        };
        let before = format!("{method} {path}?n=");
        let mut one = format!("{before}{:DIGITS$} HTTP/1.1\r\n{FIELDS}Connection: {connection}\r\n", 0);
        if let Ask::Post(size) = self.ask {
            one += &format!("Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n");
        }
        one += "\r\n";
        if let Ask::Post(size) = self.ask {
            one.extend((0..size).map(|at| char::from(b'0' + (at % 75) as u8)));
        }
        Requests {
            case: *self,
            length: one.len(),
            number: before.len(),
            bytes: one.repeat(self.outstanding).into(),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|case| case.name == name);
        named.ok_or_else(|| format!("expected one of {}", Self::ALL.map(|case| case.name).join(", ")))
    }
}

/// The requests of one write; all have the same length.
#[derive(Clone, Debug)]
pub struct Requests {
    case: Case,
    length: usize,
    /// Where the number of a request begins.
    number: usize,
    bytes: Vec<u8>,
}

impl Requests {
    /// Numbers the requests anew; a body begins with the number too.
    pub fn renew(&mut self, next: &mut u64) {
        let body = self.body();
        for request in self.bytes.chunks_exact_mut(self.length) {
            put_number(&mut request[self.number..][..DIGITS], *next);
            if self.case.echoes() {
                put_number(&mut request[body..][..DIGITS], *next);
            }
            *next = (*next + 1) % NUMBERS;
        }
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their number.
    pub fn count(&self) -> usize {
        self.case.outstanding
    }

    /// The length of each.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The body that the answer to the request at `index` must have.
    pub fn expected(&self, index: usize) -> &[u8] {
        match self.case.ask {
            Ask::Get(_, body) => body,
            Ask::Post(_) => &self.bytes[index * self.length..][self.body()..self.length],
        }
    }

    /// Where the body of a request begins, if it has one.
    fn body(&self) -> usize {
        self.length - if self.case.echoes() { self.case.body_length() } else { 0 }
    }
}

fn put_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: HashSet<&str> = Case::ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), Case::ALL.len());
        for case in Case::ALL {
            assert_eq!(case.name.parse(), Ok(case));
        }
        assert!("what".parse::<Case>().unwrap_err().contains("plaintext-x16"));
    }

    #[test]
    fn requests_differ_and_have_one_length() {
        for case in Case::ALL {
            let mut requests = case.requests();
            let mut next = NUMBERS - 1;
            let mut seen = HashSet::new();
            for _ in 0..3 {
                requests.renew(&mut next);
                assert_eq!(requests.bytes().len(), requests.length() * case.outstanding);
                for request in requests.bytes().chunks_exact(requests.length()) {
                    assert!(seen.insert(request.to_vec()), "{} repeats itself", case.name);
                    let text = std::str::from_utf8(request).unwrap();
                    let (head, body) = text.split_once("\r\n\r\n").unwrap();
                    assert!(head.contains("\r\nHost: localhost\r\n"));
                    assert_eq!(head.contains("Connection: close"), case.life == Life::ServerEnds);
                    assert_eq!(body.len(), if case.echoes() { case.body_length() } else { 0 });
                    assert_eq!(head.contains(&format!("Content-Length: {}", body.len())), case.echoes());
                }
            }
            assert_eq!(seen.len(), 3 * case.outstanding);
        }
    }

    #[test]
    fn an_echo_is_expected_with_its_number() {
        let case: Case = "post-1k".parse().unwrap();
        let mut requests = case.requests();
        requests.renew(&mut 42);
        assert!(requests.expected(0).starts_with(b"00000042"));
        assert_eq!(requests.expected(0).len(), 1024);
    }
}
