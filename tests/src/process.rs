//! Processes of Pods of the local node, which are processes of this machine.

use anyhow::{Context as _, Result, bail};

/// The process of a program that has a variable (`NAME=value`) in its environment. Children inherit variables, so the program
/// counts too.
pub fn find(variable: &str, program: &str) -> Result<String> {
    for process in std::fs::read_dir("/proc")? {
        let path = process?.path();
        // Many are gone, or are none.
        let (Ok(environment), Ok(command)) =
            (std::fs::read(path.join("environ")), std::fs::read_to_string(path.join("cmdline")))
        else {
            continue;
        };
        let is_it = command.split('\0').next().is_some_and(|file| file.ends_with(program));
        if is_it && environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes()) {
            return Ok(path.file_name().context("a process")?.to_string_lossy().into_owned());
        }
    }
    bail!("no process {program} with {variable} on this machine")
}
