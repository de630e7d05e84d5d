//! What a process has used: processor time and memory, as the kernel counts them.

use std::fs;
use std::io;
use std::time::Duration;

/// Processor time, user and system, of all threads that process `pid` has now; in nanoseconds where the kernel keeps
/// them, else in ticks of a hundredth of a second.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    scheduler_time(pid).or_else(|_| tick_time(pid))
}

/// The sum of the time on a processor of each thread.
fn scheduler_time(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let line = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_processor: u64 = field(&line, 0)?;
        total += on_processor;
    }
    if total == 0 { Err(invalid("the kernel keeps no schedstat")) } else { Ok(Duration::from_nanos(total)) }
}

/// utime and stime of `/proc/PID/stat`.
fn tick_time(pid: u32) -> io::Result<Duration> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may hold spaces.
    let (_, fields) = line.rsplit_once(')').ok_or_else(|| invalid("stat has no name"))?;
    let ticks: u64 = field::<u64>(fields, 11)? + field::<u64>(fields, 12)?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Memory of process `pid`, in bytes: its own pages and its share of those that it shares (PSS).
///
/// # Errors
/// There is no such process, or the kernel does not tell.
pub fn memory(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes: u64 = field(pss.ok_or_else(|| invalid("smaps_rollup has no Pss"))?, 0)?;
    Ok(kilobytes * 1024)
}

fn field<T: std::str::FromStr>(line: &str, index: usize) -> io::Result<T> {
    let field = line.split_whitespace().nth(index).and_then(|field| field.parse().ok());
    field.ok_or_else(|| invalid("a number is missing"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let pid = std::process::id();
        let before = tick_time(pid).unwrap();
        let cpu_before = cpu_time(pid).unwrap();
        let mut number = 1_u64;
        // Until the coarser clock has seen it, which any machine's does some day.
        while tick_time(pid).unwrap() == before {
            for _ in 0..10_000 {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        assert!(cpu_time(pid).unwrap() > cpu_before);
    }

    #[test]
    fn touched_memory_is_counted() {
        let pid = std::process::id();
        let before = memory(pid).unwrap();
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(memory(pid).unwrap() >= before + (32 << 20));
        drop(touched);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(memory(u32::MAX).is_err());
    }
}
