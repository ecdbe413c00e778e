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
    let commands: Vec<Command> = program.get_subcommands().cloned().collect();
    let source = format!("dynamend {}", program.get_version().unwrap_or_default());
    Man::new(program).render(manual)?;
    for command in commands {
        // Those stand on the program's own page.
        let own = command.mut_args(|option| if option.is_global_set() { option.hide(true) } else { option });
        Man::new(own).source(&source).render(manual)?;
    }
    Ok(())
}
