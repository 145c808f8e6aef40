//! `grasp keys`, and the program `quadsmaker`: makes the key file of a network that uses QUADS encryption, from a password.
//!
//! The same password gives the same key everywhere, in graspy too.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::QuadsKeys;
use crate::keyfile::{self, Form};
use clap::Parser;
use zeroize::Zeroizing;

/// Creates a key file for QUADS encryption from a password, which it asks for. Start each node with the environment
/// variable GRASP_QUADS_KEYFILE set to the path of the file.
#[derive(Debug, Parser)]
#[command(name = "quadsmaker", version)]
pub struct QuadsMaker {
    /// The file to create, readable only by its owner. An existing file is not overwritten [default: quadsk.key, or
    /// quadsk.py with --python].
    #[arg(long, short)]
    output: Option<PathBuf>,

    /// Write graspy's format, which a graspy node imports from its working directory as quadsk.py. Nodes of this
    /// project read both.
    #[arg(long)]
    python: bool,

    /// Read the password from this file, which has one line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin", "no_key"])]
    password_file: Option<PathBuf>,

    /// Read the password from standard input, which has one line.
    #[arg(long, conflicts_with = "no_key")]
    stdin: bool,

    /// Do not ask for a password: the file says "No key", which means no encryption.
    #[arg(long)]
    no_key: bool,
}

/// Does what the command line says. Prints errors to standard error; then the exit status is 1, or 2 for a wrong
/// command line.
#[must_use]
pub fn main() -> ExitCode {
    match QuadsMaker::parse().run() {
        Ok(said) => {
            // If standard output is closed, nobody needs the message.
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "quadsmaker: {error}");
            ExitCode::FAILURE
        }
    }
}

impl QuadsMaker {
    /// Makes the file, and returns a sentence about it.
    ///
    /// # Errors
    /// If the file is there, cannot be written, or there is no password. A retry helps once that is mended.
    pub fn run(&self) -> Result<String, Box<dyn Error>> {
        let (form, usual) = if self.python { (Form::Python, "quadsk.py") } else { (Form::Hex, "quadsk.key") };
        let path = self.output.as_deref().unwrap_or_else(|| Path::new(usual));
        let output = path.display();
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{output} exists: remove it if it is no longer needed, or choose another --output")
            }
            _ => format!("{output} cannot be created: {error}"),
        };
        // Check now, and not after the password was typed twice. Creating the file checks again.
        if fs::symlink_metadata(path).is_ok() {
            return Err(cannot(io::ErrorKind::AlreadyExists.into()).into());
        }
        if self.no_key {
            keyfile::write(path, None, form).map_err(cannot)?;
            return Ok(format!("{output} says that nothing is encrypted"));
        }
        let password = self.password()?;
        let keys = QuadsKeys::from_password(&password)
            .ok_or("the password is empty: use --no-key if nothing is to be encrypted")?;
        keyfile::write(path, Some(&keys), form).map_err(cannot)?;
        Ok(format!("{output} has the key: give it to nodes only, and in a secure way"))
    }

    fn password(&self) -> Result<Zeroizing<String>, Box<dyn Error>> {
        if self.stdin {
            return line(io::stdin().lock(), "the standard input");
        }
        if let Some(path) = &self.password_file {
            let named = named(path);
            let file = File::open(path).map_err(|error| format!("{named} cannot be read: {error}"))?;
            return line(file, &named);
        }
        let ask = |prompt| match rpassword::prompt_password(prompt) {
            Ok(password) => Ok(Zeroizing::new(password)),
            Err(error) => {
                Err(format!("no terminal to ask for the password ({error}): use --password-file or --stdin"))
            }
        };
        let password = ask("Password: ")?;
        if !password.is_empty() && ask("The same again: ")? != password {
            return Err("the two passwords differ: nothing was written".into());
        }
        Ok(password)
    }
}

fn named(path: &Path) -> String {
    format!("the password file {}", path.display())
}

/// Returns the only line of an input, without its end.
fn line(input: impl Read, named: &str) -> Result<Zeroizing<String>, Box<dyn Error>> {
    // Large enough that the text is never copied to a larger buffer.
    let mut text = Zeroizing::new(String::with_capacity(2 * MOST));
    let most = u64::try_from(MOST)?;
    input
        .take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("{named} cannot be read: {error}"))?;
    if text.len() > MOST {
        return Err(format!("{named} is too large for a password").into());
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.contains(['\n', '\r']) {
        return Err(format!("{named} has more than one line").into());
    }
    Ok(text)
}

/// More than any password needs.
const MOST: usize = 4096;
