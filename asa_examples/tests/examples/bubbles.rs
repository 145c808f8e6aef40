//! `--bubbles` with `--lab`: the pages can be reached from where the program was started, though all engines are in
//! private networks.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(60);

/// Ends when dropped, with its peers.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Reads the events of a page until it has told all of this.
fn wait_for(port: u16, texts: &[&str]) {
    let started = Instant::now();
    let mut seen = String::new();
    while started.elapsed() < SOON {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the page is here");
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
        let mut bytes = vec![0; 1 << 20];
        let mut length = 0;
        while let Ok(count @ 1..) = stream.read(&mut bytes[length..]) {
            length += count;
            seen = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if texts.iter().all(|text| seen.contains(text)) {
                return;
            }
        }
    }
    panic!("{texts:?} not all in {seen}");
}

#[test]
fn briggs_and_gray_in_private_networks_have_their_pages_out_here() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_briggs"));
    command.args(["--lab", "gray", "--bubbles", "--pace", "0.1", "--seed", "3"]).env_remove("GRASP_BUBBLES");
    let mut program =
        Program(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("briggs starts"));
    let mut line = String::new();
    let mut output = BufReader::new(program.0.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    // Somebody has to read what it says.
    let reader = std::thread::Builder::new().spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    let (_, url) =
        line.trim().split_once("http://127.0.0.1:").unwrap_or_else(|| panic!("no address: {line}"));
    let (own, beside) = url.split_once("/?beside=").unwrap_or_else(|| panic!("nothing beside it: {line}"));
    wait_for(own.parse().unwrap(), &["\"caption\":\"Briggs\"", "ASA Briggs registered OK", "M_REQ_NEG"]);
    wait_for(beside.parse().unwrap(), &["\"caption\":\"Gray\"", "M_REQ_NEG", "\"direction\":\"out\""]);
    drop(program);
    reader.unwrap().join().unwrap().unwrap();
}
