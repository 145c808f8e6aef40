//! A peer in Python, `grasptests/interop/tls_peer.py`, negotiates with an engine in both roles. It has Python's `ssl` and nothing of ours.

use grasp::{AsaLocator, Negotiation, Objective};
use grasptests::domains::{DOMAIN, name};
use grasptests::isolated;
use grasptests::nodes::{joined, negotiable, offer};

use super::*;

impl Scene {
    /// Starts the peer on its machine.
    fn python(&self, words: &[&str]) -> Program {
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = self.machine.command(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/tls_peer.py"));
        command.arg(self.files.directory()).arg(DOMAIN).args(words).env("PYTHONDONTWRITEBYTECODE", "1");
        Program::start(command)
    }
}

#[test]
#[ignore = "needs python3: apt-get install python3"]
fn a_peer_in_python_asks_and_resumes_its_session() {
    isolated!();
    let scene = Scene::new();
    let host = &scene.host;
    host.register(&negotiable("EX3", 0));
    let listening = host.thread(|engine, asa| {
        for _ in 0..2 {
            let (session, asked) = engine.listen_negotiate(asa, &negotiable("EX3", 0)).expect("a request");
            let by = engine.certified_name(asa, session).expect("the session is open");
            assert_eq!((by, &asked.value), (Some(name(2)), &10.into()));
            let five = Objective { value: 5.into(), ..asked };
            let (session, asked) = offer(engine.negotiate_step(asa, session, &five, None));
            assert_eq!(asked.value, 7.into());
            engine.end_negotiate(asa, session, true, None).expect("the session is open");
        }
    });
    let address = host.node.ula().expect("an address").to_string();
    let peer = scene.python(&["ask", &address, &host.port("EX3").to_string()]);
    for resumed in ["False", "True"] {
        assert_eq!(peer.says("secured "), format!("{} TLSv1.3 resumed={resumed}", name(1)));
        assert_eq!(peer.says("agreed "), "7");
    }
    peer.ends();
    joined(listening);
    assert_eq!(host.engine.stats().connections_not_secured, 0);
    host.expect_quiet();
}

#[test]
#[ignore = "needs python3: apt-get install python3"]
fn a_peer_in_python_answers_and_the_engine_resumes_its_session() {
    isolated!();
    let scene = Scene::new();
    let peer = scene.python(&["answer", "2"]);
    let port = peer.says("port ").parse().expect("a port");
    let at = AsaLocator::new(scene.machine.ula().expect("an address"), None).with_port(port);
    scene.host.register(&negotiable("EX3", 0));
    for resumed in ["False", "True"] {
        let agreed = scene.host.run(|engine, asa| {
            let asked = engine.req_negotiate(asa, &negotiable("EX3", 10), Some(&at), Some(20_000));
            let (session, held) = offer(asked);
            assert_eq!(engine.certified_name(asa, session).expect("the session is open"), Some(name(2)));
            assert_eq!(held.value, 5.into());
            engine.negotiate_step(asa, session, &Objective { value: 7.into(), ..held }, None)
        });
        assert!(matches!(agreed, Ok(Negotiation::Agreed(_))), "{agreed:?}");
        assert_eq!(peer.says("secured "), format!("{} TLSv1.3 resumed={resumed}", name(1)));
        assert_eq!(peer.says("agreed "), "7");
    }
    peer.ends();
    scene.host.expect_quiet();
}
