//! The main job of the repository: two strangers chat, each in a browser of their own.
#![forbid(unsafe_code)]
#![cfg(unix)]

use workerman_tests::browser::Browser;
use workerman_tests::program::Example;

/// Waits in the page until an expression is true.
fn until(condition: &str) -> String {
    format!(
        "new Promise(resolve => {{
            const look = () => ({condition}) ? resolve('yes') : setTimeout(look, 10);
            look();
        }})"
    )
}

fn waits(browser: &mut Browser, condition: &str) {
    assert_eq!(browser.eval(&until(condition)), "yes");
}

/// Opens the page and joins by a name, as somebody does who types it.
fn join(browser: &mut Browser, chat: &Example, name: &str) {
    browser.open(&format!("http://{}/", chat.address));
    waits(browser, "$('who').open && $('state').textContent === 'connected'");
    call(browser, name);
    is_called(browser, name);
}

fn call(browser: &mut Browser, name: &str) {
    browser.eval(&format!("$('name').value = '{name}'; $('join').requestSubmit();"));
}

fn is_called(browser: &mut Browser, name: &str) {
    waits(browser, &format!("$('state').textContent === 'connected as {name}' && !$('who').open"));
}

fn say(browser: &mut Browser, text: &str) {
    browser.eval(&format!("$('text').value = '{text}'; $('say').requestSubmit();"));
}

/// Waits for a message of somebody, to be shown as text and not as markup.
fn hears(browser: &mut Browser, from: &str, text: &str) {
    waits(
        browser,
        &format!(
            "[...document.querySelectorAll('#talk li')].some(item =>
                item.querySelector('small')?.textContent.startsWith('{from}, ')
                    && item.querySelector('p').textContent === '{text}')"
        ),
    );
}

fn sees(browser: &mut Browser, people: &str) {
    waits(
        browser,
        &format!(
            "[...document.querySelectorAll('#people li > span:last-child')]
                .map(one => one.textContent).join(', ') === '{people}'"
        ),
    );
}

#[test]
fn two_browsers_talk_and_survive_a_restart_of_the_server() {
    let (Some(mut ann), Some(mut bob)) = (Browser::start(), Browser::start()) else { return };
    let chat = Example::start("chat", &["127.0.0.1:0"]);
    join(&mut ann, &chat, "Ann");
    // A name is taken once.
    bob.open(&format!("http://{}/", chat.address));
    waits(&mut bob, "$('state').textContent === 'connected'");
    call(&mut bob, "Ann");
    waits(&mut bob, "$('why').textContent === 'Somebody here has this name.'");
    call(&mut bob, "Bob");
    is_called(&mut bob, "Bob");
    sees(&mut ann, "Ann (you), Bob");
    sees(&mut bob, "Ann, Bob (you)");

    say(&mut ann, "Hello <b>Bob</b> & \u{1f389} привет");
    hears(&mut bob, "Ann", "Hello <b>Bob</b> & \u{1f389} привет");
    hears(&mut ann, "You", "Hello <b>Bob</b> & \u{1f389} привет");
    say(&mut bob, "Hello Ann");
    hears(&mut ann, "Bob", "Hello Ann");

    // The server goes, and another one comes at the same address.
    let address = chat.address.clone();
    chat.stop();
    for browser in [&mut ann, &mut bob] {
        waits(browser, "$('state').className === ''");
    }
    let chat = Example::start("chat", &[&address]);
    is_called(&mut ann, "Ann");
    is_called(&mut bob, "Bob");
    sees(&mut ann, "Ann (you), Bob");
    say(&mut bob, "Back again");
    hears(&mut ann, "Bob", "Back again");

    // Who leaves is not there any more.
    drop(bob);
    sees(&mut ann, "Ann (you)");
    drop(ann);
    chat.stop();
}
