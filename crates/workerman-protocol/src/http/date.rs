//! The date of a message, as HTTP writes it.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// Number of bytes of a date: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const DATE_LEN: usize = 29;

/// The last second that the format has: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

thread_local! {
    /// The last date that this thread wrote: nearly always the next one too.
    static MEMO: Cell<(u64, [u8; DATE_LEN])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// A moment, in seconds since 1970, in the fixed format (IMF-fixdate, RFC 9110 section 5.6.7).
///
/// Reads no clock. Asked for the same second as the last time, it costs a copy. Moments behind the year 9999 are its
/// last second.
pub(crate) fn date(unix_seconds: u64) -> [u8; DATE_LEN] {
    MEMO.with(|memo| {
        let (second, known) = memo.get();
        if second == unix_seconds {
            return known;
        }
        let text = format(unix_seconds);
        memo.set((unix_seconds, text));
        text
    })
}

#[cold]
fn format(unix_seconds: u64) -> [u8; DATE_LEN] {
    let moment = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST));
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // The format always fills the array exactly.
    let _ = write!(&mut text[..], "{}", httpdate::HttpDate::from(moment));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_seconds: u64) -> String {
        String::from_utf8(date(unix_seconds).to_vec()).unwrap()
    }

    #[test]
    fn a_date_has_the_fixed_format() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn the_last_second_of_the_format_stands_for_all_behind_it() {
        assert_eq!(text(LAST), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(text(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn threads_have_their_own_memo() {
        let other = std::thread::spawn(|| text(1)).join().unwrap();
        assert_eq!(
            (other.as_str(), text(0).as_str()),
            ("Thu, 01 Jan 1970 00:00:01 GMT", "Thu, 01 Jan 1970 00:00:00 GMT")
        );
    }
}
