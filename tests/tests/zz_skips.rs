//! The last test target of the last package, by its name: tells how many tests were skipped for want of a client.
#![forbid(unsafe_code)]

fn main() {
    // Runners that list tests first (and run each in a process of its own) find none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let skipped = workerman_tests::skip::take(workerman_tests::skip::runner());
    let tests = if skipped.len() == 1 { "test" } else { "tests" };
    println!("\n{} {tests} skipped for want of a foreign client", skipped.len());
    for line in skipped {
        println!("  {line}");
    }
    println!();
}
