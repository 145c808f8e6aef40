//! `grasp domain`, as an operator runs it: what it writes works, for the check of the engine and for OpenSSL; what is wrong is said, with
//! what to do; nothing that is interrupted, or done twice at once, leaves something that does not work.

mod files;
mod life;
mod openssl;
mod refusals;

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use grasp::domain::{Algorithm, Authority, Credentials, Files, Issue, PrivateKey, Role, Rules};

use crate::command::transcripts::{essence, transcripts};
use crate::command::{Directory, Ended, PROGRAM};

const DAY: Duration = Duration::from_secs(86_400);

/// A directory in which `grasp domain` runs.
struct Place(Directory);

impl Place {
    fn new() -> Self {
        Self(Directory::new())
    }

    /// With an authority of acp.example.com.
    fn with_authority() -> Self {
        let place = Self::new();
        place.domain(&["init", "acp.example.com", "--domain", "authority"]).done();
        place
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("domain").args(words).current_dir(&self.0.0).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn domain(&self, words: &[&str]) -> Ended {
        Ended::from(self.command(words).output().expect("it starts"))
    }

    fn issue(&self, node: &str, more: &[&str]) -> Ended {
        self.domain(&[&["issue", "--domain", "authority", "--out", node][..], more].concat())
    }

    fn renew(&self, node: &str, more: &[&str]) -> Ended {
        self.domain(&[&["renew", node, "--domain", "authority"][..], more].concat())
    }

    /// What a node would load.
    fn credentials(&self, node: &str) -> Credentials {
        Credentials::load(&Files::in_directory(self.0.0.join(node))).expect("they work")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.file(file)).expect(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.file(file), text).expect(file);
    }

    /// An authority that was made two hundred days ago, and its node `old`, whose certificate is so old and lasts for so long.
    fn aged(age: u32, days: u32) -> Self {
        let place = Self::new();
        let (now, directory) = (SystemTime::now(), place.0.0.clone());
        let authority =
            Authority::create("acp.example.com", Algorithm::P256, now - 200 * DAY, 3650 * DAY).expect("one");
        let key = PrivateKey::generate(Algorithm::P256).expect("a key");
        let name = "fd89b714f3db00000000000000000001@acp.example.com".parse().expect("a name");
        let then = now - age * DAY;
        let issue =
            Issue { name: &name, key: key.public(), label: Some("old"), now: then, lifetime: days * DAY };
        let certificate = authority.issue(&issue).expect("issued");
        let list = authority.revocation_list(&[], 1, then, 30 * DAY).expect("a list");
        for name in ["authority", "old"] {
            std::fs::create_dir(directory.join(name)).expect("a directory");
        }
        let hex: String = key.public().identifier().iter().map(|byte| format!("{byte:02x}")).collect();
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs();
        let index = serde_json::json!({ "version": 1, "list_number": 1, "issued": [{
            "serial": certificate.serial().to_string(), "node": certificate.serial().to_string(),
            "name": name.to_string(), "label": "old", "key": hex,
            "from": seconds(then), "until": seconds(certificate.valid_until()), "revoked": null,
        }]});
        let pem = |key: &PrivateKey| key.to_pem().expect("text").to_string();
        for (file, text) in [
            ("authority/authority.key", pem(authority.key())),
            ("authority/authority.crt", authority.certificate().to_pem()),
            ("authority/anchors.crt", authority.certificate().to_pem()),
            ("authority/domain.crl", list.to_pem()),
            ("authority/issued.json", index.to_string()),
            ("old/node.key", pem(&key)),
            ("old/node.crt", certificate.to_pem()),
            ("old/anchors.crt", authority.certificate().to_pem()),
            ("old/domain.crl", list.to_pem()),
        ] {
            place.write(file, &text);
            let mode = if file.ends_with(".key") { 0o600 } else { 0o644 };
            let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
            std::fs::set_permissions(directory.join(file), mode).expect("its own file");
        }
        place
    }
}

fn rules() -> Rules {
    Rules::at(SystemTime::now(), Role::Client).secure_channel(true)
}

/// The end must have this status, and a sentence with this in it.
#[track_caller]
fn ends(ended: &Ended, status: i32, sentence: &str) {
    assert!(ended.status == status && ended.errors.contains(sentence), "not {status} {sentence}: {ended:?}");
}

#[test]
fn the_document_shows_what_an_operator_sees() {
    let document = include_str!("../../../../docs/grasp.md");
    let all = transcripts(document).into_iter().filter(|(command, _)| command.starts_with("domain "));
    let (place, mut count) = (Place::new(), 0);
    for (command, expected) in all {
        let words: Vec<_> = command.split(' ').skip(1).collect();
        let ended = place.domain(&words);
        let printed = format!("{}{}", ended.out, ended.errors);
        assert_eq!(essence(&printed), essence(&expected), "grasp {command}\n{printed}");
        count += 1;
    }
    assert!(count >= 10, "{count}");
}
