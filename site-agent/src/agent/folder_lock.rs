//! One agent at a time in a work folder: two would remove each other's models.

use program::{Class, Failure};
use protocol::site::LOCK;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// Takes the folder, until the file is closed or the program ends, however it ends. The file names
/// the process that has it.
///
/// # Errors
/// Another agent has it, or the disk refuses.
pub(super) fn take(work: &Path) -> Result<File, Failure> {
    let path = work.join(LOCK);
    // What another agent wrote there must stay.
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| disk(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(work, &path)),
        Err(TryLockError::Error(error)) => return Err(disk(&path, &error)),
    }
    write_process(&mut file).map_err(|error| disk(&path, &error))?;
    Ok(file)
}

fn write_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    write!(file, "{}", std::process::id())
}

fn disk(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Class::Disk, format!("{}: {error}", path.display()))
}

fn in_use(work: &Path, path: &Path) -> Failure {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let process = match text.trim().parse::<u32>() {
        Ok(id) => format!(" (process {id})"),
        Err(_) => String::new(),
    };
    let work = work.display();
    Failure::new(
        Class::Configuration,
        format!("another site-agent{process} works in the work folder {work}"),
    )
    .hint(
        "stop that one or, if both are to run, give each site's file a work_folder and \
         certificates of its own",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_in_the_same_work_folder_is_refused_with_the_firsts_process() {
        let work = tempfile::tempdir().unwrap();
        let first = take(work.path()).unwrap();
        for _ in 0..2 {
            let refused = take(work.path()).unwrap_err();
            assert_eq!(refused.class, Class::Configuration);
            assert!(
                refused
                    .what
                    .contains(&format!("(process {})", std::process::id())),
                "{refused:?}"
            );
            assert!(refused.hint.unwrap().contains("work_folder"));
        }
        drop(first);
        take(work.path()).unwrap();
    }
}
