//! `man`: the manual, as `man` reads it: a page for the program, and one for each command.

use std::io::{self, Write};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};
use crate::output::{Output, forgive_closed_pipe};

pub(super) fn run() -> Result<Exit, Failure> {
    let mut manual = Vec::new();
    write(&mut manual)?;
    let mut output = Output::new();
    forgive_closed_pipe(output.writer().write_all(&manual))?;
    output.finish()?;
    Ok(Exit::Agree)
}

fn write(manual: &mut Vec<u8>) -> io::Result<()> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // Gives each command its full name, and the options that all have.
    program.build();
    let source = format!("dynamend {}", program.get_version().unwrap_or_default());
    Man::new(program.clone()).render(manual)?;
    write_commands(&program, &source, manual)
}

/// The pages of the commands below this one, however deep.
fn write_commands(above: &Command, source: &str, manual: &mut Vec<u8>) -> io::Result<()> {
    for command in above.get_subcommands() {
        // Those stand on the program's own page.
        let own = command.clone();
        let own = own.mut_args(|option| if option.is_global_set() { option.hide(true) } else { option });
        Man::new(own).source(source).render(manual)?;
        write_commands(command, source, manual)?;
    }
    Ok(())
}
