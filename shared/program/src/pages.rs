//! A program's command line for others: completions for shells, and manual pages.

use clap::Command;
pub use clap_complete::Shell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Prints the completions of a program for a shell.
///
/// # Errors
/// Standard output that is closed or full.
pub fn print_completions(shell: Shell, command: Command) -> io::Result<()> {
    let (name, mut command) = under_its_installed_name(command);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    io::stdout().write_all(&text)
}

/// Writes the manual pages of a program and of each of its subcommands into a folder, which is made
/// if need be.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_manual(command: Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let (_, command) = under_its_installed_name(command);
    clap_mangen::generate_to(command, folder)
}

/// Packages install the programs under longer names, such as `lacuna-coordinator`, and it is these
/// names that people type.
fn under_its_installed_name(command: Command) -> (String, Command) {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(command.get_name()));
    let name = match own.file_stem() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => command.get_name().to_owned(),
    };
    // clap keeps names for as long as the program lives; this happens once.
    let kept: &'static str = name.clone().leak();
    (name, command.name(kept).bin_name(kept).display_name(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_under_the_programs_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let command = Command::new("coordinator").subcommand(Command::new("serve"));
        write_manual(command, folder.path()).unwrap();
        let own = std::env::current_exe().unwrap();
        let own = own.file_stem().unwrap().to_string_lossy();
        for page in [format!("{own}.1"), format!("{own}-serve.1")] {
            assert!(folder.path().join(&page).is_file(), "{page}");
        }
    }
}
