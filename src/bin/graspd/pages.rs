//! The man page and the completions, from the definition of the command line; the page has the signals, files and exit statuses
//! that docs/operations.md explains.

use std::io::{self, Write};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::Arguments;

/// What the definition of the command line does not say, in roff(7).
const MORE: &str = include_str!("more.roff");

/// Writes the man page.
pub(crate) fn man(out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(Arguments::command()).section("8").manual("System administration");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    out.write_all(MORE.as_bytes())?;
    man.render_version_section(out)
}

/// Writes the completions for a shell.
pub(crate) fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "graspd", &mut script);
    out.write_all(&script)
}
