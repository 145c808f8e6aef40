//! The page of speech bubbles, as a browser shows it. The tests that need one drive Debian's chromium through
//! chromedriver; they are ignored where it may be missing, and continuous integration runs them.

mod browser;
mod http;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use grasp::{Bubbles, Config, Engine, Objective, RegisterObj, TaggedObjective, Value, tprint};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{self, Host, SOON, linked, negotiable, two};
use serde_json::json;

use browser::Browser;

/// Two linked nodes, of which the first serves a page in its own namespace.
fn page() -> (grasptests::lab::Lab, Host, Host, Bubbles) {
    page_with([Config::new(), Config::new()])
}

fn page_with([one, other]: [Config; 2]) -> (grasptests::lab::Lab, Host, Host, Bubbles) {
    let (lab, _, a, b) = linked();
    let bubbles = a.run(|| Bubbles::bind("Gray", at(0)).unwrap());
    let near = Host::start(&a, one.bubbles(Some(bubbles.clone())));
    (lab, near, Host::start(&b, other), bubbles)
}

fn at(port: u16) -> SocketAddr {
    (IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()
}

/// Negotiates, for the first time or again.
fn negotiate(asker: &Host, server: &Host) {
    if server.engine.stats().sessions_accepted == 0 {
        server.register(&negotiable("EX3", 0));
        asker.register(&negotiable("EX3", 0));
    }
    nodes::negotiate(asker, server, Some(&server.locator("EX3")));
}

fn flood(host: &Host, name: &str, value: &str) {
    let mut objective = Objective::new(name);
    (objective.synch, objective.value) = (true, Value::from(value));
    host.register_with(&objective, RegisterObj::default());
    host.run(|engine, asa| engine.flood(asa, 60_000, &[TaggedObjective::new(objective.clone(), None)]))
        .unwrap();
}

/// A browser whose page is connected to the engine.
fn live(host: &Host, bubbles: &Bubbles) -> Browser {
    let browser = Browser::open(&host.node, &bubbles.url());
    browser.wait("the page is live", "return document.getElementById('state').textContent === 'live'");
    browser
}

/// The arrows on the page: which way, and what is written on them.
const ARROWS: &str = "return [...document.querySelectorAll('.arrow')].map(a => \
    (a.classList.contains('out') ? '-> ' : '<- ') + a.querySelector('.label').textContent)";
const NEGOTIATION: [&str; 4] =
    ["-> M_REQ_NEG EX3", "<- M_NEGOTIATE EX3", "-> M_NEGOTIATE EX3", "<- M_END EX3"];

#[test]
#[ignore = "needs chromium and chromedriver: apt-get install chromium chromium-driver"]
fn bubbles_and_arrows_appear_and_an_arrow_tells_its_content() {
    isolated!(240);
    let (_lab, a, b, bubbles) = page();
    let browser = live(&a, &bubbles);
    negotiate(&a, &b);
    tprint!("Got", 7, "of EX3");
    browser.wait(
        "the bubble",
        "return [...document.querySelectorAll('.says')].some(b => b.textContent === 'Got 7 of EX3')",
    );
    assert_eq!(
        browser.run("return [document.title, document.getElementById('caption').textContent]"),
        json!(["Gray", "Gray"])
    );
    browser.wait("all arrows", "return document.querySelectorAll('.arrow').length >= 4");
    assert_eq!(browser.run(ARROWS), json!(NEGOTIATION));
    let offers = "return [...document.querySelectorAll('.says-what')].map(b => b.textContent.trim())";
    assert_eq!(
        browser.run(offers),
        json!(["10", "5", "7", "accepted"]),
        "what is offered stands on the arrow"
    );
    let heads = browser.run("return [...document.querySelectorAll('.head')].map(h => h.textContent)");
    let server = b.node.ula().unwrap().to_string();
    assert_eq!(heads, json!(["this node", server]));
    assert_eq!(
        browser.run("const s = document.getElementById('scroll'); return s.scrollWidth <= s.clientWidth"),
        true
    );

    // A real click, by the browser, where the arrow is.
    browser.click(".arrow:nth-of-type(2)");
    let shown = "return !document.getElementById('detail').hidden";
    browser.wait("the content", shown);
    let content = browser.run("return [document.getElementById('what').textContent, document.getElementById('decoded').textContent]");
    assert_eq!(content[0], "M_NEGOTIATE · EX3");
    let decoded = content[1].as_str().unwrap();
    let summary = "M_NEGOTIATE session ";
    assert!(decoded.starts_with(summary) && decoded.contains("loop count 5: 5\n"), "{decoded}");
    assert!(decoded.contains("/ session identifier /"), "{decoded}");
    browser.click("#close");
    assert_eq!(browser.run(shown), json!(false));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
#[ignore = "needs chromium and chromedriver: apt-get install chromium chromium-driver"]
fn hostile_text_is_text_and_does_nothing() {
    isolated!(240);
    let (_lab, a, b, bubbles) = page();
    let browser = Browser::open(&a.node, &bubbles.url());
    let elements = "return ['img', 'script', 'iframe', 'object', 'a', 'form', 'style'].map(name => document.querySelectorAll(name).length)";
    let before = browser.run(elements);
    let long = "long".repeat(200);
    let hostile = [
        "<img src=x onerror=\"window.hacked = 1\">",
        "</script><script>window.hacked = 2</script>",
        "\u{202e}txt.exe\u{2066}",
        "javascript:window.hacked=3",
        "'\"`\u{0}\n\ndata: {\"kind\":\"line\"}\n\n",
        &long,
    ];
    for text in hostile {
        flood(&b, text, if text == long { "short" } else { text });
        tprint!(text);
    }
    browser.wait("all floods", "return document.querySelectorAll('.arrow').length >= 6");
    browser.wait("all bubbles", "return document.querySelectorAll('.says').length >= 6");
    for number in 0..6 {
        let click =
            format!("document.querySelectorAll('.arrow')[{number}].dispatchEvent(new MouseEvent('click'))");
        browser.run(&click);
    }
    assert_eq!(browser.run("return window.hacked ?? null"), json!(null));
    assert_eq!(browser.run(elements), before, "no element came into being");
    let said = browser.run("return [...document.querySelectorAll('.says')].map(b => b.textContent)");
    assert_eq!(said[0], hostile[0]);
    assert_eq!(said[1], hostile[1]);
    assert_eq!(said[2], "⟨U+202E⟩txt.exe⟨U+2066⟩");
    let longest = browser
        .run("return Math.max(...[...document.querySelectorAll('.label')].map(l => l.textContent.length))");
    assert!(longest.as_u64().unwrap() < 120, "{longest}");
    let choices = browser.run("return document.querySelectorAll('#objective option').length");
    assert_eq!(choices, json!(1 + hostile.len()), "every name is one choice, and nothing else");
    // Even an element that got in by a mistake of the page could run nothing.
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img id=got src=x onerror=\"window.hacked = 4\">')",
    );
    browser.run("const s = document.createElement('script'); s.textContent = 'window.hacked = 5'; document.body.appendChild(s)");
    browser.wait("the image has failed", "return document.getElementById('got').complete");
    assert_eq!(browser.run("return window.hacked ?? null"), json!(null));
}

#[test]
#[ignore = "needs chromium and chromedriver: apt-get install chromium chromium-driver"]
fn filters_and_the_pause_hold_back_and_let_go() {
    isolated!(240);
    let (_lab, a, b, bubbles) = page();
    let browser = Browser::open(&a.node, &bubbles.url());
    flood(&b, "EX1", "now");
    negotiate(&a, &b);
    browser.wait("all arrows", "return document.querySelectorAll('.arrow').length >= 5");
    let choose = |id: &str, value: &str| {
        let value = serde_json::to_string(value).unwrap();
        browser.run(&format!(
            "const e = document.getElementById('{id}'); e.value = {value}; e.dispatchEvent(new Event('input'))"
        ));
        browser.run(ARROWS)
    };
    assert_eq!(choose("objective", "EX1"), json!(["<- M_FLOOD EX1"]));
    assert_eq!(choose("objective", "EX3"), json!(NEGOTIATION));
    browser.click("#clear");
    let session = browser.run("document.querySelector('.arrow:last-of-type'); return rows.filter(r => r.event.type === 'M_END')[0].event.session");
    assert_eq!(choose("session", &session.to_string()), json!(NEGOTIATION));
    assert_eq!(choose("session", "1"), json!([]));
    browser.click("#clear");
    let link_local = browser.run("return rows.filter(r => r.event.type === 'M_FLOOD')[0].event.peer");
    assert_eq!(choose("peer", link_local.as_str().unwrap()), json!(["<- M_FLOOD EX1"]));
    browser.click("#clear");
    // The same from an arrow, with a click.
    browser.click(".arrow.out");
    browser.click("#only");
    assert_eq!(browser.run(ARROWS), json!(NEGOTIATION));
    browser.click("#clear");

    browser.click("#pause");
    tprint!("said in the pause");
    negotiate(&a, &b);
    browser.wait(
        "it waits",
        "return parseInt(document.getElementById('pause').textContent.replace(/\\D/g, '')) >= 5",
    );
    assert_eq!(browser.run("return document.querySelectorAll('.says').length"), json!(0));
    assert_eq!(browser.run("return document.querySelectorAll('.arrow').length"), json!(5));
    browser.click("#pause");
    browser.wait("it goes on", "return document.querySelectorAll('.arrow').length === 9 && document.querySelectorAll('.says').length === 1");
}

#[test]
#[ignore = "needs chromium and chromedriver: apt-get install chromium chromium-driver"]
fn the_page_goes_on_with_the_next_engine_and_the_next_process() {
    isolated!(240);
    let (_lab, a, _b, bubbles) = page();
    let browser = Browser::open(&a.node, &bubbles.url());
    let says = |line: &str| {
        let seen = format!(
            "return [...document.querySelectorAll('.says')].filter(b => b.textContent === '{line}').length === 1"
        );
        browser.wait(line, &seen);
    };
    tprint!("first engine");
    says("first engine");
    a.engine.shutdown();
    let config = a.engine.config().clone();
    let second = a.node.run(|| Engine::start(config)).unwrap();
    tprint!("second engine");
    says("second engine");
    says("first engine");
    assert_eq!(browser.run("return document.querySelectorAll('.restart').length"), json!(1));
    let notes = "return [...document.querySelectorAll('.note title')].map(t => t.textContent)";
    assert_eq!(browser.run(notes), json!(["the engine started again"]), "the ladder says it, too");
    // Another process would know nothing of the page but its port.
    second.shutdown();
    let port = bubbles.address().unwrap().port();
    drop((a, second, bubbles));
    drop(_b);
    browser.wait("it waits", "return document.getElementById('state').className === ''");
    let node = browser.node().clone();
    let again = node.run(|| Bubbles::bind("Gray again", at(port)).unwrap());
    let _third = node.run(|| Engine::start(Config::new().bubbles(Some(again)))).unwrap();
    tprint!("third engine");
    says("third engine");
    says("first engine");
    assert_eq!(browser.run("return document.title"), json!("Gray again"));
}

#[test]
#[ignore = "needs chromium and chromedriver: apt-get install chromium chromium-driver"]
fn two_asas_stand_side_by_side_in_one_page_each_with_its_own_ladder() {
    isolated!(240);
    let (_lab, a, b, bubbles) = page();
    let other = a.node.run(|| Bubbles::bind("Briggs", at(0)).unwrap());
    // Served where the browser is, as --lab does it: the engine is in another namespace.
    let beside = Host::start(&b.node, Config::new().bubbles(Some(other.clone())));
    let port = other.address().unwrap().port();
    let browser = Browser::open(&a.node, &format!("{}?beside={port},x,99999999&theme=dark", bubbles.url()));
    negotiate(&a, &beside);
    browser.wait("own arrows", "return document.querySelectorAll('.arrow').length >= 4");
    assert_eq!(browser.run("return document.querySelectorAll('iframe').length"), json!(1));
    assert_eq!(browser.run(ARROWS), json!(NEGOTIATION));
    browser.enter_frame(0);
    browser.wait("the other's arrows", "return document.querySelectorAll('.arrow').length >= 4");
    assert_eq!(
        browser.run("return [document.title, document.documentElement.dataset.theme]"),
        json!(["Briggs", "dark"])
    );
    let mirrored = ["<- M_REQ_NEG EX3", "-> M_NEGOTIATE EX3", "<- M_NEGOTIATE EX3", "-> M_END EX3"];
    assert_eq!(browser.run(ARROWS), json!(mirrored));
    // Pages side by side show one session, and hold still, together, whichever is asked.
    flood(&a, "EX1", "now");
    browser.wait("one more arrow", "return document.querySelectorAll('.arrow').length === 5");
    browser.click(".arrow.out");
    browser.click("#only");
    assert_eq!(browser.run(ARROWS), json!(mirrored));
    browser.leave_frame();
    browser.wait("the same session", "return document.querySelectorAll('.arrow').length === 4");
    assert_eq!(browser.run(ARROWS), json!(NEGOTIATION));
    browser.click("#clear");
    browser.wait("all of it", "return document.querySelectorAll('.arrow').length === 5");
    browser.enter_frame(0);
    browser.wait("all of it", "return document.querySelectorAll('.arrow').length === 5");
    browser.click("#pause");
    browser.click("#theme");
    browser.leave_frame();
    let state = "return document.getElementById('pause').getAttribute('aria-pressed') + document.documentElement.dataset.theme";
    browser.wait(
        "this page holds still",
        &format!("{{ {} }}", state.replace("return", "return 'truelight' ===")),
    );
    browser.click("#pause");
    browser.enter_frame(0);
    browser
        .wait("the other goes on", &format!("{{ {} }}", state.replace("return", "return 'falselight' ===")));
}

/// What a network of many nodes and an engine that says a lot look like, told to the page as the engine tells it.
#[test]
#[ignore = "needs chromium and chromedriver: apt-get install chromium chromium-driver"]
fn many_peers_have_lines_and_what_is_too_much_is_counted() {
    isolated!(240);
    let (_lab, a, _b, bubbles) = page();
    let browser = live(&a, &bubbles);
    browser.run(
        "for (let n = 0; n < 60; n++) take({ kind: 'message', direction: 'in', transport: 'TCP', type: 'M_WAIT', \
         peer: '2001:db8:1111:2222:3333:4444:5555:' + n, address: '', session: n, text: '', time: n, thread: '' })",
    );
    browser.wait("all arrows", "return document.querySelectorAll('.arrow').length === 60");
    // 40 of them, the rest together; and no arrow leads to where no line is.
    let heads = browser.run("return [...document.querySelectorAll('.head')].map(h => h.title)");
    let heads = heads.as_array().unwrap();
    assert_eq!(
        (heads.len(), heads[0].as_str(), heads[41].as_str()),
        (42, Some("this node"), Some("other peers"))
    );
    let nowhere = "const lines = [...document.querySelectorAll('.life')].map(l => l.getAttribute('x1')); \
        return [...document.querySelectorAll('.arrow circle')].filter(c => !lines.includes(c.getAttribute('cx'))).length";
    assert_eq!(browser.run(nowhere), json!(0));
    browser.run(
        "const e = document.getElementById('session'); e.value = '50'; e.dispatchEvent(new Event('input'))",
    );
    let only = browser.run("return [...document.querySelectorAll('.head')].map(h => h.title)");
    assert_eq!(
        only,
        json!(["this node", "2001:db8:1111:2222:3333:4444:5555:50"]),
        "the lines of what is chosen"
    );
    browser.click("#clear");

    // Link-local addresses that are the same on two links, and one that is not.
    browser.run(
        "rows.length = 0; draw(); for (const peer of ['fe80::1%eth0', 'fe80::2%eth0', 'fe80::1%eth1']) \
         take({ kind: 'message', direction: 'in', transport: 'TCP', type: 'M_WAIT', peer, address: '', session: 1, text: '', time: 1, thread: '' })",
    );
    browser.wait("three arrows", "return document.querySelectorAll('.arrow').length === 3");
    let heads = browser.run("return [...document.querySelectorAll('.head')].map(h => h.textContent)");
    assert_eq!(heads, json!(["this node", "fe80::1%eth0", "fe80::2", "fe80::1%eth1"]));

    browser.click("#pause");
    browser.run(
        "for (let n = 0; n < 3100; n++) take({ kind: 'line', text: 'line ' + n, time: n, thread: 'Gray' })",
    );
    browser.click("#pause");
    browser.wait("the bubbles", "return document.querySelectorAll('.says').length === 300");
    assert_eq!(browser.run("return [...document.querySelectorAll('.says')].pop().textContent"), "line 3099");
    let note = browser.run("return document.querySelector('.note.bad title').textContent");
    assert!(note.as_str().unwrap().starts_with("100 events"), "{note}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn an_engine_without_a_page_has_no_thread_for_one() {
    isolated!();
    let (_lab, a, _b) = two(Config::new());
    let names = grasptests::lab::process::thread_names();
    assert!(!names.iter().any(|name| name.starts_with("_bubble")), "{names:?}");
    a.engine.shutdown();
    eventually(SOON, "it ends", || a.engine.thread_count() == 0);
}
