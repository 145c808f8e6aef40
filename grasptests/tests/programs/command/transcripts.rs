//! The transcripts of docs/grasp.md are what a user sees, but for numbers, addresses and the widths of columns.

use grasp::objectives::{AN_JOIN_REGISTRAR, EST_TLS, Known};
use grasp::tools::words;
use grasp::{AsaLocator, Objective, RegisterObj, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use super::{SOON, Scene};

/// The commands of the document, each with what it prints.
pub(crate) fn transcripts(document: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for block in document.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            match line.strip_prefix("$ grasp ") {
                Some(command) => all.push((command.to_owned(), String::new())),
                None => {
                    let (_, printed) = all.last_mut().expect("a command comes first");
                    printed.push_str(line);
                    printed.push('\n');
                }
            }
        }
    }
    all
}

/// A text without what differs from run to run: numbers, addresses, keys and times are `#`, blanks are one.
pub(crate) fn essence(text: &str) -> String {
    let mut essence = String::new();
    let mut word = String::new();
    let close = |word: &mut String, essence: &mut String| {
        let is_number = word.chars().any(|character| character.is_ascii_digit())
            && word.chars().all(|character| character.is_ascii_hexdigit() || ":.%".contains(character));
        let is_key = word.len() >= 8 && word.chars().all(|character| character.is_ascii_hexdigit());
        // Perhaps with a colon behind.
        let is_time = word.starts_with('2') && word.get(10..11) == Some("T") && word.get(19..20) == Some("Z");
        let shown = if is_number || is_key || is_time { "#" } else { word.as_str() };
        essence.push_str(shown);
        word.clear();
    };
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || ":.%-_".contains(character) {
            word.push(character);
            continue;
        }
        close(&mut word, &mut essence);
        if character != ' ' || !essence.ends_with(' ') {
            essence.push(character);
        }
    }
    close(&mut word, &mut essence);
    essence.replace(" \n", "\n")
}

#[test]
fn the_document_shows_what_a_user_sees() {
    isolated!();
    let document = include_str!("../../../../docs/grasp.md");
    let scene = Scene::new();
    scene.tell("EX1", Value::from(vec![Value::from("NZD"), Value::from(47)]));
    let ula = scene.far.ula().expect("a ULA");
    let (peer, asa) = (scene.peer.engine(), scene.peer.nonce());
    let registrar = Known::JoinRegistrar.objective("").with_value(EST_TLS).expect("a value");
    let tagged = [TaggedObjective::new(registrar.clone(), Some(AsaLocator::new(ula, None).with_port(8443)))];
    let money = Objective { neg: true, ..Objective::new("EX3") };
    scene.far.run(|| {
        peer.register_obj(asa, &registrar, RegisterObj::default()).expect("registered");
        peer.flood(asa, 60_000, &tagged).expect("flooded");
        peer.register_obj(asa, &money, RegisterObj::default()).expect("registered");
    });
    let _serving =
        scene.far.run(|| scene.peer.serve(&money, 1, |session| drop(session.accept()))).expect("served");
    let has = || scene.node.flood_cache().iter().any(|view| view.tagged.objective.name == AN_JOIN_REGISTRAR);
    eventually(SOON, "the registrar is known", has);

    let all = transcripts(document);
    assert!(all.len() > 15, "{all:?}");
    // What is about a domain of certificates needs no node: `crate::domain`.
    for (command, expected) in all.into_iter().filter(|(command, _)| !command.starts_with("domain ")) {
        // Those quotation marks are for the shell.
        let command = command.replace('\'', "");
        let words = words::split(&command).expect("words");
        let ended = scene.grasp(&words);
        let printed = format!("{}{}", ended.out, ended.errors);
        // The name of the process is that of the test program.
        let lines = |text: &str| {
            let shown = |line: &str| match line.strip_prefix("ok    port 7017: held by ") {
                Some(_) => "port 7017".to_owned(),
                None => essence(line),
            };
            text.lines().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(lines(&printed), lines(&expected), "grasp {command}\n{printed}");
    }
}
