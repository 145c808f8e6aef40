//! What another program makes of the files, and the other way round. `.ci/run` runs these where OpenSSL is installed.

use super::*;

fn openssl(place: &Place, words: &[&str]) -> String {
    let ended = Command::new("openssl").args(words).current_dir(&place.0.0).output().expect("openssl");
    let text =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "openssl {words:?}: {text}");
    text
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn openssl_reads_and_verifies_everything() {
    for kind in ["p256", "p384", "ed25519"] {
        let place = Place::new();
        place.domain(&["init", "acp.example.com", "--domain", "authority", "--algorithm", kind]).done();
        place
            .issue(
                "a",
                &[
                    "--address",
                    "fd89:b714:f3db:0:200:0:6400:0",
                    "--rsub",
                    "area51.research",
                    "--algorithm",
                    kind,
                ],
            )
            .done();
        place.domain(&["request", "acp.example.com", "--out", "b", "--algorithm", kind]).done();
        place.issue("b", &["--csr", "b/node.csr"]).done();
        let anchor = "authority/authority.crt";
        assert!(openssl(&place, &["verify", "-x509_strict", "-CAfile", anchor, anchor]).contains("OK"));
        let verify = |node| {
            let purpose = ["-purpose", "sslserver"];
            let words = [
                "verify",
                "-x509_strict",
                "-crl_check",
                "-CAfile",
                anchor,
                "-CRLfile",
                "authority/domain.crl",
            ];
            Command::new("openssl")
                .args(words)
                .args(purpose)
                .arg(node)
                .current_dir(&place.0.0)
                .output()
                .expect("openssl")
        };
        assert!(verify("a/node.crt").status.success() && verify("b/node.crt").status.success(), "{kind}");
        let text = openssl(&place, &["x509", "-in", "a/node.crt", "-noout", "-text"]);
        let name =
            "othername: 1.3.6.1.5.5.7.8.10::fd89b714f3db00000200000064000000+area51.research@acp.example.com";
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat(&text).contains(name) || text.contains("othername"), "{text}");
        assert!(openssl(&place, &["req", "-in", "b/node.csr", "-verify", "-noout"]).contains("OK"));
        assert!(openssl(&place, &["pkey", "-in", "a/node.key", "-noout", "-check"]).contains("valid"));
        place.domain(&["revoke", "a", "--domain", "authority"]).done();
        let revoked = verify("a/node.crt");
        assert!(
            !revoked.status.success() && String::from_utf8_lossy(&revoked.stderr).contains("revoked"),
            "{revoked:?}"
        );
        assert!(verify("b/node.crt").status.success());
    }
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn what_openssl_makes_is_taken() {
    let place = Place::with_authority();
    let name = "subjectAltName=otherName:1.3.6.1.5.5.7.8.10;IA5STRING:fd000000000000000000000000000009@acp.example.com";
    for (number, key) in [
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-algorithm", "ED25519"],
    ]
    .into_iter()
    .enumerate()
    {
        let node = format!("node{number}");
        std::fs::create_dir(place.0.file(&node)).expect("a directory");
        let file = format!("{node}/node.key");
        openssl(&place, &[&["genpkey", "-out", &file], key].concat());
        let request = format!("{node}/node.csr");
        openssl(&place, &["req", "-new", "-key", &file, "-subj", "/CN=x", "-addext", name, "-out", &request]);
        place.issue(&node, &["--csr", &request]).done();
        assert_eq!(
            place.credentials(&node).name().to_string(),
            "fd000000000000000000000000000009@acp.example.com"
        );
    }
    // Keys that nodes do not have.
    for key in [&["-algorithm", "RSA"][..], &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]] {
        openssl(&place, &[&["genpkey", "-out", "other.key"], key].concat());
        openssl(
            &place,
            &["req", "-new", "-key", "other.key", "-subj", "/CN=x", "-addext", name, "-out", "other.csr"],
        );
        ends(&place.issue("other", &["--csr", "other.csr"]), 4, "neither P-256 nor P-384 nor Ed25519");
    }
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn an_authority_of_rsa_is_trusted() {
    // RFC 8994 §6.2.1: a node has to handle RSA with 2048 bits.
    let place = Place::new();
    openssl(
        &place,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "anchors.crt",
            "-subj",
            "/CN=rsa",
            "-days",
            "10",
        ],
    );
    std::fs::create_dir(place.0.file("a")).expect("a directory");
    openssl(
        &place,
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "a/node.key"],
    );
    let name = "subjectAltName=otherName:1.3.6.1.5.5.7.8.10;IA5STRING:0@acp.example.com";
    openssl(
        &place,
        &["req", "-new", "-key", "a/node.key", "-subj", "/CN=x", "-addext", name, "-out", "a/node.csr"],
    );
    openssl(
        &place,
        &[
            "x509",
            "-req",
            "-in",
            "a/node.csr",
            "-CA",
            "anchors.crt",
            "-CAkey",
            "ca.key",
            "-copy_extensions",
            "copy",
            "-days",
            "5",
            "-out",
            "a/node.crt",
        ],
    );
    let files = Files {
        anchors: place.0.0.join("anchors.crt"),
        lists: Vec::new(),
        ..Files::in_directory(place.0.0.join("a"))
    };
    let credentials = Credentials::load(&files).expect("they work");
    assert_eq!(credentials.check_own(&rules()).expect("a member").name.to_string(), "0@acp.example.com");
}
