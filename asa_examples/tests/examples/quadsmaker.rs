//! `quadsmaker` through its command line, its files and its standard input.
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use grasp::{QuadsKeys, keyfile};
use tempfile::TempDir;

/// Runs it in a directory, without a terminal.
fn quadsmaker(directory: &Path, options: &[&str], input: &[u8]) -> Output {
    let mut program = Command::new("setsid")
        .args(["--wait", env!("CARGO_BIN_EXE_quadsmaker")])
        .args(options)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It need not read what it does not ask for.
    let _ = program.stdin.take().expect("a pipe").write_all(input);
    program.wait_with_output().expect("it ends")
}

/// What it says when it fails.
fn fails(directory: &Path, options: &[&str], input: &[u8]) -> String {
    let output = quadsmaker(directory, options, input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn the_password_of_a_file_or_the_standard_input_becomes_a_key_file() {
    let directory = TempDir::new().expect("a directory");
    let at = directory.path();
    fs::write(at.join("password"), "Grüße, 世界\r\n").expect("a file");
    let output = quadsmaker(at, &["--password-file", "password"], b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let file = at.join("quadsk.key");
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o7777, 0o600);
    assert_eq!(keyfile::read(&file).expect("it is good"), QuadsKeys::from_password("Grüße, 世界"));

    for (name, input) in [("one", " grasp "), ("two", " grasp \n")] {
        let output = quadsmaker(at, &["--stdin", "--output", name], input.as_bytes());
        assert!(output.status.success(), "{output:?}");
        let keys = keyfile::read(at.join(name)).expect("it is good");
        assert_eq!(keys, QuadsKeys::from_password(" grasp "), "spaces belong to the password");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("grasp"));
    }
}

#[test]
fn graspys_form_is_what_python_imports() {
    let directory = TempDir::new().expect("a directory");
    let at = directory.path();
    let output = quadsmaker(at, &["--python", "--stdin"], b"grasp\n");
    assert!(output.status.success(), "{output:?}");
    let file = at.join("quadsk.py");
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o7777, 0o600);
    let keys = QuadsKeys::from_password("grasp");
    assert_eq!(keyfile::read(&file).expect("it is good"), keys);
    let output = quadsmaker(at, &["--python", "--no-key", "--output", "none.py"], b"");
    assert!(output.status.success(), "{output:?}");
    // As graspy does it; and what Python writes of these bytes is read here.
    let script = "import quadsk, none; print('key=' + str(quadsk.key)); print('iv=' + str(quadsk.iv)); \
                  assert none.key == none.iv == 'No key'";
    let python =
        Command::new("python3").args(["-B", "-c", script]).current_dir(at).output().expect("python3");
    assert!(python.status.success(), "{python:?}");
    let again = at.join("again.py");
    fs::write(&again, &python.stdout).expect("a file");
    fs::set_permissions(&again, fs::Permissions::from_mode(0o600)).expect("they can be set");
    assert_eq!(keyfile::read(&again).expect("it is good"), keys);
}

#[test]
fn no_key_is_written_when_asked_for() {
    let directory = TempDir::new().expect("a directory");
    let output = quadsmaker(directory.path(), &["--no-key", "-o", "none"], b"");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(keyfile::read(directory.path().join("none")).expect("it is good"), None);
}

#[test]
fn a_file_that_exists_is_left_alone() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("quadsk.key"), "precious").expect("a file");
    for options in [["--stdin"], ["--no-key"]] {
        let said = fails(directory.path(), &options, b"grasp\n");
        assert!(said.contains("quadsk.key exists"), "{said}");
    }
    assert_eq!(fs::read_to_string(directory.path().join("quadsk.key")).expect("a file"), "precious");
}

#[test]
fn each_failure_says_why_and_writes_nothing() {
    let directory = TempDir::new().expect("a directory");
    let long = [b'x'; 5000];
    for (options, input, why) in [
        (&["--stdin"][..], &b""[..], "the password is empty: use --no-key"),
        (&["--stdin"], b"\n", "the password is empty: use --no-key"),
        (&["--stdin"], b"one\ntwo\n", "the standard input has more than one line"),
        (&["--stdin"], b"\xff\n", "the standard input cannot be read: "),
        (&["--stdin"], &long, "the standard input is too large for a password"),
        (&["--password-file", "missing"], b"", "the password file missing cannot be read: "),
        (&["--password-file", "."], b"", "the password file . cannot be read: "),
        (&["--stdin", "--output", "no/such/directory"], b"grasp", "no/such/directory cannot be created: "),
        (&[], b"grasp\ngrasp\n", "use --password-file or --stdin"),
    ] {
        let said = fails(directory.path(), options, input);
        assert!(said.starts_with("quadsmaker: ") && said.contains(why), "{options:?}: {said}");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0, "{options:?}");
    }
}

#[test]
fn the_command_line_explains_itself_and_refuses_contradictions() {
    let directory = TempDir::new().expect("a directory");
    let output = quadsmaker(directory.path(), &["--help"], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for word in [
        "--output",
        "--password-file",
        "--stdin",
        "--no-key",
        "--python",
        "quadsk.key",
        "GRASP_QUADS_KEYFILE",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for options in
        [["--stdin", "--no-key"], ["--password-file=x", "--stdin"], ["--password-file=x", "--no-key"]]
    {
        assert_eq!(quadsmaker(directory.path(), &options, b"").status.code(), Some(2), "{options:?}");
    }
}
