//! Man pages and completions, from the definition of the command line.

use std::io::Write;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;

use super::command::definition;
use super::failure::{Failure, Outcome};
use super::output::write_atomically;

/// `grasp completions`
pub(super) fn completions(shell: Shell, out: &mut dyn Write) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "grasp", &mut script);
    Ok(out.write_all(&script)?)
}

/// `grasp man`: the page of the command, or a page for it and each verb.
pub(super) fn man(directory: Option<&Path>, out: &mut dyn Write) -> Outcome {
    let mut command = definition();
    command.build();
    let Some(directory) = directory else {
        return Ok(Man::new(command).render(out)?);
    };
    pages(directory, "grasp", &command)
}

/// The page of a command, and those of its verbs.
fn pages(directory: &Path, name: &str, command: &clap::Command) -> Outcome {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        pages(directory, &format!("{name}-{}", verb.get_name()), verb)?;
    }
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    let source = concat!("grasp ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).title(name.to_uppercase()).source(source).render(&mut page)?;
    write_atomically(&path, &page)
        .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", path.display())))
}
